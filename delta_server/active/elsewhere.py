"""Labels that are made elsewhere: geometries handed out as extxyz, and energies and forces taken in again.

Every geometry is asked for as the complex and as each of its molecules alone. What comes back is known by its atoms,
in their order, and their positions, moved at most as a whole: by whichever program it was computed, and from
whichever file that ase reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..data.consistency import check_dataset
from ..data.conventions import NO_UNITS, USUAL_KEYS, FileUnits, Keys
from ..data.dataset import Dataset, save_dataset
from ..data.fragments import formula
from ..data.imports import concatenate
from ..data.imports.frames import read_frames
from ..errors import InputError
from ..files.lock import locked
from ..files.npz import open_arrays
from ..files.whole import replacing, save_arrays
from .asked import Asked
from .rounds import TO_LABEL, Round, rounds
from .settings import Settings, load_settings

_SAME = 1e-3  # Å that a position may differ, by the digits of a file
_TRUE = (
    "forces = ",
    "one zero of energy",
    "complex and fragments",
    "net ",
    ": F0 = ",
    ": one zero",
    ": one atom",
    ": net ",
)
"""Checks of a data set that a contradiction in what came back fails; others are of its geometries."""


@dataclass(frozen=True, eq=False)
class Part:
    """The complex, or one molecule alone, of all the frames that were asked under one name.

    numbers: (N,). positions: (n, N, 3) Å. energies (n,) kcal/mol and forces (n, N, 3) kcal/mol/Å: NaN where they have
    not come yet.
    """

    name: str
    what: str
    charge: int
    multiplicity: int
    numbers: IntArray
    positions: FloatArray
    energies: FloatArray
    forces: FloatArray

    @property
    def file(self) -> str:
        """The name of the file that hands it out."""
        return f"{self.name}_{self.what}.extxyz" if self.what != self.name else f"{self.what}.extxyz"

    @property
    def missing(self) -> IntArray:
        """Frames that have no labels yet."""
        return np.flatnonzero(np.isnan(self.energies))


def hand_out(root: Path, now: Round, settings: Settings) -> int:
    """Write `to_label/` anew: what a round asked for and has not been given. Returns how many geometries.

    Files there that are not as this writes them are results, more likely than not: they stay, those that lie over
    what is handed out under another name.
    """
    folder = root / TO_LABEL
    folder.mkdir(exist_ok=True)
    missing = [asked for asked in now.asked() if now.labels(asked.name) is None]
    wanted = [part for asked in missing for part in _parts(now, asked, settings) if len(part.missing)]
    for path in folder.glob("*.extxyz"):
        if _handed_out(path):
            path.unlink()
    for part in wanted:
        path = folder / part.file
        if path.exists():
            path.rename(next(p for n in count(1) if not (p := path.with_stem(f"{path.stem}_labelled_{n}")).exists()))
        _write(path, part)
    return sum(len(part.missing) for part in wanted)


def _handed_out(path: Path) -> bool:
    """Whether a file is as `_write` leaves it: geometries without labels."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        comment = next(islice(stream, 1, None), "")
    return comment.startswith("Properties=species:S:1:pos:R:3 frame=") and "energy" not in comment.lower()


def settle(now: Round, settings: Settings) -> bool:
    """Put together what has come whole, of a call that was killed before it did; whether there was any."""
    found = False
    for asked in now.asked():
        if now.labels(asked.name) is None:
            parts = _parts(now, asked, settings)
            if not any(len(part.missing) for part in parts):
                save_dataset(now.labels_path(asked.name), _assembled(asked, parts, settings))
                found = True
    return found


def _write(path: Path, part: Part) -> None:
    from ase import Atoms
    from ase.io import write

    with replacing(path) as beside, beside.open("w", encoding="utf-8") as stream:
        for i in part.missing.tolist():
            info = {"frame": i, "of": part.what, "charge": part.charge, "multiplicity": part.multiplicity}
            write(stream, Atoms(part.numbers, part.positions[i], info=info), format="extxyz")


