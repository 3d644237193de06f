"""Frames of a trajectory for the viewer: few, turned so that the host stands still, small."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ..rotation.rigid import fit
from ..trajectory import Run

FRAMES = 100
_FINEST = 1e-3  # Å
_INT16 = 32767


@dataclass(frozen=True)
class Movie:
    """time (n,) in ps, positions (n, N, 3) in Å; broken: the molecule failed right after them."""

    symbols: tuple[str, ...]
    time: FloatArray
    positions: FloatArray
    broken: bool

    def packed(self) -> tuple[float, str]:
        """Å in a unit, and positions in that unit as little-endian 16-bit integers, base64."""
        unit = max(_FINEST, float(np.abs(self.positions).max()) / _INT16)
        whole = np.round(self.positions / unit).astype("<i2")
        return unit, base64.b64encode(whole.tobytes()).decode()


def movie_of(
    run: Run,
    still: IntArray | None,
    frames: int = FRAMES,
    cut: int | None = None,
    reference: FloatArray | None = None,
) -> Movie:
    """At most `frames` frames evenly over the run, up to step `cut` if it failed there.

    still: atoms that keep their place (default: all, as far as a rigid fit goes); reference: (N, 3) Å, where that
    place is (default: the first frame). Raises InputError where there is no finite frame.
    """
    from ase.data import chemical_symbols

    steps = run.steps
    end = len(steps) if cut is None else min(len(steps), int(np.searchsorted(steps, cut)) + 1)
    every = max(1, math.ceil(end / frames))
    times, kept = [], []
    for block in run.blocks(every):
        inside = block.steps <= (steps[end - 1] if end else -1)
        finite = np.isfinite(block.positions).all((1, 2)) & inside
        times.append(block.time[finite])
        kept.append(block.positions[finite])
    positions, time = np.concatenate(kept), np.concatenate(times)
    if not len(positions):
        raise InputError("no finite frame to show")
    atoms = still if still is not None and len(still) > 2 else np.arange(len(run.numbers))
    masses = run.masses
    goal = (positions[0] if reference is None else reference)[atoms]
    weights = masses[atoms] / masses[atoms].sum()
    rotations, _ = fit(goal, positions[:, atoms], masses[atoms])
    centred = positions - (weights @ positions[:, atoms])[:, None]
    symbols = tuple(chemical_symbols[z] for z in run.numbers)
    return Movie(symbols, time, np.einsum("naj,nji->nai", centred, rotations), cut is not None)
