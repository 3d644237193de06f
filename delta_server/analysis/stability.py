"""Whether a trajectory stays the molecule, how long it did, and how many do at each temperature.

It failed at the first record where

- a bond of the start is longer than `stretch` times its length there, or two atoms that were not bonded are closer
  than 1.25 times the sum of their covalent radii (`delta_server.geometry.bonds`);
- the potential energy lies more than `energy` below the start's, or more than that above E_start + 3N kT, twice what
  N classical atoms in harmonic wells have on average;
- the instantaneous temperature is above `heat` times the set one and 100 K more;
- the expected error of the forces (extras ``error_total``) is above `uncertainty`;
- any of these is no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..geometry import bonds, symbols
from .trajectory import Block, Run

BoolArray = npt.NDArray[np.bool_]
_WARM = 100.0  # K; a few atoms fluctuate widely
_FRAMES = 64  # whose distances are looked at together


@dataclass(frozen=True)
class Limits:
    """stretch, heat: factors; energy: eV; uncertainty: eV/Å."""

    stretch: float = 1.45
    energy: float = 1.0
    heat: float = 3.0
    uncertainty: float = 1.0


@dataclass(frozen=True)
class Stability:
    """How a trajectory of `length` ps fared: `failed` (ps) at `step` for `cause`, or None if it held to its end.

    examined: what there was to look at: bonds, energy, temperature, uncertainty.
    """

    name: str
    temperature: float | None
    length: float
    failed: float | None
    step: int | None
    cause: str | None
    examined: tuple[str, ...]

    @property
    def survived(self) -> float:
        """ps."""
        return self.length if self.failed is None else self.failed

    def line(self) -> str:
        """What was seen."""
        looked = ", ".join(self.examined)
        if self.failed is None:
            return f"{self.name}: stable for {self.length:.2f} ps ({looked})"
        return f"{self.name}: failed at {self.failed:.3f} ps (step {self.step}): {self.cause}"


class BondGraph:
    """The bonds of a start geometry, (N, 3) in Å, and what counts as a change of them."""

    def __init__(self, numbers: IntArray, start: FloatArray, stretch: float = Limits.stretch) -> None:
        from ase.data import covalent_radii

        self.numbers, self.stretch = numbers, stretch
        self.bonds = bonds(numbers, start)
        i, j = self.bonds.T
        self.lengths: FloatArray = np.linalg.norm(start[i] - start[j], axis=1)
        radii = covalent_radii[numbers]
        # A sieve: how close (Å²) atoms come that make a bond which was not there; `bonds` has the last word.
        self._near = (1.25 * (radii[:, None] + radii)) ** 2
        self._near[i, j] = self._near[j, i] = -1.0  # less than rounding makes of zero
        np.fill_diagonal(self._near, -1.0)
        self._known = set(map(tuple, self.bonds.tolist()))

    def first_change(self, positions: FloatArray) -> tuple[int, str] | None:
        """The first of some frames (n, N, 3) whose bonds are not those of the start, and what happened in it."""
        for start in range(0, len(positions), _FRAMES):
            some = positions[start : start + _FRAMES]
            finite: BoolArray = np.asarray(np.isfinite(some).all((1, 2)))
            sane = np.where(finite[:, None, None], some, 0.0)
            suspect = ~finite | self._stretched(sane) | self._crowded(sane)
            for k in np.flatnonzero(suspect):
                cause = self._cause(some[k])
                if cause is not None:
                    return start + int(k), cause
        return None

    def _stretched(self, positions: FloatArray) -> BoolArray:
        i, j = self.bonds.T
        lengths = np.linalg.norm(positions[:, i] - positions[:, j], axis=2)
        return np.asarray((lengths > self.stretch * self.lengths).any(1))

    def _crowded(self, positions: FloatArray) -> BoolArray:
        centred = positions - positions.mean(1, keepdims=True)
        square = (centred**2).sum(2)
        distance = square[:, :, None] + square[:, None] - 2 * (centred @ np.transpose(centred, (0, 2, 1)))
        return np.asarray((distance < self._near).any((1, 2)))

    def _cause(self, positions: FloatArray) -> str | None:
        if not np.isfinite(positions).all():
            return "positions are not finite"
        i, j = self.bonds.T
        found = np.linalg.norm(positions[i] - positions[j], axis=1)
        if len(found) and (found / self.lengths).max() > self.stretch:
            worst = int((found / self.lengths).argmax())
            return (
                f"bond {self._label(*self.bonds[worst])} broke: {found[worst]:.2f} Å, was {self.lengths[worst]:.2f}"
            )
        for a, b in bonds(self.numbers, positions).tolist():
            if (a, b) not in self._known:
                distance = float(np.linalg.norm(positions[a] - positions[b]))
                return f"a bond {self._label(a, b)} formed: {distance:.2f} Å"
        return None

    def _label(self, i: int, j: int) -> str:
        symbol = symbols(self.numbers)
        return f"{symbol[i]}{i}–{symbol[j]}{j}"


def stability(
    run: Run, limits: Limits | None = None, start: FloatArray | None = None, temperature: float | None = None
) -> Stability:
    """start: (N, 3) Å, whose bonds are to be kept, by default the first frame. temperature: K, by default i-PI's.

    Raises InputError for a start of other atoms, or a trajectory without frames.
    """
    limits = limits or Limits()
    temperature = run.temperature if temperature is None else temperature
    if start is not None and len(start) != len(run.numbers):
        raise InputError(f"{run.path}: {len(run.numbers)} atoms, the structure has {len(start)}")
    last, found = _of_frames(run.blocks(), run.numbers, limits, start)
    failures = [] if found is None else [found]
    examined = ["bonds"]
    if run.outputs is not None:
        columns, more = _of_records(run, limits, temperature)
        examined += columns
        failures += more
        last = max(last, int(run.outputs.properties["step"][-1]))
    per_step = run.time_per_step
    if not per_step > 0:
        raise InputError(f"{run.path}: the time between its steps is not known; give --timestep")
    length = last * per_step
    if not failures:
        return Stability(run.name, temperature, length, None, None, None, tuple(examined))
    step, cause = min(failures)
    return Stability(run.name, temperature, length, step * per_step, step, cause, tuple(examined))


def _of_frames(
    blocks: Iterable[Block], numbers: IntArray, limits: Limits, start: FloatArray | None
) -> tuple[int, tuple[int, str] | None]:
    """The last step, and the first whose bonds are not the start's."""
    graph, last, found = None, -1, None
    for block in blocks:
        graph = graph or BondGraph(numbers, block.positions[0] if start is None else start, limits.stretch)
        last = int(block.steps[-1])
        change = None if found else graph.first_change(block.positions)
        if change is not None:
            found = (int(block.steps[change[0]]), change[1])
    if last < 0:
        raise InputError("a trajectory without frames is neither stable nor not")
    return last, found


