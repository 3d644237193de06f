"""One sGDML model: its file, its descriptor and permutations, and what predicts with it."""

from .file import load_model
from .model import Model
from .predictor import NumpyPredictor, Prediction, Predictor

__all__ = ["Model", "NumpyPredictor", "Prediction", "Predictor", "load_model"]