def _parts(now: Round, asked: Asked, settings: Settings) -> list[Part]:
    """What is labelled of the frames under one name, with what has been received of it."""
    molecules = [(settings.names[k], settings.atoms[k], settings.charges[k], settings.multiplicities[k])
                 for k in asked.members]  # fmt: skip
    everyone = np.arange(len(settings.numbers))
    if not asked.alone:
        spin = 1 + sum(m - 1 for m in settings.multiplicities)
        molecules.insert(0, ("complex", everyone, sum(settings.charges), spin))
    received = _received(now, asked.name)
    parts = []
    for name, atoms, charge, spin in molecules:
        numbers = np.array(settings.numbers, dtype=np.intp)[atoms]
        x = asked.positions if asked.alone else asked.positions[:, atoms]
        if len(atoms) == 1:  # an ion, or an atom: once
            x = x[:1]
        energies, forces = np.full(len(x), np.nan), np.full(x.shape, np.nan)
        if f"E_{name}" in received:
            energies, forces = received[f"E_{name}"], received[f"F_{name}"]
        parts.append(Part(asked.name, name, charge, spin, numbers, x, energies, forces))
    return parts


def _received(now: Round, name: str) -> dict[str, FloatArray]:
    path = _received_path(now, name)
    if not path.is_file():
        return {}
    with open_arrays(path, "file of received labels", "E_…, F_…", InputError) as arrays:
        return {key: arrays.get(key, None, "f") for key in arrays.members}


def _received_path(now: Round, name: str) -> Path:
    return now.folder / "received" / f"{name}.npz"


@dataclass(frozen=True)
class Added:
    """How many labels were taken, how many were there already or not asked for, and how many are still missing."""

    taken: int
    again: int
    missing: int


def add(root: Path, files: Sequence[Path], units: FileUnits = NO_UNITS, keys: Keys = USUAL_KEYS) -> Added:
    """Take in energies and forces of what was asked, from anything that ase reads.

    units, keys: as in `data.imports.import_files`. Raises InputError, and takes nothing of the files, where one holds
    other atoms, charges or geometries than were asked for, or labels that contradict each other or those that are
    there.
    """
    settings = load_settings(root)
    with locked([root]):
        return _add(root, settings, files, units, keys)


