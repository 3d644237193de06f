"""Representations that are diagonal, of ±1, on a subgroup of elements that are their own inverses.

With N = C₂ᵏ the largest such subgroup found, G the union of its cosets N t, and ρ(n) = diag χ_i(n),

    ρ_ij(n t) = χ_i(n) ρ_ij(t),

so that the Fourier transform on G is that of N for each t, sums and differences alone, and for each of the
characters χ of N a matrix of |G|/|N| columns: |G|²/|N| multiplications in place of |G|² (the first step of Diaconis
and Rockmore's transform, J. Amer. Math. Soc. 3, 297 (1990)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._types import FloatArray, IntArray
from .elements import multiplication_table, neutral_element
from .irreps import Irreps


@dataclass(frozen=True, eq=False)
class Signs:
    """What N = {n_ν}, ν < K, makes of a group: n_ν n_μ = n_(ν xor μ), and χ_κ(n_ν) = −1 to the number of bits that
    κ and ν share."""

    elements: IntArray  # (K, P/K) places of n_ν t among the elements of the group, t one of each coset
    kinds: IntArray  # (Σ d²,) κ of each row of `Irreps.table`

    @classmethod
    def none(cls, order: int) -> Signs:
        """Those of N = 1 in a group of so many elements, each of its rows of the one kind."""
        return cls(np.arange(order)[None], np.zeros(order, dtype=np.intp))

    @property
    def matrices(self) -> int:
        """P/K, the number of columns of each matrix that is left."""
        return int(self.elements.shape[1])

    @property
    def sides(self) -> float:
        """Multiplications of the transform, an element; a sum or difference is half of one."""
        return self.matrices + (len(self.elements).bit_length() - 1) / 2


Diagonal = tuple[Irreps, Signs]


def diagonalised(irreps: Irreps) -> Diagonal:
    """Equivalent representations, diagonal on a subgroup, and which that is."""
    table = multiplication_table(irreps.elements)
    subgroup = own_inverses(table)
    left, cosets = np.ones(len(table), dtype=bool), []
    for t in [subgroup[0], *range(len(table))]:  # the neutral element first: its matrices are 1
        if left[t]:
            cosets.append(table[subgroup, t])
            left[cosets[-1]] = False
    elements, k = np.stack(cosets, axis=1), len(subgroup)
    bits = 2 ** np.arange(k.bit_length() - 1)
    matrices, kinds = [], []
    for rho in irreps.matrices:
        # Σ_b 2^b ρ(n_b) has the eigenvalues Σ_b ±2^b, which tell the characters apart
        values, vectors = np.linalg.eigh(np.einsum("b,bij->ij", bits.astype(float), rho[subgroup[bits]]))
        kind = np.rint((k - 1 - values) / 2).astype(np.intp)
        turned = np.empty_like(rho)
        turned[elements] = _characters(k)[:, kind][:, None, :, None] * (vectors.T @ rho[elements[0]] @ vectors)
        matrices.append(turned)
        kinds.append(np.repeat(kind, len(kind)))
    return Irreps(irreps.elements, tuple(matrices), irreps.real), Signs(elements, np.concatenate(kinds))


def _characters(k: int) -> FloatArray:
    """(K, K) χ_κ(n_ν)."""
    values = np.ones((1, 1))
    while len(values) < k:
        values = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), values)
    return values


def own_inverses(table: IntArray) -> IntArray:
    """(K,) places of n_ν in a multiplication table, of the largest subgroup of elements that are their own inverses
    that is had by taking, from each of order 2 on, those that commute with all that were taken."""
    neutral = neutral_element(table)
    twice = np.flatnonzero((table.diagonal() == neutral) & (np.arange(len(table)) != neutral))
    best = np.array([neutral])
    for first in twice:
        here = np.array([neutral, first])
        while True:
            commuting = (table[twice][:, here] == table[here][:, twice].T).all(1)
            more = twice[commuting & ~np.isin(twice, here)]
            if not len(more):
                break
            here = np.concatenate([here, table[here, more[0]]])
        best = here if len(here) > len(best) else best
    return best
