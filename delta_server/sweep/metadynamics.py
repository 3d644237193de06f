"""Well-tempered metadynamics: hills put where a run is, ever lower where there are many, shared by several walkers.

A hill's height is that of the first times exp(−V(s)/(kT (γ − 1))), V of the hills before it and γ the bias factor
(Barducci, Bussi and Parrinello, Phys. Rev. Lett. 100, 020603 (2008)); walkers as of Raiteri et al., J. Phys. Chem. B
110, 3533 (2006). Every hill is a row in a file of its own, with its step, and on the disk before i-PI goes on: to
resume at a step is to cut the file there. Once there are no more, the bias is fixed, and what follows is in
equilibrium with it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..files.documents import read_text
from ..files.whole import write_json
from ..terms.base import Frames
from ..terms.bias import BiasTerm, Restraint, Restraints, Sum, make_bias, near
from ..terms.hills import Hills
from ..units import BOLTZMANN
from ..variables.definition import Variable, Variables, read_variables
from .record import BIAS, HILLS, Metadynamics, Sweep

_WIDTHS = {"distance": 0.2, "height": 0.2, "coordination": 0.2, "angle": 10.0, "dihedral": 20.0}
_ROOM = 10.0  # Å beyond the start, where the wall of a distance or a height stands
Walls = tuple[float | None, float | None]


@dataclass(frozen=True)
class Flooding:
    """What metadynamics to write. known: with the variables among them. height: eV of the first hill, None for kT/3;
    widths: σ of the hills, None for what is usual for such a variable; pace: steps between hills; walls: None for
    one 10 Å beyond the start, where a variable is a distance or a height; fill: ps for which there are hills, None
    for to the end."""

    variables: tuple[str, ...]
    known: Variables
    height: float | None = None
    widths: tuple[float, ...] | None = None
    pace: int = 500
    bias_factor: float = 10.0
    walkers: int = 1
    walls: tuple[Walls, ...] | None = None
    fill: float | None = None

    def record(
        self, temperatures: Sequence[float], numbers: IntArray, start: FloatArray, steps: int, timestep: float
    ) -> Metadynamics:
        """For the record. temperatures: K; start: (N, 3) Å; steps: of the whole run, each of `timestep` fs. Raises
        InputError."""
        names = self.variables
        if not 1 <= len(names) <= 2 or len(set(names)) < len(names):
            raise InputError(f"--variable {','.join(names)}: expected one, or two that differ")
        term = make_bias("start", self.known, names, Restraints(()), numbers, "--variable")
        for option, given in (("--width", self.widths), ("--walls", self.walls)):
            if given is not None and len(given) != len(names):
                raise InputError(f"{option}: expected {len(names)}, one for each variable, found {len(given)}")
        of = [self.known.variables[name] for name in names]
        at = list(term.values(Frames(start[None])).values())
        walls = self.walls or tuple(_wall(variable, float(value[0])) for variable, value in zip(of, at, strict=True))
        for name, turn, values, (low, high) in zip(names, [v.turn for v in of], at, walls, strict=True):
            if turn and (low is None) != (high is None):
                raise InputError(f"--walls: {name} goes round: expected two walls, or none, found {low} and {high}")
            if low is not None and high is not None:
                values = near(values, (low + high) / 2, turn)
            value = float(values[0])
            if not (-math.inf if low is None else low) < value < (math.inf if high is None else high):
                raise InputError(f"--walls: {name} starts at {value:.4g}, which is not between {low} and {high}")
        if self.pace > steps:
            raise InputError(f"--pace {self.pace}: no hill in the run's {steps} steps")
        until = None if self.fill is None else round(1000 * self.fill / timestep)
        if until is not None and not self.pace <= until < steps:
            raise InputError(
                f"--fill {self.fill:g}: {until} steps, expected {self.pace} (--pace) or more, "
                f"and less than the run's {steps}"
            )
        groups = {name: list(atoms) for name, atoms in self.known.groups.items()}
        return Metadynamics(
            variables=names,
            definition={"groups": groups, "variables": {n: v.as_dict() for n, v in zip(names, of, strict=True)}},
            units=tuple(variable.unit for variable in of),
            widths=self.widths or tuple(_WIDTHS[variable.kind] for variable in of),
            walls=walls,
            heights=tuple(self.height or BOLTZMANN * kelvin / 3 for kelvin in temperatures),
            pace=self.pace,
            bias_factor=self.bias_factor,
            walkers=self.walkers,
            until=until,
        )


def _wall(variable: Variable, start: float) -> Walls:
    return None, round(start + _ROOM, 2) if variable.kind in ("distance", "height") else None


@dataclass(frozen=True)
class Ground:
    """Metadynamics at one temperature (K), as it is written for i-PI; `told` has a single height. numbers: (N,)."""

    told: Metadynamics
    temperature: float
    numbers: IntArray

    def write(self, path: Path) -> None:
        """What `read` reads. Raises OSError."""
        more = {"temperature": self.temperature, "numbers": self.numbers.tolist()}
        write_json(path, self.told.model_dump(mode="json") | more)

    @classmethod
    def read(cls, path: Path) -> Ground:
        """Raises InputError."""
        try:
            data = json.loads(read_text(path, "metadynamics", "JSON", InputError, 2**24))
            numbers = np.array(data.pop("numbers"), dtype=np.intp)
            return cls(temperature=float(data.pop("temperature")), numbers=numbers, told=Metadynamics(**data))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{path}: no metadynamics; write the sweep anew") from None

    @property
    def flat(self) -> Hills:
        """No hills yet."""
        known = read_variables(self.told.definition, "metadynamics")
        turns = [known.variables[name].turn for name in self.told.variables]
        return Hills.none(np.array(self.told.widths), np.array(turns))

    @property
    def walls(self) -> Restraints:
        """Half of a hill's width beyond each the energy is kT/2."""
        constants = [BOLTZMANN * self.temperature / (width / 2) ** 2 for width in self.told.widths]
        return Restraints(
            tuple(
                Restraint(-math.inf if low is None else low, math.inf if high is None else high, constant, turn=turn)
                for (low, high), constant, turn in zip(self.told.walls, constants, self.flat.turns, strict=True)
            )
        )

    def term(self, hills: Hills, source: str) -> BiasTerm:
        """The bias with these hills. source: for messages. Raises InputError."""
        known = read_variables(self.told.definition, source)
        bias = Sum((hills, self.walls))
        return make_bias("metadynamics", known, self.told.variables, bias, self.numbers, source)

    def hills(self, path: Path) -> Hills:
        """Those in a file that are whole, in its order; none where there is no file. Raises InputError."""
        try:
            text = read_text(path, "hills", "text", InputError, 2**30) if path.exists() else ""
            rows = [row.split() for row in text[: text.rfind("\n") + 1].splitlines() if row[:1] != "#"]
            table = np.array(rows, dtype=np.float64).reshape(-1, 3 + len(self.told.variables))
        except ValueError:
            raise InputError(f"{path}: not the hills of {' and '.join(self.told.variables)}") from None
        return replace(self.flat, steps=table[:, 0].astype(np.intp), centres=table[:, 2:-1], heights=table[:, -1])

    def height(self, under: FloatArray) -> FloatArray:
        """eV of a hill where the others have this energy."""
        lowered = np.exp(-under / (BOLTZMANN * self.temperature * (self.told.bias_factor - 1)))
        return np.asarray(self.told.heights[0] * lowered)


