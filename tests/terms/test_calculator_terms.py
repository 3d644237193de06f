"""Calculators of ase as terms: the sum done by hand, the contract, failures, and what a manifest may not say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from made import made_dimer, made_manifest
from made_kinds import CELL
from toy import Toy

from delta_server import Potential, load_potential
from delta_server.checks import check_term
from delta_server.errors import ManifestError, NonFiniteError
from delta_server.terms.base import Frames

EVERYWHERE = {"kind": "calculator", "name": "emt", "calculator": "emt", "over": "all", "part": "all"}


@pytest.fixture
def dimer(tmp_path: Path) -> Path:
    """Two waters with models and a binding."""
    return made_dimer(tmp_path)


def changed(path: Path, fragments: dict[str, dict[str, Any]] | None = None, **keys: Any) -> Path:
    """The manifest with other keys; fragments: in place of the model of some, by name."""
    content = yaml.safe_load(path.read_text()) | keys
    for entry in content["fragments"]:
        if entry["name"] in (fragments or {}):
            del entry["model"]
            entry |= (fragments or {})[entry["name"]]
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def moved(potential: Potential, n: int = 3) -> np.ndarray:
    return potential.reference + 0.02 * np.random.default_rng(3).standard_normal((n, potential.n_atoms, 3))


def by_hand(calculator: Any, potential: Potential, x: np.ndarray, atoms: slice = slice(None)) -> Atoms:
    return Atoms(potential.numbers[atoms], x[atoms], calculator=calculator)


def test_fragments_by_calculators(dimer: Path) -> None:
    plain = load_potential(dimer)
    toy = {"calculator": "toy:Toy", "options": {"shift": 1.5}}
    mixed = load_potential(changed(dimer, {"first": {"calculator": "emt"}, "second": toy}))
    assert mixed.compute(plain.reference).parts.energies.keys() == {"first", "second", "binding"}
    frames = moved(mixed)
    result, binding = mixed.compute(frames), plain.compute(frames, "binding")
    for i, x in enumerate(frames):
        first = by_hand(EMT(), mixed, x, slice(0, 3))
        second = by_hand(Toy(shift=1.5), mixed, x, slice(3, 6))
        energy = first.get_potential_energy() + second.get_potential_energy() + binding.energy[i]
        forces = np.concatenate([first.get_forces(), second.get_forces()]) + binding.forces[i]
        assert result.energy[i] == pytest.approx(energy, abs=1e-9)
        assert result.forces[i] == pytest.approx(forces, abs=1e-9)
    assert np.array_equal(result.forces[1], mixed.compute(frames[1]).forces)


def test_a_baseline_of_both_parts_is_the_complex(dimer: Path) -> None:
    plain, whole = load_potential(dimer), load_potential(changed(dimer, terms=[EVERYWHERE]))
    x = moved(whole)[0]
    result, below = whole.compute(x), plain.compute(x)
    atoms = by_hand(EMT(), whole, x)
    assert result.energy - below.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert result.forces - below.forces == pytest.approx(atoms.get_forces(), abs=1e-9)
    parts = result.parts.energies
    assert list(parts) == ["first", "second", "emt_first", "emt_second", "binding", "emt"]
    alone = [by_hand(EMT(), whole, x, slice(i, i + 3)).get_potential_energy() for i in (0, 3)]
    assert [parts["emt_first"], parts["emt_second"]] == pytest.approx(alone, abs=1e-9)
    assert parts["binding"] - below.parts.energies["binding"] == pytest.approx(parts["emt"], abs=1e-9)
    assert whole.names_of(whole.fragments[0]) == ["first", "emt_first"]


def test_the_contract(dimer: Path) -> None:
    d4 = {"kind": "calculator", "name": "d4", "calculator": "d4", "options": {"method": "pbe0"}}
    xtb = {"kind": "calculator", "name": "xtb", "calculator": "gfn2-xtb", "part": "fragments", "over": ["second"]}
    potential = load_potential(changed(dimer, terms=[d4, xtb]))
    for term in potential.terms[2:]:
        checks = list(check_term(term, Frames(moved(potential, 1))))
        assert all(check.passed for check in checks), checks


def test_the_whole_in_its_cell(dimer: Path) -> None:
    """Isolated fragments are taken off; the virial is the calculator's stress times the volume."""
    options = {"sigma": 1.0, "epsilon": 0.1, "rc": 6.0}
    pairs = {"kind": "calculator", "name": "pairs", "calculator": "lj", "periodic": True, "options": options}
    term = load_potential(changed(dimer, terms=[pairs])).terms[2]
    x, cell = moved(load_potential(dimer), 1)[0], 0.5 * CELL  # so small that images feel each other
    caged, free = (term.evaluate(Frames(x[None], cells)) for cells in (cell[None], None))
    whole = Atoms("OHHOHH", x, cell=cell, pbc=True, calculator=LennardJones(**options))
    alone = [Atoms("OHH", x[i : i + 3], calculator=LennardJones(**options)) for i in (0, 3)]
    energy = whole.get_potential_energy() - sum(atoms.get_potential_energy() for atoms in alone)
    virial = -whole.get_volume() * whole.get_stress(voigt=False)
    virial -= sum(atoms.positions.T @ atoms.get_forces() for atoms in alone)
    assert caged.energies[0, 0] == pytest.approx(energy, abs=1e-9)
    assert caged.virials[0, 0] == pytest.approx(virial, abs=1e-8)
    assert abs(caged.energies - free.energies)[0, 0] > 1e-6


