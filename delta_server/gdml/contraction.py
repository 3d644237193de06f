"""The sum over training points, given in a symmetry-adapted basis, by NumPy or in compiled code.

Both add up, for queries x and training points x_m with weights w_m (`Expansion` has the formula), over all g of the
group; `Basis` says what the coefficients are and how ⟨x, P_g y⟩ comes of them.

Which is used was decided by measuring. NumPy's matrix products go through the training points twice and through
their own results a dozen times; at one structure the limit is then memory. The compiled form (`_compiled.c`) does all
that a few training points have to give while they and their results are in the cache, eight points to a vector where
the processor has AVX-512, four otherwise: on C60@buckycatcher's binding model, a structure in 1.6 ms in place of 5.1.
It is built where there is a C compiler when the package is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from .._types import FloatArray
from .compiled import compiled_module
from .fourier import Basis

_CACHE = 2**20  # bytes of a core's cache that a block of training points may take, and its results again
_TOGETHER = 12  # structures at once
_POINTS = 32  # of a block, at most
_SHARE = 4e6  # flops that are worth a thread of their own
_KERNEL = 50  # flops for a training point and permutation: root, exponential, polynomials


class Sums(NamedTuple):
    """Of B queries."""

    energy: FloatArray  # (B,)
    gradient: FloatArray  # (B, D) −∂E/∂x, in the basis


class Work(NamedTuple):
    """What one query takes at least, its arithmetic and what is read of the training points."""

    flops: float
    bytes: float


class Contraction(Protocol):
    """Training points, and the sum over them."""

    backend: str

    @property
    def work(self) -> Work: ...

    @property
    def bytes_per_query(self) -> int:
        """Temporaries of a call, for one query."""
        ...

    def weigh(self, weights: FloatArray, products: FloatArray, energy_weights: FloatArray | None) -> None:
        """Take weights (M, D), in the basis, x_m·w_m (M,), and the coefficients of energy constraints (M,)."""
        ...

    def __call__(self, query: FloatArray) -> Sums:
        """query: (B, D), in the basis."""
        ...


class NumpyContraction:
    """By matrix products, representation by representation."""

    backend = "numpy"

    def __init__(self, basis: Basis, points: FloatArray, sigma: float, threads: int = 1) -> None:
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

    def weigh(self, weights: FloatArray, products: FloatArray, energy_weights: FloatArray | None) -> None:
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
            energy += np.einsum("mbg,m->b", (1.0 + n_ + n_ * n_ / 3.0) * exponential, weight)
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
    found = [
        (y.reshape(m * d, n) @ x.reshape(batch * d, n).T).reshape(m, d, batch, d).transpose(0, 2, 1, 3)
        for y, x, (d, n) in zip(rows, basis.parts(query), basis.shapes, strict=True)
    ]
    return synthesis(basis, found, (m, batch))


def synthesis(basis: Basis, products: Sequence[FloatArray], shape: tuple[int, ...]) -> FloatArray:
    """(*shape, P) on the group, of A_ρ (*shape, d, d) representation by representation."""
    first, second = basis.tables
    values = np.zeros((*shape, len(first) * len(second)))
    values[..., basis.place] = np.concatenate([a.reshape(*shape, -1) for a in products], axis=-1)
    return _transform(values, first.T, second.T)


def work_of(basis: Basis, n_train: int) -> Work:
    """Products with descriptors and weights, transforms on the group, the kernel function; forward and back."""
    (ra, a), (rb, b) = (t.shape for t in basis.tables)
    products = sum(d * d * n for d, n in basis.shapes)
    transforms = 0 if a * b == 1 else rb * b * ra + ra * a * b
    flops = 2 * 2 * 2 * n_train * (products + transforms) + _KERNEL * n_train * a * b
    return Work(float(flops), float(2 * 8 * n_train * basis.order.size))


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


class CompiledContraction:
    """In compiled code; points may be shared among threads."""

    def __init__(
        self, compiled: Any, path: str, basis: Basis, points: FloatArray, sigma: float, threads: int = 1
    ) -> None:
        """path: one of the module's; points: (M, D), in the basis."""
        names = [name for name, _ in compiled.paths]
        self.backend, (_, self._lanes) = path, compiled.paths[names.index(path)]
        self._contract, self._sigma = partial(compiled.contract, names.index(path)), float(sigma)
        shapes = np.array(basis.shapes, dtype=np.int64)
        (ra, a), (rb, b) = (t.shape for t in basis.tables)
        tables = [np.ascontiguousarray(t) for table in basis.tables for t in (table, table.T)]
        self._layout = (shapes, basis.place.astype(np.int64), (ra, a, rb, b), *tables)
        self._packs, self._width = -(-len(points) // self._lanes), int(points.shape[1])
        self._rows = np.zeros((self._packs, 2, self._width, self._lanes))
        self._rows[:, 0] = self._packed(points)
        self._norms = self._packed(np.einsum("md,md->m", points, points))
        self._products, self._energy_weights = np.zeros_like(self._norms), np.zeros(0)
        self.work = work_of(basis, len(points))
        # Blocks and shares do not depend on the queries, nor does the order of additions: a structure's sums are the
        # same to the last bit whatever others there are.
        elements = 32 * max(ra, a) * max(rb, b)  # bytes of a block's results, for a point and a structure
        self._together = max(1, min(_TOGETHER, _CACHE // (self._lanes * elements)))
        most = min(_POINTS, _CACHE // (elements * self._together), _CACHE // (16 * self._width))
        self._block = max(1, most // self._lanes)
        edges = np.linspace(0, self._packs, max(threads, 1) + 1).astype(int).tolist()
        self._shares = list(pairwise(edges))

    @property
    def bytes_per_query(self) -> int:
        return 8 * 4 * self._width * len(self._shares)

    def _packed(self, values: FloatArray) -> FloatArray:
        """(M, …) → (M/L, …, L): L points to a vector; points that are none, to fill the last, have weight 0."""
        padded = np.zeros((self._lanes * self._packs, *values.shape[1:]))
        padded[: len(values)] = values
        return np.ascontiguousarray(np.moveaxis(padded.reshape(self._packs, self._lanes, *values.shape[1:]), 1, -1))

    def weigh(self, weights: FloatArray, products: FloatArray, energy_weights: FloatArray | None) -> None:
        self._rows[:, 1] = self._packed(weights)
        self._products = self._packed(products)
        self._energy_weights = np.zeros(0) if energy_weights is None else self._packed(energy_weights)

    def __call__(self, query: FloatArray) -> Sums:
        query = np.ascontiguousarray(query)
        calls = [slice(i, i + self._together) for i in range(0, len(query), self._together)]
        parts = [Sums(np.zeros(len(query)), np.zeros(query.shape)) for _ in self._shares]

        def work(share: tuple[int, int], sums: Sums) -> None:
            for part in calls:
                self._contract(
                    *self._layout, self._rows, self._norms, self._products, self._energy_weights, self._sigma,
                    query[part], *share, self._block, sums.energy[part], sums.gradient[part],
                )  # fmt: skip

        threads = min(len(parts), int(self.work.flops * len(query) / _SHARE))
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, self._shares, parts))
        else:
            for share, sums in zip(self._shares, parts, strict=True):
                work(share, sums)
        total, *others = parts
        for sums in others:
            for sum_, part in zip(total, sums, strict=True):
                sum_ += part
        return total


def contraction(
    basis: Basis, points: FloatArray, sigma: float, threads: int = 1, backend: str = "auto"
) -> Contraction:
    """The fastest that this machine has, or the one of this name: ``numpy``, or one of `backends`.

    Raises ImportError where that is not here.
    """
    here = backends()
    if backend not in ("auto", *here):
        raise ImportError(f"no backend {backend!r} here, expected one of {', '.join(here)}")
    name = here[-1] if backend == "auto" else backend
    if name == "numpy":
        return NumpyContraction(basis, points, sigma, threads)
    return CompiledContraction(compiled_module(), name, basis, points, sigma, threads)


def backends() -> list[str]:
    """``numpy`` and what the compiled module, where there is one, can do on this processor; the fastest last."""
    compiled = compiled_module()
    return ["numpy", *(name for name, _ in compiled.paths)] if compiled else ["numpy"]
