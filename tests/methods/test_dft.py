"""PySCF as a calculator: forces, the density that it starts from, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.calculators.fd import calculate_numerical_forces

from delta_server.errors import InputError
from delta_server.methods import Method
from delta_server.methods.dft import PySCF

CHEAP = {"xc": "pbe0", "basis": "sto-3g", "grids": 1, "net_force": 5.0}


def fluoride(**options: object) -> Atoms:
    return Atoms("HF", [[0, 0, 0], [0.3, 0.2, 0.9]], calculator=PySCF(**(CHEAP | options)))


def test_forces_are_those_of_the_energy() -> None:
    atoms = fluoride(disp="d4", grids=3, grid_response=True, conv_tol=1e-11)
    numerical = calculate_numerical_forces(atoms, eps=1e-3, iatoms=[0])
    assert atoms.get_forces()[0] == pytest.approx(numerical[0], abs=2e-4)
    assert np.abs(atoms.get_forces().sum(0)).max() < 1e-5
    bare = fluoride(grids=3, grid_response=True, conv_tol=1e-11)
    assert bare.get_potential_energy() - atoms.get_potential_energy() > 1e-4, "dispersion attracts"


def test_the_density_before_changes_nothing_but_the_way_there() -> None:
    atoms = fluoride()
    atoms.get_forces()
    atoms.positions[1] += [0.05, -0.03, 0.02]
    fresh = fluoride()
    fresh.positions = atoms.positions
    assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-9 * 27.2)
    assert atoms.get_forces() == pytest.approx(fresh.get_forces(), abs=1e-4)


def test_charge_and_spin() -> None:
    """Ionization energy of fluorine hydride from a doublet cation, in eV."""
    energies = [
        Method("pyscf", CHEAP).make(charge, spin).get_potential_energy(fluoride())
        for charge, spin in ((0, 1), (1, 2))
    ]
    assert 11 < energies[1] - energies[0] < 20


def test_what_did_not_converge_has_no_labels() -> None:
    with pytest.raises(CalculationFailed, match="did not converge in 1 cycles"):
        fluoride(max_cycle=1).get_potential_energy()
    with pytest.raises(CalculationFailed, match="too coarse; take grids=1"):
        fluoride(grids=0, net_force=1e-6).get_forces()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"xc": "b97_3c"}, "composite method"),
        ({"xc": "r2SCAN-3c"}, "composite method"),
        ({"xc": "pbe0-d4"}, "without its dispersion: name them apart, as in xc=pbe0 disp=d4"),
        ({"xc": "wb97x_d"}, "without its dispersion"),
        ({"xc": "B3LYP-D3BJ"}, "xc=B3LYP disp=d3bj"),
        ({"xc": "wb97m_v", "disp": "d4"}, "dispersion of its own"),
        ({"disp": "d5"}, "expected one of d4"),
        ({"xc": "pbe,pbe", "disp": "d4"}, "no parameters for xc=pbe,pbe"),
        ({"xc": "nonsense"}, "xc=nonsense"),
        ({"basis": "def2-nothing"}, "no basis 'def2-nothing'"),
        ({"bases": "def2-svp"}, "no option 'bases'"),
        ({"charge": 1}, "said by --charges"),
    ],
)
def test_refuses(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Method("pyscf", {"xc": "pbe0", "basis": "def2-svp"} | options).load()  # type: ignore[arg-type]
    with pytest.raises(InputError, match="which xc"):
        Method("pyscf", {"basis": "def2-svp"}).load()
    with pytest.raises(InputError, match="cannot have multiplicity"):
        Method("pyscf", {"xc": "hf", "basis": "sto-3g"}).check(np.array([1, 9]), 1, 1, "fragment hf")
