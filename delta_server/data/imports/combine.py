"""One data set of several files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ..conventions import NO_UNITS, USUAL_KEYS, FileUnits, Keys
from ..dataset import Dataset, load_dataset
from ..fragments import find_fragments, formula
from .frames import read_frames

_NEAREST = 0.6  # Å, nearer than any two atoms of a molecule that vibrates
_SOME = 3  # atoms, of which some are bonded where one is hydrogen


def import_files(
    paths: Sequence[Path],
    units: FileUnits = NO_UNITS,
    keys: Keys = USUAL_KEYS,
    *,
    isolated: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """One data set of all configurations of the files, each file a run of its own (or several, as it says itself).

    units: of files that carry none, or none that is known; extxyz with ase's own keys is then eV and Å. keys: of
    energies and forces where they are not the usual ones. isolated: whether labels are of isolated molecules whatever
    cell stands beside them. warn: told what may be wrong, a line each. Raises InputError where a file cannot be used,
    contradicts `units`, or does not go with the first.
    """

    def read(path: Path) -> Dataset:
        if path.suffix != ".npz":
            return read_frames(path, units, keys, isolated=isolated, warn=warn)
        return load_dataset(path, units, keys, assume=None, isolated=isolated, warn=warn)

    return concatenate([read(path) for path in paths], [str(path) for path in paths])


def check_lengths(data: Dataset) -> None:
    """Raises InputError where the atoms of the first configuration are so far apart, or so near, that the unit of
    length is another."""
    if not (data.numbers == 1).any() or data.n_atoms < _SOME:
        return
    x = data.positions[0]
    nearest = (np.linalg.norm(x[:, None] - x, axis=2) + np.diag(np.full(len(x), np.inf))).min()
    if len(find_fragments(data.numbers, x)) == data.n_atoms or nearest < _NEAREST:
        raise InputError(
            f"the nearest atoms are {nearest:.3g} Å apart and form no molecules: is the unit of length another? Say "
            "it, --length-unit bohr or Ang"
        )


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
            ("multiplicities", part.multiplicities, first.multiplicities),
            ("net charge", part.charge, first.charge),
            ("multiplicity", part.multiplicity, first.multiplicity),
        ):
            if (a is None) != (b is None) or (a is not None and b is not None and not np.array_equal(a, b)):
                raise InputError(f"{name}: {what} differ from {names[0]}'s; one data set holds one complex")
        if part.labelled_fragments != first.labelled_fragments:
            raise InputError(f"{name} or {names[0]} has labels of isolated fragments, the other not")
        if (part.lower_energies is None) != (first.lower_energies is None):
            raise InputError(f"{name} or {names[0]} has what fewer bodies leave (E_lower, F_lower), the other not")
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
        lower_energies=joined("lower_energies"),
        lower_forces=joined("lower_forces"),
        index=np.concatenate([np.arange(len(p)) if p.index is None else p.index for p in parts]),
        run=np.concatenate(runs),
        split=np.concatenate([p.split for p in parts if p.split is not None]) if same_split else None,
    )
