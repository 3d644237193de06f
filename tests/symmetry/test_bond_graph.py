"""Groups from bond graphs: their orders, that they are groups of symmetries, and what happens when they explode."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from delta_server.errors import InputError
from delta_server.symmetry.bond_graph import Group, complex_group, equal_fragments, molecule_group

ORDERS = {
    "H2": (2, 2), "H2O": (2, 1), "NH3": (6, 1), "CH4": (24, 1), "C6H6": (12, 12), "CO2": (2, 1),
    "C2H6": (72, 2), "C2H4": (8, 2), "CH3CH2OH": (12, 1), "trans-butane": (288, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_orders_of_molecules(name: str) -> None:
    atoms = molecule(name)
    for symmetry, order in zip(("graph", "skeleton", "none"), (*ORDERS[name], 1), strict=True):
        group = molecule_group(atoms.numbers, atoms.positions, symmetry)
        assert group.order == len(group.permutations) == order
        assert group.is_closed()
        assert (atoms.numbers[group.permutations] == atoms.numbers).all()


def test_bonds_go_to_bonds() -> None:
    from delta_server.molecule.bonds import bonds

    atoms = molecule("trans-butane")
    pairs = {frozenset(p) for p in bonds(atoms.numbers, atoms.positions).tolist()}
    for p in molecule_group(atoms.numbers, atoms.positions).permutations:
        assert {frozenset(p[list(pair)].tolist()) for pair in pairs} == pairs


def dimer(a: Atoms, b: Atoms) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    b = b.copy()
    b.positions += [0, 0, 6.0]
    whole = a + b
    return [np.arange(len(a)), np.arange(len(a), len(whole))], whole.numbers, whole.positions


@pytest.mark.parametrize(("a", "b", "products", "full"), [
    ("CH4", "CH4", 576, 1152), ("C6H6", "C6H6", 144, 288), ("H2O", "C6H6", 24, 24), ("H2O", "H2O", 4, 8),
])  # fmt: skip
def test_complexes(a: str, b: str, products: int, full: int) -> None:
    fragments, numbers, positions = dimer(molecule(a), molecule(b))
    groups = [molecule_group(numbers[f], positions[f]) for f in fragments]
    for exchange, order in ((False, products), (True, full)):
        group = complex_group(fragments, groups, numbers, positions, exchange)
        assert group.order == order
        assert group.is_closed()
        assert (numbers[group.permutations] == numbers).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equal_molecules_are_recognised_in_any_order(seed: int) -> None:
    a = molecule("CH3CH2OH")
    order = np.random.default_rng(seed).permutation(len(a))
    fragments, numbers, positions = dimer(a, a[order])
    (kind,) = equal_fragments(fragments, numbers, positions)
    (i, first), (j, second) = kind
    assert (i, j) == (0, 1)
    assert (numbers[fragments[0][first]] == numbers[fragments[1][second]]).all()
    groups = [molecule_group(numbers[f], positions[f]) for f in (fragments[0], fragments[1][second])]
    group = complex_group([fragments[0], fragments[1][second]], groups, numbers, positions)
    assert group.order == 2 * 12**2
    assert group.is_closed()


def test_isomers_are_not_equal() -> None:
    ethanol, ether = molecule("CH3CH2OH"), molecule("CH3OCH3")
    fragments, numbers, positions = dimer(ethanol, ether)
    assert len(equal_fragments(fragments, numbers, positions)) == 2


def test_three_equal_fragments_exchange_in_six_ways() -> None:
    water = molecule("H2O")
    whole = Atoms()
    for z in (0.0, 5.0, 10.0):
        copy = water.copy()
        copy.positions += [0, 0, z]
        whole += copy
    fragments = [np.arange(3 * i, 3 * i + 3) for i in range(3)]
    groups = [molecule_group(water.numbers, water.positions)] * 3
    group = complex_group(fragments, groups, whole.numbers, whole.positions)
    assert group.order == 2**3 * 6
    assert group.is_closed()


def test_a_set_that_is_no_group_is_not_closed() -> None:
    turn = np.array([[0, 1, 2], [1, 2, 0]])
    assert not Group(3, (turn,)).is_closed()


def test_a_group_that_explodes_says_what_to_do() -> None:
    n = 20
    carbons = np.array([[1.28 * i, 0.85 * (i % 2), 0.0] for i in range(n)])
    sides = carbons[:, None] + np.array([[[0, 0.3, 0.95], [0, 0.3, -0.95]]]) * np.where(
        np.arange(n) % 2, 1, -1
    ).reshape(-1, 1, 1) ** np.array([0, 1, 0])
    ends = carbons[[0, -1]] + [[-1.0, 0.4, 0], [1.0, 0.4, 0]]
    chain = Atoms(f"C{n}H{2 * n + 2}", np.concatenate([carbons, sides.reshape(-1, 3), ends]))
    group = molecule_group(chain.numbers, chain.positions)
    assert group.order == 2 * 6**2 * 2 ** (n - 2)
    with pytest.raises(InputError, match="--symmetry skeleton"):
        _ = group.permutations
    assert molecule_group(chain.numbers, chain.positions, "skeleton").order == 2
