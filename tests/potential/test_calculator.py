"""The ASE calculator, and ASE's socket server with the driver as its client."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.calculators.socketio import SocketIOCalculator
from ase.optimize import BFGS
from processes import Driver

from delta_server import DeltaCalculator, load_potential
from delta_server.errors import GeometryError


@pytest.fixture
def atoms(h2o_benzene: Path) -> Atoms:
    potential = load_potential(h2o_benzene)
    x = potential.reference + 0.03 * np.random.default_rng(0).standard_normal((15, 3))
    return Atoms(potential.numbers, x, calculator=DeltaCalculator(potential))


def test_energy_forces_and_parts_are_those_of_the_potential(atoms: Atoms) -> None:
    result = atoms.calc.potential.compute(atoms.positions)
    assert atoms.get_potential_energy() == pytest.approx(result.energy)
    assert atoms.get_forces() == pytest.approx(result.forces)
    assert sum(atoms.calc.results["parts"].values()) == pytest.approx(result.energy)
    assert atoms.calc.results["binding_forces"] == pytest.approx(result.parts.binding_forces)


def test_ase_s_own_tools_take_it(atoms: Atoms, h2o_benzene: Path) -> None:
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert atoms.get_properties(["energy", "forces"])["energy"] == energy
    kept = SinglePointCalculator(atoms, **atoms.calc.results)
    assert np.array_equal(kept.get_forces(atoms), forces)
    assert deepcopy(atoms.calc).get_potential_energy(atoms) == energy
    with pytest.raises(TypeError, match="make it from a manifest"):
        pickle.dumps(atoms.calc)
    other = pickle.loads(pickle.dumps(DeltaCalculator(h2o_benzene, part="binding")))
    assert other.get_potential_energy(atoms) == pytest.approx(atoms.calc.results["parts"]["binding"])
    atoms.calc.part = "binding"
    assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(atoms))


def test_stress_where_there_is_a_cell(atoms: Atoms) -> None:
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    atoms.cell = [20.0, 21.0, 22.0]
    stress = atoms.get_stress(voigt=False)
    numeric, h = np.zeros((3, 3)), 5e-4
    for i in range(3):
        for j in range(3):
            energies = []
            for sign in (1, -1):
                strained = atoms.copy()
                strain = np.eye(3)
                strain[i, j] += sign * h
                strained.set_cell(atoms.cell @ strain.T, scale_atoms=False)
                strained.positions = atoms.positions @ strain.T
                strained.calc = atoms.calc
                energies.append(strained.get_potential_energy())
            numeric[i, j] = (energies[0] - energies[1]) / (2 * h) / atoms.get_volume()
    assert np.abs(stress).max() > 1e-4
    assert stress == pytest.approx(numeric, abs=1e-7)


def test_other_atoms_are_refused(atoms: Atoms) -> None:
    atoms.numbers = atoms.numbers[::-1]
    with pytest.raises(GeometryError, match="in this order"):
        atoms.get_potential_energy()


def test_relaxation_lowers_the_energy(atoms: Atoms) -> None:
    before = atoms.get_potential_energy()
    assert BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
    assert atoms.get_potential_energy() < before - 0.1
    assert atoms.calc.results["parts"]["binding"] < -0.05


@pytest.mark.parametrize("options", [[], ["--no-extras"]], ids=["extras", "no extras"])
def test_ase_as_the_server(atoms: Atoms, h2o_benzene: Path, tmp_path: Path, options: list[str]) -> None:
    """ASE sends STATUS twice, GETFORCE apart, a zero cell, and never EXIT: its end is no failure."""
    direct = atoms.calc
    with tempfile.TemporaryDirectory() as folder:
        name = Path(folder).name
        driver = Driver(h2o_benzene, f"unix:{name}", *options, folder=tmp_path, log="driver.log")
        try:
            with SocketIOCalculator(unixsocket=name) as server:
                for step in range(3):
                    atoms.positions += 0.01
                    atoms.rattle(0.02, seed=step)
                    atoms.calc = server
                    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
                    atoms.calc = direct
                    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
                    assert forces == pytest.approx(atoms.get_forces(), abs=1e-6)
            assert driver.wait() == 0
            assert "3 requests" in driver.said
            assert "without EXIT (as ASE does): taken for its end" in driver.said.splitlines()[-1]
        finally:
            driver.kill()


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("cell", [[14, 13, 12], [[13, 0, 0], [3, 14, 0], [-4, 2, 13]]])
def test_molecules_that_were_cut_are_whole(atoms: Atoms, cell: list, periodic: bool) -> None:
    """Whatever `pbc` says, a bond of a lattice vector's length was cut; the atoms themselves stay where they are."""
    before, forces, parts = atoms.get_potential_energy(), atoms.get_forces(), atoms.calc.results["parts"]
    atoms.cell, atoms.pbc = cell, True
    stress = atoms.get_stress()
    atoms.positions += np.array([0.1, 0.2, 0.3]) - atoms.positions[4]
    atoms.wrap()
    atoms.pbc = periodic
    cut = atoms.positions.copy()
    assert np.ptp(cut, axis=0).max() > 8
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-6)
    assert atoms.get_forces() == pytest.approx(forces, abs=1e-5)
    assert atoms.get_stress() == pytest.approx(stress, abs=1e-6)
    assert atoms.calc.results["parts"] == pytest.approx(parts, abs=1e-6)
    assert (atoms.positions == cut).all()


def test_molecules_that_were_cut_and_no_cell(atoms: Atoms) -> None:
    atoms.cell, atoms.pbc = [14, 14, 14], True
    atoms.positions += 0.1 - atoms.positions[4]
    atoms.wrap()
    atoms.cell, atoms.pbc = None, False
    with pytest.raises(GeometryError, match=r"the atoms: bond .* cut by periodic wrapping, and no cell"):
        atoms.get_potential_energy()


def test_ase_that_starts_the_driver_itself(atoms: Atoms, h2o_benzene: Path) -> None:
    """A warning of ASE's, as of a client that ends with another status than 0, would be an error here."""
    energy = atoms.get_potential_energy()
    with tempfile.TemporaryDirectory() as folder:
        name = Path(folder).name
        command = f"{sys.executable} -m delta_server.cli.driver {h2o_benzene} --socket unix:{name} --log-level error"
        launch = lambda atoms, properties, port, unixsocket: subprocess.Popen(command.split())  # noqa: E731
        with SocketIOCalculator(unixsocket=name, launch_client=launch) as server:
            atoms.calc = server
            assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)
