"""The sum over training points in compiled code (`gdml/compiled`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..._types import FloatArray
from .basis import Basis
from .contraction import Sums, work_of

_CACHE = 2**20  # bytes of a core's cache that a block of training points may take, and its results again


_TOGETHER = 12  # structures at once


_POINTS = 32  # of a block, at most


_SHARE = 4e6  # flops that are worth a thread of their own


class CompiledContraction:
    """The `Contraction` in compiled code; training points may be shared among threads."""

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

    def set_weights(self, weights: FloatArray, products: FloatArray, energy_weights: FloatArray | None) -> None:
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
