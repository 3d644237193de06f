"""Which pairs and triples of molecules are near each other, in a cell or in none.

What is held against a cut-off is the sum of the distances between the centres of mass of the molecules: of a pair
its distance, of a triple R_12 + R_13 + R_23. The sum, and not the largest of the three, because it is smooth, and
because three bodies matter in chains as in triangles: induction goes as (R_12 R_23)⁻³, so that a chain of 3, 3 and
6 Å has more to say than a triangle of 5 Å each. By the largest distance the chain would come in only with all
triangles up to 6 Å, several times as many triples. (mbGDML adds up the distances to the centre of all.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .._types import BoolArray, FloatArray, IntArray
from ..errors import GeometryError
from ..molecule.lattice import Lattice


class Nmers(NamedTuple):
    """B n-mers of some molecules.

    ============ =============== ===============================================================================
    ``members``  (B, n)          which molecules; by their number, so that none is there twice
    ``shifts``   (B, n, 3)       Å, lattice vectors that bring them together; the first has zeros
    ``edges``    (B, e, 3)       Å, between the centres of members 0–1, or 0–1, 0–2 and 1–2
    ``lengths``  (B, e)          Å, of the edges
    ============ =============== ===============================================================================
    """

    members: IntArray
    shifts: FloatArray
    edges: FloatArray
    lengths: FloatArray

    def take(self, which: slice | IntArray | BoolArray) -> Nmers:
        """The chosen ones."""
        return Nmers(self.members[which], self.shifts[which], self.edges[which], self.lengths[which])


def pairs(centres: FloatArray, lattice: Lattice | None, cutoff: float) -> Nmers:
    """All pairs of M centres, (M, 3) in Å, that are nearer than the cut-off, in order of their numbers.

    Each pair is one of nearest images: the lattice, None for none, is `wide_enough`.
    """
    from scipy.spatial import cKDTree

    turns, images, owners = _images(centres, lattice, cutoff)
    home = images[: len(centres)]
    near = cKDTree(home).sparse_distance_matrix(cKDTree(images), cutoff, output_type="ndarray")
    i, image = near["i"], near["j"]
    j = owners[image]
    ordered = np.flatnonzero(i < j)
    ordered = ordered[np.lexsort((j[ordered], i[ordered]))]
    i, j, image = i[ordered], j[ordered], image[ordered]
    members = np.stack([i, j], axis=1)
    shifts = np.zeros((len(i), 2, 3))
    if lattice is not None:
        shifts[:, 1] = (turns[image] - turns[i]) @ lattice.vectors
    edges = (centres[j] + shifts[:, 1] - centres[i])[:, None]
    return Nmers(members, shifts, edges, _lengths(edges))


def triples(near: Nmers, cutoff: float) -> Nmers:
    """All triples with a sum of distances below the cut-off, of the pairs nearer than half of it: no side of a
    triangle is longer."""
    first_of = near.members[:, 0]
    # Two pairs with the same first molecule are a candidate; the second pair comes later in the list.
    later = np.searchsorted(first_of, first_of, side="right") - np.arange(len(first_of)) - 1
    one = np.repeat(np.arange(len(first_of)), later)
    other = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(later) - later, later)
    edges = np.stack([near.edges[one, 0], near.edges[other, 0], near.edges[other, 0] - near.edges[one, 0]], axis=1)
    lengths = _lengths(edges)
    inside = np.flatnonzero(lengths.sum(1) < cutoff)
    one, other = one[inside], other[inside]
    members = np.concatenate([near.members[one], near.members[other, 1:]], axis=1)
    shifts = np.concatenate([near.shifts[one], near.shifts[other, 1:]], axis=1)
    return Nmers(members, shifts, edges[inside], lengths[inside])


def wide_enough(cell: FloatArray, reach: float, name: str) -> Lattice | None:
    """The lattice of a cell (3, 3), Å; None of one of zeros, which is none.

    Raises GeometryError unless no two images of a molecule are within `reach` (Å) of the same one: the reduced cell
    must be twice as wide between all opposite faces. name: of the term.
    """
    if not cell.any():
        return None
    lattice = _lattice(np.ascontiguousarray(cell, dtype=np.float64).tobytes())
    if lattice is None or len(lattice.vectors) < 3:
        raise GeometryError(f"{name}: expected a cell of three independent vectors, or none, found {cell.tolist()}")
    if lattice.least < 2 * reach:
        raise GeometryError(
            f"{name}: the cell is too small: {lattice.least:.3f} Å between two opposite faces (of its reduced form); "
            f"the cut-off needs {2 * reach:.3f} Å, or a molecule would meet two images of another: take a larger box "
            "or a shorter cut-off"
        )
    return lattice


@lru_cache(maxsize=64)
def _lattice(cell: bytes) -> Lattice | None:
    """Most runs have one cell all along, and all terms see the same."""
    return Lattice.of(np.frombuffer(cell).reshape(3, 3))


def _images(centres: FloatArray, lattice: Lattice | None, cutoff: float) -> tuple[FloatArray, FloatArray, IntArray]:
    """The centres within the cell, and behind them their images up to the cut-off around it: their turns (n, 3), in
    lattice vectors from where the centres are; positions (n, 3) Å; and whose they are (n,)."""
    owners = np.arange(len(centres))
    if lattice is None:
        return np.zeros_like(centres), centres, owners
    fractions = centres @ lattice.inverse
    turns = -np.floor(fractions)
    fractions = fractions + turns
    margins = cutoff / lattice.heights
    for axis in range(3):
        low = np.flatnonzero(fractions[:, axis] <= margins[axis])
        high = np.flatnonzero(fractions[:, axis] >= 1 - margins[axis])
        step = np.zeros((len(owners) + len(low) + len(high), 3))
        step[len(owners) :, axis] = np.repeat([1.0, -1.0], [len(low), len(high)])
        which = np.concatenate([np.arange(len(owners)), low, high])
        owners, turns, fractions = owners[which], turns[which] + step, fractions[which] + step
    return turns, fractions @ lattice.vectors, owners


def _lengths(edges: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.einsum("...a,...a->...", edges, edges)))
