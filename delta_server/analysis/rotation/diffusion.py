"""Rotational diffusion of a guest: where its angle grows as a diffusing body's does, how fast, and whether its
orientation agrees.

D_r is a sixth of the slope of the mean squared angular displacement (MSAD), taken only where the log–log slope is
about 1; elsewhere the number is refused. Summed angles mislead where a body rattles in a cage: small rotations do not
commute, so that their sum walks away while the orientation stays (Simon et al., arXiv 2604.21512). The decay of C_1
and C_2 shows it, and so does a D_r that depends on the stride between frames: both are held against the MSAD. Turns
that are counted (`turns`) stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from ..._types import FloatArray
from ...files.documents import plain
from ..statistics import Estimate, of_blocks, slope, standard_error
from ..trajectory import segments
from .curves import BLOCKS, Curves, curves, decays, largest_and_rms
from .rigid import Orientations
from .turns import Turns, turns

_WRAP = 0.9 * np.pi  # rad between two frames: at π the sense of the turn is lost
_COARSE = 1.0  # rad, root mean square between two frames: the sum misses θ²/36 of the MSAD, 3 %
_PER_DECADE = 12  # lags
_NEAR = 10**0.16  # lags within this factor make the local slope
_ABOUT_1 = 0.1  # what the log–log slope may differ from 1, beside its error
_UNSURE = 0.15  # largest error of a local slope that says anything
_SPAN = 3.0  # the least factor that the diffusive window spans
_SEEN = 0.1  # C_l below this has nothing left to tell a rate
_ALIKE = 0.75  # rates that differ by less than this factor agree
_STRIDES = (2, 4)
_RIGID = 0.5  # Å
_FEW = 0.02  # of the frames may be left out at gaps, silently
UNITS = {"lags": "ps", "msad": "rad^2", "d": "rad^2/ps", "window": "ps", "rmsd": "Ang", "temperature": "K"}
TURN = 60.0  # degrees that count as a turn


@dataclass(frozen=True)
class Rotation:
    """Lags (k,) in ps; msad in rad², c1, c2, each with its error; slope: log–log, of the MSAD.

    d: D_r in rad²/ps, over `window` (ps), None where it was `refused`; axes_body, axes_space: along the guest's
    principal axes, and along those of the host or the laboratory; d_c1, d_c2: from C_1 and C_2 over the same window;
    strides: D_r from every second and fourth frame. turns: counted, by half of the angle and by the angle. notes:
    what casts doubt on d.
    """

    name: str
    temperature: float | None
    rms_angle: float  # rad, from one frame to the next
    rmsd: float  # Å, of the guest from its first frame
    lags: FloatArray = field(default_factory=lambda: np.zeros(0))
    msad: FloatArray = field(default_factory=lambda: np.zeros(0))
    msad_error: FloatArray = field(default_factory=lambda: np.zeros(0))
    slope: FloatArray = field(default_factory=lambda: np.zeros(0))
    c1: FloatArray = field(default_factory=lambda: np.zeros(0))
    c1_error: FloatArray = field(default_factory=lambda: np.zeros(0))
    c2: FloatArray = field(default_factory=lambda: np.zeros(0))
    c2_error: FloatArray = field(default_factory=lambda: np.zeros(0))
    refused: str | None = None
    window: tuple[float, float] | None = None
    d: Estimate | None = None
    axes_body: tuple[Estimate, ...] = ()
    axes_space: tuple[Estimate, ...] = ()
    d_c1: Estimate | None = None
    d_c2: Estimate | None = None
    strides: tuple[tuple[int, Estimate], ...] = ()
    turns: tuple[Turns, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For machines, with units; None where there is no number."""
        return {**{name: plain(value) for name, value in asdict(self).items()}, "units": UNITS}

    def line(self) -> str:
        """What was found."""
        counted = _told(self.turns)
        if self.d is None or self.window is None:
            return "; ".join((f"{self.name}: no D_r: {self.refused}", *self.notes, *counted))
        text = f"{self.name}: D_r {self.d} rad²/ps from MSAD/6 over {self.window[0]:.3g} to {self.window[1]:.3g} ps"
        for label, value in (("C_1", self.d_c1), ("C_2", self.d_c2)):
            if value is not None:
                text += f", {value} from {label}"
        return "; ".join((text, *self.notes, *counted))


