"""What predicts energies, forces and virials from one sGDML model."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .._types import FloatArray
from .sums.contraction import Work


class Prediction(NamedTuple):
    """What a model says of B structures of N atoms."""

    energy: FloatArray  # (B,) eV
    forces: FloatArray  # (B, N, 3) eV/Å
    virial: FloatArray  # (B, 3, 3) eV, Σ r ⊗ F = −∂E/∂ε


class Predictor(Protocol):
    """What a term needs of a model."""

    def predict(self, positions: FloatArray) -> Prediction:
        """positions: (B, N, 3) float64 in Å, in the model's order of atoms."""
        ...


class MeasuredPredictor(Predictor, Protocol):
    """A predictor that can be benchmarked, as those of `make_predictor` can."""

    @property
    def work(self) -> Work:
        """What a structure takes at least."""
        ...

    @property
    def method(self) -> str:
        """How permutations are summed over, and by what."""
        ...
