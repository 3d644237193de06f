"""Heavier hydrogens."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from delta_server.errors import InputError
from delta_server.molecule.masses import repartitioned


def test_a_molecule_weighs_what_it_did() -> None:
    water, methane = molecule("H2O"), molecule("CH4")
    methane.translate([6, 0, 0])
    both = water + methane
    masses = repartitioned(both.numbers, both.positions, 3.0)
    assert (masses[both.numbers == 1] == 3).all()
    for own, part in ((water, masses[:3]), (methane, masses[3:])):
        assert part.sum() == pytest.approx(own.get_masses().sum(), abs=1e-12)
    assert masses[0] == pytest.approx(15.999 - 2 * (3 - 1.008))
    ion = molecule("C6H6")
    assert repartitioned(ion.numbers, ion.positions, 1.008) == pytest.approx(ion.get_masses())


@pytest.mark.parametrize(
    ("name", "hydrogen", "says"),
    [
        ("CH4", 4.0, "C. would be left with 0.043 u; give less"),
        ("H2", 3.0, r"atom 0 \(H\) is not bound to just one"),
    ],
)
def test_what_cannot_be(name: str, hydrogen: float, says: str) -> None:
    atoms = molecule(name)
    with pytest.raises(InputError, match=says):
        repartitioned(atoms.numbers, atoms.positions, hydrogen)


def test_a_molecule_that_is_cut_in_two() -> None:
    """By a face of its cell."""
    water = molecule("H2O")
    water.positions[1] += np.array([0, 12, 0])
    with pytest.raises(InputError, match=r"atom 1 \(H\) is not bound"):
        repartitioned(water.numbers, water.positions, 3.0)
