"""Umbrella windows: a harmonic bias of one collective variable at each of some centres, started by a slow pull."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..dynamics import Walkers
from ..errors import InputError
from ..files.documents import read_text
from ..files.whole import write_json
from ..ipi.tables import read_extras
from ..potential import Potential
from ..terms.base import Frames
from ..terms.bias import BiasTerm, Restraint, near, restrain
from ..units import BOLTZMANN
from ..variables.definition import Variables, read_variables
from .record import PREFIX, Member, Sweep, Windows

_MOST = 200
_STIFF = 10.0  # times a window's force constant, while pulled
_PIECE, _PIECES = 100, 200  # steps between moves of the centre, and how many at most for a window
THIN = 0.1  # overlap of two neighbours below which windows between them are proposed
APART = 0.03  # below which nothing leads from one to the other
_BINS = 40


@dataclass(frozen=True)
class Umbrella:
    """What windows to write. known: with the variable among them; force_constant: eV over the square of the
    variable's unit, None for one by which neighbours overlap."""

    variable: str
    known: Variables
    centres: tuple[float, ...]
    force_constant: float | None = None

    def windows(self, temperature: float) -> Windows:
        """For the record; temperature: the lowest, K. Raises InputError for a variable that is not there."""
        if self.variable not in self.known.variables:
            raise InputError(f"--variable {self.variable}: there are {', '.join(self.known.variables)}")
        variable = self.known.variables[self.variable]
        for centre in self.centres:
            self.known.check_reach(self.variable, centre, centre, "--windows")
        if (turn := variable.turn) and len({round(centre % turn, 4) for centre in self.centres}) < len(self.centres):
            raise InputError(f"--windows: {self.variable} goes round: expected each place of its {turn:g}° once")
        constants = [self.force_constant or self._overlapping(k, temperature) for k in range(len(self.centres))]
        groups = {name: list(atoms) for name, atoms in self.known.groups.items()}
        return Windows(
            variable=self.variable,
            definition={"groups": groups, "variables": {self.variable: variable.as_dict()}},
            unit=variable.unit,
            centres=self.centres,
            force_constants=tuple(constants),
        )

    def _overlapping(self, window: int, temperature: float) -> float:
        """eV: by which the variable spreads, on flat ground, by half of the distance to the nearest neighbour."""
        if len(self.centres) < 2:
            raise InputError("--force-constant auto: of a single window nothing tells it; give a number")
        centre = self.centres[window]
        nearest = min(abs(centre - other) for other in self.centres if other != centre)
        return BOLTZMANN * temperature / (nearest / 2) ** 2


def parse_windows(text: str) -> tuple[float, ...]:
    """``3:14:0.5`` → 3, 3.5, … 14; or ``3,4.5,7``, in rising order. Raises InputError."""
    try:
        numbers = [float(piece) for piece in text.split(":" if ":" in text else ",")]
    except ValueError:
        numbers = [math.nan]
    if ":" in text and len(numbers) == 3 and numbers[1] >= numbers[0] and numbers[2] > 0:
        first, last, step = numbers
        count = min((last - first) / step + 1e-6, 2.0 * _MOST)
        numbers = [first + k * step for k in range(int(count) + 1)]
    elif ":" in text:
        numbers = [math.nan]
    centres = tuple(sorted(float(f"{x:.6g}") for x in numbers))
    if not all(map(math.isfinite, centres)) or len(set(centres)) < len(centres) or len(centres) > _MOST:
        raise InputError(
            f"--windows {text!r}: expected FIRST:LAST:STEP in the variable's unit, such as 3:14:0.5, or a list, such "
            f"as 3,3.5,4, each once and at most {_MOST}"
        )
    return centres


def window_bias(windows: Windows, restraint: Restraint, numbers: IntArray, source: str) -> BiasTerm:
    """The term of a restraint on the windows' variable; source: for messages. Raises InputError."""
    known = read_variables(windows.definition, source)
    return restrain("window", known, windows.variable, restraint, numbers, source)


def write_bias(path: Path, windows: Windows, window: int, numbers: IntArray) -> None:
    """What `read_bias` reads. Raises OSError."""
    one = windows.model_copy(
        update={"centres": (windows.centres[window],), "force_constants": (windows.force_constants[window],)}
    )
    write_json(path, one.model_dump(mode="json") | {"numbers": numbers.tolist()})


def read_bias(path: Path) -> BiasTerm:
    """The bias of a window, from its file. Raises InputError."""
    try:
        data = json.loads(read_text(path, "window", "JSON", InputError, 2**24))
        numbers = np.array(data.pop("numbers"), dtype=np.intp)
        windows = Windows.model_validate(data)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path}: not the bias of a window; write the sweep anew") from None
    return window_bias(windows, windows.restraint(0), numbers, str(path))


