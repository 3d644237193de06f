"""How other codes write labels: names of arrays, names of units, and the cell of a periodic system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .._types import FloatArray
from ..errors import InputError
from ..units import energy_in_ev, length_in_angstrom

Kind = Literal["energy", "length"]

ARRAYS = {
    "z": ("Z", "nuclear_charges", "atomic_numbers", "numbers"),
    "R": ("coords", "positions", "coordinates", "_positions"),
    "E": ("energies", "energy", "Energy", "y"),
    "F": ("forces", "force", "Forces", "dy"),
}
"""Names that other codes (rMD17, SchNetPack, …) give to sGDML's arrays."""

_SPELLINGS = {
    "angstroms": "Ang", "ångström": "Ang", "bohrs": "bohr", "bohr radius": "bohr", "nanometer": "nm",
    "hartrees": "Hartree", "eh": "Hartree", "electronvolt": "eV", "electron volt": "eV", "kcal mol-1": "kcal/mol",
    "kcal mol^-1": "kcal/mol", "kcal/mole": "kcal/mol", "kcalmol": "kcal/mol", "kj mol-1": "kJ/mol",
    "kj mol^-1": "kJ/mol", "kj/mole": "kJ/mol",
}  # fmt: skip
_VACUUM = 10.0  # Å between a molecule and its images; nearer, they are felt


def factor(kind: Kind, unit: str) -> float | None:
    """eV or Å in one of a unit; None where its name may mean anything, as sGDML's ``au`` does."""
    lookup = energy_in_ev if kind == "energy" else length_in_angstrom
    try:
        return lookup(_SPELLINGS.get(unit.strip().lower(), unit))
    except ValueError:
        return None


@dataclass(frozen=True)
class FileUnits:
    """The units of a file as the user says them; "" where they were not said. Raises InputError for unknown ones."""

    energy: str = ""
    length: str = ""

    def __post_init__(self) -> None:
        try:
            energy_in_ev(self.energy or "eV"), length_in_angstrom(self.length or "Ang")
        except ValueError as error:
            raise InputError(str(error)) from None

    def factor(self, path: Path, kind: Kind, carried: str, otherwise: str = "") -> float:
        """eV or Å in the unit of a file.

        carried: the unit that the file names, "" for none. otherwise: the unit where nobody says one. Raises
        InputError where there is none, or the file and the user say different ones.
        """
        given = self.energy if kind == "energy" else self.length
        in_file, by_user = factor(kind, carried), factor(kind, given) if given else None
        if in_file is not None and by_user is not None and in_file != by_user:
            raise InputError(
                f"{path}: its {kind} unit is {carried}, --{kind}-unit says {given}; leave the option out"
            )
        usual = "kcal/mol" if kind == "energy" else "Ang"
        if carried and in_file is None and by_user is None:
            raise InputError(
                f"{path}: its {kind} unit is {carried!r}, which may mean anything; say it to `delta-sgdml dataset "
                f"import`: --{kind}-unit {'Hartree' if kind == 'energy' else 'bohr'}, or {usual}"
            )
        known = [value for value in (in_file, by_user, factor(kind, otherwise)) if value is not None]
        if not known:
            raise InputError(
                f"{path}: carries no {kind} unit; say it, --{kind}-unit {usual} for MD17, MD22 and the like"
            )
        return known[0]


NO_UNITS = FileUnits()
"""Nobody says a unit."""


@dataclass(frozen=True)
class Keys:
    """Names of the energies and forces in a file as the user says them; "" for the usual ones."""

    energy: str = ""
    forces: str = ""

    def __post_init__(self) -> None:
        if "grad" in self.forces.lower():
            raise InputError(f"--forces-key {self.forces!r}: gradients are no forces; write their negative first")


USUAL_KEYS = Keys()
"""Energies and forces have their usual names."""


def check_isolated(where: str, positions: FloatArray, cell: FloatArray) -> str:
    """What to warn of where labels come with a periodic cell whose images are far.

    positions: (N, 3). cell: (3, 3), its periodic vectors as rows, zeros for none; both Å. Raises InputError where
    the images are near enough to be in the labels.
    """
    periodic = np.flatnonzero(np.linalg.norm(cell, axis=1) > 1e-6)
    if not len(periodic):
        return ""
    vectors = cell.copy()  # what is not periodic may be any direction that completes the others
    _, _, basis = np.linalg.svd(cell[periodic])
    vectors[np.setdiff1d(np.arange(3), periodic)] = basis[len(periodic) :]
    if abs(np.linalg.det(vectors)) < 1e-9:
        raise InputError(f"{where}: its cell has no volume; mend the cell, or leave it out")
    normals = np.linalg.inv(vectors).T
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    height = np.abs((vectors * normals).sum(1))
    vacuum = float((height - np.ptp(positions @ normals.T, axis=0))[periodic].min())
    if vacuum < _VACUUM:
        raise InputError(
            f"{where}: labels of a periodic system (lattice or pbc, {max(vacuum, 0.0):.1f} Å to the next image); a "
            "Δ-model is of isolated molecules: label them without a cell, or say --isolated if that is how they were "
            "labelled"
        )
    return f"{where}: has a periodic cell, {vacuum:.1f} Å to the next image; its labels are taken for isolated ones"
