"""The lattice of a cell, and the nearest image of a vector in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from .._types import FloatArray

_WIDEST = 1e6  # Å


def rank(cell: FloatArray) -> int:
    """How many of a cell's vectors (3, 3), Å, are independent."""
    return int(np.linalg.matrix_rank(cell, tol=1e-3))


@dataclass(frozen=True)
class Lattice:
    """vectors: (k, 3) Å, k ≤ 3 independent rows, reduced; inverse: (3, k); heights: (k,) Å between opposite faces.

    No vector of a lattice is shorter than the least height of any of its cells.
    """

    vectors: FloatArray
    inverse: FloatArray
    heights: FloatArray

    @classmethod
    def of(cls, cell: FloatArray) -> Lattice | None:
        """From (3, 3) in Å, rows of zeros where it is not periodic; None where no lattice is left."""
        from ase.geometry import minkowski_reduce

        periodic = cell.any(1)
        if not periodic.any() or not (np.abs(cell) < _WIDEST).all():
            return None
        if rank(cell) < periodic.sum():
            return None
        try:
            vectors = np.asarray(minkowski_reduce(cell, periodic)[0][periodic])
        except (RuntimeError, ValueError, ArithmeticError):  # of a cell so oblique that it is none
            return None
        inverse = np.linalg.pinv(vectors)
        return cls(vectors, inverse, 1 / np.linalg.norm(inverse, axis=0))

    @property
    def least(self) -> float:
        """Å: no lattice vector is shorter."""
        return float(self.heights.min())

    def to_nearest(self, vectors: FloatArray) -> FloatArray:
        """The lattice vectors (n, 3) that make each of (n, 3) vectors its shortest image, Å."""
        turns = -np.round(vectors @ self.inverse)
        nearest = turns @ self.vectors
        length = np.linalg.norm(vectors + nearest, axis=1)
        if (length < self.least / 2).all():  # two images that are both so short would differ by less than any vector
            return np.asarray(nearest)
        # Of a reduced cell, the neighbours are enough (ase.geometry.general_find_mic).
        for offset in product((-1, 0, 1), repeat=len(self.vectors)):
            other = (turns + offset) @ self.vectors
            shorter = np.linalg.norm(vectors + other, axis=1)
            better = shorter < length - 1e-9
            nearest[better], length[better] = other[better], shorter[better]
        return np.asarray(nearest)
