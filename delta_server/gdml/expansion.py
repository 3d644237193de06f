"""The sum over training points, in descriptor space.

With x the query's descriptor, x_m and w_m a training point's descriptor and weights, n = √5 |d| / σ:

    E = Σ_{m,g} 5/(3σ²) (1 + n) e^{−n} d·P_g w_m,        d = x − P_g x_m

(Chmiela et al., Nat. Commun. 9, 3887 (2018), Matérn 5/2 kernel; the sign is that of sGDML's files.)
⟨x, P_g y⟩ = ⟨P_g⁻¹ x, y⟩: the P permutations are applied to the query, so that a batch of B structures is
two matrix products, (BP × D)(D × 2M) and (BP × 2M)(2M × D), in which each training row is read once.
sGDML permutes the training set instead and streams P copies of it through memory.
"""

from __future__ import annotations

import numpy as np

from .._types import FloatArray, IntArray
from .descriptor import orbits, pair_permutations


class Expansion:
    """Plain matrix products in NumPy, float64 throughout.

    Weights reach 1e8–1e11 and cancel, so nothing may be single precision, and |x − x_m|² is expanded
    only after both are centred on a mean that the permutations leave alone.
    """

    def __init__(self, descriptors: FloatArray, permutations: IntArray, sigma: float) -> None:
        """descriptors: (M, D) 1/length; permutations: (P, N) of the atoms; sigma: 1/length. All weights are zero."""
        perms = pair_permutations(permutations)
        self._n_perms, dim = perms.shape
        # P_g⁻¹ x, and where entry d of the result lies in the stacked, permuted force
        self._inverse = np.argsort(perms, axis=1).reshape(-1)
        self._back = (perms + dim * np.arange(self._n_perms)[:, None]).reshape(-1)
        label = orbits(perms)
        size = np.bincount(label, minlength=dim)
        total = np.bincount(label, weights=descriptors.mean(0), minlength=dim)
        self._centre = (total / np.maximum(size, 1))[label]
        self._sigma, self._n_train = sigma, len(descriptors)
        self._rows = np.zeros((2 * self._n_train, dim))
        np.subtract(descriptors, self._centre, out=self._rows[: self._n_train])
        self._norms = np.einsum("md,md->m", self._rows[: self._n_train], self._rows[: self._n_train])
        self._products = np.zeros(self._n_train)
        self._energy_weights: FloatArray | None = None

    def weigh(self, weights: FloatArray, energy_weights: FloatArray | None = None) -> None:
        """Take these weights J_m α_m (M, D), and the coefficients of energy constraints (M,) if there are any."""
        m = self._n_train
        self._rows[m:] = weights
        self._products = np.einsum("md,md->m", self._rows[:m], self._rows[m:])
        self._energy_weights = None if energy_weights is None else energy_weights.astype(np.float64)

    @property
    def bytes_per_query(self) -> int:
        """Temporaries of a call, for one query."""
        return int(8 * self._n_perms * (3 * self._rows.shape[1] + 6 * self._n_train))

    def __call__(self, descriptors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """E (B,) and −∂E/∂x (B, D) at the queries (B, D)."""
        batch, m, p = len(descriptors), self._n_train, self._n_perms
        x = descriptors - self._centre
        norms = np.einsum("bd,bd->b", x, x)
        query = x if p == 1 else x.take(self._inverse, axis=1).reshape(batch * p, x.shape[1])

        products = (query @ self._rows.T).reshape(batch, p, 2 * m)  # the transpose is a view: BLAS transposes
        squared = norms[:, None, None] + self._norms - 2.0 * products[:, :, :m]
        n = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
        n *= np.sqrt(5.0) / self._sigma
        slope = products[:, :, m:] - self._products  # d·w
        exponential = np.exp(-n)
        decay = exponential * (5.0 / (3.0 * self._sigma**2))
        bell = (1.0 + n) * decay
        energy = np.einsum("bgm,bgm->b", slope, bell)
        # −∂E/∂x = Σ (5/σ² decay d·w) d − bell w, with d = x − x_m
        pull = slope * decay
        pull *= 5.0 / self._sigma**2
        if self._energy_weights is not None:
            # energy constraints: k = (1 + n + n²/3) e^{−n}, and −∂k/∂x = bell d
            k = (1.0 + n + n * n / 3.0) * exponential
            energy += np.einsum("bgm,m->b", k, self._energy_weights)
            pull += bell * self._energy_weights

        coefficients = np.empty((batch, p, 2 * m))
        np.negative(pull, out=coefficients[:, :, :m])
        np.negative(bell, out=coefficients[:, :, m:])
        gradient: FloatArray = coefficients.reshape(batch * p, 2 * m) @ self._rows
        if p > 1:
            stacked = gradient.reshape(batch, p * x.shape[1]).take(self._back, axis=1)
            gradient = stacked.reshape(batch, p, x.shape[1]).sum(1)
        gradient += pull.sum((1, 2))[:, None] * x
        return energy, gradient