def _add(root: Path, settings: Settings, files: Sequence[Path], units: FileUnits, keys: Keys) -> Added:
    now = rounds(root)[-1]
    asked = [a for a in now.asked() if now.labels(a.name) is None]
    if settings.labels != "elsewhere" or not asked:
        raise InputError(f"{root}: no labels are awaited from elsewhere; see `delta-sgdml learn status {root}`")
    parts = [part for a in asked for part in _parts(now, a, settings)]
    taken = again = 0
    for path in files:
        data = read_frames(path, units, keys, isolated=False, warn=lambda line: None)
        for frame in range(len(data)):
            new = _take(parts, data, frame, f"{path}, frame {frame}")
            taken, again = taken + new, again + (not new)
    complete = []
    for a in asked:
        mine = [part for part in parts if part.name == a.name]
        if not any(len(part.missing) for part in mine):
            complete.append((a, _assembled(a, mine, settings)))
    _check(root, settings, now, [data for a, data in complete if not a.alone], parts)
    for a in asked:
        path = _received_path(now, a.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = [part for part in parts if part.name == a.name]
        arrays = {f"E_{p.what}": p.energies for p in mine} | {f"F_{p.what}": p.forces for p in mine}
        save_arrays(path, arrays)
    for a, data in complete:
        save_dataset(now.labels_path(a.name), data)
    missing = hand_out(root, now, settings)
    return Added(taken, again, missing)


def _take(parts: Sequence[Part], data: Dataset, frame: int, where: str) -> bool:
    """Put a frame's labels where they were asked for; whether they were missing there. Raises InputError."""
    x = data.positions[frame] - data.positions[frame].mean(0)
    alike = [part for part in parts if np.array_equal(part.numbers, data.numbers)]
    if not alike:
        there = ", ".join(dict.fromkeys(formula(part.numbers) for part in parts))
        same = any(np.array_equal(np.sort(part.numbers), np.sort(data.numbers)) for part in parts)
        what = "asked for in another order of atoms" if same else f"was not asked for; asked were {there}"
        raise InputError(f"{where}: {formula(data.numbers)} {what}")
    new = found = False
    nearest = np.inf
    for part in alike:
        centred = part.positions - part.positions.mean(1, keepdims=True)
        distance = np.abs(centred - x).max((1, 2)) if len(data.numbers) > 1 else np.zeros(len(centred))
        nearest = min(nearest, float(distance.min()))
        for i in np.flatnonzero(distance < _SAME).tolist():
            electrons = {"charge": (data.charge, part.charge), "multiplicity": (data.multiplicity, part.multiplicity)}
            for what, (said, wanted) in electrons.items():
                if said not in (None, wanted):
                    raise InputError(f"{where}: says {what} {said}, asked for was {part.what} with {wanted}")
            found, new = True, new or bool(np.isnan(part.energies[i]))
            part.energies[i], part.forces[i] = data.energies[frame], data.forces[frame]
    if not found:
        raise InputError(
            f"{where}: no such geometry was asked for: some atom of the nearest one is {nearest:.3g} Å away; leave "
            f"positions as they are in {TO_LABEL}/ (not relaxed, not turned), and in Å"
        )
    return new


def _assembled(asked: Asked, parts: Sequence[Part], settings: Settings) -> Dataset:
    """The data set of what was asked, of which everything has come."""
    task = asked.task(settings)
    s = task.structures
    whole, molecules = parts[0], parts if asked.alone else parts[1:]
    assert s.fragment is not None
    forces = np.zeros_like(s.positions)
    energies = np.empty((len(asked), len(molecules)))
    for k, part in enumerate(molecules):
        forces[:, s.fragment == k] = part.forces
        energies[:, k] = part.energies
    return Dataset(
        s.numbers, s.positions, whole.energies, whole.forces, s.fragment, energies, forces,
        charges=np.array(s.charges, dtype=np.intp), multiplicity=None if task.total[1] == 1 else task.total[1],
        multiplicities=None if task.total[1] == 1 else np.array(task.multiplicities, dtype=np.intp),
        index=s.index, run=s.run, fragment_names=s.names, theory=s.theory,
    )  # fmt: skip


def _check(root: Path, settings: Settings, now: Round, new: Sequence[Dataset], parts: Sequence[Part]) -> None:
    """Raise InputError where labels that came contradict each other, or those that were there before."""
    before = [
        data
        for r in rounds(root)
        for asked in r.asked()
        if not asked.alone and (data := r.labels(asked.name)) is not None
    ]
    for complaint in contradictions([*before, *new]) if new else ():
        raise InputError(f"labels contradict: {complaint}; nothing of these files was taken")
    for part in parts:  # what has come of a part alone
        there = np.flatnonzero(~np.isnan(part.energies))
        if len(there) and len(part.numbers) > 1:
            net = np.abs(part.forces[there].sum(1)).max()
            size = np.abs(part.forces[there]).max()
            if net > max(0.5, 0.02 * size):
                raise InputError(
                    f"labels contradict: forces on {part.what} alone add up to {net:.3g} kcal/mol/Å, expected none "
                    "on an isolated molecule; nothing of these files was taken"
                )


def contradictions(sets: Sequence[Dataset]) -> Iterator[str]:
    """How labels of one complex contradict each other, a line each. Raises InputError where they are not of one."""
    plain = [replace(data, split=None, index=None, run=None, name="") for data in sets]
    data = concatenate(plain, [f"labels {i}" for i in range(len(sets))])
    for check in check_dataset(data):
        if not check.passed and any(word in check.name for word in _TRUE):
            yield f"{check.name}: {check.found}"
