"""A constant energy: an ion alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._types import FloatArray, IntArray
from .base import Contribution, Frames, Side


@dataclass(frozen=True, eq=False)
class ConstantTerm:
    """The same energy, in eV, wherever the atoms are; no force, and no error."""

    names: tuple[str, ...]
    part: Side
    sites: IntArray
    energy: float

    def evaluate(self, frames: Frames) -> Contribution:
        """See `Term`."""
        (copies, n), count = self.sites.shape, len(frames.positions)
        energies = np.full((count, copies), self.energy)
        return Contribution(energies, np.zeros((count, copies, n, 3)), np.zeros((count, copies, 3, 3)))

    def expected_error(self, frames: Frames) -> FloatArray:
        """See `Term`."""
        return np.zeros((len(frames.positions), len(self.sites)))
