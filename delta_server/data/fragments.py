"""The molecules of a complex: found as connected pieces of its bond graph, named, and put into a common order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..molecule.bonds import IONS, bonds, symbols
from ..molecule.ranges import format_atoms, parse_atoms

if TYPE_CHECKING:
    from networkx import Graph

_MATCHES = 2000  # ways to lay one molecule on another that are tried
_BOND = 1.25  # of the sum of covalent radii, as in geometry.bonds
_BROKEN = 1.6  # of the sum of covalent radii: no vibration stretches a bond so far
_CHUNK = 2**22  # distances held at a time


def find_fragments(numbers: IntArray, positions: FloatArray) -> list[IntArray]:
    """Atoms of each connected piece of the bond graph, by first atom.

    numbers: (N,). positions: (N, 3) Å. Ions of groups 1 and 2 are pieces of their own.
    """
    import networkx

    pieces = networkx.connected_components(_graph(numbers, positions, np.arange(len(numbers))))
    return sorted((np.array(sorted(piece), dtype=np.intp) for piece in pieces), key=lambda atoms: int(atoms[0]))


def parse_fragments(text: str, n_atoms: int) -> list[IntArray]:
    """Fragments from half-open ranges: ``"0:3,3:15"`` is two; with semicolons between fragments,
    ``"0:3,7:9; 3:7"``, commas join ranges as in a manifest.

    Raises InputError unless there are at least two which hold every atom exactly once.
    """
    try:
        fragments = [np.array(parse_atoms(p), dtype=np.intp) for p in text.split(";" if ";" in text else ",")]
    except ValueError as error:
        raise InputError(f"--fragments {text!r}: {error}") from None
    count = np.bincount(np.concatenate(fragments), minlength=n_atoms)
    if len(count) > n_atoms:
        raise InputError(
            f"--fragments {text!r}: there are {n_atoms} atoms, counted from 0; the last is {n_atoms - 1}"
        )
    for wrong, what in ((count > 1, "are in two fragments"), (count == 0, "are in no fragment")):
        if wrong.any():
            atoms = format_atoms(tuple(np.flatnonzero(wrong).tolist()))
            raise InputError(f"--fragments {text!r}: atoms {atoms} {what}; each must be in one")
    if len(fragments) < 2:
        raise InputError(f"--fragments {text!r}: one fragment; a Δ-model needs at least two, as in '0:3,3:15'")
    return fragments


def fragment_of(fragments: Sequence[IntArray]) -> IntArray:
    """(N,) number of the fragment of each atom."""
    owner = np.zeros(sum(map(len, fragments)), dtype=np.intp)
    for number, atoms in enumerate(fragments):
        owner[atoms] = number
    return owner


def formula(numbers: IntArray) -> str:
    """Chemical formula in Hill's order: C, H, then the alphabet."""
    counts = Counter(symbols(numbers))
    first = [s for s in ("C", "H") if s in counts] if "C" in counts else []
    order = first + sorted(set(counts) - set(first))
    return "".join(f"{s}{counts[s] if counts[s] > 1 else ''}" for s in order)


def fragment_names(numbers: IntArray, fragments: Sequence[IntArray]) -> tuple[str, ...]:
    """A name that a manifest takes for each: the formula in lower case, numbered where it comes twice."""
    names = [formula(numbers[atoms]).lower() for atoms in fragments]
    twice = {name for name, times in Counter(names).items() if times > 1}
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if name in twice:
            names[i] = f"{name}_{seen[name]}"
    return tuple(names)


@dataclass(frozen=True, eq=False)
class Order:
    """The order that atoms should have, and why.

    ``atoms`` (N,): new atom i is old atom ``atoms[i]``. ``fragments``: of the reordered atoms. ``reasons``: what was
    wrong with the old order; empty where nothing was.
    """

    atoms: IntArray
    fragments: list[IntArray]
    reasons: list[str]