def rotation(
    found: Orientations,
    interval: float,
    name: str = "",
    temperature: float | None = None,
    longest: float | None = None,
    turn: float = TURN,
) -> Rotation:
    """From orientations `interval` ps apart in each part without a gap; lags go up to an eleventh of the longest
    part, or to `longest` ps if that is less. turn: degrees that count as a turn."""
    parts = segments(found.time)
    frames = max((part.stop - part.start for part in parts), default=0)
    angle, rms = largest_and_rms(found)
    typical = float(np.sqrt(np.mean(found.rmsd**2)))
    nothing = Rotation(name, temperature, rms, typical, notes=_left_out(found, parts, interval))
    if angle > _WRAP or rms > _COARSE:
        return replace(
            nothing,
            refused=f"from one frame to the next, {interval:.3g} ps, it turns by {rms:.2f} rad (root mean square) "
            f"and up to {angle:.2f}: too coarse to sum angles; write positions at least {_finer(rms)} times as often",
        )
    most = frames // (BLOCKS + 1)
    if most < 10:
        return replace(nothing, refused=f"{frames} frames without a gap; expected at least {10 * (BLOCKS + 1)}")
    if longest is not None:
        most = min(most, int(longest / interval))
        if most < 10:
            return replace(nothing, refused=f"the longest lag, {longest:g} ps, is less than 10 frames")
    number = int(_PER_DECADE * math.log10(most)) + 1
    lags = np.unique(np.geomspace(1, most, number).round().astype(np.intp))
    all_of_it = curves(found, lags, interval)
    local, unsure = _local_slopes(all_of_it)
    seen = replace(
        nothing,
        lags=all_of_it.lags,
        msad=all_of_it.msad.mean(0),
        msad_error=standard_error(all_of_it.msad),
        slope=local,
        c1=all_of_it.c1.mean(0),
        c1_error=standard_error(all_of_it.c1),
        c2=all_of_it.c2.mean(0),
        c2_error=standard_error(all_of_it.c2),
        turns=tuple(turns(found, parts, interval, angle) for angle in (turn / 2, turn)),
    )
    where = _window(all_of_it.lags, local, unsure)
    if where is None:
        return replace(seen, refused=_why_not(all_of_it.lags, local, unsure))
    return _measured(seen, found, all_of_it, where, interval)


def _told(counted: tuple[Turns, ...]) -> list[str]:
    """Of the turns, with half the angle where rattling reaches it."""
    if not counted:
        return []
    half, full = counted
    lines = [full.line()]
    less = full.d or Estimate(0.0, 0.0)
    if half.d is not None and _ALIKE * half.d.value > less.value + 3 * math.hypot(half.d.error, less.error):
        lines.append(f"rattles: D_r {half.d} from turns of {half.angle:g}°")
    return lines


def _left_out(found: Orientations, parts: Sequence[slice], interval: float) -> tuple[str, ...]:
    """A line where frames are spaced otherwise than most: lags of different times are not mixed."""
    left = len(found.time) - sum(part.stop - part.start for part in parts)
    if left <= _FEW * len(found.time):
        return ()
    return (
        f"{left} of {len(found.time)} frames are not {interval:.3g} ps apart (another time step or stride after a "
        "restart, or gaps) and are left out",
    )


def _measured(seen: Rotation, found: Orientations, all_of_it: Curves, where: slice, interval: float) -> Rotation:
    """With the numbers of the diffusive window."""
    lags = all_of_it.lags[where]
    by_block = _slopes(lags, all_of_it.msad[:, where]) / 6
    d = of_blocks(by_block)
    body = [of_blocks(_slopes(lags, all_of_it.body[:, where, i]) / 2) for i in range(3)]
    space = [of_blocks(_slopes(lags, all_of_it.space[:, where, i]) / 2) for i in range(3)]
    expected = decays(np.maximum([a.value for a in body], 0.0), lags)
    rates: list[Estimate | None] = []
    notes = list(seen.notes)
    doubts: list[str] = []
    if seen.rmsd > _RIGID:
        notes.append(f"the guest is not rigid: {seen.rmsd:.2f} Å from its first frame (root mean square)")
    for order, series, model in ((1, all_of_it.c1, expected[0]), (2, all_of_it.c2, expected[1])):
        rate, free = _rates(order, lags, series[:, where], model)
        rates.append(rate)
        doubt = None if rate is None else _disagreement(order, rate, free, d, seen.turns[-1].d)
        if doubt is not None:
            doubts.append(doubt)
    notes += doubts[:1]  # C_2 says what C_1 said
    strides = []
    for every in _STRIDES:
        coarser = found.every(every)
        frames = np.unique((lags / (every * interval)).round().astype(np.intp))
        frames = frames[frames > 0]
        if len(frames) < 3 or frames[-1] < _SPAN * frames[0] or largest_and_rms(coarser)[1] > _COARSE:
            continue
        again = curves(coarser, frames, every * interval)
        others = _slopes(again.lags, again.msad) / 6
        strides.append((every, of_blocks(others)))
        change = of_blocks(others - by_block)
        if abs(change.value) > 3 * change.error and abs(change.value) > 0.1 * d.value:
            notes.append(f"depends on the stride: {strides[-1][1]} from every {every}th frame, so the sum misleads")
    return replace(
        seen,
        window=(float(lags[0]), float(lags[-1])),
        d=d,
        axes_body=tuple(body),
        axes_space=tuple(space),
        d_c1=rates[0],
        d_c2=rates[1],
        strides=tuple(strides),
        notes=tuple(notes),
    )


