"""Dynamics of many replicas of one complex with a model, one evaluation of all of them a step, each stopped where the
model no longer knows what it does.

Langevin dynamics by the splitting BAOAB (Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34). Each replica has
a random generator of its own: its path does not depend on who else runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import GeometryError, InputError, NonFiniteError
from ..files.npz import open_arrays
from ..files.whole import save_arrays
from ..molecule.intact import IntactMolecule
from ..molecule.limits import Limits
from ..potential import Potential

FINISHED, UNSURE, CHANGED, EXPLODED = "finished", "unsure", "changed", "exploded"
"""How a replica ends: at its last step; where a term's expected error is beyond its limit; no longer the molecule
that it was; with absurd velocities or no numbers at all."""


@dataclass(frozen=True)
class Plan:
    """timestep: fs. friction: 1/fs. steps: of each replica. every: steps between two looks at expected errors, bonds
    and distances. frames: of each replica that are kept at most, evenly spread. apart: Å between a fragment and all
    others at which the complex counts as dissociated."""

    steps: int
    timestep: float = 0.5
    friction: float = 0.01
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


@dataclass(frozen=True, eq=False)
class Sampled:
    """Frames of all replicas, by replica and step.

    positions: (n, N, 3) Å. temperature (n,) K, replica (n,), step (n,). errors: by term, (n,) eV/Å, expected RMSE of
    force components. last: (n,) whether it is where a replica was stopped. gap: (n,) Å, see `gaps`. ends, starts: of
    each replica.
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


def gaps(positions: FloatArray, fragments: Sequence[IntArray]) -> FloatArray:
    """(F,) Å: the distance of the fragment that is farthest from all others, between nearest atoms; (F, N, 3) Å."""
    largest = np.zeros(len(positions))
    everyone = np.arange(positions.shape[1])
    for atoms in fragments:
        rest = np.setdiff1d(everyone, atoms)
        apart = positions[:, atoms, None] - positions[:, None, rest]
        largest = np.maximum(largest, np.sqrt((apart**2).sum(3).min((1, 2))))
    return largest


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
    ModelFileError for a model without expected errors.
    """
    batch = _Batch(potential, starts, plan, limits, seeds)
    while batch.alive.any():
        if stop():
            return None
        batch.look()
        batch.advance()
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
        from ase import units
        from ase.data import atomic_masses

        self.potential, self.starts, self.plan, self.limits = potential, starts, plan, limits
        self.fragments = [f.atoms for f in potential.fragments]
        self.rngs = [np.random.default_rng(list(seed)) for seed in seeds]
        self.masses: FloatArray = atomic_masses[potential.numbers][:, None]
        self.dt = plan.timestep * units.fs
        self.damping = np.exp(-plan.friction * plan.timestep)
        self.kt = np.array([units.kB * start.temperature for start in starts])[:, None, None]
        self.molecule = IntactMolecule(potential.numbers, potential.reference, Limits(), self.fragments)
        self.hottest = np.array([Limits().hottest(start.temperature) for start in starts]) * units.kB
        self.x = np.array([start.positions for start in starts])
        self.v = np.stack([self._velocities(i) for i in range(len(starts))])
        self.f = np.zeros_like(self.x)
        self.alive = np.ones(len(starts), dtype=bool)
        self.step, self.kept, self.ends = 0, [list[_Frame]() for _ in starts], dict[int, End]()
        self.dissociated = np.zeros(len(starts), dtype=np.intp)
        self._evaluate(np.arange(len(starts)))

    def _velocities(self, i: int) -> FloatArray:
        """Maxwell's, with the mean of the masses' momenta taken off."""
        v = np.sqrt(self.kt[i] / self.masses) * self.rngs[i].standard_normal(self.x.shape[1:])
        moved: FloatArray = v - (self.masses * v).sum(0) / self.masses.sum()
        return moved

    def _evaluate(self, which: IntArray) -> None:
        """Forces of some replicas; those for which the model gives no numbers end here."""
        try:
            self.f[which] = self.potential.compute(self.x[which]).forces
            return
        except (NonFiniteError, GeometryError):  # of one of them
            pass
        for i in which.tolist():
            try:
                self.f[i] = self.potential.compute(self.x[i]).forces
            except (NonFiniteError, GeometryError) as error:
                self._end(i, EXPLODED, str(error).removeprefix("frame 0: "))

    def _end(self, i: int, reason: str, detail: str = "") -> None:
        """A replica that went astray keeps its last sane frame: the model did not know what came next."""
        self.alive[i] = False
        if reason in (CHANGED, EXPLODED) and self.kept[i]:
            self.kept[i].append(self.kept[i].pop()._replace(last=True))
        self.ends[i] = End(reason, self.step, detail, int(self.dissociated[i]))

    def look(self) -> None:
        """Keep frames, end replicas that have gone astray, place again those that have come apart."""
        which = np.flatnonzero(self.alive)
        if not len(which):
            return
        apart = gaps(self.x[which], self.fragments)
        for i in which[apart > self.plan.apart].tolist():
            self.dissociated[i] += 1
            self.x[i], self.v[i] = self.starts[i].positions, self._velocities(i)
        if len(again := which[apart > self.plan.apart]):
            self._evaluate(again)
            which = which[self.alive[which]]
            apart = gaps(self.x[which], self.fragments)
        kinetic = (self.masses * self.v[which] ** 2).mean((1, 2))
        errors = self.potential.uncertainty(self.x[which])
        for k, i in enumerate(which.tolist()):
            expected = {name: float(values[k]) for name, values in errors.items()}
            if kinetic[k] > self.hottest[i]:
                self._end(
                    i, EXPLODED, f"{kinetic[k] / self.hottest[i]:.1f} times the highest temperature there can be"
                )
                continue
            if changed := self.molecule.geometry_breach(self.x[i]):
                self._end(i, CHANGED, changed)
                continue
            unsure = [name for name, limit in self.limits.items() if expected[name] > limit]
            x = self.x[i] - self.x[i].mean(0)
            self.kept[i].append(_Frame(i, self.step, bool(unsure), float(apart[k]), x, expected))
            if unsure:
                self._end(i, UNSURE, ", ".join(unsure))
            elif self.step >= self.plan.steps:
                self._end(i, FINISHED)

    def advance(self) -> None:
        """So many steps as there are between two looks."""
        which = np.flatnonzero(self.alive)
        steps = min(self.plan.every, self.plan.steps - self.step)
        noise = np.array([self.rngs[i].standard_normal((steps, *self.x.shape[1:])) for i in which])
        heat = np.sqrt((1.0 - self.damping**2) * self.kt / self.masses)
        for n in range(steps):
            here = which[self.alive[which]]
            if not len(here):
                break
            kick = 0.5 * self.dt / self.masses
            self.v[here] += kick * self.f[here]
            self.x[here] += 0.5 * self.dt * self.v[here]
            self.v[here] = self.damping * self.v[here] + heat[here] * noise[self.alive[which], n]
            self.x[here] += 0.5 * self.dt * self.v[here]
            self.step += 1
            self._evaluate(here)
            self.v[here] += kick * self.f[here]

    def sampled(self) -> Sampled:
        """What was kept, by replica."""
        frames = [frame for kept in self.kept for frame in _thinned(kept, self.plan.frames)]
        replica = np.array([frame.replica for frame in frames], dtype=np.intp)
        return Sampled(
            positions=np.array([frame.positions for frame in frames]).reshape(-1, *self.x.shape[1:]),
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
