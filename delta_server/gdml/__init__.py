"""One sGDML model: its file, its descriptor and permutations, and what predicts with it."""

from .cpu_predictor import CpuPredictor
from .devices import make_predictor
from .file import Form, form_of, load_model, save_model
from .model import Model
from .predictor import Prediction, Predictor
from .rebuild import Difference, compare, with_coefficients

__all__ = [
    "CpuPredictor",
    "Difference",
    "Form",
    "Model",
    "Prediction",
    "Predictor",
    "compare",
    "form_of",
    "load_model",
    "make_predictor",
    "save_model",
    "with_coefficients",
]
