"""Structures: reading them, and telling whether positions can be a given molecule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ._types import FloatArray, IntArray
from .errors import GeometryError, InputError
from .limits import Limits
from .units import BOHR

if TYPE_CHECKING:
    from ase import Atoms

# A bond of the first geometry may be this much shorter or longer than in the structure. Quantum beads and
# 1000 K stay well inside; a wrong unit (1.89, 0.53) and a wrong order (H O H for O H H: 1.58) do not.
_SHORTEST, _LONGEST = 0.6, 1.45
IONS = (3, 4, 11, 12, 19, 20, 37, 38, 55, 56, 87, 88)  # Li, Be, Na, Mg, …: contacts, not bonds
_BONDED = 1.25  # times the sum of covalent radii, at most
_FRAMES = 64  # whose distances are looked at together


def read_structure(path: Path) -> Atoms:
    """First frame of any format that ase reads. Raises InputError."""
    import ase.io
    from ase import Atoms

    try:
        atoms = ase.io.read(_regular(path, "structure"), index=0, do_not_split_by_at_sign=True)
    except InputError:
        raise
    except Exception as error:  # ase's readers raise whatever their format makes them trip over
        raise InputError(f"{path}: ase cannot read a structure from it: {_line(error)}") from None
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise InputError(f"{path}: holds no atoms")
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"{path}: holds positions that are not finite")
    return atoms


def write_structure(path: Path, atoms: Atoms) -> None:
    """Elements and positions as xyz that i-PI starts from too: it wants a cell and units in the comment line."""
    lines = [str(len(atoms)), "# CELL(abcABC): 100 100 100 90 90 90 cell{angstrom} positions{angstrom}"]
    for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True):
        lines.append(f"{symbol:2} {x:16.10f} {y:16.10f} {z:16.10f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _regular(path: Path, what: str) -> Path:
    """The path, if it is a file's: ase would wait for a pipe, or take ``-`` for the standard input."""
    if not path.is_file():
        raise InputError(f"{path}: {'is no regular file' if path.exists() else f'no such {what}'}")
    return path.absolute()


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def symbols(numbers: IntArray) -> list[str]:
    """Chemical symbols of atomic numbers."""
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in numbers]


def bonds(numbers: IntArray, positions: FloatArray) -> IntArray:
    """(n, 2) pairs closer than 1.25 times the sum of their covalent radii; ions of groups 1 and 2 have none."""
    from ase.data import covalent_radii

    radii = covalent_radii[numbers]
    row, col = np.tril_indices(len(numbers), -1)
    distance = np.linalg.norm(positions[row] - positions[col], axis=1)
    pairs: IntArray = np.stack([col, row], axis=1)
    bonding = ~np.isin(numbers, IONS)
    near: IntArray = pairs[(distance < _BONDED * (radii[row] + radii[col])) & bonding[row] & bonding[col]]
    return near


def bonds_within(numbers: IntArray, positions: FloatArray, fragments: Sequence[IntArray]) -> IntArray:
    """`bonds` within each fragment alone; fragments: the atoms (n,) of each."""
    return np.concatenate([atoms[bonds(numbers[atoms], positions[atoms])] for atoms in fragments])


class BondGraph:
    """The bonds of a start geometry, (N, 3) in Å, and what counts as a change of them.

    A bond breaks where it is longer than `stretch` times its length at the start; one forms between atoms that had
    none. fragments: the atoms of each; bonds between them, which contacts may be taken for, then need not hold.
    """

    def __init__(
        self,
        numbers: IntArray,
        start: FloatArray,
        stretch: float = Limits.stretch,
        fragments: Sequence[IntArray] | None = None,
    ) -> None:
        from ase.data import covalent_radii

        self.numbers, self.stretch = numbers, stretch
        known = bonds(numbers, start)
        self._known = set(map(tuple, known.tolist()))
        self.bonds = known if fragments is None else bonds_within(numbers, start, fragments)
        self.lengths = self._distances(start)
        radii = covalent_radii[numbers]
        # A sieve: how close (Å²) atoms come that make a bond which was not there; `bonds` has the last word.
        self._near = (_BONDED * (radii[:, None] + radii)) ** 2
        i, j = known.T
        self._near[i, j] = self._near[j, i] = -1.0  # less than rounding makes of zero
        np.fill_diagonal(self._near, -1.0)

    def change(self, positions: FloatArray) -> str | None:
        """How the bonds of a geometry, (N, 3) in Å, are not those of the start; None if they are."""
        if not np.isfinite(positions).all():
            return "positions are not finite"
        lengths = self._distances(positions)
        ratio = lengths / self.lengths
        if len(ratio) and ratio.max() > self.stretch:
            worst = int(ratio.argmax())
            pair = self._label(*self.bonds[worst])
            return f"bond {pair} broke: {lengths[worst]:.2f} Å, was {self.lengths[worst]:.2f}"
        for i, j in bonds(self.numbers, positions).tolist():
            if (i, j) not in self._known:
                return f"a bond {self._label(i, j)} formed: {np.linalg.norm(positions[i] - positions[j]):.2f} Å"
        return None

    def first_change(self, frames: FloatArray) -> tuple[int, str] | None:
        """The first of some frames, (n, N, 3) in Å, with a `change`, and which it is."""
        for start in range(0, len(frames), _FRAMES):
            some = frames[start : start + _FRAMES]
            finite = np.asarray(np.isfinite(some).all((1, 2)))
            sane = np.where(finite[:, None, None], some, 0.0)
            stretched = (self._distances(sane) > self.stretch * self.lengths).any(1)
            for k in np.flatnonzero(~finite | stretched | self._crowded(sane)):
                if (cause := self.change(some[k])) is not None:
                    return start + int(k), cause
        return None

    def _distances(self, positions: FloatArray) -> FloatArray:
        """(…, n) along the bonds, for (…, N, 3)."""
        i, j = self.bonds.T
        distances: FloatArray = np.linalg.norm(positions[..., i, :] - positions[..., j, :], axis=-1)
        return distances

    def _crowded(self, positions: FloatArray) -> npt.NDArray[np.bool_]:
        centred = positions - positions.mean(1, keepdims=True)
        square = (centred**2).sum(2)
        distance = square[:, :, None] + square[:, None] - 2 * (centred @ np.transpose(centred, (0, 2, 1)))
        return np.asarray((distance < self._near).any((1, 2)))

    def _label(self, i: int, j: int) -> str:
        symbol = symbols(self.numbers)
        return f"{symbol[i]}{i}–{symbol[j]}{j}"


