"""Free energies from windows of a collective variable, together by MBAR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..._types import FloatArray
from ...errors import InputError
from ...sweep.umbrella import APART, Overlap, shared
from ...terms.bias import Restraint, near
from .mbar import Pool, Pools, beta_of, share_of, thinned_together
from .sampling import Samples


@dataclass(frozen=True)
class Window:
    """What one run was biased by, and its samples, the variable's among them."""

    samples: Samples
    variable: str
    restraint: Restraint


def windows_together(windows: Sequence[Window], temperature: float, name: str = "windows") -> Pools:
    """Windows, of several temperatures where their energies are known, for F without bias at `temperature` (K).
    Raises InputError."""

    def part(begin: float, end: float) -> Pool:
        return _pool([replace(w, samples=share_of(w.samples, begin, end)) for w in windows], temperature)

    return Pools(name, temperature, part, tuple(thin(windows)))


def _pool(windows: Sequence[Window], temperature: float) -> Pool:
    samples = thinned_together([w.samples for w in windows])
    energies: FloatArray = np.zeros(sum(map(len, samples)))
    if any(s.temperature != temperature for s in samples):
        known = [s.energies for s in samples if s.energies is not None]
        if len(known) < len(samples):
            raise InputError(
                "windows at several temperatures: MBAR needs the classical potential energy of every frame"
            )
        energies = np.concatenate(known)
        energies = energies - energies.mean()
    manifest = np.concatenate([np.zeros(len(s)) if s.bias is None else s.bias for s in samples])
    reduced = np.empty((len(windows), len(energies)))
    for k, window in enumerate(windows):
        values = np.concatenate([s.values[window.variable] for s in samples])
        bias = manifest + window.restraint.energy(values)[0]
        reduced[k] = beta_of(window.samples.temperature) * (energies + bias)
    return Pool(samples, reduced, beta_of(temperature) * energies)


def thin(windows: Sequence[Window]) -> list[str]:
    """A line for each two neighbours of one temperature that hardly overlap. Raises InputError for such as do not:
    MBAR would tell by the tails of both what neither has sampled, and no bootstrap of these shows how wrong that
    is."""
    notes = []
    ordered = sorted(windows, key=lambda w: (w.samples.temperature, w.restraint.low))
    for a, b in pairwise(ordered):
        if a.samples.temperature == b.samples.temperature and a.variable == b.variable:
            middle = (a.restraint.low + b.restraint.low) / 2
            both = (near(w.samples.values[w.variable], middle, w.restraint.turn) for w in (a, b))
            sampled = shared(*both)
            overlap = Overlap(a.samples.temperature, a.variable, a.restraint.low, b.restraint.low, sampled)
            if sampled < APART:
                raise InputError(
                    f"{overlap.line()}; nothing that was sampled leads from one to the other, and no free energy is "
                    "known across: run a sweep of these, and give both with --together"
                )
            notes += [overlap.line()] if overlap.proposed else []
    return notes