def reorder(numbers: IntArray, positions: FloatArray, fragments: Sequence[IntArray]) -> Order:
    """Makes each fragment contiguous, and fragments that are the same molecule alike in the order of their atoms.

    numbers: (N,). positions: (N, 3) Å. Of all ways to lay a molecule's bond graph on its first copy's, the one with
    the smallest root mean square distance counts, which tells left from right.
    """
    names = fragment_names(numbers, fragments)
    reasons: list[str] = []
    placed: list[IntArray] = []
    for number, atoms in enumerate(fragments):
        if np.ptp(atoms) + 1 != len(atoms):
            reasons.append(f"{names[number]} is scattered: atoms {format_atoms(tuple(atoms.tolist()))}")
        for earlier in range(number):
            ordered = _like(numbers, positions, placed[earlier], atoms)
            if ordered is not None:
                if not np.array_equal(ordered, atoms):
                    reasons.append(f"{names[number]} is the molecule of {names[earlier]} in another order of atoms")
                    atoms = ordered
                break
        placed.append(atoms)
    ends = np.cumsum([0, *map(len, placed)])
    return Order(np.concatenate(placed), [np.arange(a, b) for a, b in pairwise(ends)], reasons)


def _graph(numbers: IntArray, positions: FloatArray, atoms: IntArray) -> Graph:
    """Bond graph of some atoms, whose numbers its nodes bear."""
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from((int(a), {"z": int(numbers[a])}) for a in atoms)
    graph.add_edges_from(atoms[bonds(numbers[atoms], positions[atoms])].tolist())
    return graph


def _like(numbers: IntArray, positions: FloatArray, model: IntArray, atoms: IntArray) -> IntArray | None:
    """`atoms` in the order of `model`; None where the two are different molecules."""
    from networkx.algorithms.isomorphism import GraphMatcher, categorical_node_match

    if Counter(numbers[model].tolist()) != Counter(numbers[atoms].tolist()):
        return None
    first, second = _graph(numbers, positions, model), _graph(numbers, positions, atoms)
    if np.array_equal(numbers[model], numbers[atoms]):
        same = dict(zip(model.tolist(), atoms.tolist(), strict=True))
        if all(second.has_edge(same[a], same[b]) for a, b in first.edges) and len(first.edges) == len(second.edges):
            return atoms
    matches = GraphMatcher(first, second, categorical_node_match("z", 0)).isomorphisms_iter()
    orders = [np.array([match[a] for a in model.tolist()], dtype=np.intp) for match in islice(matches, _MATCHES)]
    return min(orders, key=lambda order: _distance(positions[model], positions[order]), default=None)


def _distance(a: FloatArray, b: FloatArray) -> float:
    """Squared distance of two (n, 3) geometries, best superposed by a rotation (Kabsch, Acta Cryst. A 32, 922)."""
    a, b = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    s[-1] *= np.sign(np.linalg.det(u @ vt))
    return float((a**2).sum() + (b**2).sum() - 2 * s.sum())


@dataclass(frozen=True)
class Reaction:
    """A configuration whose bonds are not those of its fragments."""

    configuration: int
    what: str


def reactions(numbers: IntArray, fragment: IntArray, positions: FloatArray) -> list[Reaction]:
    """Configurations in which an atom is bonded to another fragment, or no longer to its own.

    numbers, fragment: (N,). positions: (n, N, 3) Å. A bond between fragments is as long as one within
    (`geometry.bonds`); a bond is broken at 1.6 times the sum of covalent radii, where no vibration goes.
    """
    from ase.data import covalent_radii

    label = [f"{s}{i}" for i, s in enumerate(symbols(numbers))]
    row, col = np.tril_indices(len(numbers), -1)
    bonding = ~np.isin(numbers, IONS)
    use = bonding[row] & bonding[col]
    row, col = row[use], col[use]
    radii = covalent_radii[numbers[row]] + covalent_radii[numbers[col]]
    within = fragment[row] == fragment[col]
    start = np.linalg.norm(positions[0][row] - positions[0][col], axis=1) / radii
    bonded = within & (start < _BOND)
    reacted: list[Reaction] = []
    step = max(1, _CHUNK // max(1, len(row)))
    for first in range(0, len(positions), step):
        x = positions[first : first + step]
        ratio = np.linalg.norm(x[:, row] - x[:, col], axis=2) / radii
        between, broken = (ratio < _BOND) & ~within, (ratio > _BROKEN) & bonded
        for i in np.flatnonzero((between | broken).any(1)):
            formed = [f"{label[col[k]]}–{label[row[k]]} bonded" for k in np.flatnonzero(between[i])[:2]]
            broken_bonds = [f"{label[col[k]]}–{label[row[k]]} broken" for k in np.flatnonzero(broken[i])[:2]]
            reacted.append(Reaction(first + int(i), ", ".join(formed + broken_bonds)))
    return reacted
