"""How far off a model's forces may be, from how far its training points are.

Take the energy as a Gaussian process with the model's own kernel, k(x, y) = Σ_g k(|x − P_g y|) with the k of
`sums.matern` and a length scale ℓ, observed at the M training points. What they leave of its variance at x,

    s(x)² = 1 − k_xᵀ (K + ε)⁻¹ k_x / k(x, x)        (Rasmussen & Williams, 2006, Eq. 2.26),

is nearly 0 at a training point and 1 where there is none near. The force error is of the order a s^b; ℓ, a and b are
found on configurations that were not trained on. ℓ is not the model's σ: it only has to order the errors.

How far x is from the training points, d = √(−ln(1 − s²)), is the distance at which one point with a correlation of
e^(−d²/2) would leave as much: as s where s is small, without end where s ends at 1. The d that 95 of 100 training
points do not have from the others is the unit in which `ErrorLimits` are: the model's own, whatever its errors are.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import ModelFileError
from .descriptor.descriptor import Descriptor
from .descriptor.metric import Metric
from .model import Model
from .sums.cosets import Cosets
from .sums.matern import matern_value
from .sums.numpy_sum import correlations, synthesis

LEFT, FAR = 3.0, 6.0  # of the distance between a training point and the others; sound models walk up to 2.8
_USUAL = 0.95  # of the training points
_POINTS = 300  # of training that are looked at: the cost is theirs squared
_ROUNDS = 16  # in which the covariances of points among themselves are computed
_JITTER = 1e-10  # ε, of the mean of the diagonal; s is √ε at least
_CHUNK_BYTES = 16 * 2**20  # of temporaries: more would leave the cache


class Calibration(NamedTuple):
    """RMSE of the force components ≈ a s^b, in the units of the model's file."""

    length: float  # ℓ, 1/length
    a: float  # energy/length
    b: float


class ErrorLimits(NamedTuple):
    """Expected errors, eV/Å, that tell how well a model knows a geometry.

    usual: 95 of 100 training points, each left out, have less, as have configurations like those that it was trained
    and validated on. left: of what is `LEFT` times as far from the training points, beyond their range; far: `FAR`
    times, where nothing that the model says can be relied on.
    """

    usual: float
    left: float
    far: float


class Points(NamedTuple):
    """Some descriptors, prepared for `EnergyKernel`."""

    x: FloatArray  # (M, D)
    rows: list[FloatArray]  # in the basis, representation by representation
    norms: FloatArray  # (M,)

    def take(self, which: slice) -> Points:
        """Some of them."""
        return Points(self.x[which], [row[which] for row in self.rows], self.norms[which])


