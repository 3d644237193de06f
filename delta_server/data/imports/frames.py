"""Labelled frames of any format that ase reads, whatever their energies and forces are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._types import FloatArray
from ...errors import InputError
from ...molecule.structures import iter_structures
from ...units import KCAL_MOL
from ..conventions import FileUnits, Keys, Kind, check_isolated, factor
from ..dataset import Dataset
from ..structures import Electrons, run_of, same_atoms

if TYPE_CHECKING:
    from ase import Atoms

_BARE = "the comment line"  # where the oldest of sGDML's files have their energies, and no word beside them
_NO_ENERGY = ("free", "binding", "interaction", "kinetic", "formation", "adsorption", "unit")
_UNIT_KEYS: dict[Kind, tuple[str, ...]] = {
    "energy": ("energy_unit", "energy_units", "e_unit", "unit_energy"),
    "length": ("length_unit", "length_units", "r_unit", "unit_length", "distance_unit", "pos_unit"),
}
_FORCE_UNIT_KEYS = ("forces_unit", "forces_units", "force_unit", "force_units", "f_unit", "unit_forces")


class _Names(NamedTuple):
    """Where a file has its energies and forces, and whether these are ase's own keys, whose units are eV and Å."""

    energy: str
    forces: str
    standard: bool


def read_frames(path: Path, units: FileUnits, keys: Keys, *, isolated: bool, warn: Callable[[str], None]) -> Dataset:
    """The frames of a file as a data set. Raises InputError."""
    positions: list[FloatArray] = []
    energies: list[float] = []
    forces: list[FloatArray] = []
    runs: list[int] = []
    electrons: Electrons | None = None
    names: _Names | None = None
    warned = carried = None
    for number, atoms in enumerate(_frames(path)):
        where = f"{path}, frame {number}"
        if names is None:
            names, numbers = _names(where, atoms, keys), atoms.numbers.astype(np.intp)
        same_atoms(path, number, numbers, atoms.numbers)
        electrons = Electrons.of(where, atoms, electrons)
        if not isolated:
            cell = atoms.cell.array * atoms.pbc[:, None]
            warned = warned or check_isolated(where, atoms.positions, cell)
        says = tuple(_carried(where, atoms, kind) for kind in ("energy", "length"))
        if carried not in (None, says):
            raise InputError(f"{where}: units {says}, the frames before have {carried}; one file has one unit")
        carried = says
        energy, force = _labels(where, atoms, names)
        positions.append(atoms.positions)
        energies.append(energy)
        forces.append(force)
        runs.append(run_of(atoms))
    assert names is not None  # iter_structures has frames, or raises
    assert carried is not None
    if warned:
        warn(warned)
    e = units.factor(path, "energy", carried[0], "eV" if names.standard else "") / KCAL_MOL
    r = units.factor(path, "length", carried[1], "Ang")
    _check_forces_unit(path, atoms, e * KCAL_MOL / r)
    return Dataset(
        numbers,
        np.array(positions) * r,
        np.array(energies) * e,
        np.array(forces) * (e / r),
        name=path.stem,
        run=np.array(runs, dtype=np.intp) if any(runs) else None,
        charge=electrons.charge if electrons else None,
        multiplicity=electrons.multiplicity if electrons else None,
    )


def _check_forces_unit(path: Path, atoms: Atoms, expected: float) -> None:
    """Raises InputError where a comment line names a unit of forces that is not that of energy over that of length.

    expected: the latter, eV/Å.
    """
    info = {str(key).lower(): str(value) for key, value in atoms.info.items()}
    for said in (info[key] for key in _FORCE_UNIT_KEYS if key in info):
        energy, _, length = said.rpartition("/")
        of_energy, of_length = factor("energy", energy), factor("length", length)
        if of_energy is None or of_length is None or not np.isclose(of_energy / of_length, expected, rtol=1e-4):
            raise InputError(
                f"{path}: says that forces are in {said}, which is not its unit of energy over that of length; those "
                'are said by units="energy:…,length:…"'
            )


def _frames(path: Path) -> Iterator[Atoms]:
    return _bare_frames(path) if _is_bare(path) else iter_structures(path)


def _is_bare(path: Path) -> bool:
    """Whether a file begins as xyz with an energy for a comment, and forces behind the positions."""
    try:
        with path.open(encoding="utf-8") as stream:
            _, comment, atom = (line.split() for line in islice(stream, 3))
        float(comment[0])
    except (OSError, ValueError, IndexError):  # whoever reads it says what it is
        return False
    return len(comment) == 1 and len(atom) == 7


def _bare_frames(path: Path) -> Iterator[Atoms]:
    from ase import Atoms

    number = 0
    with path.open(encoding="utf-8") as stream:
        while head := stream.readline():
            try:
                n = int(head)
                energy, *lines = islice(stream, n + 1)
                words = [line.split() for line in lines]
                values = np.array([[float(word) for word in line[1:]] for line in words])
                if values.shape != (n, 6):
                    raise ValueError(f"expected {n} lines of an element and six numbers")
                atoms = Atoms([line[0] for line in words], values[:, :3], info={_BARE: float(energy)})
            except (ValueError, KeyError, IndexError) as error:
                raise InputError(f"{path}, frame {number}: is not as the frames before it: {error}") from None
            atoms.arrays[_BARE] = values[:, 3:]
            yield atoms
            number += 1


