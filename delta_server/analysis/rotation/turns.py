"""Turns: rotation counted by angles that are reached, which the rattling in a cage does not walk through.

A guest has turned once its orientation is `angle` away from where it was after its last turn. The time between turns
is the exchange time, that from any moment to the first turn the persistence time (Jung, Garrahan and Chandler, Phys.
Rev. E 69, 061205 (2004); Hedges, Maibaum, Chandler and Garrahan, J. Chem. Phys. 127, 211101 (2007), who count
displacements as turns are counted here). For free diffusion, and for jumps at random (Poisson) times, both are
distributed alike; where rotation is intermittent, a turn is followed by others and then by a long rest, and
persistence is longer than exchange. The MSAD, which averages over time, does not tell.

D_r comes from the turns as well: L (2 − θ cot(θ/2)) = D_r for the generator L of isotropic diffusion on SO(3), so
that the mean of 2 − θ cot(θ/2) over turns, θ their angles, is D_r times the mean time of a turn (Dynkin's formula).
It is the same from every angle (to 2 % at 120°) and stride, and vanishes for a body that rattles by less than the
angle; it is blind to a cage that is wider than the angle.

That the usual measures fail where rotation is intermittent is shown in arXiv:2604.21512. The measure here is not the
one proposed there; of that paper the abstract was at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..._types import BoolArray, FloatArray, IntArray
from ..statistics import Estimate, of_blocks
from .rigid import Orientations

_BLOCKS = 10  # of time, for errors
_ENOUGH = 10  # turns that times are told from
_ORIGINS = 2000  # moments from which persistence is measured
_REPLICATES = 100
_PER_DECADE = 24  # times at which survival is given
_MORE = 1.25  # persistence over exchange, from which on rotation is said to be intermittent
_LEFT = math.exp(-1)


@dataclass(frozen=True)
class Turns:
    """angle: degrees, of a turn; number: of turns; d: D_r in rad²/ps from them, None without a turn.

    exchange, persistence: ps, after which the fraction 1/e of all waits is left; ratio: persistence over exchange.
    None where they are longer than the run allows, or with fewer than 10 turns. time (k,): ps; exchange_left,
    persistence_left (k,): the fraction left after it, NaN where it is not known.
    """

    angle: float
    number: int
    d: Estimate | None
    exchange: Estimate | None
    persistence: Estimate | None
    ratio: Estimate | None
    time: FloatArray
    exchange_left: FloatArray
    persistence_left: FloatArray

    @property
    def intermittent(self) -> bool:
        """Whether persistence is longer than exchange, beyond the error."""
        return self.ratio is not None and self.ratio.value > max(_MORE, 1 + 2 * self.ratio.error)

    def line(self) -> str:
        """What was found."""
        if self.d is None:
            return f"no turn of {self.angle:g}°"
        text = f"D_r {self.d} from {self.number} turn{'s' * (self.number > 1)} of {self.angle:g}°"
        if self.exchange is not None:
            text += f", {self.exchange} ps apart"
        if self.ratio is not None:
            text += f", persistence/exchange {self.ratio}"
        return text + (": intermittent" if self.intermittent else "")


@dataclass(frozen=True)
class _Waits:
    """Times (n,) in frames to a turn, or (where not `ended`) to the end of the trajectory; block (n,) that each began
    in. Sorted by time, those that ended first."""

    times: IntArray
    ended: BoolArray
    block: IntArray

    @classmethod
    def of(cls, times: Sequence[int], ended: Sequence[bool], block: Sequence[int]) -> _Waits:
        order = np.lexsort((~np.array(ended, dtype=bool), np.array(times, dtype=np.intp)))
        return cls(
            np.array(times, dtype=np.intp)[order],
            np.array(ended, dtype=bool)[order],
            np.array(block, dtype=np.intp)[order],
        )

    def left(self, grid: IntArray, weights: FloatArray) -> FloatArray:
        """The fraction (k,) that waits longer than grid (k,), frames, with weights (blocks,); NaN beyond the longest
        wait (Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958))."""
        weight = weights[self.block]
        waiting = np.cumsum(weight[::-1])[::-1]
        fraction = np.cumprod(1 - np.where(self.ended, weight, 0.0) / np.maximum(waiting, 1e-12))
        at = np.searchsorted(self.times, grid, side="right")
        known = (grid <= self.times[-1]) | (fraction[-1] < 1e-9)
        result: FloatArray = np.where(known, np.append(1.0, fraction)[at], np.nan)
        return result


def turns(found: Orientations, parts: Sequence[slice], interval: float, angle: float) -> Turns:
    """Of orientations `interval` ps apart in each of `parts`; angle: degrees, less than 180."""
    limit = 1 + 2 * math.cos(math.radians(angle))  # of the trace
    flats = [found.rotations[part].reshape(-1, 9) for part in parts]
    offsets = np.cumsum([0, *map(len, flats)])
    frames = int(offsets[-1])
    traces: list[float] = []
    when: list[int] = []  # the block that each turn ends in
    exchanges: list[tuple[int, bool, int]] = []
    for flat, offset in zip(flats, offsets, strict=False):
        ends = _sequence(flat, limit)
        traces += [float(flat[a] @ flat[b]) for a, b in pairwise([0, *ends])]
        blocks = [(int(offset) + end) * _BLOCKS // frames for end in ends]
        when += blocks
        last = len(ends) - 1  # after it the trajectory ends; the first one began anywhere, and is no exchange
        exchanges += [(b - a, k < last, blocks[k]) for k, (a, b) in enumerate(pairwise([*ends, len(flat) - 1]))]
    number = len(traces)
    d = None
    if number:
        theta = np.arccos(np.clip((np.array(traces) - 1) / 2, -1, 1))
        by_block = np.bincount(when, 2 - theta / np.tan(theta / 2), _BLOCKS)
        d = of_blocks(by_block * _BLOCKS / (frames * interval))
    longest = max(map(len, flats))
    grid = np.unique(np.geomspace(1, longest, int(_PER_DECADE * math.log10(longest)) + 2).round().astype(np.intp))
    time = np.asarray(grid * interval, dtype=np.float64)
    if number < _ENOUGH:
        unknown = np.full(len(grid), np.nan)
        return Turns(angle, number, d, None, None, None, time, unknown, unknown)
    persistences: list[tuple[int, bool, int]] = []
    for flat, offset in zip(flats, offsets, strict=False):
        for origin in range(0, len(flat) - 1, max(1, frames // _ORIGINS)):
            end = _first(flat, origin, limit)
            wait = (len(flat) - 1 if end is None else end) - origin
            persistences.append((wait, end is not None, (int(offset) + origin) * _BLOCKS // frames))
    exchange, persistence = (_Waits.of(*zip(*waits, strict=True)) for waits in (exchanges, persistences))
    weights = np.random.default_rng(0).multinomial(_BLOCKS, np.full(_BLOCKS, 1 / _BLOCKS), _REPLICATES)
    together = np.vstack([np.ones(_BLOCKS), weights])
    left = [np.array([waits.left(grid, w) for w in together]) for waits in (exchange, persistence)]
    times = [np.array([_time_left(grid, one) for one in each]) * interval for each in left]
    return Turns(
        angle,
        number,
        d,
        _bootstrapped(times[0]),
        _bootstrapped(times[1]),
        _bootstrapped(times[1] / times[0]),
        time,
        left[0][0],
        left[1][0],
    )


def _first(flat: FloatArray, origin: int, limit: float) -> int | None:
    """The first frame after the origin whose orientation (n, 9) is an angle away whose trace is `limit`."""
    begin, size = origin + 1, 64
    while begin < len(flat):
        beyond = flat[begin : begin + size] @ flat[origin] <= limit
        first = int(beyond.argmax())
        if beyond[first]:
            return begin + first
        begin, size = begin + size, 2 * size
    return None


def _sequence(flat: FloatArray, limit: float) -> list[int]:
    """The frames at which a turn was done, each counted from the one before."""
    ends: list[int] = []
    end = _first(flat, 0, limit)
    while end is not None:
        ends.append(end)
        end = _first(flat, end, limit)
    return ends


def _time_left(grid: IntArray, left: FloatArray) -> float:
    """The time, in frames, after which 1/e is left; NaN where more is left at the end."""
    known = np.append(1.0, left[np.isfinite(left)])
    if known[-1] > _LEFT:
        return math.nan
    return float(np.interp(-_LEFT, -known, np.append(0, grid)[: len(known)]))


def _bootstrapped(values: FloatArray) -> Estimate | None:
    """The first value, with the spread of the others as its error; None where one of 20 others is not known."""
    others = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or len(others) < 0.95 * (len(values) - 1):
        return None
    return Estimate(float(values[0]), float(others.std(ddof=1)))
