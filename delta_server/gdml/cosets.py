"""A sum over a group, through the cosets of a subgroup that has a fast transform.

With G the union of the cosets N s of a subgroup N, and P_{n s} = P_s P_n,

    ⟨x, P_g y⟩ = ⟨P_s⁻¹ x, P_n y⟩        for g = n s,

so that queries permuted by one s of each coset leave only N to the Fourier transform (`Basis`). N of one element is
the plain way, with P permuted queries; N = G takes one query. In between lies the best for groups that are no
product: the exchange of two benzenes makes 288 elements whose transform is one table of 288², while the 144 without
it are a product of two groups of 12.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import product
from math import prod
from typing import Literal

import numpy as np

from .._types import BoolArray, FloatArray, IntArray
from .fourier import Basis, independent_factors, two_groups
from .irreps import Irreps, classes, multiplication_table
from .metric import Metric

Method = Literal["plain", "fourier"]

_LARGEST = 1200  # order of a factor: representations of more take seconds
_SMALLEST = 12  # order of a factor from which on its subgroups are looked at
# in multiplications with descriptors: one of the transform on the group, the kernel function for an element
_TRANSFORM, _KERNEL = 0.5, 25.0
# what rounding there is is alike for all elements of a subgroup and adds up: so much more work for a smaller one
_ALIKE, _SMALL = 1.15, 48


@dataclass(frozen=True, eq=False)
class Cosets:
    """Which permuted queries there are, and the basis for the rest of the group."""

    representatives: IntArray  # (R, D) of the entries, one of each coset
    basis: Basis
    order: int  # of the subgroup

    @classmethod
    def of(cls, permutations: IntArray, metric: Metric, method: Method | None = None) -> Cosets:
        """permutations: (P, N) of the atoms. method: ``plain`` for the trivial subgroup, ``fourier`` for the whole
        group, None for the one that takes least. Where the permutations are no group there are only the queries."""
        whole = metric.permutations(permutations)
        plain = cls(whole, Basis.plain(whole.shape[1]), 1)
        if method == "plain" or len(permutations) == 1:
            return plain
        try:
            subgroup, others, groups = _best(permutations, whole.shape[1], method)
            basis = Basis.of(subgroup, metric, groups)
        except (ValueError, ArithmeticError):
            return plain
        return plain if len(subgroup) == 1 else cls(metric.permutations(others), basis, len(subgroup))

    @property
    def count(self) -> int:
        """R, the number of cosets."""
        return len(self.representatives)

    @property
    def method(self) -> str:
        """In a word or two."""
        if self.order == 1:
            return "plain"
        return "fourier" if self.count == 1 else f"fourier of {self.order}"

    @cached_property
    def inverse(self) -> IntArray:
        """(R, D): P_s⁻¹ x is ``x[row]``."""
        order: IntArray = np.argsort(self.representatives, axis=1)
        return order

    @cached_property
    def _back(self) -> IntArray:
        dim = self.representatives.shape[1]
        back: IntArray = (self.representatives + dim * np.arange(self.count)[:, None]).reshape(-1)
        return back

    def forward(self, x: FloatArray) -> FloatArray:
        """Coefficients (B R, D) of the permuted queries of x (B, D)."""
        if self.count > 1:
            x = x.take(self.inverse.reshape(-1), axis=1).reshape(-1, x.shape[1])
        return self.basis.forward(x)

    def backward(self, energy: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energies (B,) and gradients (B, D) from those of the permuted queries, (B R,) and (B R, D) coefficients."""
        gradient = self.basis.backward(gradient)
        if self.count == 1:
            return energy, gradient
        dim = gradient.shape[1]
        stacked = gradient.reshape(-1, self.count * dim).take(self._back, axis=1).reshape(-1, self.count, dim)
        return energy.reshape(-1, self.count).sum(1), stacked.sum(1)


