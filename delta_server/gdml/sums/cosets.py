"""A sum over a group, through the cosets of a subgroup that has a fast transform.

With G the union of the cosets N s of a subgroup N, and P_{n s} = P_s P_n,

    ⟨x, P_g y⟩ = ⟨P_s⁻¹ x, P_n y⟩        for g = n s,

so that queries permuted by one s of each coset leave only N to the Fourier transform (`Basis`). N of one element is
the plain way, with P permuted queries; N = G takes one query. In between lies the best for groups that are no
product: the exchange of two benzenes makes 288 elements whose transform is one of them all, while the 144 without it
are a product of two groups of 12.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from itertools import product
from math import factorial, log2, prod
from typing import Literal

import numpy as np

from ..._types import FloatArray, IntArray
from ...symmetry.elements import Elements
from ...symmetry.factors import independent_factors, two_groups
from ...symmetry.signs import Diagonal, diagonalised
from ...symmetry.subgroups import Subgroup, normal_subgroups
from ..descriptor.metric import Metric
from .basis import Basis

Method = Literal["plain", "fourier"]

_LARGEST = 1200  # order of a factor: representations of more take seconds
_SEARCHED = 50_000  # order of a factor up to which its subgroups are looked for
_MOST = 2**25  # permutations times pairs; each takes about 50 bytes while a sum is made
_SMALLEST = 12  # order of a factor from which on its subgroups are looked at
# in multiplications with descriptors: one of the transform on the group, the kernel function for an element
_TRANSFORM, _KERNEL = 0.5, 12.0


@dataclass(frozen=True, eq=False)
class Cosets:
    """Which permuted queries there are, and the basis for the rest of the group."""

    representatives: IntArray  # (R, D) of the entries, one of each coset
    basis: Basis
    order: int  # of the subgroup
    fallback: str | None = None  # why there are only the queries although more was asked for

    @classmethod
    def of(cls, permutations: IntArray, metric: Metric, method: Method | None = None) -> Cosets:
        """permutations: (P, N) of the atoms. method: ``plain`` for the trivial subgroup, ``fourier`` for the whole
        group, None for the one that takes least. Where the permutations are no group, or its representations are not
        found, there are only the queries, and `fallback` says so."""
        fallback = None
        if method != "plain" and len(permutations) > 1:
            try:
                elements = np.ascontiguousarray(permutations, dtype=np.intp)
                subgroup, others, groups = _best(elements.tobytes(), elements.shape, len(metric.pairs), method)
                if len(subgroup) > 1:
                    return cls(metric.permutations(others), Basis.of(subgroup, metric, groups), len(subgroup))
            except ValueError:
                fallback = "no group"
            except ArithmeticError:
                fallback = "no representations"
        return cls(metric.permutations(permutations), Basis.plain(len(metric.pairs)), 1, fallback)

    @property
    def count(self) -> int:
        """R, the number of cosets."""
        return len(self.representatives)

    @property
    def method(self) -> str:
        """How the permutations are summed over, in a few words."""
        if self.fallback:
            return f"permuted queries ({self.fallback})"
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


def most_permutations(n_atoms: int, n_pairs: int) -> int:
    """How many permutations of so many atoms a sum over so many pairs may have: no more than there are, and no more
    than memory holds."""
    return min(factorial(min(n_atoms, 20)), _MOST // n_pairs)


@lru_cache(maxsize=8)  # large groups take seconds, and expected errors want what the sum wants
def _best(
    elements: bytes, shape: tuple[int, int], dim: int, method: Method | None
) -> tuple[IntArray, IntArray, tuple[Diagonal, Diagonal]]:
    """A subgroup (P', N), representatives of its cosets (R, N), and the two groups that it is a product of; not to be
    changed.

    elements: the permutations (P, N), as they lie in memory. Raises ValueError where they are no group,
    ArithmeticError where representations are not found.
    """
    permutations = np.frombuffer(elements, dtype=np.intp).reshape(shape)
    kinds: dict[tuple[float, ...], tuple[Subgroup, ...]] = {}  # one of each: the others are most likely its images
    for choice in product(*(_subgroups(f, method) for f in independent_factors(permutations))):
        products = dim * prod(s.index * s.dimension for s in choice)
        factors = sorted(len(f) for s in choice for f in s.factors)
        kinds[(products, prod(s.order for s in choice), *factors)] = choice

    def work(kind: tuple[float, ...]) -> float:
        """Multiplications for a training row: with its descriptor, in the transform, for the kernel function."""
        return kind[0] + len(permutations) * (_TRANSFORM * _sides(kinds[kind]) + _KERNEL)

    best = kinds[min(kinds, key=work)]
    subgroup = _product([s.elements for s in best])
    first, second = map(diagonalised, two_groups(subgroup))
    return subgroup, _product([s.others for s in best]), (first, second)


def _sides(choice: Iterable[Subgroup]) -> float:
    """`Signs.sides` of the two groups that `two_groups` makes of these, as far as can be told without their
    representations."""
    factors = [(len(f), signs) for s in choice for f, signs in zip(s.factors, s.signs, strict=True)]
    orders, matrices = [1, 1], [1.0, 1.0]
    for order, signs in sorted(factors, reverse=True):
        smaller = int(orders[1] < orders[0])
        orders[smaller] *= order
        matrices[smaller] *= order / signs
    return sum(matrices) + log2(prod(signs for _, signs in factors)) / 2


def _subgroups(elements: IntArray, method: Method | None) -> list[Subgroup]:
    """Those of one factor (P, N) that may be transformed. Raises ValueError where it is no group."""
    group = Elements(elements)
    trivial = Subgroup(group, (elements == np.arange(elements.shape[1])).all(1))
    if trivial.order != 1:
        raise ValueError("the permutations are no group: the identity is not among them")
    whole = [Subgroup(group, np.ones(len(elements), dtype=bool))] if len(elements) <= _LARGEST else []
    if method == "fourier":
        return whole or [trivial]
    between = normal_subgroups(group) if _SMALLEST <= len(elements) <= _SEARCHED else []
    return [trivial, *(s for s in between if max(map(len, s.factors)) <= _LARGEST), *whole]


def _product(parts: list[IntArray]) -> IntArray:
    """All products of one permutation of each, which move different atoms."""
    return reduce(lambda total, part: total[:, part].reshape(-1, total.shape[1]), parts)
