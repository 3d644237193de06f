"""Configurations to be labelled, from any file that ase reads or from a data set, with their fragments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import GeometryError, InputError
from ..molecule.structures import iter_structures
from ..molecule.whole import Unwrapper
from .dataset import Dataset, load_dataset
from .fragments import Reaction, find_fragments, formula, fragment_names, fragment_of, parse_fragments, reactions

if TYPE_CHECKING:
    from ase import Atoms

_CHARGE = ("charge", "total_charge", "net_charge", "tot_charge", "molecular_charge")
_MULTIPLICITY = ("multiplicity", "spin_multiplicity", "mult", "total_multiplicity")


class Electrons(NamedTuple):
    """Net charge and spin multiplicity of a whole complex, where a file states them; None where not."""

    charge: int | None = None
    multiplicity: int | None = None

    @classmethod
    def of(cls, where: str, atoms: Atoms, before: Electrons | None) -> Electrons:
        """What the comment line of a frame states. before: what the frames before it do. Raises InputError where
        they differ, or a number is none."""
        info = {str(key).lower(): value for key, value in atoms.info.items()}
        found = cls(_stated(where, info, _CHARGE), _stated(where, info, _MULTIPLICITY))
        if before is not None and found != before:
            raise InputError(
                f"{where}: net charge and multiplicity {found.charge}, {found.multiplicity}, the frames before have "
                f"{before.charge}, {before.multiplicity}; all configurations need the same electrons"
            )
        return found


_UNSTATED = Electrons()


def _stated(where: str, info: dict[str, object], keys: tuple[str, ...]) -> int | None:
    values = {key: info[key] for key in keys if key in info}
    numbers = set()
    for key, value in values.items():
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = float("nan")
        if not number.is_integer():
            raise InputError(f"{where}: {key}={str(value)[:40]}: expected one whole number")
        numbers.add(int(number))
    if len(numbers) > 1:
        raise InputError(f"{where}: {', '.join(values)} contradict each other")
    return numbers.pop() if numbers else None


@dataclass(frozen=True, eq=False)
class Structures:
    """n configurations of N atoms to be labelled.

    numbers: (N,). positions: (n, N, 3) Å. index, run: (n,) place in which trajectory. fragment: (N,), charges and
    spin multiplicities: (K,), where the file has them; whole: charge and multiplicity of the complex, where the file
    states them. energies (n,) kcal/mol and forces (n, N, 3) kcal/mol/Å of the complex, of the given theory, where the
    file is a data set whose fragments alone lack labels.
    """

    numbers: IntArray
    positions: FloatArray
    index: IntArray
    run: IntArray
    fragment: IntArray | None = None
    charges: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    whole: Electrons = _UNSTATED
    energies: FloatArray | None = None
    forces: FloatArray | None = None
    theory: str = ""
    multiplicities: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, which: IntArray) -> Structures:
        """The chosen configurations."""
        return replace(
            self,
            positions=self.positions[which],
            index=self.index[which],
            run=self.run[which],
            energies=None if self.energies is None else self.energies[which],
            forces=None if self.forces is None else self.forces[which],
        )

    def without_labels(self) -> Structures:
        """The same with nothing labelled."""
        return replace(self, energies=None, forces=None, theory="")

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
        charges, spins = (self.charges, self.multiplicities) if text is None else ((), ())
        return replace(self, fragment=fragment_of(fragments), names=names, charges=charges, multiplicities=spins)

    def molecules(self) -> list[IntArray]:
        """Atoms of each fragment; none where there are no fragments."""
        if self.fragment is None:
            return []
        return [np.flatnonzero(self.fragment == k) for k in range(int(self.fragment.max()) + 1)]

    def electrons(
        self, charges: tuple[int, ...], multiplicities: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Charges and spin multiplicities of the fragments: those asked for, or () to take the file's.

        A net charge of ±1, or a doublet, that the file states of the whole belongs to the one fragment with an odd
        number of electrons. Raises InputError where the file contradicts what is asked for, or does not say which
        fragment is charged.
        """
        for what, asked, there, option in (
            ("charges", charges, self.charges, "--charges"),
            ("multiplicities", multiplicities, self.multiplicities, "--multiplicity"),
        ):
            if asked and there and asked != there:
                raise InputError(
                    f"{what} {_listed(asked)} asked for, the file says {_listed(there)}: leave {option} out"
                )
        neutral = [int(self.numbers[atoms].sum()) for atoms in self.molecules()]
        charges = charges or self.charges or _shared("net charge", self.whole.charge or 0, 0, neutral, "--charges")
        if self.whole.charge not in (None, sum(charges)):
            raise InputError(
                f"charges {_listed(charges)} add up to {sum(charges)}, the file says a net charge of "
                f"{self.whole.charge}; say other --charges"
            )
        left = [n - q for n, q in zip(neutral, charges, strict=True)]
        total = self.whole.multiplicity or 1
        spins = multiplicities or self.multiplicities or _shared("multiplicity", total, 1, left, "--multiplicity")
        total = 1 + sum(spin - 1 for spin in spins)
        if self.whole.multiplicity not in (None, total):
            raise InputError(
                f"multiplicities {_listed(spins)} make a complex of multiplicity {total}, the file says "
                f"{self.whole.multiplicity}; say other --multiplicity"
            )
        return charges, spins

    def reactions(self) -> list[Reaction]:
        """Configurations in which fragments are bonded to each other, or broken."""
        return [] if self.fragment is None else reactions(self.numbers, self.fragment, self.positions)


