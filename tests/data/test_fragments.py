"""Molecules found in the bond graph, named, put in order, and watched for reactions."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data.s22 import create_s22_system

from delta_server.data.fragments import (
    find_fragments,
    formula,
    fragment_names,
    fragment_of,
    parse_fragments,
    reactions,
    reorder,
)
from delta_server.errors import InputError


def lists(fragments: list[np.ndarray]) -> list[list[int]]:
    return [atoms.tolist() for atoms in fragments]


def test_finds_molecules_of_s22() -> None:
    for name, sizes in (
        ("Methane_dimer", [5, 5]),
        ("Benzene-water_complex", [12, 3]),
        ("Adenine-thymine_complex_stack", [15, 15]),
        ("Water_dimer", [3, 3]),
    ):
        atoms = create_s22_system(name)
        assert sorted(map(len, find_fragments(atoms.numbers, atoms.positions))) == sorted(sizes), name


def test_an_ion_on_a_ring_is_a_fragment_of_its_own() -> None:
    atoms = Atoms("Na", [[0, 0, 2.3]]) + molecule("C6H6")
    fragments = find_fragments(atoms.numbers, atoms.positions)
    assert lists(fragments) == [[0], list(range(1, 13))]
    assert fragment_names(atoms.numbers, fragments) == ("na", "c6h6")


def test_names_are_unique_formulas() -> None:
    atoms = create_s22_system("Methane_dimer") + molecule("H2O", positions=molecule("H2O").positions + 9)
    fragments = find_fragments(atoms.numbers, atoms.positions)
    assert fragment_names(atoms.numbers, fragments) == ("ch4_1", "ch4_2", "h2o")
    assert formula(np.array([11, 17, 8, 1, 6, 6])) == "C2HClNaO"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:3,3:5", [[0, 1, 2], [3, 4]]),
        ("3:5,0:3", [[3, 4], [0, 1, 2]]),
        ("0:2,4; 2:4", [[0, 1, 4], [2, 3]]),
        ("0,1:5", [[0], [1, 2, 3, 4]]),
    ],
)
def test_fragments_as_said(text: str, expected: list[list[int]]) -> None:
    fragments = parse_fragments(text, 5)
    assert lists(fragments) == expected
    owner = fragment_of(fragments)
    assert all((owner[atoms] == k).all() for k, atoms in enumerate(fragments))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0:5", "at least two"),
        ("0:3,3:4", "atoms 4 are in no fragment"),
        ("0:3,2:5", "atoms 2 are in two fragments"),
        ("0:3,3:7", "there are 5 atoms"),
        ("water", "expected ranges"),
        ("0:3;", "expected ranges"),
    ],
)
def test_fragments_said_badly(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_fragments(text, 5)


def test_order_is_left_alone_where_it_is_fit() -> None:
    atoms = create_s22_system("Methane_dimer")
    order = reorder(atoms.numbers, atoms.positions, find_fragments(atoms.numbers, atoms.positions))
    assert order.atoms.tolist() == list(range(10))
    assert order.reasons == []


def test_scattered_molecules_are_gathered() -> None:
    atoms = create_s22_system("Benzene-water_complex")
    mixed = atoms[np.random.default_rng(1).permutation(15)]
    order = reorder(mixed.numbers, mixed.positions, find_fragments(mixed.numbers, mixed.positions))
    ordered = mixed[order.atoms]
    assert any("scattered" in reason for reason in order.reasons)
    assert sorted(order.atoms.tolist()) == list(range(15))
    assert lists(find_fragments(ordered.numbers, ordered.positions)) == lists(order.fragments)
    assert all(np.ptp(f) + 1 == len(f) for f in order.fragments)


def test_equal_molecules_get_equal_orders() -> None:
    """Bonds, and left and right: the copy laid on the first by a rotation alone."""
    first = molecule("CH3CH2OH")
    copy = first.copy()
    copy.rotate(70, (1, 2, 3))
    copy.translate([6, 0, 0])
    shuffle = np.random.default_rng(3).permutation(len(first))
    both = first + copy[shuffle]
    n = len(first)
    order = reorder(both.numbers, both.positions, [np.arange(n), np.arange(n, 2 * n)])
    assert "another order" in order.reasons[0]
    again = both[order.atoms]
    assert np.array_equal(again.numbers[:n], again.numbers[n:])
    a, b = (x - x.mean(0) for x in (again.positions[:n], again.positions[n:]))
    u, _, vt = np.linalg.svd(b.T @ a)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    assert np.abs(b @ turn - a).max() < 1e-6


def test_reactions_are_seen_and_vibrations_are_not() -> None:
    atoms = create_s22_system("Water_dimer")
    fragment = fragment_of(find_fragments(atoms.numbers, atoms.positions))
    rng = np.random.default_rng(0)
    frames = atoms.positions + 0.06 * rng.standard_normal((50, 6, 3))
    assert reactions(atoms.numbers, fragment, frames) == []
    donor, acceptor = 0, 3  # O atoms
    proton = min(np.flatnonzero(fragment == 0)[1:], key=lambda h: np.linalg.norm(frames[0][h] - frames[0][acceptor]))
    frames[17, proton] = frames[17, acceptor] + 0.97 * (
        (frames[17, donor] - frames[17, acceptor]) / np.linalg.norm(frames[17, donor] - frames[17, acceptor])
    )
    (found,) = reactions(atoms.numbers, fragment, frames)
    assert found.configuration == 17
    assert "bonded" in found.what
    assert "broken" in found.what
