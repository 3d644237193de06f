"""The sum over training points by NumPy's matrix products, representation by representation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._types import FloatArray
from .basis import Basis
from .contraction import Sums, Work, work_of


class NumpyContraction:
    """The `Contraction` by matrix products, representation by representation."""

    backend = "numpy"

    def __init__(self, basis: Basis, points: FloatArray, sigma: float) -> None:
        """points: (M, D), in the basis. Threads are BLAS's own."""
        self._basis, self._sigma, self._n_train = basis, sigma, len(points)
        self._norms = np.einsum("md,md->m", points, points)
        self._products = np.zeros(len(points))
        self._energy_weights: FloatArray | None = None
        self._elements = int(np.prod([t.shape[1] for t in basis.tables]))
        self._rows: list[FloatArray] = []
        for part in basis.parts(points):
            rows = np.zeros((2 * len(part), *part.shape[1:]))
            rows[: len(part)] = part
            self._rows.append(rows)

    @property
    def work(self) -> Work:
        return work_of(self._basis, self._n_train)

    @property
    def bytes_per_query(self) -> int:
        return int(8 * (8 * self._elements * self._n_train + 4 * self._basis.order.size))

    def set_weights(self, weights: FloatArray, products: FloatArray, energy_weights: FloatArray | None) -> None:
        for rows, part in zip(self._rows, self._basis.parts(weights), strict=True):
            rows[self._n_train :] = part
        self._products, self._energy_weights = products, energy_weights

    def __call__(self, query: FloatArray) -> Sums:
        batch, m = len(query), self._n_train
        products = correlations(self._basis, self._rows, query)

        squared, slope = products[:m], products[m:]
        squared *= -2.0
        squared += np.einsum("bd,bd->b", query, query)[:, None] + self._norms[:, None, None]
        slope -= self._products[:, None, None]
        n_ = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
        n_ *= np.sqrt(5.0) / self._sigma
        exponential = np.exp(-n_)
        decay = exponential * (5.0 / (3.0 * self._sigma**2))
        bell = (1.0 + n_) * decay
        energy = np.einsum("mbg,mbg->b", slope, bell)
        # −∂E/∂x = Σ (5/σ² decay d·w) d − bell w, with d = x − x_m
        pull = slope * decay
        pull *= 5.0 / self._sigma**2
        if self._energy_weights is not None:
            # energy constraints: k = (1 + n + n²/3) e^{−n}, and −∂k/∂x = bell d
            weight = self._energy_weights
            energy += np.einsum("mbg,m->b", (1.0 + n_ + n_ * n_ / 3.0) * exponential - 1.0, weight)
            pull += bell * weight[:, None, None]
        np.negative(pull, out=products[:m])
        np.negative(bell, out=products[m:])

        coefficients = _transform(products, *self._basis.tables)
        gradient, at, start = np.empty_like(query), 0, 0
        for rows, (d, n) in zip(self._rows, self._basis.shapes, strict=True):
            part = coefficients[:, :, self._basis.place[at : at + d * d]].reshape(2 * m, batch, d, d)
            part = part.transpose(1, 3, 0, 2).reshape(batch * d, -1) @ rows.reshape(-1, n)
            gradient[:, start : start + d * n] = part.reshape(batch, d * n)
            at, start = at + d * d, start + d * n
        gradient += pull.sum((0, 2))[:, None] * query
        return Sums(energy, gradient)


def correlations(basis: Basis, rows: Sequence[FloatArray], query: FloatArray) -> FloatArray:
    """⟨x, P_g y⟩ (M, B, P) of queries x, (B, D) in the basis, with y given as `Basis.parts`, (M, d, n) each."""
    m, batch = len(rows[0]), len(query)
    products = [
        (y.reshape(m * d, n) @ x.reshape(batch * d, n).T).reshape(m, d, batch, d).transpose(0, 2, 1, 3)
        for y, x, (d, n) in zip(rows, basis.parts(query), basis.shapes, strict=True)
    ]
    return synthesis(basis, products, (m, batch))


def synthesis(basis: Basis, products: Sequence[FloatArray], shape: tuple[int, ...]) -> FloatArray:
    """(*shape, P) on the group, of A_ρ (*shape, d, d) representation by representation."""
    first, second = basis.tables
    values = np.zeros((*shape, len(first) * len(second)))
    values[..., basis.place] = np.concatenate([a.reshape(*shape, -1) for a in products], axis=-1)
    return _transform(values, first.T, second.T)


def _transform(values: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """(…, a b) → (…, a' b') by first (a', a) and second (b', b)."""
    if first.size == second.size == 1:
        return values
    lead, (a, b) = values.shape[:-1], (first.shape[1], second.shape[1])
    values = values.reshape(-1, a, b)
    if second.size > 1:
        values = values @ second.T
    elif a > 1:  # one large product in place of many small ones
        return (values[..., 0] @ first.T).reshape(*lead, -1)
    transformed: FloatArray = (first @ values).reshape(*lead, -1)
    return transformed
