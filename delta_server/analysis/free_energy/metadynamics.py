"""Free energies from well-tempered metadynamics: samples reweighted, and the negative bias as a check.

A sample s of the step t weighs exp((V(s, t) − c(t))/kT), V the hills before t and c(t) by what they have lifted
everything (Tiwary and Parrinello, J. Phys. Chem. B 119, 736 (2015)),

    c(t) = kT ln ∫ exp(γ/(γ − 1) V(s, t)/kT) ds − kT ln ∫ exp(1/(γ − 1) V(s, t)/kT) ds,

γ the bias factor. Where the hills have converged, F(s) = −γ/(γ − 1) V(s) as well, up to where the walls begin.

Of a run whose hills came to an end only what follows counts. Its bias is fixed: exp(V/kT) is exact, and the samples
err as those of any run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ...sweep.metadynamics import Ground
from ...sweep.record import BIAS, HILLS
from ...terms.hills import Hills
from ...units import KCAL_MOL
from .binding import StandardState
from .mbar import Pools, beta_of, reweighted
from .sampling import Samples, kt
from .surface import Surface

_FINE = 4  # points of a grid in a hill's width
_BEYOND = 3  # widths of a hill, as far as grids reach beyond them
_MOST = 20_000  # points of a grid
_PIECES = 40  # of the hills, over which their heights are averaged


@dataclass(frozen=True)
class Flooded:
    """Samples of walkers, and the hills that they shared."""

    name: str
    samples: tuple[Samples, ...]
    ground: Ground
    hills: Hills

    @classmethod
    def read(cls, name: str, home: Path, samples: Sequence[Samples]) -> Flooded:
        """home: the folder that the hills lie in. Raises InputError."""
        ground = Ground.read(home / BIAS)
        hills = ground.hills(home / HILLS)
        if not len(hills):
            raise InputError(f"{home / HILLS}: no hills yet; run the sweep first")
        if any(one.temperature != ground.temperature for one in samples):
            raise InputError(f"{home}: its hills are for {ground.temperature:g} K; leave out --temperature")
        return cls(name, tuple(samples), ground, hills)

    @property
    def variables(self) -> tuple[str, ...]:
        return self.ground.told.variables

    @property
    def growing(self) -> bool:
        """Whether there were new hills to the end."""
        return self.ground.told.until is None

    def together(self) -> Pools:
        """The walkers as one, for F without bias; without what they did while the first hills filled the wells, in
        which they were never in equilibrium. Raises InputError where hills were still to come."""
        filled = self._filled
        starts = [min(filled, float(np.median(one.steps))) if self.growing else filled for one in self.samples]
        some = [one.take(np.flatnonzero(one.steps > start)) for one, start in zip(self.samples, starts, strict=True)]
        if not all(map(len, some)):
            raise InputError(f"{self.name}: there are hills up to step {filled}, and no samples beyond yet")
        return reweighted(self.name, *map(self._weighed, some))

    @property
    def _filled(self) -> int:
        """The last step with hills, or of those that still come when they are on average less than 1/e as high as
        the first."""
        if self.ground.told.until is not None:
            return self.ground.told.until
        ends = np.linspace(0, len(self.hills), min(_PIECES, len(self.hills)) + 1).astype(np.intp)
        means = np.add.reduceat(self.hills.heights, ends[:-1]) / np.diff(ends)
        low = np.flatnonzero(means < self.ground.told.heights[0] / math.e)
        return int(self.hills.steps[ends[low[0]]] if len(low) else self.hills.steps[-1])

    def _weighed(self, samples: Samples) -> Samples:
        """With V(s, t) − c(t), the walls and what the manifest had as its bias, eV."""
        values = np.stack([samples.values[name] for name in self.variables], axis=1)
        bias = self.hills.energy_at(values, samples.steps) + self.ground.walls.energy(values)[0]
        manifest = 0.0 if samples.bias is None else samples.bias
        return replace(samples, bias=bias - self.offsets(samples.steps) + manifest)

    def offsets(self, steps: IntArray) -> FloatArray:
        """c(t) (n,) eV at these steps (n,)."""
        beta, less = beta_of(self.ground.temperature), 1 / (self.ground.told.bias_factor - 1)
        grid = self._grid()
        energy, offsets = np.zeros(len(grid)), [0.0]
        starts = [*np.flatnonzero(np.diff(self.hills.steps, prepend=-1)), len(self.hills)]
        for start, end in pairwise(starts):
            energy += self.hills.take(slice(start, end)).energy(grid)[0]
            offsets.append((_log_sum(beta * (1 + less) * energy) - _log_sum(beta * less * energy)) / beta)
        return np.array(offsets)[np.searchsorted(np.unique(self.hills.steps), steps)]

    def _grid(self) -> FloatArray:
        """(m, d) over all that has hills."""
        axes, hills = [], self.hills
        low, high = hills.centres.min(0) - _BEYOND * hills.widths, hills.centres.max(0) + _BEYOND * hills.widths
        for k, (width, turn) in enumerate(zip(hills.widths, hills.turns, strict=True)):
            ends = (-turn / 2, turn / 2) if turn else (low[k], high[k])
            points = math.ceil((ends[1] - ends[0]) / width * _FINE) + 1
            axes.append(np.linspace(*ends, min(points, round(_MOST ** (1 / len(hills.widths)))), endpoint=not turn))
        return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)

    def beside(self, surface: Surface) -> Surface:
        """With F by the negative bias within the walls, if over the same variables, and how far that is off."""
        if set(surface.variables) != set(self.variables):
            return surface
        centres = np.meshgrid(*surface.centres, indexing="ij")
        at = np.stack([centres[surface.variables.index(name)].ravel() for name in self.variables], axis=1)
        alone = self._negative(at)
        alone[self.ground.walls.energy(at)[0] > 0] = np.nan
        alone = alone.reshape(surface.free_energy.shape)
        off = alone - surface.free_energy
        known = np.isfinite(off)
        alone -= np.median(off[known]) if known.any() else 0.0
        off = np.abs(alone - surface.free_energy)[known]
        note = f"by the negative bias alone F is {off.mean():.2f} kcal/mol off on average" if known.any() else ""
        notes = (*surface.notes, note) if note else surface.notes
        return replace(surface, of_bias=np.where(np.isfinite(surface.free_energy), alone, np.nan), notes=notes)

    def binding(self, state: StandardState) -> float | None:
        """−kT ln(P_bound/P_shell) by the negative bias, over the one variable, kcal/mol; None where no hill reaches
        what is bound."""
        energy = kt(self.ground.temperature)
        lowest = max(0.0, float(self.hills.centres.min() - _BEYOND * self.hills.widths[0]))
        if state.bound <= lowest:
            return None

        def inside(low: float, high: float) -> float:
            r = np.linspace(low, high, 2001)
            return _log_sum(-self._negative(r[:, None]) / energy) + math.log((high - low) / len(r))

        return energy * (inside(state.low, state.high) - inside(lowest, state.bound))

    def _negative(self, values: FloatArray) -> FloatArray:
        factor = self.ground.told.bias_factor
        return -factor / (factor - 1) / KCAL_MOL * self.hills.energy(values)[0]


def _log_sum(exponents: FloatArray) -> float:
    largest = exponents.max()
    return float(largest + math.log(np.exp(exponents - largest).sum()))
