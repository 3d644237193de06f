"""Data sets from other people's files: what ase reads with energies and forces, sGDML's and MD22's ``.npz``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..files.npz import open_arrays
from ..molecule.structures import iter_structures
from ..units import KCAL_MOL, energy_in_ev, length_in_angstrom
from .dataset import Dataset, load_dataset
from .fragments import formula
from .structures import same_atoms

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class FileUnits:
    """FileUnits as the user says them; "" where they were not said."""

    energy: str = ""
    length: str = ""

    def __post_init__(self) -> None:
        try:
            energy_in_ev(self.energy or "eV"), length_in_angstrom(self.length or "Ang")
        except ValueError as error:
            raise InputError(str(error)) from None


def import_files(paths: Sequence[Path], units: FileUnits = FileUnits()) -> Dataset:
    """One data set of all configurations of the files, each file a run of its own (or several, as it says itself).

    units: of files that carry none. ase's are taken to be eV and Å. Raises InputError where a file cannot be used,
    contradicts `units`, or does not go with the first.
    """
    parts = [_read_npz(path, units) if path.suffix == ".npz" else _read_ase(path, units) for path in paths]
    return concatenate(parts, [str(path) for path in paths])


def concatenate(parts: Sequence[Dataset], names: Sequence[str]) -> Dataset:
    """All configurations, runs counted on. names: of the parts, for messages. Raises InputError where they differ in
    atoms, fragments, charges, theory, or in which labels they have."""
    first = parts[0]
    runs: list[IntArray] = []
    for name, part in zip(names, parts, strict=True):
        if not np.array_equal(part.numbers, first.numbers):
            raise InputError(
                f"{name}: atoms {formula(part.numbers)} differ from {names[0]}'s {formula(first.numbers)}, or "
                "in their order; one data set holds one complex"
            )
        for what, a, b in (
            ("fragments", part.fragment, first.fragment),
            ("charges", part.charges, first.charges),
        ):
            if (a is None) != (b is None) or (a is not None and b is not None and not np.array_equal(a, b)):
                raise InputError(f"{name}: {what} differ from {names[0]}'s; one data set holds one complex")
        if part.labelled_fragments != first.labelled_fragments:
            raise InputError(f"{name} or {names[0]} has labels of isolated fragments, the other not")
        if part.theory != first.theory:
            raise InputError(
                f"{name}: theory {part.theory or 'not said'!r}, {names[0]} has {first.theory or 'not said'!r}; "
                "labels of two methods do not mix"
            )
        run = np.zeros(len(part), dtype=np.intp) if part.run is None else np.unique(part.run, return_inverse=True)[1]
        runs.append(run + (int(runs[-1].max()) + 1 if runs else 0))

    def joined(field: str) -> FloatArray | None:
        arrays = [getattr(part, field) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    same_split = all(part.split is not None for part in parts)
    return replace(
        first,
        positions=np.concatenate([part.positions for part in parts]),
        energies=np.concatenate([part.energies for part in parts]),
        forces=np.concatenate([part.forces for part in parts]),
        fragment_energies=joined("fragment_energies") if first.labelled_fragments else None,
        fragment_forces=joined("fragment_forces") if first.labelled_fragments else None,
        index=np.concatenate([np.arange(len(p)) if p.index is None else p.index for p in parts]),
        run=np.concatenate(runs),
        split=np.concatenate([p.split for p in parts if p.split is not None]) if same_split else None,
    )


def _read_npz(path: Path, units: FileUnits) -> Dataset:
    """sGDML's file, or one with its keys and perhaps without units."""
    data = load_dataset(path)
    if data.theory == "unknown":  # as sgdml and save_dataset write it
        data = replace(data, theory="")
    with open_arrays(path, "data set", "z, R, E, F", InputError) as arrays:
        found = FileUnits(arrays.text("e_unit") or "", arrays.text("r_unit") or "")
    energy = _unit(path, "energy", found.energy, units.energy)
    length = _unit(path, "length", found.length, units.length)
    # load_dataset has taken units that the file does not say for kcal/mol and Å
    e = 1.0 if found.energy else energy_in_ev(energy) / KCAL_MOL
    r = 1.0 if found.length else length_in_angstrom(length)
    return _scaled(data, e, r)


def _unit(path: Path, kind: str, found: str, said: str) -> str:
    """The unit of a file that says `found`, where the user says `said`."""
    lookup = energy_in_ev if kind == "energy" else length_in_angstrom
    if found and said and lookup(found) != lookup(said):
        raise InputError(f"{path}: its {kind} unit is {found}, --{kind}-unit says {said}; leave the option out")
    if not found and not said:
        usual = "kcal/mol" if kind == "energy" else "Ang"
        raise InputError(f"{path}: carries no {kind} unit; say it, --{kind}-unit {usual} for MD17, MD22 and the like")
    return found or said


def _scaled(data: Dataset, energy: float, length: float) -> Dataset:
    """With energies and lengths multiplied."""
    alone, pulls = data.fragment_energies, data.fragment_forces
    return replace(
        data,
        positions=data.positions * length,
        energies=data.energies * energy,
        forces=data.forces * (energy / length),
        fragment_energies=None if alone is None else alone * energy,
        fragment_forces=None if pulls is None else pulls * (energy / length),
    )


def _read_ase(path: Path, units: FileUnits) -> Dataset:
    """Frames with a calculator's energy and forces."""
    positions: list[FloatArray] = []
    energies: list[float] = []
    forces: list[FloatArray] = []
    numbers = np.zeros(0, dtype=np.intp)
    for frame, atoms in enumerate(iter_structures(path)):
        if not positions:
            numbers = atoms.numbers.astype(np.intp)
        same_atoms(path, frame, numbers, atoms.numbers)
        energy, force = _labels(path, frame, atoms)
        positions.append(atoms.positions)
        energies.append(energy)
        forces.append(force)
    data = Dataset(numbers, np.array(positions), np.array(energies), np.array(forces), name=path.stem)
    return _scaled(data, energy_in_ev(units.energy or "eV") / KCAL_MOL, length_in_angstrom(units.length or "Ang"))


def _labels(path: Path, frame: int, atoms: Atoms) -> tuple[float, FloatArray]:
    """Energy and forces as the file has them, whatever atoms are held fixed."""
    results = {} if atoms.calc is None else atoms.calc.results
    for key in ("energy", "forces"):
        if results.get(key) is None:
            other = sorted({*results, *atoms.info, *atoms.arrays} - {"numbers", "positions"})
            raise InputError(
                f"{path}, frame {frame}: no {key}; found {', '.join(map(str, other))[:200] or 'positions alone'}; an "
                "extxyz file needs energy=… in the comment line and forces:R:3 in Properties; bare structures are "
                "for `dataset label`"
            )
    energy, forces = float(results["energy"]), np.asarray(results["forces"], dtype=np.float64)
    for key, values in (("positions", atoms.positions), ("energy", energy), ("forces", forces)):
        if not np.isfinite(values).all():
            raise InputError(f"{path}, frame {frame}: {key} not finite; leave the frame out")
    if forces.shape != atoms.positions.shape:
        raise InputError(f"{path}, frame {frame}: forces of shape {forces.shape}, expected {atoms.positions.shape}")
    return energy, forces
