"""The sum over training points, in descriptor space.

With x the query's descriptor, x_m and w_m a training point's descriptor and weights, n = √5 |d| / σ:

    E = Σ_{m,g} 5/(3σ²) (1 + n) e^{−n} d·P_g w_m,        d = x − P_g x_m

(Chmiela et al., Nat. Commun. 9, 3887 (2018), Matérn 5/2 kernel; the sign is that of sGDML's files.) sGDML permutes
the training set and streams P copies of it through memory. Here each training row is read once: all products with its
permuted copies come at once, from a basis adapted to the group, from permuted queries, or both (`Cosets`).

Weights reach 1e8–1e11 and cancel, so nothing may be single precision, and |x − x_m|² is expanded only after both are
centred on a mean that the permutations leave alone. With energy constraints Σ α_m k is larger than all else, and what
it rounds away is the energy's noise: added up are α_m (k − 1), a thousandth of that near the points, and P Σ α_m.
"""

from __future__ import annotations

from math import fsum

import numpy as np

from ..._types import FloatArray, IntArray
from ...symmetry.elements import orbits
from ..descriptor.metric import Metric
from .backends import contraction
from .compiled_sum import CompiledContraction, CompiledPredictor
from .contraction import Work
from .cosets import Cosets, Method


class Expansion:
    """The sum for one set of training descriptors and, once `set_weights` was called, their weights."""

    def __init__(
        self,
        descriptors: FloatArray,
        metric: Metric,
        permutations: IntArray,
        sigma: float,
        *,
        method: Method | None = None,
        backend: str = "auto",
    ) -> None:
        """descriptors: (M, D), of `metric`; permutations: (P, N) of the atoms; sigma: 1/length. All weights are zero.

        method: see `Cosets.of`; backend: see `contraction`.
        """
        perms, self._metric = metric.permutations(permutations), metric
        self._order, self._constant = len(perms), 0.0
        self._centre = invariant_mean(descriptors, perms)
        self._points = descriptors - self._centre
        self._cosets = Cosets.of(permutations, metric, method)
        self._sum = contraction(self._cosets.basis, self._cosets.basis.forward(self._points), sigma, backend)

    def set_weights(self, weights: FloatArray, energy_weights: FloatArray | None = None) -> None:
        """Take these weights J_m α_m (M, D), and the coefficients of energy constraints (M,) if there are any."""
        products = np.einsum("md,md->m", self._points, weights)
        energies = None if energy_weights is None else np.ascontiguousarray(energy_weights, dtype=np.float64)
        self._constant = 0.0 if energies is None else self._order * fsum(energies)
        self._sum.set_weights(self._cosets.basis.forward(weights), products, energies)

    def predictor(self, scale: float, offset: float, threads: int) -> CompiledPredictor | None:
        """Energies offset + scale × E, forces and virials of positions in Å, with the weights as they are now; None
        without compiled code."""
        if not isinstance(self._sum, CompiledContraction):
            return None
        metric = (self._metric.n_atoms, self._metric.compiled)
        offset += scale * self._constant
        return self._sum.predictor(metric, self._centre, self._cosets.inverse, scale, offset, threads)

    @property
    def method(self) -> str:
        """How permutations are summed over."""
        return self._cosets.method

    @property
    def fallback(self) -> str | None:
        """Why the sum over the permutations is the slow one; None where it is not, or was asked for."""
        return self._cosets.fallback

    @property
    def backend(self) -> str:
        """What adds up: see `contraction.backends`."""
        return self._sum.backend

    @property
    def work(self) -> Work:
        """What one query takes at least."""
        return self._sum.work._replace(flops=self._cosets.count * self._sum.work.flops)

    @property
    def bytes_per_query(self) -> int:
        """Temporaries of a call, for one query."""
        return self._cosets.count * (self._sum.bytes_per_query + 24 * len(self._centre))

    def __call__(self, descriptors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """E (B,) and −∂E/∂x (B, D) at the queries (B, D)."""
        energy, gradient = self._cosets.backward(*self._sum(self._cosets.forward(descriptors - self._centre)))
        return energy + self._constant, gradient


def invariant_mean(descriptors: FloatArray, pair_perms: IntArray) -> FloatArray:
    """(D,) mean of descriptors (M, D) over points and over what the permutations (P, D) make of each entry."""
    dim = descriptors.shape[1]
    label = orbits(pair_perms)
    size = np.bincount(label, minlength=dim)
    total = np.bincount(label, weights=descriptors.mean(0), minlength=dim)
    mean: FloatArray = (total / np.maximum(size, 1))[label]
    return mean
