"""What an sGDML model is once it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from .._types import FloatArray, IntArray
from ..units import energy_in_ev, length_in_angstrom


@dataclass(frozen=True)
class Model:
    """Parameters of one sGDML model, in the units of its file.

    With M training points, N atoms, D = N(N−1)/2 descriptor entries and P permutations:

    ================== ======== ==========================================================
    ``numbers``        (N,)     atomic numbers
    ``descriptors``    (M, D)   training descriptors, 1/length
    ``weights``        (M, D)   J_m α_m, the coefficients moved to descriptor space
    ``permutations``   (P, N)   among equal elements
    ``sigma``                   length scale of the Matérn 5/2 kernel, 1/length
    ``scale``                   standard deviation of the labels (``std``)
    ``offset``                  integration constant (``c``), energy
    ``energy_weights`` (M,)     coefficients of energy constraints (``alphas_E``), or None
    ================== ======== ==========================================================
    """

    numbers: IntArray
    descriptors: FloatArray
    weights: FloatArray
    permutations: IntArray
    sigma: float
    scale: float
    offset: float
    energy_weights: FloatArray | None
    length_unit: str
    energy_unit: str
    name: str = ""
    theory: str = ""

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def n_train(self) -> int:
        return len(self.descriptors)

    @property
    def angstrom(self) -> float:
        """Å in the model's unit of length."""
        return length_in_angstrom(self.length_unit)

    @property
    def electronvolt(self) -> float:
        """eV in the model's unit of energy."""
        return energy_in_ev(self.energy_unit)