def _names(where: str, atoms: Atoms, keys: Keys) -> _Names:
    """What the energies and forces of a file are called. Raises InputError where that cannot be told."""
    results = {} if atoms.calc is None else atoms.calc.results
    energies = [key for key in atoms.info if _is_energy(key)]
    forces = [key for key in atoms.arrays if key.lower().endswith(("force", "forces"))]
    if _BARE in atoms.info:
        energies, forces = [_BARE], [_BARE]
    if results.get("energy") is not None:
        energies = ["energy", *(key for key in energies if _contradicts(atoms.info[key], results["energy"], key))]
    if results.get("forces") is not None:
        forces = ["forces", *(key for key in forces if _contradicts(atoms.arrays[key], results["forces"], key))]
    chosen = keys.energy or energies, keys.forces or forces
    for what, found, key in (("energy", chosen[0], "energy"), ("forces", chosen[1], "forces")):
        if len(found) == 1 or isinstance(found, str):
            continue
        there = sorted({*results, *atoms.info, *atoms.arrays} - {"numbers", "positions"})
        listed = ", ".join(map(str, there))[:200] or "positions alone"
        problem = f"no {what}" if not found else f"several kinds of {what}"
        raise InputError(
            f"{where}: {problem}; found {listed}; an extxyz file has energy=… in the comment line and forces:R:3 in "
            f"Properties, or say their names: --{key}-key; bare structures are for `dataset label`"
        )
    energy, force = (names if isinstance(names, str) else names[0] for names in chosen)
    # sGDML's own exporter writes "Energy", in the unit of its data set
    return _Names(energy, force, standard=energy not in (_BARE, "Energy"))


def _contradicts(reference: object, values: object, key: str) -> bool:
    """Whether labels that are called those of reference are others than ase's own, which may be a model's."""
    if not key.lower().startswith("ref"):
        return False
    return not np.allclose(np.asarray(reference, dtype=float), np.asarray(values, dtype=float), atol=1e-6)


def _is_energy(key: object) -> bool:
    name = str(key).lower()
    return name.endswith("energy") and not any(word in name for word in _NO_ENERGY)


def _labels(where: str, atoms: Atoms, names: _Names) -> tuple[float, FloatArray]:
    """Energy and forces as the file has them, whatever atoms are held fixed."""
    results = {} if atoms.calc is None else atoms.calc.results
    places = (names.energy, (results, atoms.info)), (names.forces, (results, atoms.arrays))
    found = []
    for what, (key, tables) in zip(("energy", "forces"), places, strict=True):
        values = next((table[key] for table in tables if table.get(key) is not None), None)
        if values is None:
            there = sorted({*results, *atoms.info, *atoms.arrays} - {"numbers", "positions"})
            listed = ", ".join(map(str, there))[:200] or "positions alone"
            raise InputError(f"{where}: no {what} ({key}); found {listed}; leave the frame out")
        try:
            found.append(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError):
            raise InputError(f"{where}: {key} is {str(values)[:60]!r}, expected numbers") from None
    energy, forces = found
    for key, values in (("positions", atoms.positions), ("energy", energy), ("forces", forces)):
        if not np.isfinite(values).all():
            raise InputError(f"{where}: {key} not finite; leave the frame out")
    if energy.size != 1:
        raise InputError(f"{where}: {names.energy} holds {energy.size} numbers, expected one energy")
    if forces.shape != atoms.positions.shape:
        raise InputError(f"{where}: forces of shape {forces.shape}, expected {atoms.positions.shape}")
    return float(energy.reshape(())), forces


def _carried(where: str, atoms: Atoms, kind: Kind) -> str:
    """The unit that a comment line names: ``units="energy:kcal/mol,length:Angstrom"``, or ``energy_unit=eV``."""
    info = {str(key).lower(): str(value) for key, value in atoms.info.items()}
    for key in _UNIT_KEYS[kind]:
        if key in info:
            return info[key]
    parts = info.get("units", info.get("unit", "")).replace(";", ",").replace("=", ":").split(",")
    pairs = [part.partition(":") for part in parts if part.strip()]
    said = {key.strip().lower(): value.strip() for key, _, value in pairs}
    if any(key.startswith("force") for key in said) and not {"energy", "length"} <= set(said):
        raise InputError(f'{where}: says a unit of forces; say those of energy and length, units="energy:…,length:…"')
    if alone := [key for key, value in said.items() if not value]:
        raise InputError(f'{where}: units={alone[0]!r}: expected units="energy:kcal/mol,length:Ang"')
    if kind == "energy":
        return said.get("energy", said.get("energies", ""))
    return said.get("length", said.get("positions", said.get("distance", "")))