class EnergyKernel:
    """k(x, y) for descriptors in 1/Å, with the permutations summed over as in `Expansion`."""

    def __init__(self, metric: Metric, permutations: IntArray) -> None:
        """permutations: (P, N) of the atoms."""
        self._cosets = Cosets.of(permutations, metric)
        self._basis, self._n_perms = self._cosets.basis, len(permutations)

    @property
    def of_a_group(self) -> bool:
        """Whether k is symmetric, as a covariance must be."""
        return self._cosets.fallback != "no group"

    def points(self, y: FloatArray) -> Points:
        """Descriptors (M, D) made ready for `cross`."""
        return Points(y, self._basis.parts(self._basis.forward(y)), np.einsum("md,md->m", y, y))

    def cross(self, x: FloatArray, points: Points, lengths: tuple[float, ...]) -> FloatArray:
        """(L, B, M) for x (B, D), M points, and each ℓ. Large batches are cut: temporaries stay below 16 MB."""
        most = max(1, _CHUNK_BYTES // (40 * self._n_perms))
        if len(points.x) > most:  # so many permutations that a single query's temporaries are too large
            cuts = [slice(i, i + most) for i in range(0, len(points.x), most)]
            return np.concatenate([self.cross(x, points.take(cut), lengths) for cut in cuts], axis=2)
        y, rows, norms = points
        covariances = np.empty((len(lengths), len(x), len(y)))
        step = self._chunk(len(y))
        for start in range(0, len(x), step):
            query = x[start : start + step]
            products = correlations(self._basis, rows, self._cosets.forward(query))  # (M, B R, P/R)
            products = products.reshape(len(y), len(query), self._n_perms)
            products *= -2.0
            products += norms[:, None, None] + np.einsum("bd,bd->b", query, query)[:, None]
            covariances[:, start : start + step] = self._sum(products, lengths).transpose(0, 2, 1)
        return covariances

    def among(self, points: Points, lengths: tuple[float, ...]) -> FloatArray:
        """(L, M, M): `cross` of the points with themselves, of which half is computed."""
        m = len(points.x)
        covariances = np.empty((len(lengths), m, m))
        step = -(-m // _ROUNDS)
        for start in range(0, m, step):
            part, before = slice(start, start + step), slice(start + step)
            covariances[:, part, before] = self.cross(points.x[part], points.take(before), lengths)
            covariances[:, before, part] = covariances[:, part, before].transpose(0, 2, 1)
        return covariances

    def diagonal(self, x: FloatArray, lengths: tuple[float, ...]) -> FloatArray:
        """k(x, x), (L, B): more than 1 for what is symmetric itself."""
        variances = np.empty((len(lengths), len(x)))
        step = self._chunk(1)
        for start in range(0, len(x), step):
            part = x[start : start + step]
            shape = (len(part), self._cosets.count)
            here = self._basis.parts(self._basis.forward(part))
            permuted = here if self._cosets.count == 1 else self._basis.parts(self._cosets.forward(part))
            parts = [
                y[:, None] @ p.reshape(*shape, *p.shape[1:]).transpose(0, 1, 3, 2)
                for y, p in zip(here, permuted, strict=True)
            ]
            products = synthesis(self._basis, parts, shape).reshape(len(part), self._n_perms)
            squared = 2.0 * (np.einsum("bd,bd->b", part, part)[:, None] - products)
            variances[:, start : start + step] = self._sum(squared, lengths)
        return variances

    def _chunk(self, n_points: int) -> int:
        """Queries whose temporaries stay below 16 MB."""
        each = 8 * (5 * self._n_perms * n_points + 4 * self._cosets.count * len(self._cosets.basis.order))
        return max(1, _CHUNK_BYTES // each)

    def _sum(self, squared: FloatArray, lengths: tuple[float, ...]) -> FloatArray:
        """Σ_g k over |x − P_g y|² (…, P), for each length. No weight cancels here: rounding below 0 is cut off."""
        distance = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
        distance *= np.sqrt(5.0)
        values = np.empty((len(lengths), *squared.shape[:-1]))
        for i, length in enumerate(lengths):
            matern_value(distance / length).sum(-1, out=values[i])
        return values


class Uncertainty:
    """Expected force errors of one model."""

    def __init__(self, model: Model, calibration: tuple[float, float, float] | None = None) -> None:
        """calibration: in place of the model's own. At most 300 training points count, evenly spread.

        Raises ModelFileError where there is none, or the permutations are no group.
        """
        calibration = calibration or model.calibration
        if calibration is None:
            raise ModelFileError(
                f"{model.name or 'model'}: has no error calibration; `delta-sgdml model calibrate MANIFEST DATASET` "
                "adds one"
            )
        length, a, self.b = calibration
        self.length = length / model.angstrom  # 1/Å
        self.a = a * model.electronvolt / model.angstrom  # eV/Å
        self.kernel = EnergyKernel(model.metric, model.permutations)
        if not self.kernel.of_a_group:
            raise ModelFileError(
                f"{model.name or 'model'}: its permutations are no group, so that nothing can be said of its errors"
            )
        self._metric = model.metric
        self._points = self.kernel.points(_some(model))
        self._inverse = _inverse_root(self.kernel.among(self._points, (self.length,))[0])

    def describe(self, positions: FloatArray) -> FloatArray:
        """Descriptors (B, D), 1/Å, of positions (B, N, 3), Å."""
        return Descriptor.of(positions, self._metric).x

    def explained(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """k(x, x) (B,) and L⁻¹ k_x (B, M) at descriptors (B, D): the norm of the second is what is known of the
        first."""
        return self.kernel.diagonal(x, (self.length,))[0], self._known(
            self.kernel.cross(x, self._points, (self.length,))[0]
        )

    def _known(self, k: FloatArray) -> FloatArray:
        return k @ self._inverse.T

    def novelty(self, positions: FloatArray) -> FloatArray:
        """s (B,), from 1e-5 (a training point) to 1 (nothing like it was trained on) of positions (B, N, 3), Å."""
        own, known = self.explained(self.describe(positions))
        return novelty(1.0 - np.einsum("bm,bm->b", known, known) / own)

    def expected_error(self, positions: FloatArray) -> FloatArray:
        """(B,) eV/Å: RMSE of the force components to be expected at positions (B, N, 3), Å.

        a s^b ends at a: where s is 1 more is possible.
        """
        return self.error_of(self.novelty(positions))

    @cached_property
    def left_out(self) -> FloatArray:
        """s (M,) of each training point for a model without it: of its variance, the others leave 1 / (K⁻¹)_mm
        (Rasmussen & Williams, 2006, Eq. 5.12)."""
        own = self.kernel.diagonal(self._points.x, (self.length,))[0]
        return novelty(1.0 / (np.einsum("im,im->m", self._inverse, self._inverse) * own))

    @cached_property
    def limits(self) -> ErrorLimits:
        """Which expected errors are usual for the model, and which are not."""
        variance = np.minimum(np.quantile(self.left_out, _USUAL) ** 2, 1.0 - _JITTER)
        s = novelty(-np.expm1(np.log1p(-variance) * np.array([1.0, LEFT, FAR]) ** 2))  # 1 − s² = e^(−d²)
        return ErrorLimits(*map(float, self.error_of(s)))

    def error_of(self, s: FloatArray) -> FloatArray:
        """a s^b, eV/Å."""
        expected: FloatArray = self.a * s**self.b
        return expected


def novelty(variance: FloatArray) -> FloatArray:
    """s from s², within its bounds; 1 where atoms lie on top of each other and it is no number."""
    return np.sqrt(np.clip(np.nan_to_num(variance, nan=1.0), _JITTER, 1.0))


def _some(model: Model) -> FloatArray:
    """Descriptors (M, D) of training points, evenly spread, 1/Å."""
    m = model.n_train
    which = np.linspace(0, m - 1, min(m, _POINTS)).round().astype(np.intp)
    some: FloatArray = model.descriptors[which] / model.angstrom
    return some


def _inverse_root(k: FloatArray) -> FloatArray:
    """L⁻¹ (M, M) of K + ε = L Lᵀ."""
    m = len(k)
    root = np.linalg.cholesky((k + k.T) / 2 + _JITTER * k.diagonal().mean() * np.eye(m))
    inverse: FloatArray = np.linalg.inv(root)
    return inverse
