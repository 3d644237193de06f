"""Labels of atoms as molecular dynamics writes them: elements in any case, and isotopes with their own masses."""

from __future__ import annotations

import re

from ..errors import InputError

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
