"""What switches an energy off with distance, with two continuous derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from .._types import FloatArray, IntArray
from .base import Contribution


@dataclass(frozen=True)
class Switch:
    """1 below `cutoff` − `width`, 0 from `cutoff` on, in between 1 − t³(10 − 15t + 6t²); Å."""

    cutoff: float
    width: float

    def __call__(self, lengths: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values and slopes (Å⁻¹) at lengths of any shape."""
        t = np.clip((lengths - self.cutoff) / self.width + 1, 0.0, 1.0)
        return 1 - t**3 * (10 - 15 * t + 6 * t**2), -30 * (t * (1 - t)) ** 2 / self.width


@dataclass(frozen=True, eq=False)
class SwitchOfTwo:
    """A switch held against the distance between the centres of mass of two molecules.

    lever: (n,) each atom's share of its molecule's mass, negative in the first: what the positions are weighed with
    to give the vector from the first centre to the second.
    """

    switch: Switch
    lever: FloatArray

    @classmethod
    def of(cls, switch: Switch, molecules: Sequence[IntArray], numbers: IntArray) -> Self:
        """molecules: the atoms of the two, which numbers (n,) are of."""
        from ase.data import atomic_masses

        lever = np.zeros(len(numbers))
        for sign, atoms in zip((-1, 1), molecules, strict=True):
            masses = atomic_masses[numbers[atoms]]
            lever[atoms] = sign * masses / masses.sum()
        return cls(switch, lever)

    def of_frames(self, positions: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Values (F,), slopes (F,) Å⁻¹, vectors (F, 3) Å and lengths (F,) Å at positions (F, n, 3)."""
        edges = np.einsum("n,fnc->fc", self.lever, positions)
        lengths = np.sqrt((edges**2).sum(1))
        return *self.switch(lengths), edges, lengths

    def apply(self, positions: FloatArray, whole: Contribution) -> Contribution:
        """What is left of a single copy's energies, forces and virials; −E s' ∂R/∂r belongs to the forces."""
        value, slope, edges, lengths = self.of_frames(positions)
        if (value == 1).all():
            return whole
        share = value[:, None, None]
        pull = (whole.energies[:, 0] * slope / np.maximum(lengths, 1e-9))[:, None] * edges
        forces = share * whole.forces[:, 0] - self.lever[:, None] * pull[:, None]
        virials = share * whole.virials[:, 0] - edges[:, :, None] * pull[:, None]
        return Contribution(value[:, None] * whole.energies, forces[:, None], virials[:, None])
