"""The change to a symmetry-adapted basis and back with few multiplications (`symmetry.signs`), for compiled code.

In an orbit of descriptor entries, a basis vector is on all of n·e what it is on e, times χ(n): sums and differences
over each N-orbit come first, then for each character χ of N a small matrix. All orbits with the same stabiliser take
the same matrices, and stand beside each other in memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._types import FloatArray, IntArray
from .basis import Basis


class Turns(NamedTuple):
    """What compiled code walks through; see `Turn` in _compiled.c."""

    entries: IntArray  # (padded,) which entry of the descriptor stands where, −1 for none
    plan: IntArray  # of each block: orbits, their room, entries; the N-orbits' sizes; places; matrices
    matrices: FloatArray  # of each block and character (coefficients, sums), then transposed

    @classmethod
    def of(cls, basis: Basis, lanes: int) -> Turns:
        """lanes: numbers in a vector."""
        entries, plan, matrices = [], [], []
        where, start = np.argsort(basis.order), 0
        for (orbits, vectors), moves in zip(basis.blocks, basis.moves, strict=True):
            n, size = orbits.shape
            of_n = _n_orbits(moves)
            room = -(-n // lanes) * lanes
            block = np.full((size, room), -1, dtype=np.int64)
            block[:, :n] = orbits[:, np.concatenate([o for o, _ in of_n])].T
            entries.append(block.reshape(-1))
            kinds = _kinds(vectors, moves)
            of_rows = np.concatenate([characters for _, characters in of_n])
            firsts = np.concatenate([np.full(len(o), o[0]) for o, _ in of_n])
            places = where[start : start + size]
            plan += [n, room, size, len(of_n), *(len(o) for o, _ in of_n), *places.tolist()]
            used = np.unique(kinds)
            plan.append(len(used))
            for kind in used:
                columns, rows = np.flatnonzero(kinds == kind), np.flatnonzero(of_rows == kind)
                plan += [len(columns), len(rows), *columns.tolist(), *rows.tolist()]
                matrix = vectors[np.ix_(firsts[rows], columns)].T
                matrices += [matrix.reshape(-1), matrix.T.reshape(-1)]
            start += orbits.size
        return cls(np.concatenate(entries), np.array(plan, dtype=np.int64), np.concatenate(matrices))


def _kinds(vectors: FloatArray, moves: IntArray) -> IntArray:
    """κ of each basis vector, a column of (size, size)."""
    bits = 2 ** np.arange(len(moves).bit_length() - 1)
    signs = [np.einsum("ec,ec->c", vectors, vectors[moves[bit]]) for bit in bits]
    return np.asarray(sum((s < 0) * bit for s, bit in zip(signs, bits, strict=True)) + np.zeros(len(vectors), int))


def _n_orbits(moves: IntArray) -> list[tuple[IntArray, IntArray]]:
    """The orbits of N, (h,) entries n_ν·e in the order of a basis of N over the stabiliser of e, and κ of each
    character of that quotient, as sums and differences leave them."""
    k, size = moves.shape
    left, orbits = np.ones(size, dtype=bool), []
    for e in range(size):
        if not left[e]:
            continue
        chosen: list[int] = []  # ν that are a basis of N over the stabiliser
        reached = [0]
        for bit in (2**b for b in range(k.bit_length() - 1)):
            if moves[bit, e] not in moves[reached, e]:
                reached += [nu ^ bit for nu in reached]
                chosen.append(bit)
        entries = moves[reached, e]
        left[entries] = False
        stabiliser = np.flatnonzero(moves[:, e] == e)
        allowed = [kappa for kappa in range(k) if not any((kappa & int(nu)).bit_count() % 2 for nu in stabiliser)]
        # character μ of the quotient is the κ that agrees with it on the chosen ones
        order = {sum(1 << i for i, bit in enumerate(chosen) if kappa & bit): kappa for kappa in allowed}
        orbits.append((entries, np.array([order[mu] for mu in range(len(entries))])))
    return orbits