def _of_records(run: Run, limits: Limits, temperature: float | None) -> tuple[list[str], list[tuple[int, str]]]:
    """What of energy, temperature and uncertainty was recorded, and where each first failed."""
    assert run.outputs is not None
    table = run.outputs.properties
    examined: list[str] = []
    failures: list[tuple[int, str]] = []

    def look(name: str, steps: FloatArray, values: FloatArray, low: float, high: float, unit: str) -> None:
        examined.append(name)
        wrong = np.flatnonzero(~((values >= low) & (values <= high)))  # also what is no number
        if len(wrong):
            value = values[wrong[0]]
            failures.append((int(steps[wrong[0]]), f"{name} {value:.4g} {unit}, beyond {low:.4g} to {high:.4g}"))

    potential, warmth = table.get("potential"), table.get("temperature")
    classical = "xc" not in run.path.name  # quantum atoms have their zero-point energy
    if temperature is not None:
        from ase.units import kB

        room = 3 * len(run.numbers) * kB * temperature + limits.energy if classical else math.inf
        if potential is not None and table.units.get("potential") == "electronvolt":
            first = float(potential[0])
            look("energy", table["step"], potential, first - limits.energy, first + room, "eV")
        if warmth is not None and table.units.get("temperature") == "kelvin" and classical:
            look("temperature", table["step"], warmth, 0.0, limits.heat * temperature + _WARM, "K")
    if "error_total" in run.outputs.extras:
        steps, errors = run.outputs.extras["error_total"]
        look("uncertainty", steps, errors, 0.0, limits.uncertainty, "eV/Å")
    return examined, failures


@dataclass(frozen=True)
class Survival:
    """The part (k,) of the trajectories at a temperature (K) that still holds after times (k,) in ps."""

    temperature: float | None
    runs: int
    failed: int
    times: FloatArray
    fraction: FloatArray


def survival(found: Sequence[Stability]) -> list[Survival]:
    """Kaplan and Meier's estimate (J. Am. Stat. Assoc. 53, 457 (1958)), by temperature; runs that held to their end
    count as long as they were. By scipy."""
    from scipy.stats import CensoredData, ecdf

    groups: dict[float | None, list[Stability]] = {}
    for one in found:
        groups.setdefault(one.temperature, []).append(one)
    result = []
    for temperature, runs in sorted(groups.items(), key=lambda item: -1.0 if item[0] is None else item[0]):
        failed = [run.survived for run in runs if run.failed is not None]
        held = [run.survived for run in runs if run.failed is None]
        curve = ecdf(CensoredData(uncensored=failed, right=held)).sf
        result.append(Survival(temperature, len(runs), len(failed), curve.quantiles, curve.probabilities))
    return result
