"""Real irreducible representations of a permutation group, from its elements.

The left regular representation holds every irreducible one. A random symmetric element of its commutant (a sum of
right translations) has eigenspaces that are irreducible; one of each kind is kept (Serre, Linear Representations of
Finite Groups, 1977, Sec. 2.4; the random element is that of Dixon, Math. Comp. 24, 707 (1970)). What rounding leaves
of the homomorphism is removed by averaging, ρ(g) ← mean_h ρ(gh) ρ(h)ᵀ, whose error is the square of the one before,
for a few generators g; the others are products of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._types import FloatArray, IntArray
from .elements import classes, multiplication_table, neutral_element

_GAP = 1e-7  # relative distance of eigenvalues that are told apart
_EXACT = 1e-12  # largest deviation from a homomorphism that is accepted
_GENERATORS = 8  # more than needed: products of few of them are all elements


@dataclass(frozen=True, eq=False)
class Irreps:
    """The irreducible representations of a group of P elements over the reals.

    ``elements``: (P, N) permutations, the product of g and h is ``g[h]``. ``matrices``: (P, d, d) of each,
    orthogonal, in the order of the elements. ``real``: whether nothing but multiples of the identity commutes with it
    (otherwise it is of complex or quaternionic type, as the rotation by a third is).
    """

    elements: IntArray
    matrices: tuple[FloatArray, ...]
    real: tuple[bool, ...]

    @property
    def order(self) -> int:
        return len(self.elements)

    @classmethod
    def of(cls, elements: IntArray, seed: int = 0) -> Irreps:
        """Raises ValueError where the elements are no group, ArithmeticError where the decomposition fails."""
        table = multiplication_table(elements)
        if len(elements) == 1:
            return cls(elements, (np.ones((1, 1, 1)),), (True,))
        for attempt in range(5):
            matrices = _decompose(table, np.random.default_rng(seed + attempt))
            if matrices is not None:
                return cls(elements, *matrices)
        raise ArithmeticError(f"the irreducible representations of a group of {len(elements)} were not found")

    def times(self, other: Irreps) -> Irreps:
        """Those of the product with a group whose elements commute with these; the other's elements run fastest.

        Products of real ones are irreducible; not both may have others.
        """
        matrices = tuple(_products(a, b) for a in self.matrices for b in other.matrices)
        elements = self.elements[:, other.elements].reshape(-1, self.elements.shape[1])
        return Irreps(elements, matrices, tuple(a and b for a in self.real for b in other.real))

    def split(self) -> tuple[IntArray, IntArray] | None:
        """The group as a product of two, (P/2, N) and (2, N), where one can be split off, as the inversion from I_h.

        That is: an element of order 2 that commutes with all, and a representation of ±1 that has −1 for it.
        """
        table = multiplication_table(self.elements)
        neutral = neutral_element(table)
        for z in np.flatnonzero((table == table.T).all(1) & (table.diagonal() == neutral)):
            for rho in self.matrices:
                if rho.shape[1] == 1 and rho[z, 0, 0] < -0.5:
                    return self.elements[rho[:, 0, 0] > 0], self.elements[[neutral, z]]
        return None

    @cached_property
    def table(self) -> FloatArray:
        """(Σ d², P): the matrix elements ρ_ij(g), representation by representation, i before j."""
        return np.concatenate([m.reshape(len(m), -1) for m in self.matrices], axis=1).T.copy()


def _products(a: FloatArray, b: FloatArray) -> FloatArray:
    """(PQ, de, de) Kronecker products of (P, d, d) and (Q, e, e)."""
    d = a.shape[1] * b.shape[1]
    products: FloatArray = np.einsum("gij,hkl->ghikjl", a, b).reshape(-1, d, d)
    return products


def _decompose(table: IntArray, rng: np.random.Generator) -> tuple[tuple[FloatArray, ...], tuple[bool, ...]] | None:
    """Matrices and kinds, or None where this random element does not tell the representations apart."""
    n = len(table)
    inverse = np.argmax(table == neutral_element(table), axis=1)
    weight = rng.standard_normal(n)
    # e_h → Σ_k (weight_k + weight_k⁻¹) e_{h k}: at (h', h) stands the weight of k = h⁻¹ h'
    between = table[inverse]  # (h, h') → h⁻¹ h'
    random = weight[between] + weight[inverse[between]]
    values, vectors = np.linalg.eigh(random)
    edges = np.flatnonzero(np.diff(values) > _GAP * np.abs(values).max()) + 1
    # a class function acts on each kind as a number of its own
    central = rng.standard_normal(n)[classes(table)]
    central = (central + central[inverse])[table[:, inverse]]  # (h', h) → h' h⁻¹
    kinds: dict[float, FloatArray] = {}
    for start, end in zip([0, *edges], [*edges, n], strict=True):
        space = vectors[:, start:end]
        mark = space[:, 0] @ central @ space[:, 0]
        if not any(abs(mark - known) < 1e-6 * n**0.5 for known in kinds):
            kinds[mark] = space
    growth = _Growth.of(table, rng)
    matrices, real = [], []
    total = 0.0
    for space in kinds.values():
        rho = _homomorphism(np.stack([space[row].T @ space for row in table[growth.generators]]), growth, table)
        if rho is None:
            return None
        # |χ|² averaged is 1, 2 or 4: real, complex, quaternionic
        norm = float((np.trace(rho, axis1=1, axis2=2) ** 2).mean())
        total += rho.shape[1] ** 2 / norm
        matrices.append(rho)
        real.append(norm < 1.5)
    if abs(total - n) > 1e-6 * n:
        return None
    order = np.argsort([m.shape[1] for m in matrices], kind="stable")
    return tuple(matrices[i] for i in order), tuple(real[i] for i in order)


@dataclass(frozen=True, eq=False)
class _Growth:
    """How a group of P elements comes from a few random ones, so that what is known of those is known of all."""

    generators: IntArray  # (K,)
    steps: tuple[tuple[IntArray, IntArray, IntArray], ...]  # new elements, and the k and h of which each is g_k h

    @classmethod
    def of(cls, table: IntArray, rng: np.random.Generator) -> _Growth:
        order = rng.permutation(len(table))
        for k in range(min(_GENERATORS, len(table)), len(table) + 1, _GENERATORS):
            generators, known, steps = order[:k], np.zeros(len(table), dtype=bool), []
            known[generators] = True
            while not known.all():
                old = np.flatnonzero(known)
                reached, first = np.unique(table[np.ix_(generators, old)], return_index=True)
                new = ~known[reached]
                if not new.any():
                    break
                steps.append((reached[new], first[new] // len(old), old[first[new] % len(old)]))
                known[reached] = True
            if known.all():
                return cls(generators, tuple(steps))
        return cls(order, ())

    def all(self, matrices: FloatArray, n: int) -> FloatArray:
        """ρ of all n elements (n, d, d), of that of the generators (K, d, d)."""
        rho = np.empty((n, *matrices.shape[1:]))
        rho[self.generators] = matrices
        for elements, k, h in self.steps:
            rho[elements] = matrices[k] @ rho[h]
        return rho


def _homomorphism(matrices: FloatArray, growth: _Growth, table: IntArray) -> FloatArray | None:
    """The one (P, d, d) that is near to these matrices (K, d, d) of the generators, or None where there is none."""
    g = growth.generators
    for _ in range(5):
        rho = growth.all(matrices, len(table))
        if np.abs(matrices[:, None] @ rho - rho[table[g]]).max() < _EXACT:
            # each was had by one of many ways; the mean over some of them has less of their rounding
            return _orthogonal((rho[table[:, g]] @ rho[g].transpose(0, 2, 1)).mean(1))
        matrices = _orthogonal(np.tensordot(rho[table[g]], rho, axes=([1, 3], [0, 2])) / len(table))
    return None


def _orthogonal(matrices: FloatArray) -> FloatArray:
    """The nearest orthogonal matrices."""
    u, _, v = np.linalg.svd(matrices)
    nearest: FloatArray = u @ v
    return nearest
