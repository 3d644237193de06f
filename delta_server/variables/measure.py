"""A collective variable of one complex, made ready to be evaluated again and again: at each step of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from ..molecule.lattice import Lattice
from .kinds import Function


class Evaluated(NamedTuple):
    """A variable in n frames, in its unit: values (n,), its derivatives by the positions (n, N, 3), over Å, and by a
    strain of everything (n, 3, 3): ∂V/∂ε."""

    values: FloatArray
    gradients: FloatArray
    strains: FloatArray


@dataclass(frozen=True, eq=False)
class Measure:
    """One variable of N atoms. function: of the m vectors that `kinds` lists for it; vectors: (m, N), what each
    atom's position counts in each of them, or from which atom to which each goes, (m,) and (m,); between: how many of
    them, the first ones, lead from one group to another; groups: the atoms of each."""

    function: Function
    vectors: FloatArray | tuple[IntArray, IntArray]
    between: int
    groups: tuple[IntArray, ...]

    def values(self, positions: FloatArray, cells: FloatArray | None = None) -> FloatArray:
        """(n,) of positions (n, N, 3) in Å. cells: as for `gradient`."""
        return self.function(self._vectors(positions, cells))[0]

    def gradient(self, positions: FloatArray, cells: FloatArray | None = None) -> Evaluated:
        """The variable with its derivatives; positions (n, N, 3) in Å.

        cells: (n, 3, 3) Å, rows are lattice vectors: distances between groups are then those of nearest images.
        """
        vectors = self._vectors(positions, cells)
        values, slopes = self.function(vectors)
        if isinstance(self.vectors, tuple):
            of_atoms, of_pairs = np.zeros_like(positions.swapaxes(0, 1)), slopes.swapaxes(0, 1)
            np.subtract.at(of_atoms, self.vectors[0], of_pairs)
            np.add.at(of_atoms, self.vectors[1], of_pairs)
            gradients = of_atoms.swapaxes(0, 1)
        else:
            gradients = self.vectors.T @ slopes
        return Evaluated(values, gradients, vectors.transpose(0, 2, 1) @ slopes)

    def _vectors(self, positions: FloatArray, cells: FloatArray | None) -> FloatArray:
        """(n, m, 3) Å; a plane's own atoms are as they are, in a cell too."""
        vectors: FloatArray
        if isinstance(self.vectors, tuple):
            first, second = self.vectors
            vectors = positions.take(second, axis=1) - positions.take(first, axis=1)
        else:
            vectors = self.vectors @ positions
        for k, cell in enumerate(() if cells is None else cells):
            if (lattice := Lattice.of(cell)) is not None:
                vectors[k, : self.between] += lattice.to_nearest(vectors[k, : self.between])
        return vectors
