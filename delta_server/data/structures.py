"""Configurations to be labelled, from any file that ase reads or from a data set, with their fragments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..molecule.structures import iter_structures
from .dataset import load_dataset
from .fragments import Reaction, find_fragments, formula, fragment_names, fragment_of, parse_fragments, reactions


@dataclass(frozen=True, eq=False)
class Structures:
    """n configurations of N atoms, not labelled.

    numbers: (N,). positions: (n, N, 3) Å. index, run: (n,) place in which trajectory. fragment: (N,), charges: (K,),
    where the file has them.
    """

    numbers: IntArray
    positions: FloatArray
    index: IntArray
    run: IntArray
    fragment: IntArray | None = None
    charges: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, which: IntArray) -> Structures:
        """The chosen configurations."""
        return replace(self, positions=self.positions[which], index=self.index[which], run=self.run[which])

    def thin(self, every: int, at_most: int | None) -> Structures:
        """Every so many-th configuration, and of those at most so many, evenly spread."""
        kept = np.arange(0, len(self), every)
        if at_most is not None and at_most < len(kept):
            kept = kept[np.linspace(0, len(kept) - 1, at_most).round().astype(np.intp)]
        return self.take(kept)

    def in_fragments(self, text: str | None) -> Structures:
        """The same with fragments: of a text (``"0:3,3:15"``), else the file's own, else of the first configuration's
        bonds.

        Raises InputError where there is only one.
        """
        if text is not None:
            fragments = parse_fragments(text, len(self.numbers))
        elif self.fragment is not None:
            fragments = self.molecules()
        else:
            fragments = find_fragments(self.numbers, self.positions[0])
        if len(fragments) < 2:
            raise InputError(
                f"one fragment: all atoms ({formula(self.numbers)}) are bonded into one molecule; a Δ-model needs at "
                "least two; where bonds are taken for such that are none, say --fragments '0:3,3:15'"
            )
        own = self.names if text is None and len(self.names) == len(fragments) else ()
        names = own or fragment_names(self.numbers, fragments)
        charges = self.charges if text is None else ()
        return replace(self, fragment=fragment_of(fragments), names=names, charges=charges)

    def molecules(self) -> list[IntArray]:
        """Atoms of each fragment; none where there are no fragments."""
        if self.fragment is None:
            return []
        return [np.flatnonzero(self.fragment == k) for k in range(int(self.fragment.max()) + 1)]

    def reactions(self) -> list[Reaction]:
        """Configurations in which fragments are bonded to each other, or broken."""
        return [] if self.fragment is None else reactions(self.numbers, self.fragment, self.positions)


def read_structures(path: Path) -> Structures:
    """Read configurations from a data set (``.npz``) or any file that ase reads, in Å.

    Raises InputError where configurations differ in their atoms or hold positions that are not finite.
    """
    if path.suffix == ".npz":
        data = load_dataset(path)
        index = np.arange(len(data)) if data.index is None else data.index
        run = np.zeros(len(data), dtype=np.intp) if data.run is None else data.run
        charges = () if data.charges is None else tuple(int(c) for c in data.charges)
        return Structures(data.numbers, data.positions, index, run, data.fragment, charges, data.fragment_names)
    positions: list[FloatArray] = []
    numbers = np.zeros(0, dtype=np.intp)
    for frame, atoms in enumerate(iter_structures(path)):
        if not positions:
            numbers = atoms.numbers.astype(np.intp)
        same_atoms(path, frame, numbers, atoms.numbers)
        if not np.isfinite(atoms.positions).all():
            raise InputError(f"{path}, frame {frame}: holds positions that are not finite")
        positions.append(atoms.positions)
    n = len(positions)
    return Structures(numbers, np.array(positions), np.arange(n), np.zeros(n, dtype=np.intp))


def same_atoms(path: Path, frame: int, expected: IntArray, found: IntArray) -> None:
    """Raises InputError unless both are the same atoms in the same order."""
    if len(found) == 0:
        raise InputError(f"{path}, frame {frame}: holds no atoms")
    if np.array_equal(expected, found):
        return
    if len(expected) != len(found):
        what = f"{len(found)} atoms ({formula(found)}), expected {len(expected)} ({formula(expected)})"
    else:
        first = int(np.flatnonzero(expected != found)[0])
        what = f"atom {first} is {formula(found[first : first + 1])}, expected {formula(expected[first : first + 1])}"
    raise InputError(f"{path}, frame {frame}: {what}; all configurations need the same atoms in the same order")


def say_reactions(reacted: Sequence[Reaction], n: int) -> str:
    """A line about configurations in which fragments react, of n. reacted: some."""
    first = reacted[0]
    return f"fragments react in {len(reacted)} of {n} configurations, first in {first.configuration}: {first.what}"
