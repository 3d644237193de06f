"""Units: the numbers are ASE's, and names are found however they are written."""

from __future__ import annotations

from collections.abc import Callable

import ase.units
import pytest

from delta_server import units
from delta_server.units import energy_in_ev, length_in_angstrom


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (units.BOHR, ase.units.Bohr),
        (units.HARTREE, ase.units.Hartree),
        (units.KCAL_MOL, ase.units.kcal / ase.units.mol),
        (units.BOLTZMANN, ase.units.kB),
        (units.KJ_MOL, ase.units.kJ / ase.units.mol),
        (length_in_angstrom("nm"), ase.units.nm),
        (energy_in_ev("meV"), 1e-3 * ase.units.eV),
    ],
)
def test_constants_are_those_of_ase(ours: float, theirs: float) -> None:
    assert ours == pytest.approx(theirs, rel=1e-14)


@pytest.mark.parametrize(
    ("lookup", "names", "value"),
    [
        (length_in_angstrom, "Ang ang ANGSTROM Å å A a", 1.0),
        (length_in_angstrom, "bohr Bohr a0", units.BOHR),
        (energy_in_ev, "eV ev", 1.0),
        (energy_in_ev, "kcal/mol KCAL/MOL Kcal/Mol", units.KCAL_MOL),
        (energy_in_ev, "kJ/mol", units.KJ_MOL),
        (energy_in_ev, "Hartree hartree Ha", units.HARTREE),
    ],
)
def test_names(lookup: Callable[[str], float], names: str, value: float) -> None:
    assert {lookup(name) for name in names.split()} == {value}
    assert lookup(f" {names.split()[0]} ") == value


@pytest.mark.parametrize(
    ("lookup", "name", "known"),
    [
        (length_in_angstrom, "m", "bohr"),
        (length_in_angstrom, "eV", "Ang"),
        (length_in_angstrom, "", "Ang"),
        (energy_in_ev, "Ang", "kcal/mol"),
        (energy_in_ev, "kcal", "kcal/mol"),
        (energy_in_ev, "Rydberg", "Hartree"),
    ],
)
def test_unknown_names(lookup: Callable[[str], float], name: str, known: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown \w+ unit '{name}'; known: .*{known}"):
        lookup(name)