def read_structures(path: Path) -> Structures:
    """Read configurations from a data set (``.npz``) or any file that ase reads, in Å.

    ``run=N`` in a frame's comment line says which trajectory it is of. Molecules that a periodic cell cut are made
    whole. Raises InputError where configurations differ in their atoms, hold positions that are not finite, or
    molecules that cannot be made whole.
    """
    if path.suffix == ".npz":
        return structures_of(load_dataset(path))
    positions: list[FloatArray] = []
    runs: list[int] = []
    numbers = np.zeros(0, dtype=np.intp)
    electrons: Electrons | None = None
    unwrapper: Unwrapper | None = None
    for frame, atoms in enumerate(iter_structures(path)):
        electrons = Electrons.of(f"{path}, frame {frame}", atoms, electrons)
        if not positions:
            numbers = atoms.numbers.astype(np.intp)
        same_atoms(path, frame, numbers, atoms.numbers)
        if not np.isfinite(atoms.positions).all():
            raise InputError(f"{path}, frame {frame}: holds positions that are not finite")
        if atoms.cell.rank:
            unwrapper = unwrapper or Unwrapper.of_frame(numbers, atoms.positions, atoms.cell.array)
            try:
                atoms.positions = unwrapper.of_atoms(atoms, f"{path}, frame {frame}")
            except GeometryError as error:
                raise InputError(str(error)) from None
        positions.append(atoms.positions)
        runs.append(run_of(atoms))
    n = len(positions)
    return Structures(
        numbers, np.array(positions), np.arange(n), np.array(runs, dtype=np.intp), whole=electrons or _UNSTATED
    )


def structures_of(data: Dataset) -> Structures:
    """The configurations of a data set, with their labels where the fragments alone lack some."""
    index = np.arange(len(data)) if data.index is None else data.index
    run = np.zeros(len(data), dtype=np.intp) if data.run is None else data.run
    charges, spins = (
        () if of_each is None else tuple(map(int, of_each)) for of_each in (data.charges, data.multiplicities)
    )
    whole, names = Electrons(data.charge, data.multiplicity), data.fragment_names
    found = Structures(data.numbers, data.positions, index, run, data.fragment, charges, names, whole)
    found = replace(found, multiplicities=spins)
    if data.labelled_fragments:
        return found
    return replace(found, energies=data.energies, forces=data.forces, theory=data.theory)


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _shared(what: str, total: int, nothing: int, electrons: Sequence[int], option: str) -> tuple[int, ...]:
    """What each fragment has of a total. electrons: of each. Raises InputError where that cannot be told."""
    odd = [k for k, n in enumerate(electrons) if n % 2]
    shares = [nothing] * len(electrons)
    if total != nothing:
        if abs(total - nothing) != 1 or len(odd) != 1:
            raise InputError(
                f"the file says a {what} of {total}, not which fragment has it: say {option}, as in "
                f"'{total}{f',{nothing}' * (len(electrons) - 1)}'"
            )
        shares[odd[0]] = total
    return tuple(shares)


def run_of(atoms: Atoms) -> int:
    """The trajectory that a frame says it is of, ``run=N`` in its comment line; 0 where it says none."""
    run = atoms.info.get("run")
    return int(run) if isinstance(run, (int, np.integer)) else 0


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
