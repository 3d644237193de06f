"""Labelled configurations of one molecule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Labels:
    """Configurations of one molecule with energies and forces, (n, N, 3) Å, (n,) kcal/mol, (n, N, 3) kcal/mol/Å:
    one of the databases W(1), W(2), …, W(b) of arXiv 2511.01913, Sec. IV."""

    name: str
    numbers: IntArray
    positions: FloatArray
    energies: FloatArray
    forces: FloatArray
    theory: str = ""

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, which: IntArray | slice) -> Labels:
        """The chosen configurations."""
        return replace(
            self, positions=self.positions[which], energies=self.energies[which], forces=self.forces[which]
        )

    def relabelled(self, permutations: IntArray, rng: np.random.Generator) -> Labels:
        """The same configurations with equal atoms exchanged, each by one of `permutations` (P, N) at random."""
        order = permutations[rng.integers(len(permutations), size=len(self))]
        return replace(
            self,
            positions=np.take_along_axis(self.positions, order[:, :, None], 1),
            forces=np.take_along_axis(self.forces, order[:, :, None], 1),
        )

    def __add__(self, other: Labels) -> Labels:
        return replace(
            self,
            positions=np.concatenate([self.positions, other.positions]),
            energies=np.concatenate([self.energies, other.energies]),
            forces=np.concatenate([self.forces, other.forces]),
        )
