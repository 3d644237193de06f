"""Covalent bonds, and what counts as a change of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .._types import FloatArray, IntArray
from .limits import Limits

IONS = (3, 4, 11, 12, 19, 20, 37, 38, 55, 56, 87, 88)  # Li, Be, Na, Mg, …: contacts, not bonds
_BONDED = 1.25  # times the sum of covalent radii, at most
_FRAMES = 64  # whose distances are looked at together


def symbols(numbers: IntArray) -> list[str]:
    """Chemical symbols of atomic numbers."""
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in numbers]


def bonded(numbers: IntArray, i: IntArray, j: IntArray, distances: FloatArray) -> npt.NDArray[np.bool_]:
    """Which pairs (n,) of atoms i and j, Å apart, are closer than 1.25 times the sum of their covalent radii; ions of
    groups 1 and 2 have no bonds."""
    from ase.data import covalent_radii

    radii, bonding = covalent_radii[numbers], ~np.isin(numbers, IONS)
    return np.asarray((distances < _BONDED * (radii[j] + radii[i])) & bonding[j] & bonding[i])


def bonds(numbers: IntArray, positions: FloatArray) -> IntArray:
    """(n, 2) pairs that are `bonded`."""
    row, col = np.tril_indices(len(numbers), -1)
    distance = np.linalg.norm(positions[row] - positions[col], axis=1)
    pairs: IntArray = np.stack([col, row], axis=1)[bonded(numbers, col, row, distance)]
    return pairs


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
