"""The sum over training points and permutations, through the Fourier transform on the group.

⟨x, P_g y⟩ for all g at once is a correlation on the group. In a basis of descriptor space that is adapted to its
irreducible representations ρ, with coefficients x̂_ρ and ŷ_ρ (d × n, n copies of ρ), it is

    ⟨x, P_g y⟩ = Σ_ρ Σ_ij ρ_ij(g) A_ρ,ij,        A_ρ = ŷ_ρ x̂_ρᵀ,

and the sum of permuted training points that makes the force is its transpose. Against the products with P permuted
queries of `Expansion`, of 2MDP multiplications 2MD d̄ remain, with d̄ the mean dimension (about 4 for the 480
permutations of C60@buckycatcher), and those of the transform on the group, P Σ_f P_f for a product of groups of P_f.

The basis: a descriptor entry q with the stabiliser H has in ρ as many copies as there are vectors u that ρ(H) leaves
alone, and entry g·q of the basis vector (u, i) is √(d/|orbit|) (ρ(g) u)_i (Frobenius reciprocity; Serre, Linear
Representations of Finite Groups, 1977, Sec. 7.2). It depends on the orbit only through H, so that the transform is a
few small matrices, each used for many orbits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..._types import FloatArray, IntArray
from ...symmetry.elements import orbits
from ...symmetry.factors import two_groups
from ...symmetry.irreps import Irreps
from ...symmetry.signs import Diagonal, Signs, diagonalised
from ..compiled.module import compiled_module
from ..descriptor.metric import Metric


@dataclass(frozen=True, eq=False)
class Basis:
    """A symmetry-adapted basis of descriptor space, and the group's own Fourier transform.

    Coefficients are stored representation by representation, each (d, n).
    """

    shapes: tuple[tuple[int, int], ...]  # d and n of each representation that occurs
    tables: tuple[FloatArray, FloatArray]  # ρ_ij(g) of the two factors of the group, (P_f, P_f) or more rows
    signs: tuple[Signs, Signs]  # what makes the transform by each table a fast one
    place: IntArray  # (Σ d²,) where element ij of each A_ρ goes among the rows of the tables' product
    blocks: tuple[tuple[IntArray, FloatArray], ...]  # (orbits, size) entries, and (size, size) their transform
    order: IntArray  # (D,) where coefficient k is among the blocks' results
    # of each block (K, size), which of an orbit's entries each n_ν of both `signs` makes of them
    moves: tuple[IntArray, ...]

    @classmethod
    def of(cls, permutations: IntArray, metric: Metric, groups: tuple[Diagonal, Diagonal] | None = None) -> Basis:
        """permutations: (P, N) of the atoms, a group; groups: its `two_groups`, diagonalised, where they are known.

        Raises ValueError or ArithmeticError as `Irreps`.
        """
        if groups is None:
            one, other = two_groups(permutations)
            groups = diagonalised(one), diagonalised(other)
        (first, *_), (second, *_) = groups
        signs = groups[0][1], groups[1][1]
        pair = _Pair.of(first, second)
        perms = metric.permutations(pair.whole.elements)
        own = (signs[0].elements[:, :1] * second.order + signs[1].elements[:, 0]).reshape(-1)  # N among all elements
        blocks, owners, moves = [], [], []
        for entries, stabilizer in _orbits_by_type(perms):
            sorter = np.argsort(entries[0])
            moves.append(sorter[np.searchsorted(entries[0], perms[own][:, entries[0]], sorter=sorter)])
            vectors, copies = pair.adapted(perms, entries, stabilizer)
            blocks.append((entries, vectors))
            owners.append(copies)
        order, shapes, kept = _ordered(blocks, owners, pair.whole)
        place = np.concatenate([pair.places[k] for k in kept])
        return cls(shapes, (first.table, second.table), signs, place, tuple(blocks), order, tuple(moves))

    @property
    def is_plain(self) -> bool:
        return len(self.shapes) == 1 and len(self.blocks) == 1 and self.blocks[0][1].size == 1

    @classmethod
    def plain(cls, dim: int) -> Basis:
        """That of no symmetry: the entries themselves."""
        unit, entries, signs = np.ones((1, 1)), np.arange(dim), Signs.none(1)
        place = np.zeros(1, dtype=np.intp)
        return cls(
            ((1, dim),), (unit, unit), (signs, signs), place, ((entries[:, None], unit),), entries, (place[None],)
        )

    @cached_property
    def _turns(self) -> tuple[tuple[FloatArray | IntArray, ...], tuple[FloatArray | IntArray, ...]]:
        """What the compiled transform there and back needs."""
        blocks = np.array([entries.shape for entries, _ in self.blocks], dtype=np.int64)
        entries = np.concatenate([e.reshape(-1) for e, _ in self.blocks]).astype(np.int64)
        place = np.argsort(self.order).astype(np.int64)

        def padded(matrices: list[FloatArray]) -> FloatArray:
            return np.concatenate([np.pad(m, ((0, 0), (0, -len(m) % 8))).reshape(-1) for m in matrices])

        return (
            (blocks, entries, place, padded([v for _, v in self.blocks])),
            (blocks, place, entries, padded([v.T for _, v in self.blocks])),
        )

    def forward(self, x: FloatArray) -> FloatArray:
        """Coefficients (B, D) of descriptors (B, D)."""
        if self.is_plain:
            return x
        if compiled := compiled_module():
            return _turned(compiled, self._turns[0], x)
        parts = [(x.take(q, axis=1) @ vectors).reshape(len(x), q.size) for q, vectors in self.blocks]
        return np.concatenate(parts, axis=1).take(self.order, axis=1)

    def parts(self, coefficients: FloatArray) -> list[FloatArray]:
        """Coefficients (B, D) representation by representation, (B, d, n) each."""
        edges = np.cumsum([0, *(d * n for d, n in self.shapes)])
        return [
            coefficients[:, a:b].reshape(-1, d, n)
            for a, b, (d, n) in zip(edges, edges[1:], self.shapes, strict=False)
        ]

    def backward(self, coefficients: FloatArray) -> FloatArray:
        """Descriptors (B, D) of coefficients (B, D)."""
        if self.is_plain:
            return coefficients
        if compiled := compiled_module():
            return _turned(compiled, self._turns[1], coefficients)
        parts = np.empty_like(coefficients)
        parts[:, self.order] = coefficients
        x, start = np.empty_like(coefficients), 0
        for entries, vectors in self.blocks:
            part = parts[:, start : start + entries.size].reshape(len(x), *entries.shape)
            x[:, entries] = part @ vectors.T
            start += entries.size
        return x


def _turned(compiled: Any, turn: tuple[FloatArray | IntArray, ...], x: FloatArray) -> FloatArray:
    """(B, D) in the other basis; turn: one of `Basis._turns`."""
    turned = np.empty(x.shape)
    compiled.turn(*turn, np.ascontiguousarray(x), turned)
    return turned


@dataclass(frozen=True, eq=False)
class _Pair:
    """Representations of a product of two groups: the products of theirs."""

    whole: Irreps
    places: tuple[IntArray, ...]  # (d²,) of the elements ij of each among the rows of the product of the two tables

    @classmethod
    def of(cls, first: Irreps, second: Irreps) -> _Pair:
        rows = len(second.table)
        places = [
            (p[:, None, :, None] * rows + q[None, :, None, :]).reshape(-1)
            for p in _places(first)
            for q in _places(second)
        ]
        return cls(first.times(second), tuple(places))

    def adapted(self, perms: IntArray, entries: IntArray, stabilizer: IntArray) -> tuple[FloatArray, list[int]]:
        """Basis of one type of orbit: (size, size) vectors as columns, and the number of copies of each ρ in turn.

        entries: (orbits, size), the first of each with this stabiliser (P,) bool.
        """
        size = entries.shape[1]
        reached = perms[:, entries[0, 0]]
        representative = np.array([int(np.flatnonzero(reached == q)[0]) for q in entries[0]])
        columns, copies = [], []
        for rho, real in zip(self.whole.matrices, self.whole.real, strict=True):
            fixed = _fixed(rho, stabilizer, real)
            d = rho.shape[1]
            # (ρ(g) u)_i for every u, then i
            columns.append(np.einsum("gij,ju->gui", rho[representative], fixed).reshape(size, -1) * (d / size) ** 0.5)
            copies.append(fixed.shape[1])
        return np.concatenate(columns, axis=1), copies


def _places(irreps: Irreps) -> list[IntArray]:
    """(d, d) rows of the table of each representation."""
    sizes = [m.shape[1] for m in irreps.matrices]
    starts = np.cumsum([0, *(d**2 for d in sizes)])
    return [start + np.arange(d * d).reshape(d, d) for d, start in zip(sizes, starts, strict=False)]


def _fixed(rho: FloatArray, stabilizer: IntArray, real: bool) -> FloatArray:
    """(d, copies) orthonormal vectors that ρ(h) leaves alone for h in the stabiliser, one for each copy."""
    mean = rho[stabilizer].mean(0)
    values, vectors = np.linalg.eigh((mean + mean.T) / 2)
    space = vectors[:, values > 0.5]
    if real or space.shape[1] < 2:
        return space
    # what commutes with ρ takes one copy's vector to another of the same copy
    rng = np.random.default_rng(0)
    commuting = [(rho @ r @ rho.transpose(0, 2, 1)).mean(0) for r in rng.standard_normal((8, *rho.shape[1:]))]
    chosen: list[FloatArray] = []
    while True:
        used = (
            np.stack([c @ u for u in chosen for c in [np.eye(len(rho[0])), *commuting]], 1)
            if chosen
            else space[:, :0]
        )
        q, s, _ = np.linalg.svd(used, full_matrices=False)
        q = q[:, s > 1e-8]
        left = space - q @ (q.T @ space)
        u, s, _ = np.linalg.svd(left, full_matrices=False)
        if not len(s) or s[0] < 0.5:
            return np.stack(chosen, 1)
        chosen.append(u[:, 0])


def _orbits_by_type(perms: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Orbits of descriptor entries, with those that have the same stabiliser together.

    perms: (P, D). Each is (orbits, size) entries, all in the order of the same group elements, and the stabiliser
    (P,) bool of the first.
    """
    label = orbits(perms)
    fixes = perms == np.arange(perms.shape[1])
    keys = [row.tobytes() for row in np.packbits(fixes, axis=0).T]
    types: dict[bytes, list[int]] = {}
    for start in np.unique(label):
        members = np.flatnonzero(label == start)
        base = next((q for q in members if keys[q] in types), members[0])
        types.setdefault(keys[base], []).append(int(base))
    sorted_orbits = []
    for bases in types.values():
        _, first = np.unique(perms[:, bases[0]], return_index=True)
        sorted_orbits.append((perms[np.sort(first)][:, bases].T.copy(), fixes[:, bases[0]]))
    return sorted_orbits


def _ordered(
    blocks: Sequence[tuple[IntArray, FloatArray]], owners: Sequence[Sequence[int]], whole: Irreps
) -> tuple[IntArray, tuple[tuple[int, int], ...], list[int]]:
    """Where each coefficient, in the order (ρ, i, copy), is among the blocks' results (block, orbit, ρ, u, i)."""
    order, shapes, kept = [], [], []
    for k, rho in enumerate(whole.matrices):
        d = rho.shape[1]
        columns, start = [], 0
        for (entries, _), copies in zip(blocks, owners, strict=True):
            n, size = entries.shape
            before = sum(c * m.shape[1] for c, m in zip(copies[:k], whole.matrices, strict=False))
            here = start + np.arange(n)[:, None] * size + before + np.arange(copies[k] * d).reshape(-1, 1, d)
            columns.append(here.reshape(-1, d))  # copy by copy, those of one in all orbits together
            start += entries.size
        places = np.concatenate(columns)  # (n, d)
        if len(places):
            order.append(places.T.reshape(-1))
            shapes.append((d, len(places)))
            kept.append(k)
    return np.concatenate(order), tuple(shapes), kept
