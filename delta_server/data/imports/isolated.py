"""Labels of isolated fragments from files of their own, beside those of the complex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..._types import IntArray
from ...errors import InputError
from ..dataset import Dataset
from ..fragments import formula

_SAME = 1e-3  # Å, what files leave of digits


def with_isolated(data: Dataset, parts: Sequence[Dataset], paths: Sequence[Path]) -> Dataset:
    """A complex with the labels of its isolated fragments.

    data: with fragments (`Dataset.fragment`). parts: of each fragment in order, as many configurations as the complex
    has, each at the fragment's geometry in it (a shift of all its atoms apart); one configuration is enough for a
    single atom. paths: their files, for messages. Raises InputError where they do not match the complex frame by
    frame and atom by atom, or are of another theory.
    """
    if data.labelled_fragments:
        raise InputError("the complex's file has labels of isolated fragments already; leave --fragment-labels out")
    if len(parts) != data.n_fragments:
        raise InputError(
            f"{len(parts)} files of fragment labels for {data.n_fragments} fragments; expected one for each, in order"
        )
    energies, forces = np.empty((len(data), len(parts))), np.zeros_like(data.positions)
    for k, (part, path) in enumerate(zip(parts, paths, strict=True)):
        atoms = data.atoms_of(k)
        _match(data, k, part, path)
        energies[:, k] = part.energies
        forces[:, atoms] = part.forces
    charges = _stated("charges", [part.charge for part in parts], data.charges, 0)
    spins = _stated("multiplicities", [part.multiplicity for part in parts], data.multiplicities, 1)
    spin = None if spins is None else 1 + int((spins - 1).sum())
    for what, said, whole in (
        ("charge", None if charges is None else int(charges.sum()), data.charge),
        ("multiplicity", spin, data.multiplicity),
    ):
        if said is not None and whole not in (None, said):
            raise InputError(f"{what} {said} by the files of fragments, {whole} by the complex's")
    unpaired = spin not in (None, 1)  # or it is as where nobody says anything
    return replace(
        data,
        fragment_energies=energies,
        fragment_forces=forces,
        charges=charges,
        multiplicities=spins if unpaired else None,
        multiplicity=spin if unpaired else data.multiplicity,
        theory=data.theory or next((part.theory for part in parts if part.theory), ""),
    )


def _stated(what: str, parts: list[int | None], complex_: IntArray | None, usual: int) -> IntArray | None:
    """What the fragments' files state (K,), the usual where others do and one does not; the complex's where none
    does. Raises InputError where the two contradict each other."""
    if all(value is None for value in parts):
        return complex_
    stated = np.array([usual if value is None else value for value in parts], dtype=np.intp)
    if complex_ is not None and not np.array_equal(stated, complex_):
        raise InputError(f"{what} {stated.tolist()} in the files of fragments, {complex_.tolist()} in the other")
    return stated


def _match(data: Dataset, k: int, part: Dataset, path: Path) -> None:
    """Raise InputError unless a part is fragment k in every configuration."""
    atoms = data.atoms_of(k)
    expected = data.numbers[atoms]
    if len(part.numbers) != len(atoms):
        raise InputError(
            f"{path}: {part.n_atoms} atoms ({formula(part.numbers)}), fragment {k} of the complex has {len(atoms)} "
            f"({formula(expected)}); give the files in the order of the fragments"
        )
    if not np.array_equal(part.numbers, expected):
        first = int(np.flatnonzero(part.numbers != expected)[0])
        raise InputError(
            f"{path}: atom {first} is {formula(part.numbers[[first]])}, in fragment {k} of the complex it is "
            f"{formula(expected[[first]])}; both need the same order of atoms"
        )
    if len(part) != len(data) and not (len(atoms) == 1 == len(part)):
        raise InputError(f"{path}: {len(part)} configurations, the complex has {len(data)}; expected one for each")
    apart = part.positions - data.positions[:, atoms]
    off = np.abs(apart - apart.mean(1, keepdims=True)).max((1, 2))
    if off.max() > _SAME:
        frame = int(np.flatnonzero(off > _SAME)[0])
        raise InputError(
            f"{path}, frame {frame}: atoms are up to {off[frame]:.3g} Å from where fragment {k} of the complex has "
            "them; expected the same geometry, frames in the same order, not turned"
        )
    if part.theory and data.theory and part.theory != data.theory:
        raise InputError(f"{path}: theory {part.theory!r}, the complex has {data.theory!r}; labels of two do not mix")
