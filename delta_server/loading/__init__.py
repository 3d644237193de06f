"""From a manifest to the potential that it describes."""

from .load import load_potential
from .models import read_model

__all__ = ["load_potential", "read_model"]
