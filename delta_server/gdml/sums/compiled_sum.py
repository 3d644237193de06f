"""The sum over training points in compiled code (`gdml/compiled`)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..._types import FloatArray, IntArray
from ...symmetry.signs import Signs
from .basis import Basis
from .contraction import Sums, work_of
from .turns import Turns

_POINTS = 48  # of a block, at most
_BLOCK = 2**17  # bytes of a block's results for one query; measured, as are the others
_CACHE = 2**19  # bytes of a block's results for all queries that are at work together
_TOGETHER = 8  # queries at work together, at most
_LINE = 8  # numbers in a line of the cache
_SHARE = 1e6  # flops that are worth a thread of their own


class CompiledContraction:
    """The `Contraction` in compiled code."""

    def __init__(self, compiled: Any, path: str, basis: Basis, points: FloatArray, sigma: float) -> None:
        """path: one of the module's; points: (M, D), in the basis."""
        names = [name for name, _ in compiled.paths]
        self.backend, (_, self._lanes) = path, compiled.paths[names.index(path)]
        self._compiled, self._basis, self._sigma = compiled, basis, float(sigma)
        (a, rows_a), (b, rows_b) = (_factor(*f) for f in zip(basis.tables, basis.signs, strict=True))
        place = rows_a[basis.place // len(rows_b)] * len(rows_b) + rows_b[basis.place % len(rows_b)]
        self._layout = (names.index(path), np.array(basis.shapes, dtype=np.int64), place.astype(np.int64), a, b)
        self._packs, self._width = -(-len(points) // self._lanes), int(points.shape[1])
        # Blocks do not depend on the queries, nor does the order of additions: a structure's sums are the same to the
        # last bit whatever others there are.
        each = 2 * 8 * self._lanes * prod(max(t.shape) for t in basis.tables)  # bytes of a pack's results for a query
        n_blocks = -(-self._packs // max(1, min(_POINTS // self._lanes, _BLOCK // each)))
        self._block = -(-self._packs // n_blocks)
        self._together = max(1, min(_TOGETHER, _CACHE // (each * self._block)))
        self._rows = _aligned(2 * self._lanes * self._packs * self._width)
        self._norms = self._packed(np.einsum("md,md->m", points, points))
        self._fill(0, points)
        self.work = work_of(basis, len(points))
        self.set_weights(np.zeros_like(points), np.zeros(len(points)), None)

    @property
    def bytes_per_query(self) -> int:
        return 8 * 6 * self._width

    def _packed(self, values: FloatArray) -> FloatArray:
        """(M, …) → (M/L, …, L): L points to a vector; points that are none, to fill the last, have weight 0."""
        padded = np.zeros((self._lanes * self._packs, *values.shape[1:]))
        padded[: len(values)] = values
        return np.ascontiguousarray(np.moveaxis(padded.reshape(self._packs, self._lanes, *values.shape[1:]), 1, -1))

    def _fill(self, side: int, values: FloatArray) -> None:
        """Descriptors (side 0) or weights (1), (M, D), to their places: of each block (D, 2, packs, L)."""
        packed, each = self._packed(values), 2 * self._lanes * self._width
        for start in range(0, self._packs, self._block):
            part = packed[start : start + self._block]  # (packs, D, L)
            rows = self._rows[each * start : each * (start + len(part))]
            rows.reshape(self._width, 2, len(part), self._lanes)[:, side] = part.transpose(1, 0, 2)

    def set_weights(self, weights: FloatArray, products: FloatArray, energy_weights: FloatArray | None) -> None:
        self._fill(1, weights)
        packed = [np.zeros(0) if v is None else self._packed(v) for v in (products, energy_weights)]
        self._made = (*self._layout, self._rows, self._norms, *packed, self._sigma, self._block)
        self._sum = self._compiled.Sum(*self._made)

    def __call__(self, query: FloatArray) -> Sums:
        query = np.ascontiguousarray(query)
        sums, n_blocks = Sums(np.zeros(len(query)), np.zeros(query.shape)), -(-self._packs // self._block)
        for i in range(0, len(query), self._together):
            part = slice(i, i + self._together)
            self._sum.contract(query[part], 0, n_blocks, sums.energy[part], sums.gradient[part])
        return sums

    def predictor(
        self,
        metric: tuple[Any, ...],
        centre: FloatArray,
        queries: IntArray,
        scale: float,
        offset: float,
        threads: int,
    ) -> CompiledPredictor:
        """From positions to energies, forces and virials in one call, with the weights as they are now.

        metric: number of atoms, and its `compiled`; centre: (D,), taken off descriptors; queries: (R, D) which entry
        stands where in each permuted query. threads: at most.
        """
        turns, copies = Turns.of(self._basis, self._lanes), len(queries)
        entries = np.ascontiguousarray(np.where(turns.entries < 0, -1, queries[:, turns.entries]), dtype=np.int32)
        together, threads = max(1, self._together // copies), max(1, threads)
        many = int(threads * _SHARE / (copies * self.work.flops)) + 1
        plan = (turns.plan, turns.matrices, scale, offset)
        geometry = (*metric, centre, copies, entries, *plan, together, threads, many)
        return CompiledPredictor(self._compiled.Sum(*self._made, geometry))


class CompiledPredictor:
    """Energies, forces and virials of structures, in one call of compiled code."""

    def __init__(self, made: Any) -> None:
        """made: a `Sum` of the module that has a geometry."""
        self._sum = made

    def predict(self, positions: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Of positions (B, n, 3), Å."""
        count = len(positions)
        made = np.empty(count), np.empty(positions.shape), np.empty((count, 3, 3))
        self._sum.predict(np.ascontiguousarray(positions), *made)
        return made

    def add(self, positions: FloatArray, sites: IntArray, forces: FloatArray, virials: FloatArray) -> FloatArray:
        """Energies (F, K) of the copies at `sites` (K, n) of frames (F, N, 3); what they add to forces (F, N, 3) and
        virials (F, 3, 3) is added there. All arrays C-contiguous."""
        energies = np.empty((len(positions), len(sites)))
        self._sum.add(positions, sites, energies, forces, virials)
        return energies


def _aligned(n: int) -> FloatArray:
    """n zeros from an address of a whole cache line on: no vector is then read from two of them."""
    room = np.zeros(n + _LINE)
    return room[-room.ctypes.data // room.itemsize % _LINE :][:n]


def _factor(table: FloatArray, signs: Signs) -> tuple[tuple[IntArray, FloatArray, FloatArray, int, bool], IntArray]:
    """What compiled code needs of a factor of the group, and where each row of its table goes."""
    order = np.argsort(signs.kinds, kind="stable")
    counts = np.bincount(signs.kinds).astype(np.int64)
    matrices = np.split(table[order][:, signs.elements[0]], np.cumsum(counts)[:-1])
    there, back = (np.concatenate([m.reshape(-1) for m in ms]) for ms in ([m.T for m in matrices], matrices))
    unit = signs.matrices == 1 and bool((counts == 1).all())
    return (counts, there, back, signs.matrices, unit), np.argsort(order)
