"""Twenty ways of spoiling labels, each of which `dataset info` names; and sound labels of S22, which pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase.data.s22 import create_s22_system
from conftest import ROOT

from delta_server.checks.check import Check
from delta_server.data.consistency import check_dataset
from delta_server.data.dataset import Dataset, load_dataset
from delta_server.data.labels import Labeller, LabelTask
from delta_server.data.structures import Structures
from delta_server.methods import Method
from delta_server.units import BOHR, KCAL_MOL

EV, HARTREE = 23.0605, 627.5095  # kcal/mol
ZERO, SLOPE, TOGETHER = "one zero of energy", "forces = −dE/dr", "complex and fragments go together"
ALONE, BROKEN = "c6h6: F0 = −dE_frag/dr", "fragments stay whole"


def failures(data: Dataset) -> dict[str, str]:
    return {check.name: check.found for check in check_dataset(data) if not check.passed}


def zeros(data: Dataset) -> list[Check]:
    """Of the complex's energies first, then of each molecule's alone."""
    return [check for check in check_dataset(data) if "one zero" in check.name]


def raised(data: Dataset, by: float, which: object) -> Dataset:
    energies = data.energies.copy()
    energies[which] += by  # type: ignore[index]
    return replace(data, energies=energies)


def isolated(data: Dataset, energy: float, force: float) -> Dataset:
    _, e, f = data.isolated()
    return replace(data, fragment_energies=energy * e, fragment_forces=force * f)


def relative(data: Dataset, factor: float) -> Dataset:
    """Isolated labels in another unit where all energies count from their own means."""
    _, e, f = data.isolated()
    e = factor * (e - e.mean(0))
    return replace(
        data, energies=data.energies - data.energies.mean(), fragment_energies=e, fragment_forces=factor * f
    )


def one_force(data: Dataset) -> Dataset:
    forces = data.forces.copy()
    forces[7, 3] += [0.0, 900.0, 0.0]
    return replace(data, forces=forces)


def turned(data: Dataset) -> Dataset:
    """Forces in the standard orientation of a program, positions in the laboratory's."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    return replace(data, forces=data.forces @ turn)


def other_order(data: Dataset) -> Dataset:
    forces = data.forces.copy()
    forces[:, [1, 7]] = forces[:, [7, 1]]
    return replace(data, forces=forces)


def moved(data: Dataset, k: int) -> Dataset:
    positions = data.positions.copy()
    if k == 0:
        positions[30] = positions[12] + 4.0
    else:
        positions[20, 12] += 1.5 * (positions[20, 12] - positions[20, 6])
    return replace(data, positions=positions)


def of_fragment(data: Dataset) -> Dataset:
    _, e, _ = data.isolated()
    e = e.copy()
    e[::2, 1] += EV
    return replace(data, fragment_energies=e)


def one_energy(data: Dataset) -> Dataset:
    return raised(data, 60.0, 42)


