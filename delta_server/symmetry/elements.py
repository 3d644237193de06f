"""The elements of a permutation group: its multiplication table, conjugacy classes, orbits."""

from __future__ import annotations

import numpy as np

from .._types import IntArray


class Elements:
    """The elements of a group of permutations (P, N), which are found by what they do.

    Each is told by one number, Σ_i r_i g_i with random 64-bit r (modulo 2⁶⁴); those of all products with h are then
    one matrix product, as Σ_i r_i g[h_i] = Σ_j g_j r[h⁻¹_j].
    """

    def __init__(self, permutations: IntArray) -> None:
        """Raises ValueError where one is there twice."""
        self.permutations = permutations
        self._r = np.asarray(np.random.default_rng(0).integers(2**63, size=permutations.shape[1], dtype=np.int64))
        self._wide = permutations.astype(np.int64)
        self._codes = self._wide @ self._r
        self._order = np.argsort(self._codes)
        if not np.diff(self._codes[self._order]).all():
            raise ValueError("the permutations are no group: one of them is there twice")

    def products(self, g: IntArray | list[int], h: IntArray | list[int]) -> IntArray:
        """(G, H) which are ``permutations[g][permutations[h]]``. Raises ValueError where it is none of them."""
        return self._find(self._wide[g] @ self._r[np.argsort(self.permutations[h], axis=1)].T)

    def conjugates(self, g: int) -> IntArray:
        """(P,) h g h⁻¹ for each h. Raises as `products`."""
        inverse = np.argsort(self.permutations, axis=1)
        moved = np.take_along_axis(self._wide, self.permutations[g][inverse], axis=1)
        return self._find(moved @ self._r)

    def _find(self, codes: IntArray) -> IntArray:
        place = np.searchsorted(self._codes, codes, sorter=self._order)
        places: IntArray = self._order[np.minimum(place, len(self._order) - 1)]
        if not np.array_equal(self._codes[places], codes):
            raise ValueError("the permutations are no group")
        return places


def multiplication_table(elements: IntArray) -> IntArray:
    """(P, P): which element is ``elements[g][elements[h]]``. Raises ValueError where it is none of them."""
    every = np.arange(len(elements))
    return Elements(elements).products(every, every)


def classes(table: IntArray) -> IntArray:
    """(P,) number of the conjugacy class of each element."""
    inverse = np.argmax(table == neutral_element(table), axis=1)
    label = np.full(len(table), -1)
    for g in range(len(table)):
        if label[g] < 0:
            label[table[table[:, g], inverse]] = g
    return label


def neutral_element(table: IntArray) -> int:
    return int(np.flatnonzero((table == np.arange(len(table))).all(1))[0])


def orbits(pair_perms: IntArray) -> IntArray:
    """(D,) label of the orbit of each descriptor entry: the smallest entry that it can be moved to."""
    labels = np.arange(pair_perms.shape[1])
    while True:
        reached = np.minimum(labels, labels[pair_perms].min(0))
        reached = reached[reached]  # a label is an entry of the same orbit, whose own may be smaller
        if np.array_equal(reached, labels):  # so it is the same all along the cycles of every permutation
            return labels
        labels = reached
