"""Radial distribution functions of molecules in a cell: of their atoms, by elements, and of their centres of mass.

Pairs within a molecule do not count, so that an ideal gas of molecules has g = 1 at any distance and of any size:

    g_AB(r) = ⟨V n_AB(r, r + dr)⟩ / (N_AB 4π r² dr)

with N_AB pairs of atoms A and B that are not in one molecule, and the volume of each frame, which may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from ..._types import FloatArray, IntArray
from ...molecule.lattice import Lattice
from ...terms.many_body_search import pairs


@dataclass(frozen=True)
class Distribution:
    """g(r) of two kinds of sites: names; values (bins,) and standard errors (bins,), from blocks of the run, at the
    middles of the bins (Å)."""

    between: tuple[str, str]
    r: FloatArray
    g: FloatArray
    error: FloatArray

    @property
    def name(self) -> str:
        return "–".join(self.between)

    def peak(self) -> tuple[float, float]:
        """Where g is highest (Å), and how high."""
        top = int(self.g.argmax())
        return float(self.r[top]), float(self.g[top])


class Histogram:
    """Counts pairs of sites by their kinds, frame by frame.

    kinds: (N,) of each site; owner: (N,) the molecule that it is of; names: of the kinds. longest, width: Å.
    """

    def __init__(self, kinds: IntArray, owner: IntArray, names: Sequence[str], longest: float, width: float) -> None:
        self._kinds, self._owner, self._names = kinds, owner, tuple(names)
        self._edges = np.arange(0.0, longest + 1e-9, width)
        self._which = list(combinations_with_replacement(range(len(names)), 2))
        self._rows: list[FloatArray] = []

    def add(self, positions: FloatArray, lattice: Lattice, volume: float) -> None:
        """A frame (N, 3) Å in its lattice, which is twice as wide as the longest distance; volume: Å³."""
        found = pairs(positions, lattice, float(self._edges[-1]))
        i, j = found.members.T
        other = self._owner[i] != self._owner[j]
        kind = np.sort(self._kinds[found.members[other]], axis=1)
        lengths = found.lengths[other, 0]
        counts = [np.histogram(lengths[(kind == pair).all(1)], self._edges)[0] for pair in self._which]
        self._rows.append(volume * np.array(counts))

    def distributions(self, blocks: int) -> list[Distribution]:
        """Of all kinds that have pairs; errors by so many blocks of the frames."""
        rows = np.array(self._rows)
        shells = 4 / 3 * np.pi * np.diff(self._edges**3)
        middles = (self._edges[1:] + self._edges[:-1]) / 2
        several = [part.mean(0) for part in np.array_split(rows, min(blocks, len(rows)))]
        spread = np.std(several, axis=0, ddof=1) / np.sqrt(len(several)) if len(several) > 1 else np.nan * rows[0]
        found = []
        for k, (a, b) in enumerate(self._which):
            count = self._pairs(a, b)
            if count:
                scale = 1 / (count * shells)
                names = (self._names[a], self._names[b])
                found.append(Distribution(names, middles, rows[:, k].mean(0) * scale, spread[k] * scale))
        return found

    def _pairs(self, a: int, b: int) -> float:
        """How many pairs of sites of two kinds are not in one molecule."""
        per = [np.bincount(self._owner[self._kinds == k], minlength=self._owner.max() + 1) for k in (a, b)]
        count = float(per[0].sum() * per[1].sum() - (per[0] * per[1]).sum())
        return count / 2 if a == b else count
