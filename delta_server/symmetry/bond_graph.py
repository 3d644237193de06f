"""Permutational symmetry of a molecule or a complex, from its bond graph.

Every permutation of identical nuclei leaves the energy alone; those worth having are the automorphisms of the bond
graph, which a molecule reaches without breaking bonds. They are found with certainty, where a search among training
geometries (Chmiela et al., Nat. Commun. 9, 3887 (2018)) finds those that the trajectory happened to show.

A permutation p is a row of N atoms; entry i is the atom that takes the place of atom i. The product of p and q is
``p[q]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import islice, permutations
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..molecule.bonds import bonds
from .elements import Elements

if TYPE_CHECKING:
    import networkx as nx

Symmetry = Literal["graph", "skeleton", "none"]
"""The whole automorphism group; only what keeps the terminal atoms of each centre in order (the hydrogens of a methyl
group do not exchange); the identity."""

MAX_ORDER = 5000
_BLOCK = 256  # permutations whose products are looked at together


@dataclass(frozen=True)
class Group:
    """A permutation group, as a product of factors.

    ``factors``: each (P_f, N), all elements of a group; the elements of the whole are the products f_1[f_2[…]], one
    from each, and all of them differ.
    """

    n_atoms: int
    factors: tuple[IntArray, ...] = ()

    @property
    def order(self) -> int:
        return prod(len(f) for f in self.factors)

    @cached_property
    def permutations(self) -> IntArray:
        """(P, N) all elements, the identity among them. Raises InputError beyond `MAX_ORDER`."""
        self.check_order(MAX_ORDER)
        identity = np.arange(self.n_atoms)[None]
        return reduce(lambda a, b: a[:, b].reshape(-1, self.n_atoms), self.factors, identity)

    def check_order(self, limit: int, what: str = "the group") -> None:
        """Raises InputError where the group is larger than `limit`."""
        if self.order > limit:
            largest = sorted((len(f) for f in self.factors), reverse=True)[:6]
            raise InputError(
                f"{what} has {self.order:.6g} permutations (factors {' × '.join(map(str, largest))}…), more than "
                f"{limit}: take --symmetry skeleton (terminal atoms keep their order) or --symmetry none"
            )

    def is_closed(self) -> bool:
        """Whether the elements are all different and form a group."""
        return is_group(self.permutations)

    def on(self, atoms: IntArray, n_atoms: int) -> Group:
        """The same group acting on `atoms` of a larger system, the others left in place."""
        factors = []
        for f in self.factors:
            wide = np.tile(np.arange(n_atoms), (len(f), 1))
            wide[:, atoms] = atoms[f]
            factors.append(wide)
        return Group(n_atoms, tuple(factors))


def is_group(permutations: IntArray) -> bool:
    """Whether (P, N) permutations are all different, and every product of two is among them."""
    every = np.arange(len(permutations))
    try:
        group = Elements(permutations)
        for block in np.array_split(every, -(-len(every) // _BLOCK)):
            group.products(every, block)
    except ValueError:
        return False
    return True


def molecule_group(numbers: IntArray, positions: FloatArray, symmetry: Symmetry = "graph") -> Group:
    """Automorphisms of the bond graph of one molecule at a sane geometry, (N,) and (N, 3) Å.

    Terminal atoms on one centre are permuted freely, one factor a centre (S_3 for methyl); the rest is one factor.
    Raises InputError where there are more than `MAX_ORDER` even without the terminal atoms.
    """
    n = len(numbers)
    if symmetry == "none" or n < 2:
        return Group(n)
    skeleton = _Skeleton.of(numbers, bonds(numbers, positions))
    rest = np.array(list(islice(skeleton.maps_to(skeleton), MAX_ORDER + 1)))
    if len(rest) > MAX_ORDER:
        raise InputError(f"the bond graph of {n} atoms has more than {MAX_ORDER} automorphisms: use --symmetry none")
    factors = [rest] if len(rest) > 1 else []
    if symmetry == "graph":
        alike = [t[numbers[t] == z] for t in skeleton.hanging.values() for z in np.unique(numbers[t])]
        factors = [_all_orders(t, n) for t in alike if len(t) > 1] + factors
    return Group(n, tuple(factors))


def complex_group(
    fragments: Sequence[IntArray],
    groups: Sequence[Group],
    numbers: IntArray,
    positions: FloatArray,
    exchange: bool = True,
) -> Group:
    """The group of a complex: the product of its fragments' and, with `exchange`, of exchanges of equal fragments.

    fragments: atoms of each, in the order that their groups act on. An exchange moves whole fragments along an
    isomorphism of their bond graphs; it is one factor for each kind of fragment.
    """
    n = len(numbers)
    factors = [f for atoms, group in zip(fragments, groups, strict=True) for f in group.on(atoms, n).factors]
    if exchange:
        factors += [
            _exchanges([fragments[i][m] for i, m in kind], n)
            for kind in equal_fragments(fragments, numbers, positions)
            if len(kind) > 1
        ]
    return Group(n, tuple(factors))


def equal_fragments(
    fragments: Sequence[IntArray], numbers: IntArray, positions: FloatArray
) -> list[list[tuple[int, IntArray]]]:
    """Fragments sorted into kinds with the same bond graph: (fragment, map) of each member of each kind.

    ``fragments[i][map]`` lists its atoms in the order of the first of its kind.
    """
    kinds: list[list[tuple[int, IntArray]]] = []
    skeletons: list[_Skeleton] = []
    for i, atoms in enumerate(fragments):
        skeleton = _Skeleton.of(numbers[atoms], bonds(numbers[atoms], positions[atoms]))
        for kind, first in zip(kinds, skeletons, strict=True):
            image = next(first.maps_to(skeleton), None)
            if image is not None:
                kind.append((i, image))
                break
        else:
            kinds.append([(i, np.arange(len(atoms)))])
            skeletons.append(skeleton)
    return kinds


@dataclass(frozen=True)
class _Skeleton:
    """A bond graph without its terminal atoms, which are kept by the centre that they hang on."""

    n_atoms: int
    graph: nx.Graph
    hanging: dict[int, IntArray]  # terminal atoms of each centre

    @classmethod
    def of(cls, numbers: IntArray, pairs: IntArray) -> _Skeleton:
        import networkx as nx

        whole = nx.Graph()
        whole.add_nodes_from(range(len(numbers)))
        whole.add_edges_from(pairs.tolist())
        terminal = {
            a: centre for a in whole for centre in whole[a] if whole.degree(a) == 1 and whole.degree(centre) > 1
        }
        graph = whole.subgraph(set(whole) - set(terminal)).copy()
        hanging = {}
        for centre in graph:
            atoms = [a for a in terminal if terminal[a] == centre]
            # by element, so that hydrogens meet hydrogens when centres are matched
            hanging[centre] = np.array(sorted(atoms, key=lambda a: (numbers[a], a)), dtype=np.intp)
            graph.nodes[centre]["kind"] = (int(numbers[centre]), tuple(numbers[hanging[centre]].tolist()))
        return cls(len(numbers), graph, hanging)

    def maps_to(self, other: _Skeleton) -> Iterator[IntArray]:
        """Isomorphisms, (N,): entry i is the atom of `other` that atom i becomes; terminal atoms follow in order."""
        from networkx.algorithms.isomorphism import GraphMatcher

        if self.n_atoms != other.n_atoms:
            return
        matcher = GraphMatcher(self.graph, other.graph, node_match=lambda a, b: a["kind"] == b["kind"])
        for match in matcher.isomorphisms_iter():
            image = np.empty(self.n_atoms, dtype=np.intp)
            for a, b in match.items():
                image[a] = b
                image[self.hanging[a]] = other.hanging[b]
            yield image


def _all_orders(atoms: IntArray, n_atoms: int) -> IntArray:
    """(k!, N) every order of some atoms."""
    orders = np.tile(np.arange(n_atoms), (len(list(permutations(range(len(atoms))))), 1))
    orders[:, atoms] = np.array(list(permutations(atoms.tolist())))
    return orders


def _exchanges(copies: Sequence[IntArray], n_atoms: int) -> IntArray:
    """(k!, N) every order of k equal fragments, whose atoms are given in matching order."""
    orders = list(permutations(range(len(copies))))
    rows = np.tile(np.arange(n_atoms), (len(orders), 1))
    for row, order in zip(rows, orders, strict=True):
        for place, taken in enumerate(order):
            row[copies[place]] = copies[taken]
    return rows