@dataclass(frozen=True)
class Likeness:
    """Whether positions can be the molecule of a reference structure: no bond far off, no atoms on top of
    each other."""

    numbers: IntArray
    reference: FloatArray  # (N, 3) Å
    bonds: IntArray  # (n, 2)

    @classmethod
    def of(cls, numbers: IntArray, reference: FloatArray, fragments: Sequence[IntArray]) -> Likeness:
        """Bonds are looked for within each fragment: what is between them may come and go."""
        return cls(numbers, reference, bonds_within(numbers, reference, fragments))

    def check(self, positions: FloatArray, source: str) -> None:
        """positions: (N, 3) in Å. Raises GeometryError that names the worst bond and the likely cause."""
        finite = np.isfinite(positions).all(1)
        if not finite.all():
            raise GeometryError(f"{source}: the position of atom {int(finite.argmin())} is not finite")
        label = [f"{s}{i}" for i, s in enumerate(symbols(self.numbers))]
        row, col = np.tril_indices(len(self.numbers), -1)
        distance = np.linalg.norm(positions[row] - positions[col], axis=1)
        if len(distance) and distance.min() < 0.3:
            i, j = col[distance.argmin()], row[distance.argmin()]
            raise GeometryError(
                f"{source}: atoms {label[i]} and {label[j]} are {distance.min():.3f} Å apart; this cannot be the "
                "molecule of the manifest: check the unit and the order of atoms"
            )
        if not len(self.bonds):
            return
        i, j = self.bonds.T
        expected = np.linalg.norm(self.reference[i] - self.reference[j], axis=1)
        found = np.linalg.norm(positions[i] - positions[j], axis=1)
        ratio = found / expected
        if (ratio > _SHORTEST).all() and (ratio < _LONGEST).all():
            return
        worst = int(np.abs(np.log(ratio)).argmax())
        raise GeometryError(
            f"{source}: bond {label[i[worst]]}–{label[j[worst]]} is {found[worst]:.2f} Å, the manifest's structure "
            f"has {expected[worst]:.2f} Å: {_cause(ratio)}"
        )


def _cause(ratio: FloatArray) -> str:
    typical = float(np.median(ratio))
    if abs(typical * BOHR - 1) < 0.1 and ratio.std() < 0.1 * typical:
        return "all bonds are 1.89 times too long: bohr were given where Å were meant"
    if abs(typical / BOHR - 1) < 0.1 and ratio.std() < 0.1 * typical:
        return (
            "all bonds are 0.53 times too short: Å were read as bohr (for i-PI: units='angstrom' in <file>, or "
            "positions{angstrom} in the comment line)"
        )
    off = int(((ratio <= _SHORTEST) | (ratio >= _LONGEST)).sum())
    return (
        f"{off} of {len(ratio)} bonds are off: another order of atoms, another molecule, or a molecule cut by "
        "periodic wrapping (for i-PI: pbc='False' in <ffsocket>)"
    )


def iter_structures(path: Path) -> Iterator[Atoms]:
    """Frames of any trajectory that ase reads, one at a time, in Å. Raises InputError.

    i-PI's own xyz files say their unit in the comment line (``positions{atomic_unit}``), which ase does not know:
    here it counts.
    """
    import ase.io

    frames = ase.io.iread(_regular(path, "file"), do_not_split_by_at_sign=True)
    number = 0
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            break
        except Exception as error:  # as in read_structure
            raise InputError(f"{path}: ase cannot read frame {number}: {_line(error)}") from None
        number += 1
        yield _from_ipi(atoms, path) if "CELL(abcABC):" in atoms.info else atoms
    if not number:
        raise InputError(f"{path}: holds no frames")


_IPI_UNITS = {"angstrom": 1.0, "ang": 1.0, "atomic_unit": BOHR, "bohr": BOHR, "automatic": BOHR}


def _from_ipi(atoms: Atoms, path: Path) -> Atoms:
    """A frame of i-PI's xyz without the debris of its comment line, scaled to Å."""
    quantities = ("positions", "x_centroid")
    labels = [key for key in atoms.info if key.startswith(quantities)]
    unit = labels[0].removeprefix("positions").removeprefix("x_centroid") if labels else "angstrom"
    if unit not in _IPI_UNITS:
        raise InputError(f"{path}: positions in {unit!r}; expected one of {', '.join(_IPI_UNITS)}")
    clean: Atoms = atoms.copy()
    clean.info = {}
    clean.positions *= _IPI_UNITS[unit]
    return clean
