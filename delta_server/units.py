"""Units: Å and eV in the Python API, atomic units on i-PI's wire.

The values are CODATA 2014, as in `ase.units` (a test compares them); they stand here so that the
driver need not import ase for five numbers.
"""

BOHR = 0.5291772105638411
"""Å in one bohr."""

HARTREE = 27.211386024367243
"""eV in one hartree."""

KCAL_MOL = 0.04336410390059322
"""eV in one kcal/mol (thermochemical calorie)."""

KJ_MOL = KCAL_MOL / 4.184
"""eV in one kJ/mol."""

COULOMB = HARTREE * BOHR
"""eV Å between two elementary charges."""

BOLTZMANN = 8.617330337217213e-05
"""eV in one kelvin."""

LENGTHS = {"Ang": 1.0, "Angstrom": 1.0, "Å": 1.0, "A": 1.0, "bohr": BOHR, "a0": BOHR, "nm": 10.0}
"""Å in one of each length that a model file or a manifest may name."""

IPI_LENGTHS = {"angstrom": 1.0, "ang": 1.0, "atomic_unit": BOHR, "bohr": BOHR, "automatic": BOHR}
"""Å in one of each length that i-PI names in the comment lines of its xyz files."""

ENERGIES = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": KCAL_MOL,
    "kJ/mol": KJ_MOL,
    "Hartree": HARTREE,
    "Ha": HARTREE,
}
"""eV in one of each energy that a model file or a manifest may name."""


def length_in_angstrom(name: str) -> float:
    """Å in one `name`; ValueError with the names there are."""
    return _lookup(name, LENGTHS, "length")


def energy_in_ev(name: str) -> float:
    """eV in one `name`; ValueError with the names there are."""
    return _lookup(name, ENERGIES, "energy")


def _lookup(name: str, table: dict[str, float], kind: str) -> float:
    for known, value in table.items():
        if known.lower() == name.strip().lower():
            return value
    raise ValueError(f"unknown {kind} unit {name!r}; known: {', '.join(table)}")
