"""Groups of permutations as products of independent factors."""

from __future__ import annotations

import numpy as np

from .._types import IntArray
from .elements import orbits
from .irreps import Irreps

_SPLIT = 8  # order of a group from which on it is worth being split


def independent_factors(permutations: IntArray) -> list[IntArray]:
    """Groups (P_f, N) that move different atoms, and whose product is the given one (P, N)."""
    n = permutations.shape[1]
    label = orbits(permutations)
    moved = [np.flatnonzero(label == k) for k in np.unique(label)]
    parts = [atoms for atoms in moved if len(atoms) > 1]

    # the order of a group on some atoms: elements are told apart by one number each, as those of `Elements`
    codes = permutations * np.random.default_rng(0).integers(2**63, size=n)
    orders: dict[bytes, int] = {}

    def order(atoms: IntArray) -> int:
        key = atoms.tobytes()
        if key not in orders:
            orders[key] = len(np.unique(codes[:, atoms].sum(1)))
        return orders[key]

    merged = True
    while merged:
        merged = False
        for i in range(len(parts)):
            for j in range(i):
                both = np.concatenate([parts[j], parts[i]])
                if order(both) < order(parts[i]) * order(parts[j]):
                    parts[j] = both
                    del parts[i]
                    merged = True
                    break
            if merged:
                break
    factors = []
    for atoms in parts:
        elements = np.unique(permutations[:, atoms], axis=0)
        wide = np.tile(np.arange(n), (len(elements), 1))
        wide[:, atoms] = elements
        factors.append(wide)
    if np.prod([len(f) for f in factors]) != len(permutations):  # independent in pairs, not all together
        return [permutations]
    return factors or [permutations]


def two_groups(permutations: IntArray) -> tuple[Irreps, Irreps]:
    """The group as a product of two whose orders are as near as can be; the second may be trivial."""
    parts = [Irreps.of(f) for f in independent_factors(permutations)]
    if sum(not all(p.real) for p in parts) > 1:  # products of complex ones fall into parts
        parts = [Irreps.of(permutations)]
    parts = [piece for part in parts for piece in _pieces(part)]
    trivial = Irreps.of(np.arange(permutations.shape[1])[None])
    two = [trivial, trivial]
    for part in sorted(parts, key=lambda p: -p.order):
        smaller = int(two[1].order < two[0].order)
        two[smaller] = part if two[smaller] is trivial else two[smaller].times(part)
    two.sort(key=lambda p: -p.order)
    return two[0], two[1]


def _pieces(irreps: Irreps) -> list[Irreps]:
    """Factors of a group that is worth being split: what takes P² multiplications a point then takes P²/2."""
    if irreps.order < _SPLIT or not all(irreps.real) or (halves := irreps.split()) is None:
        return [irreps]
    return [*_pieces(Irreps.of(halves[0])), Irreps.of(halves[1])]
