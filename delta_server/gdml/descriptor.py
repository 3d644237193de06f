"""sGDML's descriptor: the inverse distance of every pair of atoms, and how permutations move them.

Pairs (i, j), i > j, run row by row through the lower triangle, as in sGDML
(Chmiela et al., Nat. Commun. 9, 3887 (2018)).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from .compiled import compiled_module


def n_pairs(n_atoms: int) -> int:
    """D = N(N−1)/2."""
    return n_atoms * (n_atoms - 1) // 2


def pairs_of(n_atoms: int) -> IntArray:
    """(D,) places of the lower triangle in a flattened N×N matrix."""
    row, col = np.tril_indices(n_atoms, -1)
    return row * n_atoms + col


def pair_permutations(permutations: IntArray) -> IntArray:
    """How atom permutations act on the descriptor.

    permutations: (P, N), entry i of a row is the atom that takes the place of atom i. Returns (P, D):
    the descriptor of the permuted molecule is ``x[row]``.
    """
    n_atoms = permutations.shape[1]
    row, col = np.tril_indices(n_atoms, -1)
    place = np.zeros((n_atoms, n_atoms), dtype=np.intp)
    place[row, col] = place[col, row] = np.arange(len(row))
    return place[permutations[:, row], permutations[:, col]]


def orbits(pair_perms: IntArray) -> IntArray:
    """(D,) label of the orbit of each descriptor entry: the smallest entry that it can be moved to."""
    labels = np.arange(pair_perms.shape[1])
    while True:
        reached = np.minimum(labels, labels[pair_perms].min(0))
        np.minimum.at(reached, pair_perms, np.broadcast_to(reached, pair_perms.shape))
        if np.array_equal(reached, labels):
            return labels
        labels = reached


class Descriptor(NamedTuple):
    """Descriptors of a batch, with what turns their gradient into forces."""

    x: FloatArray  # (B, D), 1/Å
    positions: FloatArray  # (B, N, 3), Å, centred
    pairs: IntArray  # (D,) places of the lower triangle in a flattened N×N matrix

    @classmethod
    def of(cls, positions: FloatArray, pairs: IntArray) -> Descriptor:
        """positions: (B, N, 3) in Å."""
        centred = np.subtract(positions, positions.mean(1, keepdims=True), order="C")
        n = positions.shape[1]
        if compiled := compiled_module():
            x = np.empty((len(centred), len(pairs)))
            compiled.describe(centred, n, x)
            return cls(x, centred, pairs)
        squared = np.zeros((len(centred), n, n))
        for axis in range(3):  # differences first: |a|² + |b|² − 2ab would lose the digits weights need
            q = centred[:, :, axis]
            difference = q[:, :, None] - q[:, None, :]
            difference *= difference
            squared += difference
        x = np.take(squared.reshape(len(centred), n * n), pairs, axis=1)
        np.sqrt(x, out=x)
        np.divide(1.0, x, out=x)
        return cls(x, centred, pairs)

    def along(self, vectors: FloatArray) -> FloatArray:
        """J v (B, D), with J = ∂x/∂r: how the entries change as the atoms move along `vectors` (B, N, 3)."""
        row, col = np.divmod(self.pairs, self.positions.shape[1])
        change = np.zeros_like(self.x)
        for axis in range(3):
            q, v = self.positions[:, :, axis], vectors[:, :, axis]
            change -= (q[:, row] - q[:, col]) * (v[:, row] - v[:, col])
        change *= self.x**3
        return change

    def forces(self, minus_gradient: FloatArray) -> FloatArray:
        """Forces (B, N, 3) from −∂E/∂x (B, D): every entry pulls its two atoms along their line."""
        batch, n = self.positions.shape[:2]
        if compiled := compiled_module():
            pulled = np.empty_like(self.positions)
            compiled.forces(self.positions, n, self.x, np.ascontiguousarray(minus_gradient), pulled)
            return pulled
        tension = np.zeros((batch, n * n))
        tension[:, self.pairs] = minus_gradient * self.x**3
        tension = tension.reshape(batch, n, n)
        tension = tension + tension.transpose(0, 2, 1)
        # F_i = Σ_j t_ij (r_j − r_i): a pair whose energy falls as 1/r grows is pulled together
        forces: FloatArray = tension @ self.positions
        forces -= tension.sum(2)[:, :, None] * self.positions
        return forces


def virial(positions: FloatArray, forces: FloatArray) -> FloatArray:
    """Σ_i r_i ⊗ F_i = −∂E/∂ε, (B, 3, 3): exact and symmetric, for all forces act between pairs."""
    product = positions.transpose(0, 2, 1) @ forces
    return (product + product.transpose(0, 2, 1)) / 2
