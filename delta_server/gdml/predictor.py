"""Energy, forces and virial from one sGDML model."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .._types import FloatArray, IntArray
from .sums.contraction import Work


class Prediction(NamedTuple):
    """What a model says of B structures of N atoms."""

    energy: FloatArray  # (B,) eV
    forces: FloatArray  # (B, N, 3) eV/Å
    virial: FloatArray  # (B, 3, 3) eV, Σ r ⊗ F = −∂E/∂ε


class Predictor(Protocol):
    """What every backend offers."""

    @property
    def numbers(self) -> IntArray: ...

    @property
    def work(self) -> Work:
        """What a structure takes at least."""
        ...

    @property
    def method(self) -> str:
        """How permutations are summed over, and by what."""
        ...

    def predict(self, positions: FloatArray) -> Prediction:
        """positions: (B, N, 3) float64 in Å, in the model's order of atoms."""
        ...
