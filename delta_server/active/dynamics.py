"""Dynamics of many replicas of one complex with a model, one evaluation of all of them a step, each stopped where the
model no longer knows what it does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from ..data.apart import gaps
from ..dynamics import Walkers
from ..errors import InputError
from ..files.npz import open_arrays
from ..files.whole import save_arrays
from ..molecule.intact import IntactMolecule
from ..molecule.limits import Limits
from ..potential import Potential

FINISHED, UNSURE, CHANGED, EXPLODED = "finished", "unsure", "changed", "exploded"
"""How a replica ends: at its last step; where a term's expected error is beyond its limit; no longer the molecule
that it was; with absurd velocities or no numbers at all."""

FEW = 0.1  # of the replicas: where no more are stopped, the others tell of the model


@dataclass(frozen=True)
class Plan:
    """timestep, tau (of the thermostat): fs. steps: of each replica. every: steps between two looks at expected
    errors, bonds and distances. frames: of each replica that are kept at most, evenly spread. apart: Å between a
    fragment and all others at which the complex counts as dissociated."""

    steps: int
    timestep: float = 0.5
    tau: float = 100.0
    every: int = 20
    frames: int = 60
    apart: float = 12.0


@dataclass(frozen=True, eq=False)
class Start:
    """Where a replica starts: positions (N, 3) Å, temperature K, and what kind of start it is."""

    positions: FloatArray
    temperature: float
    kind: str


class End(NamedTuple):
    """How a replica ended, at which step, in words where it was no good end; and how often it had dissociated."""

    reason: str
    step: int
    detail: str
    dissociated: int


def say_ends(ends: Sequence[End]) -> str:
    """How replicas ended, in words."""
    words = ", ".join(f"{n} {reason}" for reason, n in Counter(end.reason for end in ends).items())
    away = sum(end.dissociated for end in ends)
    return f"replicas: {words}{f'; dissociated {away} times' if away else ''}"


def astray(ends: Sequence[End]) -> list[str]:
    """What replicas tell against a model, in words: that some did not stay what they were, or that more than a few
    were stopped."""
    said = []
    if lost := [end for end in ends if end.reason in (CHANGED, EXPLODED)]:
        said.append(f"{len(lost)} of {len(ends)} replicas went astray ({lost[0].detail})")
    unsure = [end for end in ends if end.reason == UNSURE]
    if len(unsure) > FEW * len(ends):
        where = ", ".join(sorted({name for end in unsure for name in end.detail.split(", ")}))
        said.append(f"{len(unsure)} of {len(ends)} replicas left what is known of {where}")
    return said


@dataclass(frozen=True, eq=False)
class Sampled:
    """Frames of all replicas, by replica and step.

    positions: (n, N, 3) Å. temperature (n,) K, replica (n,), step (n,). errors: by term, (n,) eV/Å, expected RMSE of
    force components. last: (n,) whether it is where a replica was stopped. gap: (n,) Å, as `data.apart.gaps`. ends,
    kinds: of each replica, and of its start.
    """

    positions: FloatArray
    temperature: FloatArray
    replica: IntArray
    step: IntArray
    last: IntArray
    gap: FloatArray
    errors: Mapping[str, FloatArray]
    ends: Sequence[End]
    kinds: Sequence[str]

    def ended(self) -> dict[float, list[FloatArray]]:
        """Of each temperature, where its replicas were at the end, (N, 3) each; none that was stopped."""
        places: dict[float, list[FloatArray]] = {}
        for i, end in enumerate(self.ends):
            mine = np.flatnonzero(self.replica == i)
            if end.reason == FINISHED and len(mine):
                places.setdefault(float(self.temperature[mine[-1]]), []).append(self.positions[mine[-1]])
        return places

    def save(self, path: Path) -> None:
        """Write it whole. Raises OSError."""
        numbers = {"R": self.positions, **{name: getattr(self, name) for name in _ARRAYS}}
        errors = {f"error_{name}": values for name, values in self.errors.items()}
        words = json.dumps({"ends": self.ends, "kinds": self.kinds}).encode()
        save_arrays(path, {**numbers, **errors, "words": np.frombuffer(words, dtype=np.uint8)})


_ARRAYS = ("temperature", "replica", "step", "last", "gap")


def load(path: Path) -> Sampled:
    """Read what `Sampled.save` wrote. Raises InputError."""
    with open_arrays(path, "file of frames", "R, " + ", ".join(_ARRAYS), InputError) as arrays:
        n = arrays.shape("R")[0]
        try:
            words = json.loads(arrays.get("words", None, "u").tobytes())
            ends, kinds = [End(*end) for end in words["ends"]], list(words["kinds"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not as `delta-sgdml learn` writes it: {error}") from None
        whole = {name: arrays.get(name, (n,), "iu").astype(np.intp) for name in ("replica", "step", "last")}
        errors = {
            key.removeprefix("error_"): arrays.floats(key, (n,)) for key in arrays.members if key.startswith("error_")
        }
        return Sampled(
            arrays.floats("R", arrays.shape("R")), arrays.floats("temperature", (n,)), **whole,
            gap=arrays.floats("gap", (n,)), errors=errors, ends=ends, kinds=kinds,
        )  # fmt: skip


def run(
    potential: Potential,
    starts: Sequence[Start],
    plan: Plan,
    limits: Mapping[str, float],
    seeds: Sequence[Sequence[int]],
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[float], None] = lambda done: None,
) -> Sampled | None:
    """Frames of the dynamics of all starts; None where `stop` said so. limits: of each term's expected error, eV/Å.

    seeds: of each replica's generator. A dissociated replica goes on from its start, with new velocities. Raises
    ModelFileError for a model without expected errors, and as `Potential.compute` for a start without forces.
    """
    batch = _Batch(potential, starts, plan, limits, seeds)
    batch.look()
    while batch.walkers.alive.any():
        if stop():
            return None
        batch.advance()
        batch.look()
        progress(batch.step / plan.steps)
    return batch.sampled()


class _Frame(NamedTuple):
    """A frame of one replica, and whether it was stopped there."""

    replica: int
    step: int
    last: bool
    gap: float
    positions: FloatArray
    errors: dict[str, float]


class _Batch:
    """All replicas at work."""

    def __init__(
        self,
        potential: Potential,
        starts: Sequence[Start],
        plan: Plan,
        limits: Mapping[str, float],
        seeds: Sequence[Sequence[int]],
    ) -> None:
        self.potential, self.starts, self.plan, self.limits = potential, starts, plan, limits
        self.fragments = [f.atoms for f in potential.fragments]
        self.molecule = IntactMolecule(potential.numbers, potential.reference, Limits(), self.fragments)
        temperatures = [start.temperature for start in starts]
        self.hottest = np.array([Limits().hottest(kelvin) / kelvin for kelvin in temperatures])
        self.walkers = Walkers(
            potential,
            [start.positions for start in starts],
            temperatures,
            seeds,
            timestep=plan.timestep,
            tau=plan.tau,
        )
        self.step, self.kept, self.ends = 0, [list[_Frame]() for _ in starts], dict[int, End]()
        self.dissociated = np.zeros(len(starts), dtype=np.intp)

    def _end(self, i: int, reason: str, detail: str = "") -> None:
        """A replica that went astray keeps its last sane frame: the model did not know what came next."""
        self.walkers.alive[i] = False
        if reason in (CHANGED, EXPLODED) and self.kept[i]:
            self.kept[i].append(self.kept[i].pop()._replace(last=True))
        self.ends[i] = End(reason, self.step, detail, int(self.dissociated[i]))

    def advance(self) -> None:
        """So many steps as there are between two looks."""
        before = self.walkers.alive.copy()
        steps = min(self.plan.every, self.plan.steps - self.step)
        self.walkers.advance(steps)
        self.step += steps
        for i in np.flatnonzero(before & ~self.walkers.alive).tolist():
            self._end(i, EXPLODED, "the model gives no forces where it goes")

    def look(self) -> None:
        """Keep frames, end replicas that have gone astray, place again those that have come apart."""
        walkers = self.walkers
        heat = walkers.thermal()
        for i in np.flatnonzero(walkers.alive).tolist():
            if heat[i] > self.hottest[i]:
                self._end(i, EXPLODED, f"{heat[i]:.1f} times as hot as its thermostat")
            elif changed := self.molecule.geometry_breach(walkers.positions[i]):
                self._end(i, CHANGED, changed)
            elif gaps(walkers.positions[[i]], self.fragments)[0] > self.plan.apart:
                self.dissociated[i] += 1
                walkers.place(i, self.starts[i].positions)
        which = np.flatnonzero(walkers.alive)
        if not len(which):
            return
        x = walkers.positions[which]
        apart, errors = gaps(x, self.fragments), self.potential.uncertainty(x)
        for k, i in enumerate(which.tolist()):
            expected = {name: float(values[k]) for name, values in errors.items()}
            unsure = [name for name, limit in self.limits.items() if expected[name] > limit]
            frame = _Frame(i, self.step, bool(unsure), float(apart[k]), x[k] - x[k].mean(0), expected)
            self.kept[i].append(frame)
            if unsure:
                self._end(i, UNSURE, ", ".join(unsure))
            elif self.step >= self.plan.steps:
                self._end(i, FINISHED)

    def sampled(self) -> Sampled:
        """What was kept, by replica."""
        frames = [frame for kept in self.kept for frame in _thinned(kept, self.plan.frames)]
        replica = np.array([frame.replica for frame in frames], dtype=np.intp)
        return Sampled(
            positions=np.array([frame.positions for frame in frames]).reshape(-1, self.potential.n_atoms, 3),
            temperature=np.array([start.temperature for start in self.starts])[replica],
            replica=replica,
            step=np.array([frame.step for frame in frames], dtype=np.intp),
            last=np.array([frame.last for frame in frames], dtype=np.intp),
            gap=np.array([frame.gap for frame in frames]),
            errors={name: np.array([frame.errors[name] for frame in frames]) for name in (*self.limits, "total")},
            ends=[self.ends[i] for i in range(len(self.starts))],
            kinds=[start.kind for start in self.starts],
        )


def _thinned(frames: list[_Frame], most: int) -> list[_Frame]:
    """So many at most, evenly spread, the last among them."""
    if len(frames) <= most:
        return frames
    return [frames[k] for k in np.linspace(0, len(frames) - 1, most).round().astype(int)]
