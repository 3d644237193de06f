"""The units that i-PI names in its outputs, in this package's: ps, eV, K, Å, and Å³ of volumes.

The numbers are i-PI's own (its ``utils/units.py``), so that a column in any unit becomes what i-PI would have printed
in the unit that is used here.
"""

from __future__ import annotations

import re

from ..units import BOHR, HARTREE

_KB = 8.617330337217213e-05  # eV/K in ase.units
_AMU = 1822.8885  # electron masses
_PREFIXES = {
    "yotta": 1e24, "zetta": 1e21, "exa": 1e18, "peta": 1e15, "tera": 1e12, "giga": 1e9, "mega": 1e6, "kilo": 1e3,
    "milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12, "femto": 1e-15, "atto": 1e-18, "zepto": 1e-21,
    "yocto": 1e-24,
}  # fmt: skip
_UNIT = re.compile(rf"\s*({'|'.join(_PREFIXES)})?(.*?)\s*")
_ATOMIC = dict.fromkeys(("", "automatic", "atomic_unit"), 1.0)
_BASES: dict[str, dict[str, float]] = {  # atomic units in one of each
    "time": _ATOMIC | {"second": 4.1341373e16, "ase": (_AMU * HARTREE) ** 0.5 / BOHR},
    "energy": _ATOMIC
    | {
        "electronvolt": 0.036749326,
        "j/mol": 0.00000038087989,
        "cal/mol": 0.0000015946679,
        "kelvin": 3.1668152e-06,
        "ase": 1 / HARTREE,
    },
    "temperature": _ATOMIC | {"kelvin": 3.1668152e-06, "ase": _KB / HARTREE},
    "length": _ATOMIC
    | {"bohr": 1.0, "ang": 1.8897261, "angstrom": 1.8897261, "meter": 1.8897261e10, "ase": 1 / BOHR},
    "volume": _ATOMIC | {"angstrom3": 6.748334231, "ase": BOHR**-3},
}
_HERE = {
    "time": "picosecond",
    "energy": "electronvolt",
    "temperature": "kelvin",
    "length": "angstrom",
    "volume": "angstrom3",
}


def factor(quantity: str, unit: str) -> float:
    """What a value in i-PI's unit is to be multiplied by to be in this package's.

    quantity: time, energy, temperature, length or volume. unit: as between the braces of a header, ``kilocal/mol``;
    without one i-PI prints atomic units. Raises ValueError for a unit that i-PI does not have for the quantity.
    """
    return _in_atomic_units(quantity, unit) / _in_atomic_units(quantity, _HERE[quantity])


def _in_atomic_units(quantity: str, unit: str) -> float:
    match = _UNIT.fullmatch(unit)
    base = "" if match is None else str(match[2]).lower()
    if match is None or base not in _BASES[quantity]:
        known = ", ".join(name for name in _BASES[quantity] if name)
        raise ValueError(f"{unit!r} is no unit of {quantity} that i-PI has ({known}; with prefixes as milli)")
    return _PREFIXES.get(match[1], 1.0) * _BASES[quantity][base]