def _finer(rms: float) -> int:
    return max(2, math.ceil((2 * rms) ** 2))  # to half a radian, if it diffuses


def _slopes(lags: FloatArray, series: FloatArray) -> FloatArray:
    """Of straight lines through the lags (k,) of each block (b, k), weighted by 1/τ²: long lags have few origins."""
    weights = 1 / lags**2
    x = lags - np.average(lags, weights=weights)
    result: FloatArray = series @ (weights * x) / np.sum(weights * x * x)
    return result


def _local_slopes(all_of_it: Curves) -> tuple[FloatArray, FloatArray]:
    """d ln MSAD / d ln τ around each lag, and its error."""
    log_lags, together = np.log(all_of_it.lags), np.log(all_of_it.msad.mean(0))
    by_block = np.log(np.maximum(all_of_it.msad, 1e-12))  # a body may rest through a block
    value, error = np.empty(len(log_lags)), np.empty(len(log_lags))
    for k, middle in enumerate(log_lags):
        near = np.abs(log_lags - middle) <= math.log(_NEAR) + 1e-9
        if near.sum() < 2:  # the first lags are far apart
            near[max(0, k - 1) : k + 2] = True
        value[k] = slope(log_lags[near], together[near])
        error[k] = np.std([slope(log_lags[near], one[near]) for one in by_block], ddof=1) / math.sqrt(BLOCKS)
    return value, error


def _window(lags: FloatArray, local: FloatArray, unsure: FloatArray) -> slice | None:
    """The widest range of lags (by their ratio) over which the slope is about 1; None if it spans too little."""
    fine = (np.abs(local - 1) <= _ABOUT_1 + unsure) & (unsure <= _UNSURE)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], fine.astype(int), [0]])))
    ranges = [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2) if lags[b - 1] >= _SPAN * lags[a] and b - a > 2]
    return max(ranges, key=lambda r: lags[r.stop - 1] / lags[r.start], default=None)


def _why_not(lags: FloatArray, local: FloatArray, unsure: FloatArray) -> str:
    sure = np.flatnonzero(unsure <= _UNSURE)
    if not len(sure):
        return "too few time origins for a slope; run longer"
    last = int(sure[-1])
    end = f"{local[last]:.2f} at {lags[last]:.3g} ps, the longest lag at which it is known"
    if local[last] > 1:
        cause = "it still swings freely, run longer"
    elif local[last] < 0.7:
        cause = "it is caged, its angle hardly grows"
    else:
        cause = "run longer"
    return f"the log–log slope of the MSAD is about 1 nowhere over a factor of {_SPAN:.0f}; it is {end}: {cause}"


def _rates(order: int, lags: FloatArray, series: FloatArray, model: FloatArray) -> tuple[Estimate | None, float]:
    """D from the decay of C_l, and what the same lags give for the free decay `model`; None where C_l is gone."""
    together = series.mean(0)
    known = (together > np.maximum(_SEEN, 3 * standard_error(series))) & (series > 0).all(0)
    there = np.logical_and.accumulate(known)
    if there.sum() < 3:
        return None, math.nan
    factor = order * (order + 1)
    by_block = -_slopes(lags[there], np.log(series[:, there])) / factor
    free = -_slopes(lags[there], np.log(model[None, there])) / factor
    return of_blocks(by_block), float(free[0])


def _disagreement(order: int, rate: Estimate, free: float, d: Estimate, counted: Estimate | None) -> str | None:
    """How the decay of C_l is not that of a body that diffuses as the MSAD says; counted: D_r from turns."""
    spread = math.hypot(rate.error, d.error * free / d.value if d.value > 0 else d.error)
    if abs(rate.value - free) <= 3 * spread or _ALIKE < rate.value / free < 1 / _ALIKE:
        return None
    if rate.value >= free:
        return (
            f"C_{order} decays {rate.value / free:.2g} times faster than the MSAD says: it jumps, it does not diffuse"
        )
    times = f"{free / rate.value:.2g}" if rate.value > 0.01 * free else "more than 100"
    slower = f"C_{order} decays {times} times slower than the MSAD says"
    if counted is not None and _ALIKE < counted.value / d.value < 1 / _ALIKE:
        return f"{slower}, and counted turns agree with the MSAD: it turns by jumps"
    return (
        f"{slower}: it is caged, and the summed angle walks while "
        "the orientation stays (arXiv 2604.21512); do not take this for D_r"
    )