def pull(
    potential: Potential,
    windows: Windows,
    start: FloatArray,
    temperature: float,
    seed: int,
    timestep: float,
    on_window: Callable[[int], None] = lambda window: None,
    masses: FloatArray | None = None,
) -> list[FloatArray]:
    """A geometry (N, 3) Å for each window: from `start` outward and inward, by Langevin dynamics with a stiff bias
    whose centre goes from window to window in small steps, and stays until the variable has followed.

    timestep: fs. on_window: is told which one is reached. masses: as of `Walkers`. Raises InputError where the
    molecule does not follow, GeometryError where it breaks.
    """

    def biased(window: int, centre: float) -> Potential:
        restraint = Restraint(centre, centre, _STIFF * windows.force_constants[window])
        bias = window_bias(windows, restraint, potential.numbers, "the pull")
        terms = [*potential.terms, bias]
        return Potential(
            potential.numbers, potential.reference, potential.fragments, terms, likeness=potential.likeness
        )

    first = window_bias(windows, windows.restraint(0), potential.numbers, "the pull")

    def value(positions: FloatArray, beside: float) -> float:
        return float(near(first.values(Frames(positions[None]))[windows.variable], beside, windows.turn)[0])

    centres = windows.centres
    reached = value(start, (centres[0] + centres[-1]) / 2)
    out = [k for k, centre in enumerate(centres) if centre >= reached]
    inward = [k for k in reversed(range(len(centres))) if k not in out]
    starts: dict[int, FloatArray] = {}
    for way in (out, inward):
        positions, aim = start, reached
        for k in way:
            spread = math.sqrt(BOLTZMANN * temperature / windows.force_constants[k])
            for piece in range(_PIECES):
                aim += min(max(centres[k] - aim, -spread / 2), spread / 2)
                seeds = [[seed, k, piece]]
                walker = Walkers(
                    biased(k, aim), positions[None], [temperature], seeds, timestep=timestep, masses=masses
                )
                walker.advance(_PIECE)
                positions = walker.positions[0].copy()
                off = abs(value(positions, centres[k]) - centres[k])
                if not walker.alive[0] or (aim == centres[k] and off < 2 * spread):
                    break
            if not walker.alive[0] or not off < 2 * spread:
                raise InputError(
                    f"--windows: {windows.variable} does not follow a pull to {centres[k]:g} {windows.unit}: it is "
                    f"{value(positions, centres[k]):.3g} there; leave this window out"
                )
            potential.check_geometry(positions, f"the start of the window at {centres[k]:g} {windows.unit}")
            starts[k] = positions
            on_window(k)
    return [starts[k] for k in range(len(centres))]


@dataclass(frozen=True)
class Overlap:
    """How much two neighbouring windows share: ∫ min(p, q), 1 for the same and 0 for none. proposed: the centre of a
    window between them, where that is thin."""

    temperature: float
    variable: str
    low: float
    high: float
    shared: float

    @property
    def proposed(self) -> tuple[float, ...]:
        """Windows to add, if any: at quarters of the way, so that `auto` makes them stiff against what is between."""
        quarters = tuple(self.low + k * (self.high - self.low) / 4 for k in (1, 2, 3))
        return quarters if self.shared < THIN else ()

    def line(self) -> str:
        """What is told of it."""
        between = f"{self.temperature:g} K, {self.variable} {self.low:g} and {self.high:g}"
        more = ",".join(f"{centre:.4g}" for centre in self.proposed)
        return f"{between} overlap by {self.shared:.2f}" + f": thin; add windows at {more}" * bool(more)


def overlaps(sweep: Sweep) -> list[Overlap]:
    """Of all neighbours that have run, from the second half of what each has recorded."""
    windows = sweep.record.windows
    if windows is None:
        return []
    found = []
    for low, high in pairwise(sweep.members):
        if low.temperature != high.temperature or low.window is None or high.window is None:
            continue
        ends = windows.centres[low.window], windows.centres[high.window]
        a, b = (near(_recorded(m, windows.variable), sum(ends) / 2, windows.turn) for m in (low, high))
        if min(len(a), len(b)) >= _BINS:
            found.append(Overlap(low.temperature, windows.variable, *ends, shared(a, b)))
    return found


def shared(a: FloatArray, b: FloatArray) -> float:
    """∫ min(p, q) of the densities of two samples, by histograms: the coarser, the fewer there are."""
    bins = min(_BINS, math.ceil(math.sqrt(min(len(a), len(b)))))
    edges = np.histogram_bin_edges(np.concatenate([a, b]), bins)
    p, q = (np.histogram(sample, edges)[0] / len(sample) for sample in (a, b))
    return float(np.minimum(p, q).sum())


def _recorded(member: Member, variable: str) -> FloatArray:
    files: Sequence[Path] = sorted(member.folder.glob(f"{member.name}_{PREFIX}.variable_{variable}_*"))
    try:
        values = read_extras(files[0])[2]
    except (IndexError, InputError):
        return np.zeros(0)
    return values[len(values) // 2 :]