def test_charges_reach_calculators_and_atoms_alone_are_computed_once(tmp_path: Path) -> None:
    from dftd4.ase import DFTD4
    from tblite.ase import TBLite

    numbers, positions = [11, 8, 1, 1], np.array([[0, 0, 2.3], [0, 0, 0], [0.76, 0, -0.59], [-0.76, 0, -0.59]])
    fragments = [
        {"name": "sodium", "atoms": "0:1", "calculator": "gfn2-xtb", "charge": 1},
        {"name": "water", "atoms": "1:4", "calculator": "gfn2-xtb"},
    ]
    d4 = {"kind": "calculator", "name": "d4", "calculator": "d4", "options": {"method": "pbe0"}}
    potential = load_potential(changed(made_manifest(tmp_path, numbers, positions, fragments), terms=[d4]))
    parts = potential.compute(positions).parts.energies
    ion = Atoms("Na", calculator=TBLite(method="GFN2-xTB", charge=1, verbosity=0))
    assert parts["sodium"] == pytest.approx(ion.get_potential_energy(), abs=1e-6)
    assert potential.compute(positions + 7.0).parts.energies["sodium"] == parts["sodium"]
    energies = []
    for which, charges in (([0, 1, 2, 3], [0.25] * 4), ([0], [1]), ([1, 2, 3], [0, 0, 0])):
        atoms = Atoms(np.array(numbers)[which], positions[which], charges=charges, calculator=DFTD4(method="pbe0"))
        energies.append(atoms.get_potential_energy())
    assert parts["d4"] == pytest.approx(energies[0] - energies[1] - energies[2], abs=1e-9)


def test_a_frame_on_which_a_calculator_fails(dimer: Path) -> None:
    toy = {"kind": "calculator", "name": "toy", "calculator": "toy:Toy", "options": {"fails": 2.5}}
    potential = load_potential(changed(dimer, terms=[toy]))
    frames = moved(potential)
    good = potential.compute(frames)
    frames[1, :3, 2] += 1.0
    with pytest.raises(NonFiniteError, match=r"^frame 1: toy:Toy gives no forces: no convergence$"):
        potential.compute(frames)
    assert np.array_equal(potential.compute(frames[0]).forces, good.forces[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"calculator": "emtt"}, "term 'emt': calculator 'emtt': .*expected gfn2-xtb"),
        ({"calculator": "os:system", "options": {"command": "true"}}, "os:system is no class of an ase calculator"),
        ({"calculator": "orca", "options": {"command": "true"}}, "a manifest runs no commands"),
        ({"calculator": "gfn2-xtb", "options": {"acuracy": 1}}, "no option 'acuracy'; did you mean accuracy"),
        ({"calculator": "d4"}, "of which functional"),
        ({"calculator": "d4", "options": {"method": "pbe00"}}, "d4 gives no forces: .*, at the structure"),
        ({"calculator": None}, "go together"),
        ({"kind": "spring"}, "go together"),
        ({"over": ["first"]}, "a binding takes two or more"),
        ({"periodic": True, "part": "fragments"}, "fragments are isolated"),
        ({"name": "first"}, "two would be called 'first'"),
    ],
)  # fmt: skip
def test_what_a_manifest_may_not_say(dimer: Path, change: dict[str, Any], words: str) -> None:
    term = {key: value for key, value in (EVERYWHERE | change).items() if value is not None}
    with pytest.raises(ManifestError, match=words) as error:
        load_potential(changed(dimer, terms=[term]))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"calculator": "gfn2-xtb", "charge": 1}, "leaves 9 electrons"),
        ({"calculator": "gfn2-xtb", "energy": -1.0, "energy_unit": "eV"}, "either `model`, `calculator` or"),
        ({"energy": -1.0, "energy_unit": "eV", "options": {"a": 1}}, "`options` go with a `calculator`"),
    ],
)
def test_what_a_fragment_may_not_say(dimer: Path, entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        load_potential(changed(dimer, {"first": entry}))


@pytest.mark.parametrize(("name", "module", "extra"), [("d4", "dftd4", "d4"), ("gfn2-xtb", "tblite", "train")])
def test_a_package_that_is_missing(
    dimer: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, f"{module}.ase", None)
    term = EVERYWHERE | {"calculator": name, "options": {"method": "pbe0"} if name == "d4" else {}}
    with pytest.raises(ManifestError, match=rf"term 'emt': {module} is not installed.*delta-server\[{extra}\]"):
        load_potential(changed(dimer, terms=[term]))
