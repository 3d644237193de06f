"""Hills of metadynamics: Gaussians of one or two variables, each where a run was at a step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._types import FloatArray, IntArray

_AT_ONCE = 2**22  # numbers held while many values meet many hills


@dataclass(frozen=True, eq=False)
class Hills:
    """V(s) = Σ heights exp(−Σ (s − centre)²/(2 width²)). steps: (H,) at which they were put there; centres: (H, d) in
    each variable's unit; heights: (H,) eV; widths: (d,) σ of all of them; turns: (d,) after which a variable is the
    same again, 0 for never."""

    steps: IntArray
    centres: FloatArray
    heights: FloatArray
    widths: FloatArray
    turns: FloatArray

    @classmethod
    def none(cls, widths: FloatArray, turns: FloatArray) -> Hills:
        """Flat ground."""
        return cls(np.zeros(0, dtype=np.intp), np.zeros((0, len(widths))), np.zeros(0), widths, turns)

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, which: slice) -> Hills:
        """Some of them."""
        return replace(self, steps=self.steps[which], centres=self.centres[which], heights=self.heights[which])

    def with_more(self, more: Hills) -> Hills:
        """With others of the same widths."""
        return replace(
            self,
            steps=np.concatenate([self.steps, more.steps]),
            centres=np.concatenate([self.centres, more.centres]),
            heights=np.concatenate([self.heights, more.heights]),
        )

    def energy(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Bias`."""
        energies, slopes = np.zeros(len(values)), np.zeros(values.shape)
        piece = max(1, _AT_ONCE // max(1, self.centres.size))
        for start in range(0, len(values), piece):
            some = slice(start, start + piece)
            away, heights = self._at(values[some])
            energies[some] = heights.sum(1)
            slopes[some] = -np.einsum("nh,nhd->nd", heights, away / self.widths)
        return energies, slopes

    def energy_at(self, values: FloatArray, steps: IntArray) -> FloatArray:
        """(n,) eV of each of the values (n, d) by the hills that were put there before its step (n,)."""
        energies = np.zeros(len(values))
        piece = max(1, _AT_ONCE // max(1, self.centres.size))
        for start in range(0, len(values), piece):
            some = slice(start, start + piece)
            energies[some] = (self._at(values[some])[1] * (self.steps < steps[some, None])).sum(1)
        return energies

    def _at(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of values (n, d): how far they are from each hill, (n, H, d) in widths, and each hill's energy (n, H)."""
        away = values[:, None] - self.centres
        around = self.turns > 0
        away[..., around] -= self.turns[around] * np.round(away[..., around] / self.turns[around])
        away /= self.widths
        return away, self.heights * np.exp(-0.5 * (away**2).sum(2))
