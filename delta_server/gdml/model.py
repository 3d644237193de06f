"""What an sGDML model is once it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .._types import FloatArray, IntArray
from ..errors import GeometryError
from ..units import energy_in_ev, length_in_angstrom
from .descriptor.descriptor import Descriptor
from .descriptor.metric import Metric

_CLOSEST = 0.01  # Å; two atoms nearer than that are none
_TABLE = 2**20  # entries of the N×N tables that are built at once


@dataclass(frozen=True)
class Model:
    """Parameters of one sGDML model, in the units of its file.

    With M training points, N atoms, D descriptor entries (N(N−1)/2 unless pairs are left out) and P permutations:

    ================== ======== ==========================================================
    ``numbers``        (N,)     atomic numbers
    ``descriptors``    (M, D)   training descriptors, 1/length with sGDML's metric
    ``weights``        (M, D)   J_m α_m, the coefficients moved to descriptor space
    ``permutations``   (P, N)   among equal elements
    ``sigma``                   length scale of the Matérn 5/2 kernel, 1/length
    ``scale``                   standard deviation of the labels (``std``)
    ``offset``                  integration constant (``c``), energy
    ``energy_weights`` (M,)     coefficients of energy constraints (``alphas_E``), or None
    ``metric``                  what a descriptor is
    ================== ======== ==========================================================

    A prediction needs no more. What a file may hold besides:

    ====================== ========= =======================================================
    ``training_positions`` (M, N, 3) training geometries, length; with ``alphas`` or not at all
    ``alphas``             (M, N, 3) α_m, with J = ∂x/∂r (``alphas_F``)
    ``lam``                          what was added to the diagonal of the kernel matrix
    ``calibration``        (ℓ, a, b) the expected force error is a s(ℓ)^b, see `Uncertainty`
    ``provenance``                   small arrays of the file that say where it is from
    ====================== ========= =======================================================

    Raises ValueError where geometries come without coefficients or the other way round, and where a metric that is
    not sGDML's, which speaks of Å, meets another unit of length.
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
    metric: Metric
    name: str = ""
    theory: str = ""
    training_positions: FloatArray | None = None
    alphas: FloatArray | None = None
    lam: float | None = None
    calibration: tuple[float, float, float] | None = None
    provenance: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.training_positions is None) != (self.alphas is None):
            raise ValueError("training_positions and alphas: expected both or neither")
        if not self.metric.is_stock and self.angstrom != 1.0:
            raise ValueError(f"a metric that is not sGDML's needs lengths in Å, not {self.length_unit}")

    @classmethod
    def from_coefficients(
        cls,
        *,
        numbers: IntArray,
        training_positions: FloatArray,
        alphas: FloatArray,
        permutations: IntArray,
        sigma: float,
        scale: float,
        offset: float,
        metric: Metric,
        energy_weights: FloatArray | None = None,
        length_unit: str = "Ang",
        energy_unit: str = "kcal/mol",
        name: str = "",
        theory: str = "",
        lam: float | None = None,
        calibration: tuple[float, float, float] | None = None,
        provenance: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> Model:
        """The model of training geometries and coefficients, both (M, N, 3), in the sign of sGDML's ``alphas_F``.

        Units as in the attributes. Raises GeometryError where two atoms of a geometry lie on top of each other.
        """
        x, w = _rebuild(training_positions, alphas, length_in_angstrom(length_unit), metric)
        return cls(
            numbers=numbers,
            descriptors=x,
            weights=w,
            permutations=permutations,
            sigma=sigma,
            scale=scale,
            offset=offset,
            energy_weights=energy_weights,
            length_unit=length_unit,
            energy_unit=energy_unit,
            name=name,
            theory=theory,
            training_positions=training_positions,
            alphas=alphas,
            lam=lam,
            calibration=calibration,
            provenance=provenance or {},
            metric=metric,
        )

    @property
    def has_energies(self) -> bool:
        """Whether the energy has a zero: sGDML says ``use_E`` False and c = 0 of a model of forces alone."""
        return bool(np.all(self.provenance.get("use_E", True)))

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def n_train(self) -> int:
        return len(self.descriptors)

    @property
    def n_bytes(self) -> int:
        """Size of the descriptors and weights, which every prediction goes through."""
        return self.descriptors.nbytes + self.weights.nbytes

    @property
    def angstrom(self) -> float:
        """Å in the model's unit of length."""
        return length_in_angstrom(self.length_unit)

    @property
    def electronvolt(self) -> float:
        """eV in the model's unit of energy."""
        return energy_in_ev(self.energy_unit)


def _rebuild(
    positions: FloatArray, alphas: FloatArray, angstrom: float, metric: Metric
) -> tuple[FloatArray, FloatArray]:
    """x and J α, both (M, D), a few points at a time: the N×N tables in between are larger than both."""
    m, n = positions.shape[:2]
    step = max(1, _TABLE // n**2)
    x, w = np.empty((m, len(metric.pairs))), np.empty((m, len(metric.pairs)))
    for start in range(0, m, step):
        part = slice(start, start + step)
        with np.errstate(all="ignore"):  # what comes of it is looked at
            described = Descriptor.of(positions[part], metric)
            x[part], w[part] = described.x, described.jvp(alphas[part])
            distances = 1.0 / described.x if metric.is_stock else described.distances()
        wrong = ~((distances > _CLOSEST / angstrom) & np.isfinite(distances) & np.isfinite(w[part]))
        if wrong.any():
            point, entry = np.argwhere(wrong)[0]
            i, j = divmod(int(metric.pairs[entry]), n)
            raise GeometryError(
                f"training geometry {start + point}: atoms {j} and {i} are {angstrom * distances[point, entry]:.3g} "
                f"Å apart, with coefficients up to {np.abs(alphas[start + point]).max():.3g}; expected more than "
                f"{_CLOSEST} Å and finite numbers"
            )
    return x, w
