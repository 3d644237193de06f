"""Whether a trajectory is still the molecule it began as: one definition, for what runs and for what has run.

It no longer is at the first record beyond `limits.Limits`: of its bonds, its energy, its temperature, or the expected
error of its forces. What is no number is beyond any limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from .._types import FloatArray, IntArray
from .bonds import BondGraph
from .limits import Limits


@dataclass(frozen=True)
class Allowed:
    """The values that a recorded quantity may have, and what is said of another one."""

    quantity: str
    low: float
    high: float
    unit: str
    digits: str = ".4g"

    def breach(self, value: float) -> str | None:
        """What is wrong with a value, or None."""
        if self.low <= value <= self.high:
            return None
        low, high = (format(bound, self.digits) for bound in (self.low, self.high))
        return f"{self.quantity} {value:{self.digits}} {self.unit}, beyond {low} to {high}"

    def first_breach(self, values: FloatArray) -> tuple[int, str] | None:
        """Which of some values (n,) is the first that is wrong, and what with it."""
        outside = np.flatnonzero(~((values >= self.low) & (values <= self.high)))
        if not len(outside):
            return None
        first = int(outside[0])
        return first, str(self.breach(float(values[first])))


class IntactMolecule:
    """The molecule of a start geometry, (N, 3) in Å, and how far it may go within some limits.

    fragments: the atoms of each; bonds between them may come and go. None: every bond of the start has to hold.
    """

    def __init__(
        self,
        numbers: IntArray,
        start: FloatArray,
        limits: Limits,
        fragments: Sequence[Sequence[int] | IntArray] | None = None,
    ) -> None:
        self.n_atoms, self.limits = len(numbers), limits
        parts = None if fragments is None else [np.asarray(atoms, dtype=np.intp) for atoms in fragments]
        self._bonds = BondGraph(numbers, start, limits.stretch, parts)
        self.expected_error = Allowed("uncertainty", 0.0, limits.uncertainty, "eV/Å")

    def geometry_breach(self, positions: FloatArray) -> str | None:
        """What is wrong with a geometry, (N, 3) in Å, or None."""
        return self._bonds.change(positions)

    def first_geometry_breach(self, frames: FloatArray) -> tuple[int, str] | None:
        """Which of some geometries, (n, N, 3) in Å, is the first that is wrong, and what with it."""
        return self._bonds.first_change(frames)

    def energies(self, start: float, temperature: float, beads: int | None = 1, relaxed: float = inf) -> Allowed:
        """The potential energies, eV, that it may have. start: its first; temperature: the set one, K; beads: None
        where their number is not known, and with it the zero-point energy; relaxed: of the relaxed molecule, where
        that is not the start."""
        low, high = self.limits.energies(start, self.n_atoms, temperature, beads or 1, relaxed)
        return Allowed("energy", low, inf if beads is None else high, "eV", ".3f")  # total energies are large

    def temperatures(self, temperature: float) -> Allowed:
        """The instantaneous temperatures, K, that it may have at a set one."""
        return Allowed("temperature", 0.0, self.limits.hottest(temperature), "K")
