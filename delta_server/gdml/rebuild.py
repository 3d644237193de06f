"""From descriptors and weights back to the training geometries and coefficients that they come from.

sGDML's files hold x and w = J α of each training point, with J = ∂x/∂r. Inverse distances fix a geometry but for its
place, orientation and handedness, of which the model knows nothing: classical multidimensional scaling finds it
(Torgerson, Psychometrika 17, 401 (1952)), Gauss–Newton steps take it to the last digits. α follows by least squares;
what J does not see of it, motions of the whole, is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .._types import FloatArray
from ..errors import ModelFileError
from ..units import KCAL_MOL
from .cpu_predictor import CpuPredictor
from .descriptor.descriptor import Descriptor
from .descriptor.metric import Metric
from .model import Model

_STEPS = 8  # of Gauss and Newton; two are enough for geometries of 64-bit distances
_RANK = 1e-13  # of the normal equations: rounding leaves less of a motion of the whole
_DESCRIPTORS = 1e-12  # 1/Å, largest difference of a rebuilt descriptor
_TOLERANCE = 1e-6  # of energies and forces, relative to their spread where that is above 1 kcal/mol (and Å)
_FRAMES = 20
_NOISE = 0.05  # Å


class Difference(NamedTuple):
    """Largest differences of two models, kcal/mol and kcal/mol/Å, and what rounding alone does to the first."""

    energy: float
    forces: float
    energy_rounding: float
    forces_rounding: float
    energy_spread: float  # largest minus smallest energy of the frames
    forces_rms: float

    @property
    def is_rounding(self) -> bool:
        """Within 1e-6 of what is predicted, or ten times what rounding does to it anyway."""
        energy = max(_TOLERANCE * max(1.0, self.energy_spread), 10 * self.energy_rounding)
        forces = max(_TOLERANCE * max(1.0, self.forces_rms), 10 * self.forces_rounding)
        return self.energy <= energy and self.forces <= forces


def with_coefficients(model: Model, report: Callable[[float], None] | None = None) -> Model:
    """The same model with its training geometries and coefficients, found from its descriptors and weights.

    A model that has them is given back as it is. report: called with the fraction that is done.

    Raises ModelFileError where the descriptors are no distances of points in space, or where the result does not
    predict alike (`compare`).
    """
    if model.alphas is not None:
        return model
    metric = model.metric
    positions = _embed(model.descriptors, model.n_atoms)
    alphas = np.empty_like(positions)
    for m, (x, w) in enumerate(zip(model.descriptors, model.weights, strict=True)):
        positions[m] = _polish(positions[m], x, metric, m, model.angstrom)
        alphas[m] = _coefficients(positions[m], w, metric)
        if report:
            report((m + 1) / len(positions))
    rebuilt = Model.from_coefficients(
        numbers=model.numbers,
        training_positions=positions,
        alphas=alphas,
        permutations=model.permutations,
        sigma=model.sigma,
        scale=model.scale,
        offset=model.offset,
        metric=metric,
        energy_weights=model.energy_weights,
        length_unit=model.length_unit,
        energy_unit=model.energy_unit,
        name=model.name,
        theory=model.theory,
        lam=model.lam,
        calibration=model.calibration,
        provenance=model.provenance,
    )
    difference = compare(model, rebuilt)
    if not difference.is_rounding:
        raise ModelFileError(
            "its weights are not those of a training on forces: rebuilt from geometries and coefficients it differs "
            f"by up to {difference.energy:.1e} kcal/mol and {difference.forces:.1e} kcal/mol/Å "
            f"(rounding: {difference.energy_rounding:.1e} and {difference.forces_rounding:.1e}); keep the sGDML file"
        )
    return rebuilt


def compare(model: Model, other: Model) -> Difference:
    """Two forms of one model on 20 displaced training geometries (0.05 Å), and the first on the same, turned."""
    if model.training_positions is not None:
        geometries = model.training_positions
    elif other.training_positions is not None:
        geometries = other.training_positions
    else:
        geometries = _embed(model.descriptors, model.n_atoms)
    rng = np.random.default_rng(0)
    chosen = np.linspace(0, len(geometries) - 1, min(_FRAMES, len(geometries))).astype(int)
    frames = geometries[chosen] * model.angstrom
    frames = frames + _NOISE * rng.standard_normal(frames.shape)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    predict = CpuPredictor(model).predict
    here, there, turned = predict(frames), CpuPredictor(other).predict(frames), predict(frames @ turn)
    energy, forces = here.energy / KCAL_MOL, here.forces / KCAL_MOL
    return Difference(
        energy=float(np.abs(there.energy / KCAL_MOL - energy).max()),
        forces=float(np.abs(there.forces / KCAL_MOL - forces).max()),
        energy_rounding=float(np.abs(turned.energy / KCAL_MOL - energy).max()),
        forces_rounding=float(np.abs(turned.forces / KCAL_MOL - forces @ turn).max()),
        energy_spread=float(np.ptp(energy)),
        forces_rms=float(np.sqrt((forces**2).mean())),
    )


def _embed(descriptors: FloatArray, n_atoms: int) -> FloatArray:
    """(M, N, 3) geometries with these inverse distances (M, D), to about half the digits at worst."""
    positions = np.empty((len(descriptors), n_atoms, 3))
    row, col = np.tril_indices(n_atoms, -1)
    for position, x in zip(positions, descriptors, strict=True):
        squared = np.zeros((n_atoms, n_atoms))
        squared[row, col] = squared[col, row] = x**-2
        squared -= squared.mean(0)
        squared -= squared.mean(1)[:, None]
        value, vector = np.linalg.eigh(-squared / 2)  # of the Gram matrix of centred positions
        k = min(3, n_atoms)
        position[:, :k] = vector[:, -k:] * np.sqrt(np.maximum(value[-k:], 0.0))
        position[:, k:] = 0.0
    return positions


def _polish(position: FloatArray, x: FloatArray, metric: Metric, m: int, angstrom: float) -> FloatArray:
    """(N, 3) with its descriptor at x (D,) to the last digits."""
    best, error = position, np.inf
    for _ in range(_STEPS):
        residual = x - Descriptor.of(position[None], metric).x[0]
        largest = float(np.abs(residual).max()) / angstrom
        if not largest < error:
            break
        best, error = position, largest
        position = position + _solve(position, metric, residual, 2)
    if not error < _DESCRIPTORS:
        raise ModelFileError(
            f"training point {m}: its inverse distances are not those of points in space, the nearest found differ "
            f"by {error:.1e} 1/Å; keep the sGDML file"
        )
    return best


def _coefficients(position: FloatArray, w: FloatArray, metric: Metric) -> FloatArray:
    """α (N, 3) of J α = w (D,): first with every direction in sight, then closest in w itself, which counts."""
    alpha = _solve(position, metric, w, 2)
    left = w - Descriptor.of(position[None], metric).jvp(alpha[None])[0]
    return alpha + _solve(position, metric, left, 0)


def _solve(position: FloatArray, metric: Metric, target: FloatArray, power: int) -> FloatArray:
    """v (N, 3) of least |x^−power (J v − target)|, target (D,), J = ∂x/∂r of one geometry; no motion of the whole.

    power: 2 makes rows those of distances, so that fragments far apart count as much as bonds. By normal equations,
    N/6 times smaller than J; the digits that they lose are won back by refinement.
    """
    n = len(position)
    described = Descriptor.of(position[None], metric)
    x = np.zeros((n, n))
    x.flat[metric.pairs] = described.x[0] ** (3 - power)
    u = (position[:, None] - position[None]) * (x + x.T)[:, :, None]
    blocks = -u[:, :, :, None] * u[:, :, None, :]
    blocks[range(n), range(n)] = -blocks.sum(1)
    value, vector = np.linalg.eigh(blocks.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n))
    seen = value > _RANK * value[-1]
    vector, inverse = vector[:, seen], 1.0 / value[seen]
    solution = np.zeros((1, n, 3))
    for _ in range(4):
        residual = (target - described.jvp(solution)) * described.x ** (-2 * power)
        solution += (vector @ (inverse * (vector.T @ described.forces(residual).reshape(-1)))).reshape(1, n, 3)
    return np.asarray(solution[0])