@dataclass(frozen=True, eq=False)
class Subgroup:
    """A normal subgroup of one factor of a group."""

    factor: IntArray  # (P, N)
    table: IntArray  # (P, P)
    mask: BoolArray  # (P,)

    @property
    def order(self) -> int:
        return int(self.mask.sum())

    @cached_property
    def dimension(self) -> float:
        """Root mean square of those of its representations: as many as classes, their squares add up to the order."""
        inside = np.flatnonzero(self.mask)
        own = np.searchsorted(inside, self.table[np.ix_(inside, inside)])
        return float((len(inside) / len(np.unique(classes(own)))) ** 0.5)

    @property
    def elements(self) -> IntArray:
        return self.factor[self.mask]

    @property
    def others(self) -> IntArray:
        """(R, N), one of each coset."""
        inside, left, others = np.flatnonzero(self.mask), np.ones(len(self.mask), dtype=bool), []
        while left.any():
            others.append(int(np.argmax(left)))
            left[self.table[inside, others[-1]]] = False
        return self.factor[others]


def _best(
    permutations: IntArray, dim: int, method: Method | None
) -> tuple[IntArray, IntArray, tuple[Irreps, Irreps]]:
    """A subgroup (P', N), representatives of its cosets (R, N), and the two groups that it is a product of.

    Raises ValueError where the permutations (P, N) are no group, ArithmeticError where representations are not found.
    """
    choices = []
    for choice in product(*(_subgroups(f, method) for f in independent_factors(permutations))):
        order, cosets = prod(s.order for s in choice), prod(len(s.mask) // s.order for s in choice)
        choices.append((cosets * dim * prod(s.dimension for s in choice), order, choice))

    def work(products: float, sides: float) -> float:
        """Multiplications for a training row: with its descriptor, in the transform, for the kernel function."""
        return products + len(permutations) * (_TRANSFORM * sides + _KERNEL)

    # from the one that could be best, until no other can be nearly as good
    choices.sort(key=lambda c: work(c[0], 2 * c[1] ** 0.5))
    found, least, seen = [], np.inf, set()
    for products, order, choice in choices:
        if work(products, 2 * order**0.5) > _ALIKE * least:
            break
        subgroup = _product([s.elements for s in choice])
        kind = (products, order, *sorted(len(f) for f in independent_factors(subgroup)))
        if kind in seen:  # images of one another, most likely
            continue
        seen.add(kind)
        groups = two_groups(subgroup)
        needed = work(products, sum(len(g.table) for g in groups))
        least = min(least, needed)
        found.append((max(order, _SMALL), needed, subgroup, choice, groups))
    _, _, subgroup, choice, groups = min((f for f in found if f[1] <= _ALIKE * least), key=lambda f: f[:2])
    return subgroup, _product([s.others for s in choice]), groups


def _subgroups(elements: IntArray, method: Method | None) -> list[Subgroup]:
    """Those of one factor (P, N) that may be transformed. Raises ValueError where it is no group."""
    table = multiplication_table(elements)
    trivial = (elements == np.arange(elements.shape[1])).all(1)
    whole = np.ones(len(elements), dtype=bool)
    if len(elements) > _LARGEST:
        return [Subgroup(elements, table, trivial)]
    if method == "fourier":
        return [Subgroup(elements, table, whole)]
    between = normal_subgroups(table) if len(elements) >= _SMALLEST else []
    return [Subgroup(elements, table, mask) for mask in (trivial, *between, whole)]


def _product(parts: list[IntArray]) -> IntArray:
    """All products of one permutation of each, which move different atoms."""
    return reduce(lambda total, part: total[:, part].reshape(-1, total.shape[1]), parts)


def normal_subgroups(table: IntArray) -> list[BoolArray]:
    """Masks (P,) of normal subgroups of a group: those that a class of elements generates, and products of two of
    these; neither the trivial one nor the whole."""
    n = len(table)
    label, found = classes(table), dict[bytes, BoolArray]()

    def product_of(first: BoolArray, second: BoolArray) -> BoolArray:
        mask = np.zeros(n, dtype=bool)
        mask[table[np.ix_(first, second)]] = True
        return mask

    for kind in np.unique(label):
        mask = label == kind
        while not np.array_equal(grown := mask | product_of(mask, mask), mask):
            mask = grown
        found[mask.tobytes()] = mask
    generated = list(found.values())
    for i, first in enumerate(generated):
        for second in generated[:i]:
            mask = product_of(first, second)
            found[mask.tobytes()] = mask
    return [mask for mask in found.values() if 1 < mask.sum() < n]
