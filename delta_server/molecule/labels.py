"""Labels of atoms as molecular dynamics writes them: elements in any case, and isotopes with their own masses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

# Isotopes that i-PI knows by a label of their own, as it has them (its utils/units.py): element and mass in u.
_ISOTOPES = {
    "D": ("H", 2.0141),
    "H2": ("H", 2.0160),
    "T": ("H", 3.016049),
    "Z": ("H", 1.382943),  # between H and D, for free energies of exchange
    "C13": ("C", 13.00335),
    "C14": ("C", 14.003241),
    "O17": ("O", 16.9991315),
    "O18": ("O", 17.9991610),
    "Cl37": ("Cl", 36.96590259),
    "Br81": ("Br", 80.9163),
}
_NUMBERED = re.compile(r"(\d{1,3})([A-Za-z]{1,2})")  # 13C


def atom_of(label: str) -> tuple[int, float]:
    """Atomic number and mass (u) of a label: an element's symbol in any case (CL), or an isotope's as i-PI has it (D,
    C13) or with its number in front (13C, whose mass is the number's where i-PI has none). Raises InputError.

    Masses of elements are ase's. A number behind an element is refused otherwise: C1 may be the first carbon.
    """
    from ase.data import atomic_masses, atomic_numbers

    known = {name.upper(): isotope for name, isotope in _ISOTOPES.items()}
    name = label.strip()
    element = name.capitalize()
    if element in atomic_numbers and element != "X":
        number = atomic_numbers[element]
        return number, float(atomic_masses[number])
    if name.upper() in known:
        element, mass = known[name.upper()]
        return atomic_numbers[element], mass
    match = _NUMBERED.fullmatch(name)
    if match and (element := match[2].capitalize()) in atomic_numbers:
        number, nucleons = atomic_numbers[element], int(match[1])
        if number <= nucleons <= 3 * number:
            heavy = {"H2": "D", "H3": "T"}.get(f"{element}{nucleons}", f"{element}{nucleons}")
            return number, _ISOTOPES.get(heavy, (element, 1.00783 if nucleons == 1 else float(nucleons)))[1]
    raise InputError(
        f"{label!r} is no element, and no isotope that i-PI knows (D, T, {', '.join(list(_ISOTOPES)[4:])})"
    )


def frames_with_labels(path: Path) -> Iterator[Atoms] | None:
    """The frames of an xyz file whose first one has labels that are no elements' symbols, which ase would not read:
    as elements, with the masses of their isotopes. None for any other file.

    The iterator raises InputError for labels that are none, ValueError for lines that are no frame.
    """
    from ase.data import atomic_numbers

    try:
        with path.open(encoding="utf-8") as lines:
            labels = [line.split()[0] for line in _frame(lines)[2:]]
    except (OSError, ValueError, IndexError):
        return None
    return None if all(label in atomic_numbers for label in labels) or not labels else _read(path)


def _frame(lines: TextIO) -> list[str]:
    """The next frame's lines, none at the end of the file. Raises ValueError."""
    first = lines.readline()
    if not first.strip():
        return []
    count = int(first)
    frame = [first, lines.readline(), *islice(lines, count)]
    if count < 1 or len(frame) != count + 2 or any(not line.strip() for line in frame[2:]):
        raise ValueError(f"expected {count} lines of an atom")
    return frame


def _read(path: Path) -> Iterator[Atoms]:
    import ase.io
    from ase.data import chemical_symbols

    with path.open(encoding="utf-8") as lines:
        while frame := _frame(lines):
            atoms = [atom_of(line.split()[0]) for line in frame[2:]]
            as_elements = [
                f"{chemical_symbols[number]} {line.split(maxsplit=1)[1]}"
                for (number, _), line in zip(atoms, frame[2:], strict=True)
            ]
            for structure in ase.io.iread(StringIO("".join([*frame[:2], *as_elements])), format="extxyz"):
                structure.set_masses([mass for _, mass in atoms])
                yield structure
