"""Normal subgroups of a permutation group, from its elements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod

import numpy as np

from .._types import BoolArray, IntArray
from .elements import Elements, classes, multiplication_table
from .factors import independent_factors
from .signs import own_inverses

_CLASSES = 40  # that are looked at: those that move the fewest atoms


@dataclass(frozen=True, eq=False)
class Subgroup:
    """Some elements of a group, or of a factor of it."""

    group: Elements  # P of them
    mask: BoolArray  # (P,)

    @property
    def elements(self) -> IntArray:
        """(P', N)."""
        return self.group.permutations[self.mask]

    @cached_property
    def order(self) -> int:
        return int(self.mask.sum())

    @property
    def index(self) -> int:
        """The number of its cosets."""
        return len(self.mask) // self.order

    @cached_property
    def factors(self) -> list[IntArray]:
        """`independent_factors` of it, none where it is trivial."""
        return independent_factors(self.elements) if self.order > 1 else []

    @cached_property
    def tables(self) -> list[IntArray]:
        """`multiplication_table` of each factor."""
        return [multiplication_table(f) for f in self.factors]

    @cached_property
    def dimension(self) -> float:
        """Root mean square of those of its representations: as many as classes, their squares add up to the order."""
        return float((self.order / prod(len(np.unique(classes(t))) for t in self.tables)) ** 0.5)

    @cached_property
    def signs(self) -> list[int]:
        """The order of what `Signs` would make diagonal of each factor."""
        return [len(own_inverses(t)) for t in self.tables]

    @property
    def others(self) -> IntArray:
        """(R, N), one element of each coset {n s}."""
        if self.order == 1:
            return self.group.permutations
        inside, left, others = np.flatnonzero(self.mask), np.ones(len(self.mask), dtype=bool), []
        while left.any():
            others.append(int(np.argmax(left)))
            left[self.group.products(inside, others[-1:])] = False
        return self.group.permutations[others]


def normal_subgroups(group: Elements) -> list[Subgroup]:
    """Those that a class of elements generates, and two of these together; neither the trivial one nor the whole.

    Raises ValueError where the elements are no group.
    """
    p = group.permutations
    moved = (p != np.arange(p.shape[1])).sum(1)
    left, subgroups = moved > 0, dict[bytes, tuple[BoolArray, list[int]]]()

    def keep(generators: list[int], start: BoolArray | None = None, known: list[int] | None = None) -> None:
        """The subgroup that these generate, with as few of them as do."""
        mask, few = start, list(known or [])
        for g in generators:
            if mask is None or not mask[g]:
                few.append(g)
                mask = _generated(group, few)
        if mask is not None:
            subgroups.setdefault(mask.tobytes(), (mask, few))

    for _ in range(_CLASSES):
        if not left.any():
            break
        smallest = int(np.flatnonzero(left)[np.argmin(moved[left])])
        kind = np.unique(group.conjugates(smallest))
        left[kind] = False
        keep(kind.tolist())
    for (first, few), (second, more) in combinations(list(subgroups.values()), 2):
        if not (first <= second).all() and not (second <= first).all():
            keep(more, first, few)
    return [s for s in (Subgroup(group, mask) for mask, _ in subgroups.values()) if s.index > 1]


def _generated(group: Elements, generators: list[int]) -> BoolArray:
    """(P,) mask of all products of these elements."""
    mask = np.zeros(len(group.permutations), dtype=bool)
    new = np.array(generators)
    while len(new):
        mask[new] = True
        reached = np.unique(group.products(new, generators))
        new = reached[~mask[reached]]
    return mask