class Flood:
    """The bias of a run while it puts its hills, beginning or going on at the step `start`.

    A hill counts from the step after its own, for all walkers alike. Raises InputError where the hills in the file
    are not just those up to `start`.
    """

    def __init__(self, bias: Path, hills: Path, start: int) -> None:
        self.ground, self._path, self._start, self._updates = Ground.read(bias), hills, start, 0
        told = self.ground.told
        there = self.ground.hills(hills)
        expected = [step for step in range(told.pace, start + 1, told.pace) if told.puts_hills(step)]
        if there.steps.tolist() != np.repeat(expected, told.walkers).tolist():
            raise InputError(
                f"{hills}: expected the hills of each {told.pace} steps up to step {start}, found {len(there)} up to "
                f"step {there.steps.max(initial=0)}; "
                + (
                    "go on with `delta-sgdml sweep run`, which cuts what is beyond"
                    if len(there) > len(expected) * told.walkers
                    else "what is missing nothing brings back: write the sweep anew (`sweep write --overwrite`)"
                )
            )
        fresh = len(there) - int((there.steps == start).sum())
        self._none, self._walls = self.ground.flat, self.ground.walls
        self._hills, self._fresh = there.take(slice(fresh)), there.take(slice(fresh, None))
        self._counting = self._none  # from this step on
        self.term = self.ground.term(self._hills, str(bias))

    def update(self, frames: Frames) -> float:
        """Where a walker is at the end of a step; they are asked in turn. How much its bias rose there, eV. Raises
        OSError."""
        told = self.ground.told
        step, walker = self._start + self._updates // told.walkers + 1, self._updates % told.walkers
        self._updates += 1
        if walker == 0:
            self._counting, self._fresh = self._fresh, self._none
            if len(self._counting):
                self._hills = self._hills.with_more(self._counting)
                self.term = replace(self.term, bias=Sum((self._hills, self._walls)))
        new = told.puts_hills(step)
        if not len(self._counting) and not new:
            return 0.0
        at = np.stack(list(self.term.values(frames).values()), axis=1)
        if new:
            height = self.ground.height(self._hills.energy(at)[0])
            hill = replace(self._none, steps=np.array([step]), centres=at, heights=height)
            self._fresh = self._fresh.with_more(hill)
            if walker == told.walkers - 1:
                self._append()
        return float(self._counting.energy(at)[0][0])

    def _append(self) -> None:
        """The hills of all walkers at this step, to the disk."""
        told, new = self.ground.told, not self._path.exists()
        with self._path.open("a", encoding="utf-8") as file:
            if new:
                variables = ", ".join(f"{n} ({u})" for n, u in zip(told.variables, told.units, strict=True))
                file.write(f"# step, walker, {variables}, height (eV)\n")
            for k, (step, centre, height) in enumerate(
                zip(self._fresh.steps, self._fresh.centres, self._fresh.heights, strict=True)
            ):
                file.write(f"{step:12d} {k + 1:4d} " + " ".join(f"{x:24.16e}" for x in (*centre, height)) + "\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Progress:
    """How far metadynamics at a temperature (K) has come: its hills, the mean height of the last tenth of them over
    the first one's, where they are, by variable, and the step after which there are no more."""

    temperature: float
    hills: int
    last: float
    reached: dict[str, tuple[float, float]]
    until: int | None

    def line(self) -> str:
        """What is told of it."""
        where = ", ".join(f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in self.reached.items())
        height = f"the last tenth {self.last:.2f} times as high as the first"
        held = "" if self.until is None else f"; none after step {self.until}"
        return f"{self.temperature:g} K: {self.hills} hills, {where}; {height}{held}"


def progress_of(sweep: Sweep) -> list[Progress]:
    """Of each temperature that has put hills. Raises InputError."""
    told, found = sweep.record.metadynamics, []
    if told is None:
        return []
    homes = {member.hills: member.temperature for member in sweep.members if member.hills is not None}
    for home, kelvin in homes.items():
        hills = Ground.read(home / BIAS).hills(home / HILLS)
        if len(hills):
            last = float(hills.heights[-max(1, len(hills) // 10) :].mean() / hills.heights[0])
            low, high = hills.centres.min(0), hills.centres.max(0)
            reached = {name: (float(low[i]), float(high[i])) for i, name in enumerate(told.variables)}
            found.append(Progress(kelvin, len(hills), last, reached, told.until))
    return found