Spoil = Callable[[Dataset], Dataset]
SPOILT: dict[str, tuple[Spoil, str, str]] = {
    "gradients": (lambda d: replace(d, forces=-d.forces), SLOPE, "sign"),
    "forces per bohr": (lambda d: replace(d, forces=BOHR * d.forces), SLOPE, "per bohr"),
    "forces from kJ": (lambda d: replace(d, forces=4.184 * d.forces), SLOPE, "kJ/mol"),
    "forces from eV": (lambda d: replace(d, forces=KCAL_MOL * d.forces), SLOPE, "from eV"),
    "energies in kJ": (lambda d: replace(d, energies=4.184 * d.energies), SLOPE, "kJ/mol"),
    "no forces": (lambda d: replace(d, forces=0 * d.forces), SLOPE, "zero"),
    "positions in bohr": (lambda d: replace(d, positions=d.positions / BOHR), ALONE, "bohr"),
    "shuffled energies": (
        lambda d: replace(d, energies=np.random.default_rng(0).permutation(d.energies)), SLOPE, "nothing to do",
    ),
    "one energy": (one_energy, SLOPE, "configuration 42"),
    "one force": (one_force, "outliers: largest force", "configuration 7"),
    "turned forces": (turned, "net torque", "beyond"),
    "another order": (other_order, "net torque", "beyond"),
    "1 eV, every second": (lambda d: raised(d, EV, slice(1, None, 2)), ZERO, "(1 eV) apart"),
    "1 eV, the second half": (lambda d: raised(d, EV, slice(50, None)), ZERO, "(1 eV) apart"),
    "1 hartree, every third": (lambda d: raised(d, HARTREE, slice(0, None, 3)), ZERO, "(1 hartree) apart"),
    "1 hartree, a block": (lambda d: raised(d, -HARTREE, slice(20, 60)), ZERO, "(1 hartree) apart"),
    "1 eV, fragments, every second": (of_fragment, "c6h6: one zero alone", "(1 eV) apart"),
    "isolated in eV": (lambda d: isolated(d, KCAL_MOL, KCAL_MOL), TOGETHER, "units, sign, zero"),
    "isolated in kJ, from means": (lambda d: relative(d, 4.184), TOGETHER, "units, sign, zero"),
    "isolated gradients": (lambda d: isolated(d, 1, -1), ALONE, "sign"),
    "twice": (lambda d: moved(d, 0), "duplicates", "30 is 12 again"),
    "broken": (lambda d: moved(d, 1), BROKEN, "first in 20"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_each_way_of_spoiling_labels_is_caught_with_its_cause(na_benzene_data: Dataset, name: str) -> None:
    spoil, check, words = SPOILT[name]
    assert words in failures(spoil(na_benzene_data))[check]


@pytest.mark.parametrize("by", [EV, -EV, HARTREE])
@pytest.mark.parametrize("which", [slice(1, None, 2), slice(50, None), slice(30, 50)])
def test_two_zeros_are_seen_without_labels_of_fragments(na_benzene_data: Dataset, by: float, which: slice) -> None:
    bare = replace(na_benzene_data, fragment_energies=None, fragment_forces=None)
    assert failures(bare) == {}
    assert ZERO in failures(raised(bare, by, which))


def test_three_zeros(na_benzene_data: Dataset) -> None:
    three = raised(raised(na_benzene_data, EV, slice(30, 60)), 3 * EV, slice(60, None))
    assert "3 groups of 30, 30, 40" in failures(three)[ZERO]


@pytest.mark.parametrize(
    ("system", "every", "labelled"),
    [("benzene_dimer", 3, True), ("benzene_dimer", 3, False), ("no3_corona", 1, True), ("c60_buckycatcher", 1, True)],
)
def test_two_trajectories_with_two_zeros(system: str, every: int, labelled: bool) -> None:
    """Neighbours in time are nearer to each other than to the other trajectory, and a kind of geometry that touches
    no other stands beside them in C60's."""
    data = load_dataset(ROOT / f"models/{system}/dataset.npz")
    data = data.take(np.arange(0, len(data), every))
    data = data if labelled else replace(data, fragment_energies=None, fragment_forces=None)
    (sound, *_) = zeros(data)
    (found, *_) = zeros(raised(data, EV, slice(len(data) // 2, None)))
    assert sound.passed
    assert not found.passed
    assert "different zeros" in found.found


def test_a_wide_spread_of_energies_says_what_it_hides(na_benzene_data: Dataset) -> None:
    """Large molecules without labels of their fragments: forces leave more of the energies than 1 eV."""
    bare = replace(na_benzene_data, fragment_energies=None, fragment_forces=None)
    spread = replace(bare, energies=bare.energies + np.random.default_rng(0).normal(0.0, 10.0, len(bare)))
    found = {}
    for name, data in (("narrow", bare), ("wide", spread)):
        (check,) = zeros(data)
        assert check.passed
        found[name] = float(re.search(r"zeros up to (\S+) kcal/mol apart may not show", check.found)[1])
    assert found["narrow"] < EV < found["wide"]


def labelled(name: str, n: int, amplitude: float) -> Dataset:
    """n configurations of a complex of S22, the first as it is; GFN2-xTB."""
    atoms = create_s22_system(name)
    positions = atoms.positions + amplitude * np.random.default_rng(0).standard_normal((n, len(atoms), 3))
    positions[0] = atoms.positions
    bare = Structures(atoms.numbers.astype(np.intp), positions, np.arange(n), np.zeros(n, dtype=np.intp))
    structures = bare.in_fragments(None)
    labeller = Labeller(LabelTask(structures, Method("gfn2-xtb"), (0, 0), (1, 1)))
    table = np.array([labeller(x) for x in positions])
    forces, alone = (part.reshape(positions.shape) for part in np.split(table[:, 3:], 2, axis=1))
    return Dataset(
        structures.numbers, positions, table[:, 0], forces, structures.fragment, table[:, 1:3], alone,
        charges=np.zeros(2, dtype=np.intp), fragment_names=structures.names,
    )  # fmt: skip


@pytest.mark.parametrize("n", [1, 6, 25])
@pytest.mark.parametrize("name", ["Formic_acid_dimer", "Formamide_dimer", "Methane_dimer", "Water_dimer"])
def test_sound_labels_of_s22_pass(name: str, n: int) -> None:
    assert failures(labelled(name, n, 0.03)) == {}


def test_a_strong_bond_at_its_minimum_is_no_wrong_unit() -> None:
    data = labelled("Formic_acid_dimer", 25, 0.005)
    ratio = np.linalg.norm(data.binding_forces(), axis=2).mean() / np.linalg.norm(data.forces, axis=2).mean()
    assert ratio > 0.7
    assert failures(data) == {}
    assert TOGETHER in failures(relative(labelled("Formic_acid_dimer", 25, 0.03), 4.184))
