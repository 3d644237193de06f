"""Pairs of atoms, in sGDML's order, and how permutations of the atoms move them.

Pairs (i, j), i > j, run row by row through the lower triangle (Chmiela et al., Nat. Commun. 9, 3887 (2018)).
"""

from __future__ import annotations

import numpy as np

from ..._types import IntArray


def n_pairs(n_atoms: int) -> int:
    """D = N(N−1)/2."""
    return n_atoms * (n_atoms - 1) // 2


def pairs_of(n_atoms: int) -> IntArray:
    """(D,) places of the lower triangle in a flattened N×N matrix."""
    row, col = np.tril_indices(n_atoms, -1)
    return row * n_atoms + col


def pair_permutations(permutations: IntArray, pairs: IntArray | None = None) -> IntArray:
    """How atom permutations act on the descriptor of all pairs, or of these.

    permutations: (P, N), entry i of a row is the atom that takes the place of atom i. pairs: (D,), as `pairs_of`.
    Returns (P, D): the descriptor of the permuted molecule is ``x[row]``. Raises ValueError where a permutation
    takes one of the pairs to one that is not among them.
    """
    n_atoms = permutations.shape[1]
    row, col = np.divmod(pairs_of(n_atoms) if pairs is None else pairs, n_atoms)
    place = np.full((n_atoms, n_atoms), -1, dtype=np.intp)
    place[row, col] = place[col, row] = np.arange(len(row))
    where = np.take(n_atoms * permutations, row, axis=1)
    where += np.take(permutations, col, axis=1)
    moved = np.take(place, where)
    if moved.size and moved.min() < 0:
        raise ValueError("the permutations take some of the pairs to others that are left out")
    return moved
