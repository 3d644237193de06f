"""Checks of labels: true ones pass, and each way of being wrong is found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from delta_server.checks import Check
from delta_server.data.consistency import check_dataset
from delta_server.data.dataset import Dataset, load_dataset
from delta_server.data.derivatives import check_slope
from delta_server.data.inspect import summarize
from delta_server.gdml import load_model
from delta_server.units import BOHR, HARTREE, KCAL_MOL


def failures(data: Dataset) -> dict[str, Check]:
    return {check.name: check for check in check_dataset(data) if not check.passed}


FORCES, ALONE = "forces = −dE/dr", "c6h6: F0 = −dE_frag/dr"


def test_true_labels_pass(na_benzene_data: Dataset, methane_dimer_data: Dataset) -> None:
    for data in (na_benzene_data, methane_dimer_data):
        assert failures(data) == {}
    found = {check.name: check.found for check in check_dataset(na_benzene_data)}
    assert "near pairs" in found[FORCES], "the derivative was really looked at"
    assert "near pairs" in found[ALONE]


@pytest.mark.parametrize("seed", range(4))
def test_a_random_part_of_a_trajectory_passes(na_benzene_data: Dataset, seed: int) -> None:
    chosen = np.random.default_rng(seed).permutation(len(na_benzene_data))[:80]
    assert failures(na_benzene_data.take(chosen)) == {}
    assert failures(na_benzene_data.take(np.sort(chosen))) == {}


def test_copies_with_equal_atoms_exchanged_pass() -> None:
    """C60 as its own mirror image, which no turn brings onto the others."""
    data = load_dataset(ROOT / "models/c60_buckycatcher/dataset.npz").take(np.arange(0, 280, 7))
    exchange = load_model(ROOT / "models/c60_buckycatcher/c60.npz").permutations[50]
    positions, forces, alone = data.positions.copy(), data.forces.copy(), data.isolated()[2].copy()
    for values in (positions, forces, alone):
        values[::2, :60] = values[::2, exchange]
    copies = replace(data, positions=positions, forces=forces, fragment_forces=alone)
    assert [check for check in check_dataset(copies) if "one zero" in check.name and not check.passed] == []


def test_time_is_not_needed(na_benzene_data: Dataset) -> None:
    assert failures(replace(na_benzene_data, index=None, run=None)) == {}


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (-1.0, "sign"),
        (BOHR, "per bohr"),
        (1 / BOHR, "bohr"),
        (4.184, "kJ/mol"),
        (1 / 4.184, "kJ/mol"),
        (KCAL_MOL, "from eV"),
        (KCAL_MOL / HARTREE, "hartree"),
        (0.0, "zero"),
    ],
)
def test_wrong_units_and_signs_of_forces(na_benzene_data: Dataset, factor: float, words: str) -> None:
    found = failures(replace(na_benzene_data, forces=na_benzene_data.forces * factor))
    assert words in found[FORCES].found
    assert na_benzene_data.fragment_forces is not None
    found = failures(replace(na_benzene_data, fragment_forces=na_benzene_data.fragment_forces * factor))
    assert words in found[ALONE].found
    assert FORCES not in found


def test_wrong_units_of_everything_isolated(na_benzene_data: Dataset) -> None:
    assert na_benzene_data.fragment_forces is not None
    assert na_benzene_data.fragment_energies is not None
    data = replace(
        na_benzene_data,
        fragment_forces=na_benzene_data.fragment_forces * KCAL_MOL,
        fragment_energies=na_benzene_data.fragment_energies * KCAL_MOL,
    )
    assert list(failures(data)) == ["complex and fragments go together"]


def test_energies_of_other_configurations(na_benzene_data: Dataset) -> None:
    energies = np.random.default_rng(0).permutation(na_benzene_data.energies)
    assert "nothing to do with each other" in failures(replace(na_benzene_data, energies=energies))[FORCES].found


def test_one_wrong_energy_is_named(na_benzene_data: Dataset) -> None:
    energies = na_benzene_data.energies.copy()
    energies[42] += 60.0
    found = failures(replace(na_benzene_data, energies=energies))
    assert "configuration 42" in found[FORCES].found
    assert "configuration 42" in found["outliers: binding energies"].found
    bare = replace(na_benzene_data, energies=energies, fragment_energies=None, fragment_forces=None)
    assert "configuration 42" in failures(bare)["outliers: energies"].found


def test_one_wrong_force_is_named(na_benzene_data: Dataset) -> None:
    forces = na_benzene_data.forces.copy()
    forces[7, 3] += [0.0, 900.0, 0.0]
    found = failures(replace(na_benzene_data, forces=forces))
    for name in ("net force", "net torque", "outliers: largest force"):
        assert "configuration 7" in found[name].found


def test_an_ion_has_one_energy_and_no_force(na_benzene_data: Dataset) -> None:
    assert na_benzene_data.fragment_energies is not None
    assert na_benzene_data.fragment_forces is not None
    energies = na_benzene_data.fragment_energies.copy()
    energies[9, 0] += 0.01
    assert (
        "configuration 9"
        in failures(replace(na_benzene_data, fragment_energies=energies))["na: one atom alone"].found
    )
    forces = na_benzene_data.fragment_forces.copy()
    forces[5, 0, 2] = 0.1
    found = failures(replace(na_benzene_data, fragment_forces=forces))["na: one atom alone"].found
    assert "configuration 5" in found
    assert "force up to 0.1" in found


def test_isolated_forces_sum_to_zero(na_benzene_data: Dataset) -> None:
    assert na_benzene_data.fragment_forces is not None
    forces = na_benzene_data.fragment_forces.copy()
    forces[11, 4] += [1.0, 0.0, 0.0]
    assert (
        "configuration 11"
        in failures(replace(na_benzene_data, fragment_forces=forces))["c6h6: net force alone"].found
    )


def test_duplicates_are_named(na_benzene_data: Dataset) -> None:
    positions = na_benzene_data.positions.copy()
    positions[30] = positions[12] + 4.0  # moved as a whole
    assert "30 is 12 again" in failures(replace(na_benzene_data, positions=positions))["duplicates"].found


def test_broken_fragments_are_named(na_benzene_data: Dataset) -> None:
    positions = na_benzene_data.positions.copy()
    positions[20, 12] += 1.5 * (positions[20, 12] - positions[20, 6])
    assert "first in 20" in failures(replace(na_benzene_data, positions=positions))["fragments stay whole"].found


def test_separated_fragments_do_not_bind(na_benzene_data: Dataset) -> None:
    positions, energies = na_benzene_data.positions.copy(), na_benzene_data.energies.copy()
    positions[3, 0] += 60.0
    name = "separated fragments"
    assert name in failures(replace(na_benzene_data, positions=positions))
    energies[3] = na_benzene_data.isolated()[1][3].sum()
    assert name not in failures(replace(na_benzene_data, positions=positions, energies=energies))
    assert any(check.name == name for check in check_dataset(replace(na_benzene_data, positions=positions)))


def test_a_tenth_pulled_apart_is_no_outlier(na_benzene_data: Dataset) -> None:
    """As in sets that teach a model what separated fragments are."""
    data = na_benzene_data
    alone, pulls = data.isolated()[1:]
    positions, energies, forces = data.positions.copy(), data.energies.copy(), data.forces.copy()
    positions[::10, 0] += 70.0
    energies[::10], forces[::10] = alone[::10].sum(1), pulls[::10]
    assert failures(replace(data, positions=positions, energies=energies, forces=forces)) == {}


def test_too_few_to_tell_is_said(na_benzene_data: Dataset) -> None:
    found = {check.name: check.found for check in check_dataset(na_benzene_data.take(np.arange(0, 100, 25)))}
    assert found[FORCES].startswith("not checked")
    found = {check.name: check.found for check in check_dataset(na_benzene_data.take(np.arange(1)))}
    assert found[FORCES].startswith("not checked")


def test_summary(na_benzene_data: Dataset) -> None:
    summary = summarize(na_benzene_data)
    forces = np.sqrt((na_benzene_data.forces**2).sum(-1))
    binding = np.sqrt(((na_benzene_data.forces - na_benzene_data.isolated()[2]) ** 2).sum(-1))
    assert summary.mean_force == pytest.approx(forces.mean())
    assert summary.mean_binding_force == pytest.approx(binding.mean())
    assert summary.force_ratio == pytest.approx(0.208, abs=0.02)  # of the whole trajectory
    assert [f.formula for f in summary.fragments] == ["Na", "C6H6"]
    assert [f.charge for f in summary.fragments] == [1, 0]
    assert summary.binding_energy is not None
    assert summary.binding_energy.mean == pytest.approx(-28.9, abs=1.0)
    bare = summarize(replace(na_benzene_data, fragment_energies=None, fragment_forces=None))
    assert bare.force_ratio is None
    assert bare.mean_force == summary.mean_force


def test_a_molecule_that_turns_over_contradicts_nothing() -> None:
    """From one well to the other, in a step over the barrier: the mean force does no such work."""
    rng, n = np.random.default_rng(0), 40
    r = np.where(np.arange(n) < 36, 1.0, 1.45) + 0.01 * rng.standard_normal(n)
    depth = 400.0 * (r - 1.0) * (r - 1.45)
    positions, forces = np.zeros((n, 2, 3)), np.zeros((n, 2, 3))
    positions[:, 1, 0] = r
    forces[:, 1, 0] = -2 * depth * 400.0 * (2 * r - 2.45)
    forces[:, 0] = -forces[:, 1]
    far = np.array([[k, 36 + k % 4] for k in range(4)])
    pairs = np.concatenate([np.stack([np.arange(35), np.arange(1, 36)], 1), far, far + np.array([4, 0])])
    check = check_slope("double well", positions, depth**2, forces, pairs, 0.5)
    assert check.passed, check.found
