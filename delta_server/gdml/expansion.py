"""The sum over training points, in descriptor space.

With x the query's descriptor, x_m and w_m a training point's descriptor and weights, n = √5 |d| / σ:

    E = Σ_{m,g} 5/(3σ²) (1 + n) e^{−n} d·P_g w_m,        d = x − P_g x_m

(Chmiela et al., Nat. Commun. 9, 3887 (2018), Matérn 5/2 kernel; the sign is that of sGDML's files.) sGDML permutes
the training set and streams P copies of it through memory. Here each training row is read once, in one of two ways:

- ``plain``: ⟨x, P_g y⟩ = ⟨P_g⁻¹ x, y⟩, so that P permuted queries take the place of the query;
- ``fourier``: all P products at once, in a basis adapted to the group (`Basis`).

Weights reach 1e8–1e11 and cancel, so nothing may be single precision, and |x − x_m|² is expanded only after both are
centred on a mean that the permutations leave alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from .._types import FloatArray, IntArray
from .contraction import Work, contraction
from .fourier import Basis, independent_factors
from .metric import Metric
from .pairs import orbits

Method = Literal["plain", "fourier"]

_LARGEST = 1200  # order of a factor: its representations take seconds


class Expansion:
    """The sum for one set of training descriptors and, once `weigh` was called, their weights."""

    def __init__(
        self,
        descriptors: FloatArray,
        metric: Metric,
        permutations: IntArray,
        sigma: float,
        *,
        threads: int = 1,
        method: Method | None = None,
        backend: str = "auto",
    ) -> None:
        """descriptors: (M, D), of `metric`; permutations: (P, N) of the atoms; sigma: 1/length. All weights are zero.

        method: None takes the one of fewer multiplications. backend: see `contraction`.
        """
        perms = metric.permutations(permutations)
        self._n_perms, self._dim = perms.shape
        self._centre = invariant_mean(descriptors, perms)
        self._points = descriptors - self._centre
        self.method, self._basis = choose_basis(permutations, metric, method)
        if self.method == "plain":
            # P_g⁻¹ x, and where entry d of the result lies in the stacked, permuted force
            self._inverse = np.argsort(perms, axis=1).reshape(-1)
            self._back = (perms + self._dim * np.arange(self._n_perms)[:, None]).reshape(-1)
        self._sum = contraction(self._basis, self._basis.forward(self._points), sigma, threads, backend)

    def weigh(self, weights: FloatArray, energy_weights: FloatArray | None = None) -> None:
        """Take these weights J_m α_m (M, D), and the coefficients of energy constraints (M,) if there are any."""
        products = np.einsum("md,md->m", self._points, weights)
        energies = None if energy_weights is None else np.ascontiguousarray(energy_weights, dtype=np.float64)
        self._sum.weigh(self._basis.forward(weights), products, energies)

    @property
    def backend(self) -> str:
        """``compiled`` or ``numpy``."""
        return self._sum.backend

    @property
    def work(self) -> Work:
        """What one query takes at least."""
        copies = self._n_perms if self.method == "plain" else 1
        return self._sum.work._replace(flops=copies * self._sum.work.flops)

    @property
    def bytes_per_query(self) -> int:
        """Temporaries of a call, for one query."""
        copies = self._n_perms if self.method == "plain" else 1
        return int(copies * (self._sum.bytes_per_query + 24 * self._dim))

    def __call__(self, descriptors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """E (B,) and −∂E/∂x (B, D) at the queries (B, D)."""
        x = descriptors - self._centre
        if self.method == "fourier" or self._n_perms == 1:
            energy, gradient = self._sum(self._basis.forward(x))
            return energy, self._basis.backward(gradient)
        batch, p = len(x), self._n_perms
        energy, stacked = self._sum(x.take(self._inverse, axis=1).reshape(batch * p, self._dim))
        gradient = stacked.reshape(batch, p * self._dim).take(self._back, axis=1)
        return energy.reshape(batch, p).sum(1), gradient.reshape(batch, p, self._dim).sum(1)


def invariant_mean(descriptors: FloatArray, pair_perms: IntArray) -> FloatArray:
    """(D,) mean of descriptors (M, D) over points and over what the permutations (P, D) make of each entry."""
    dim = descriptors.shape[1]
    label = orbits(pair_perms)
    size = np.bincount(label, minlength=dim)
    total = np.bincount(label, weights=descriptors.mean(0), minlength=dim)
    mean: FloatArray = (total / np.maximum(size, 1))[label]
    return mean


def choose_basis(permutations: IntArray, metric: Metric, method: Method | None = None) -> tuple[Method, Basis]:
    """The method, the one of fewer multiplications or the given one, and its basis; ``plain`` where the permutations
    (P, N) are no group."""
    p, dim = len(permutations), len(metric.pairs)
    if method is None:
        orders = [len(f) for f in independent_factors(permutations)] if p > 1 else [1]
        # multiplications for a training row: dimensions of representations go about as the cube root of the order
        transformed = dim * p ** (1 / 3) + p * sum(orders)
        method = "fourier" if p > 1 and max(orders) <= _LARGEST and transformed < dim * p else "plain"
    if method == "fourier":
        try:
            return method, Basis.of(permutations, metric)
        except (ValueError, ArithmeticError):
            pass
    return "plain", Basis.plain(dim)
