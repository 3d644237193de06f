"""Labels of atoms, against i-PI's own masses, and structures that bear them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.data import atomic_masses
from made_runs import frame
from numpy import zeros

from delta_server.errors import InputError
from delta_server.molecule.labels import atom_of
from delta_server.molecule.structures import iter_structures, read_structure


def test_i_pi_s_labels_have_its_masses() -> None:
    """Isotopes to the last digit; elements as ase has them, which is within 0.3 % but for those without a mass."""
    from ipi.utils.units import Elements

    for label, mass in Elements.mass_list.items():
        if label in ("L", "X", "Uut", "Uup", "Uus", "Uuo"):  # no atoms, and elements that have other names now
            continue
        isotope = any(c.isdigit() for c in label) or label in "DTZ"
        assert atom_of(label)[1] == (mass if isotope else pytest.approx(mass, rel=3e-3 if mass < 200 else 0.05)), (
            label
        )


@pytest.mark.parametrize(
    ("label", "number", "mass"),
    [
        ("CL", 17, atomic_masses[17]),
        ("cl", 17, atomic_masses[17]),
        ("NA", 11, atomic_masses[11]),
        ("d", 1, 2.0141),
        ("2H", 1, 2.0141),
        ("3H", 1, 3.016049),
        ("1H", 1, 1.00783),
        ("13C", 6, 13.00335),
        ("15N", 7, 15.0),
        ("37CL", 17, 36.96590259),
        ("CL37", 17, 36.96590259),
    ],
)
def test_capitals_and_isotopes(label: str, number: int, mass: float) -> None:
    assert atom_of(label) == (number, pytest.approx(mass))


@pytest.mark.parametrize("label", ["Q", "C1", "H3", "99H", "2C", "", "X"])
def test_what_is_none_is_refused(label: str) -> None:
    with pytest.raises(InputError, match="is no element"):
        atom_of(label)


def test_structures_with_isotopes(tmp_path: Path) -> None:
    path = tmp_path / "d2o.xyz"
    positions = zeros((4, 3))
    path.write_text("".join(frame(s, positions + s, ("O", "D", "2H", "CL")) for s in (0, 1)))
    frames = list(iter_structures(path))
    assert [atoms.positions[0, 0] for atoms in frames] == [0, 1]
    for atoms in (*frames, read_structure(path)):
        assert atoms.numbers.tolist() == [8, 1, 1, 17]
        assert atoms.get_masses().tolist() == pytest.approx([15.999, 2.0141, 2.0141, 35.45])
    path.write_text(path.read_text().replace("2H", "QQ"))
    with pytest.raises(InputError, match=r"d2o\.xyz.*'QQ' is no element"):
        list(iter_structures(path))
