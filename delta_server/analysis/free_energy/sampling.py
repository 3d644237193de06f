"""Samples of collective variables: from a run, in equilibrium, and how many of them are independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ...units import KCAL_MOL
from ..statistics import equilibration, statistical_inefficiency
from ..trajectory import Run
from .variables import Variables, along

_BLOCK = 5  # statistical inefficiencies in a block of the bootstrap: shorter ones state errors too small
_LEAST, _MOST = 10, 400  # blocks
_TOGETHER = 0.7  # least correlation, of every variable, of trajectories that move together


@dataclass(frozen=True)
class Samples:
    """One trajectory's values (n,) by variable, in Å and degrees, and its potential energies (n,) in eV if known;
    temperature in K."""

    name: str
    temperature: float
    values: dict[str, FloatArray]
    energies: FloatArray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def take(self, which: slice | IntArray) -> Samples:
        """Some of the frames."""
        energies = None if self.energies is None else self.energies[which]
        return replace(self, values={name: v[which] for name, v in self.values.items()}, energies=energies)

    def inefficiency(self) -> float:
        """Frames from one independent sample to the next, for the slowest variable."""
        return max(statistical_inefficiency(series) for series in self.values.values())

    def equilibrated(self) -> Samples:
        """Without the start, up to where the last of the variables and the energy is in equilibrium."""
        series = [*self.values.values(), *([] if self.energies is None else [self.energies])]
        return self.take(slice(max(map(equilibration, series)), None))


def kt(temperature: float) -> float:
    """kT in kcal/mol."""
    from ase.units import kB

    return float(kB * temperature / KCAL_MOL)


def samples_of(run: Run, variables: Variables, temperature: float | None = None, every: int = 1) -> Samples:
    """From a run's frames, and its energies where it recorded them at the same steps.

    temperature: K, by default what i-PI recorded. Raises InputError where there is none.
    """
    from ase.data import atomic_masses

    temperature = run.temperature if temperature is None else temperature
    if temperature is None:
        raise InputError(
            f"{run.path}: its temperature is not known (no column ensemble_temperature{{kelvin}}); give --temperature"
        )
    values = along(variables, run.blocks(every), atomic_masses[run.numbers])
    return Samples(run.name, temperature, values, _energies(run, run.steps[::every]))


def _energies(run: Run, steps: IntArray) -> FloatArray | None:
    table = None if run.outputs is None else run.outputs.properties
    if table is None or table.units.get("potential") != "electronvolt" or "step" not in table.columns:
        return None
    if "xc" in run.path.name:  # of ring polymers: not a function of the centroids
        return None
    at = np.searchsorted(table["step"], steps)
    at[at == len(table["step"])] = 0
    return table["potential"][at] if np.array_equal(table["step"][at], steps) else None


def alike(samples: Sequence[Samples]) -> list[str]:
    """Pairs of trajectories that move together, frame by frame, in a line each: runs of the same seed are no
    independent samples, however different their temperatures. samples: as they were run, with the start."""
    notes = []
    for a, b in combinations(samples, 2):
        if set(a.values) != set(b.values):
            continue
        n = min(len(a), len(b))
        pairs = [(a.values[name][:n], b.values[name][:n]) for name in a.values]
        if a.energies is not None and b.energies is not None:
            pairs.append((a.energies[:n], b.energies[:n]))
        moving = [(x, y) for x, y in pairs if float(np.ptp(x)) > 0 and float(np.ptp(y)) > 0]
        together = [float(np.corrcoef(x, y)[0, 1]) for x, y in moving]
        if n > _LEAST and together and min(together) > _TOGETHER:
            notes.append(
                f"{a.name} and {b.name} move together (correlation {min(together):.2f} or more): started with the "
                "same seed? they are no independent samples"
            )
    return notes


def block_length(n: int, inefficiency: float) -> int:
    """Frames in a block of the bootstrap: long against correlations, and not too few or too many blocks."""
    return max(1, min(max(math.ceil(_BLOCK * inefficiency), n // _MOST), n // _LEAST))


def resampled(blocks: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Sums over blocks (b, …) drawn again with replacement: (resamples, …)."""
    rng = np.random.default_rng(seed)
    n = len(blocks)
    times = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    return np.asarray(np.tensordot(times, blocks, axes=1), dtype=np.float64)
