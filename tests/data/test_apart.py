"""Fragments placed from contact to 30 Å, and how data sets and trainings know them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data.s22 import create_s22_system as molecule_of_s22
from ase.io import write

from delta_server.data.apart import contact, gaps, place, placed_in
from delta_server.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from delta_server.data.labels import LabelTask
from delta_server.data.sample import SamplePlan, sample
from delta_server.data.structures import read_structures, structures_of
from delta_server.errors import InputError
from delta_server.methods import Method
from delta_server.molecule.bonds import bonds, bonds_within
from delta_server.training.databases import Complex
from delta_server.training.tasks import Recipe, split_of, tasks


def with_placed(data: Dataset, n: int) -> Dataset:
    """A data set whose last n configurations are runs of their own, their fragments from 4 to 20 Å apart."""
    x = data.positions.copy()
    for i, distance in enumerate(np.linspace(4, 20, n)):
        x[i - n, data.atoms_of(1)] += distance * np.eye(3)[i % 3]
    run = np.where(np.arange(len(data)) < len(data) - n, 0, np.arange(len(data)))
    return replace(data, positions=x, run=run)


def test_atoms_touch_at_their_reach() -> None:
    """One atom off the line, one on it: the second is met first."""
    others = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    assert contact(np.zeros((1, 3)), others, np.array([0, 0, 1.0]), np.full((1, 2), 3.0)) == pytest.approx(8.0)
    assert contact(np.zeros((1, 3)), others[:1], np.array([0, 1.0, 0]), np.full((1, 1), 3.0)) == pytest.approx(5.0)
    assert contact(np.zeros((1, 3)), others[:1], np.array([0, -1.0, 0]), np.full((1, 1), 1.0)) == 0.0


def test_from_contact_to_far_with_the_molecules_as_they_were(methane_dimer_data: Dataset) -> None:
    data = methane_dimer_data
    molecules = [data.atoms_of(k) for k in range(2)]
    placed = place(data.numbers, molecules, data.positions, len(data), seed=3)
    assert np.array_equal(placed, place(data.numbers, molecules, data.positions, len(data), seed=3))
    for atoms in molecules:  # the same distances within, in the order of the configurations
        within = [np.linalg.norm(x[:, atoms, None] - x[:, None, atoms], axis=3) for x in (placed, data.positions)]
        assert np.abs(within[0] - within[1]).max() < 1e-9
    gap = np.sort(gaps(placed, molecules))
    assert 1.5 < gap[0] < 2.6
    assert 20 < gap[-1] < 33
    assert 2.5 < np.median(gap) < 8


def test_the_atoms_of_a_hydrogen_bond_do_not_let_others_come_as_near() -> None:
    """Of two formic acids no oxygen is placed where it would be bonded to the other's carbon."""
    acids = molecule_of_s22("Formic_acid_dimer")
    fragments = [np.arange(5), np.arange(5, 10)]
    placed = place(acids.numbers, fragments, np.repeat(acids.positions[None], 400, axis=0), 400)
    own = bonds_within(acids.numbers, acids.positions, fragments)
    assert all(len(bonds(acids.numbers, x)) == len(own) for x in placed)
    assert gaps(placed, fragments).min() < 1.6  # but hydrogens as near as in the complex, and nearer


def test_placed_ones_are_known_by_their_runs(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    structures = structures_of(methane_dimer_data).in_fragments(None)
    task = LabelTask(structures, Method("emt"), (0, 0), (1, 1))
    frames = list(sample(task, SamplePlan(300.0, 0, apart=6)))
    bound = Atoms(structures.numbers, structures.positions[0])
    write(tmp_path / "placed.extxyz", [*frames, bound])
    read = read_structures(tmp_path / "placed.extxyz")
    assert read.run.tolist() == [1, 2, 3, 4, 5, 6, 0]
    assert not placed_in(methane_dimer_data).any()
    assert placed_in(with_placed(methane_dimer_data, 5)).tolist() == [False] * 35 + [True] * 5
    assert not placed_in(replace(methane_dimer_data, run=np.arange(40))).any()


def test_the_binding_learns_from_them_and_the_fragments_do_not(methane_dimer_data: Dataset) -> None:
    data = with_placed(methane_dimer_data, 10)
    system = Complex.of(data)
    recipe = Recipe(10, 8, n_far=1, choose_group=False, points={"binding": 12}, bases={"ch4_2": 6}).of(system)
    assert (recipe.basis_of("ch4"), recipe.basis_of("binding")) == (6, 0)
    sides = split_of(data, recipe)
    placed = placed_in(data)
    assert [int((sides[placed] == side).sum()) for side in (TRAIN, VALIDATION, TEST)] == [6, 2, 2]
    wide = gaps(data.positions, [data.atoms_of(k) for k in range(data.n_fragments)])
    assert wide[placed & (sides == TRAIN)].max() > 15
    assert wide[placed & (sides == TRAIN)].min() < 7
    methane, binding = tasks(system, sides, recipe, lambda line: None)
    assert (len(methane.train), len(binding.train)) == (10, 12)
    assert (methane.n_placed, binding.n_placed, binding.n_far) == (0, 3, 1)
    assert len(binding.validation) == len(methane.validation) + 2
    used = {x.tobytes() for x in binding.train.positions}
    assert sum(x.tobytes() in used for x in data.positions[placed]) == 3


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"water": 20}, "points of water: no such model; there are ch4_1, ch4_2, ch4, binding"),
        ({"full": 20}, "points of full: no such model"),
        ({"ch4_1": 20, "ch4_2": 30}, "points of ch4_2: 30 and 20, of one model"),
        ({"binding": 1}, "points of binding: 1; expected 2 or more"),
    ],
)
def test_points_that_cannot_be(methane_dimer_data: Dataset, points: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(10, points=points).of(Complex.of(methane_dimer_data))
    with pytest.raises(InputError, match=message.replace("points", "basis")):
        Recipe(10, bases=points).of(Complex.of(methane_dimer_data))
