"""One sGDML model: its file, its descriptor and permutations, and what predicts with it."""

from .file import Form, form_of, load_model, save_model
from .model import Model
from .native import Difference, compare, with_coefficients
from .predictor import CpuPredictor, Prediction, Predictor, make_predictor

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
