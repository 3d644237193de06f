"""PySCF as a calculator: forces, the density that it starts from, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.calculators.fd import calculate_numerical_forces
from ase.units import Bohr, Hartree

from delta_server.data.labels import Labeller, LabelTask
from delta_server.data.structures import Structures
from delta_server.errors import InputError
from delta_server.methods import Method
from delta_server.methods.dft import PySCF
from delta_server.units import KCAL_MOL

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


def test_coarse_grids_on_the_way_leave_pyscfs_own_result() -> None:
    from pyscf import dft, gto

    atoms = fluoride(grids=3, conv_tol=1e-11)
    mol = gto.M(atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), basis="sto-3g", verbose=0)
    own = dft.RKS(mol, xc="pbe0").density_fit()
    own.conv_tol = 1e-11
    assert atoms.get_potential_energy() == pytest.approx(own.kernel() * Hartree, abs=1e-7)
    assert atoms.get_forces() == pytest.approx(-own.nuc_grad_method().kernel() * Hartree / Bohr, abs=1e-5)


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


def test_counterpoise_takes_out_what_fragments_gain_from_each_others_basis() -> None:
    """The binding against energies with ghost atoms, and all forces against the energy."""
    from pyscf import dft, gto

    numbers, fragment = np.array([1, 9, 2]), np.array([0, 0, 1])
    x = np.array([[0, 0, 0], [0.3, 0.2, 0.9], [0.4, -0.5, -1.8]])
    options = CHEAP | {"xc": "pbe", "grids": 3, "conv_tol": 1e-11, "disp": "d4"}
    structures = Structures(numbers, x[None], np.arange(1), np.zeros(1, dtype=int), fragment, names=("hf", "he"))

    def labels(positions: np.ndarray, counterpoise: bool) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        method = Method("pyscf", options | {"counterpoise": counterpoise})
        made = Labeller(LabelTask(structures, method, (0, 0), (1, 1)))(positions)
        return made[0], made[1:3], made[3:12].reshape(3, 3), made[12:].reshape(3, 3)

    def bare(symbols: list[str]) -> float:
        method = dft.RKS(gto.M(atom=list(zip(symbols, x.tolist(), strict=True)), basis="sto-3g", verbose=0), xc="pbe")
        method = method.density_fit()
        method.grids.level, method.conv_tol = 3, 1e-11
        return float(method.kernel()) * Hartree / KCAL_MOL

    energy, isolated, forces, alone = labels(x, True)
    raw, separate, _, _ = labels(x, False)
    assert separate == pytest.approx(isolated, abs=1e-5)
    assert energy - raw > 0.05, "basis functions of others attract"
    ghosted = bare(["H", "F", "GHOST-He"]), bare(["GHOST-H", "GHOST-F", "He"])
    dispersion = sum(isolated) - sum(labels_without_dispersion(numbers, x, options))  # of the parts
    assert energy - isolated.sum() == pytest.approx(raw - sum(ghosted) - dispersion, abs=1e-4)
    assert np.abs(alone[2]).max() == 0
    step = np.zeros((3, 3))
    step[2, 2] = 2e-3
    up, down = labels(x + step, True)[0], labels(x - step, True)[0]
    assert forces[2, 2] == pytest.approx(-(up - down) / 4e-3, abs=0.03)  # of the grid
    with pytest.raises(InputError, match="a calculator alone has no fragments"):
        Method("pyscf", {**CHEAP, "counterpoise": True}).make()


def labels_without_dispersion(numbers: np.ndarray, x: np.ndarray, options: dict[str, object]) -> list[float]:
    """Energies of both fragments alone, kcal/mol."""
    plain = {key: value for key, value in options.items() if key != "disp"}
    parts = [Atoms(numbers[atoms], x[atoms], calculator=PySCF(**plain)) for atoms in ([0, 1], [2])]
    return [part.get_potential_energy() / KCAL_MOL for part in parts]
