"""The loop: from a geometry or a data set, round by round, to a model whose errors on its own dynamics are as asked.

A round: dynamics with the model at every temperature; a random sample of its frames is labelled, and tests the model
before anything is learned from it; the frames that each term would learn most from are labelled; the terms that need
it are trained again. Each step leaves a file, and what is there is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._types import FloatArray
from ..checks.tested import own_path
from ..data.apart import gaps
from ..data.dataset import VALIDATION, Dataset, load_dataset, save_dataset
from ..data.labelling.workfile import Failure
from ..data.labels import label, working_file
from ..errors import InputError
from ..files.lock import locked
from ..files.whole import write_json
from ..loading import load_potential
from ..potential import Potential
from ..training.databases import Complex
from ..training.reporter import Reporter
from ..training.selection.scales import ScalesIteration
from ..training.selection.select import Trial
from ..units import KCAL_MOL
from . import dynamics
from .asked import Asked
from .choosing import BOUND, test_frames, wanted
from .elsewhere import contradictions, hand_out, settle
from .first import first_frames
from .honest import Targets, Verdict, as_json, describe, own_record, test
from .rounds import START_DATA, Round, rounds
from .settings import Settings, load_settings
from .starts import starts
from .teaching import Lesson, divided, lesson, models_of, teach

MET, SPENT, WAITING, STOPPED = "met", "spent", "waiting", "stopped"
"""Errors are as asked in two rounds running; the budget is spent; labels are awaited; it was stopped."""

_BEYOND = 3.0  # times the 95th percentile of a term's expected errors where it was validated: a replica is stopped
_END = 0.9  # of the error far away: there expected errors end, and distance from the training points no longer tells
_LEAST = 3.0  # times the target of forces: expected errors below this never stop one
_LONGEST = 8.0  # times the first rounds' dynamics, which is doubled while hardly a replica is stopped


class StoppedError(Exception):
    """`stop` said so; what is there is kept."""


class _MissingError(Exception):
    """Labels that have to come from elsewhere."""


@dataclass(frozen=True)
class Ending:
    """How a run of the loop ended, in words, and the manifest of the models that it has."""

    kind: str
    line: str
    manifest: Path | None = None


def learn(root: Path, reporter: Reporter, *, processes: int = 1, stop: Callable[[], bool] = lambda: False) -> Ending:
    """Go on with the learning in a folder, to its end or until labels from elsewhere are needed.

    Raises InputError where the calculator cannot label, or what is in the folder cannot be used.
    """
    return until_ended(root, _Loop(root, load_settings(root), Watched(reporter, stop), processes, stop).next_round)


def until_ended(root: Path, next_round: Callable[[], Ending | None]) -> Ending:
    """Rounds of a learning in a folder, whose lock is held, until one says how it ended, or is stopped."""
    with locked([root], orphans_only=True):
        try:
            while True:
                if (ending := next_round()) is not None:
                    return ending
        except StoppedError:
            return Ending(STOPPED, "stopped; the same command goes on")


def labels_of(
    data: Dataset | None, failures: Sequence[Failure], count: int, what: str, reporter: Reporter
) -> Dataset:
    """What a labelling of so many frames gave; what failed is told. Raises StoppedError where it was stopped."""
    if data is None:
        raise StoppedError
    if failures:
        first = failures[0].reason
        reporter.say(f"{what}: {len(failures)} of {count} frames have none, the first because: {first}")
    return data


@dataclass(frozen=True)
class Watched:
    """A reporter through which a stop reaches a training; quiet: that is told no lines."""

    reporter: Reporter
    stop: Callable[[], bool]
    quiet: bool = False

    def say(self, line: str) -> None:
        if not self.quiet:
            self.reporter.say(line)

    def progress(self, stage: str, done: float) -> None:
        self._ask()
        self.reporter.progress(stage, done)

    def trial(self, trial: Trial) -> None:
        self._ask()
        self.reporter.trial(trial)

    def learning(self, iteration: ScalesIteration) -> None:
        self._ask()
        self.reporter.learning(iteration)

    def _ask(self) -> None:
        if self.stop():
            raise StoppedError


class _Loop:
    """A learning at work."""

    def __init__(
        self, root: Path, settings: Settings, reporter: Watched, processes: int, stop: Callable[[], bool]
    ) -> None:
        self.root, self.settings, self.reporter = root, settings, reporter
        self.processes, self.stop = processes, stop
        self.targets = Targets(settings.force, settings.energy, len(settings.names))

    def next_round(self) -> Ending | None:
        """The next round; what ends the loop, or None."""
        *complete, now = rounds(self.root)
        if complete and (ended := complete[-1].record().get("ending")):
            return Ending(**ended, manifest=self._manifest(complete[-1]))
        began = time.perf_counter()
        try:
            content = self._round(now, complete) if complete else self._begin(now)
        except _MissingError:
            if settle(now, self.settings):
                return None
            count = hand_out(self.root, now, self.settings)
            what = f"round {now.number}: {count} geometries are to be labelled, in {self.root / 'to_label'}"
            return Ending(WAITING, f"{what}; then `delta-sgdml learn add {self.root} FILE…`")
        now.write({**content, "seconds": round(time.perf_counter() - began, 1)})
        ended = content.get("ending")
        return Ending(**ended, manifest=self._manifest(now)) if ended else None

    def _begin(self, now: Round) -> dict[str, Any]:
        """The first labels, and the models trained on them, if they were not given."""
        made = lesson(self.settings, self._first(now), (), (), {})
        facts: dict[str, Any] = {}
        if not self._models(now).is_file():
            facts = self._teach(now, made, None, {*models_of(made.data).values()})
        return {"spent": self._spent([now]), "model": now.number, **facts}

    def _round(self, now: Round, complete: list[Round]) -> dict[str, Any]:
        """Dynamics, its test, labels, training."""
        before, s = complete[-1], self.settings
        manifest = self._manifest(before)
        potential, known = load_potential(manifest), self._lesson(complete)
        models, seen = models_of(known.data), self._dynamics(now, potential, known, complete)
        left = s.budget - self._spent(complete)
        self._ask(now, "test", lambda: [test_frames(s, now.number, potential, seen)])
        asked = Asked.load(now.asked_path("test"), "test")

        def pick(needs: Collection[str]) -> None:
            room = left - 2 * s.test_labels
            self._ask(now, "picked", lambda: wanted(s, now.number, potential, seen, asked, needs, room))

        if s.labels == "elsewhere":  # all at once: who waits for a cluster is asked once a round
            pick({*models.values()})
            self._labelled(now, [a.name for a in now.asked()])
        (tested,) = self._labelled(now, ["test"])
        if now.number == 1 and (self.root / START_DATA).is_file():
            for line in contradictions([self._first(complete[0]), tested]):
                raise InputError(f"{self.root}: the calculator's labels are not those of the data set: {line}")
        kept = np.setdiff1d(np.arange(len(asked)), now.failures("test"))
        expected = {name: values / KCAL_MOL for name, values in potential.uncertainty(tested.positions).items()}
        verdict = Verdict.of(self.targets, test(potential, tested, asked.temperature[kept], expected), seen.ends)
        record = own_record(manifest, verdict.test, s, f"learn, round {now.number}", len(asked) - len(kept))
        write_json(own_path(manifest), record.model_dump(mode="json"))
        for line in describe(verdict, seen.ends):
            self.reporter.say(f"round {now.number}: {line}")
        needs = verdict.needs(models)
        ending = self._ending(now, before, verdict, left - s.test_labels)
        tested_model = before.record()["model"]
        facts: dict[str, Any] = {
            "seed": s.seed, "met": verdict.met, "missed": verdict.missed, "needs": sorted(needs),
            "test": as_json(verdict.test), "tested": tested_model, "score": verdict.score, "model": tested_model,
            "ending": ending,
            "ends": [{"kind": kind, **end._asdict()} for kind, end in zip(seen.kinds, seen.ends, strict=True)],
        }  # fmt: skip
        if ending is not None and ending["kind"] == SPENT:
            facts["model"] = best = _best([facts, *(r.record() for r in complete[1:])])
            if best != tested_model:
                ending["line"] += f"; the models of round {best} had smaller errors, and are given"
        if ending is None and not verdict.met:
            if s.labels == "here":
                pick(needs)
            self._labelled(now, [a.name for a in now.asked()])
            facts |= self._teach(now, self._lesson([*complete, now]), manifest, needs) | {"model": now.number}
        return {**facts, "spent": self._spent([*complete, now])}

    def _ending(self, now: Round, before: Round, verdict: Verdict, left: int) -> dict[str, str] | None:
        """What ends the loop after a round's test, if anything does. left: labels after it."""
        if verdict.met and before.record().get("met"):
            return {"kind": MET, "line": f"errors are as asked in rounds {before.number} and {now.number}"}
        if left >= self.settings.test_labels:
            return None
        missing = "; ".join(verdict.missed) or "errors are as asked, but in one round alone"
        return {"kind": SPENT, "line": f"the budget of {self.settings.budget} labels is spent; missing: {missing}"}

    def _dynamics(self, now: Round, potential: Potential, known: Lesson, complete: list[Round]) -> dynamics.Sampled:
        """Frames of the model's own dynamics."""
        path, s = now.labels_path("dynamics"), self.settings
        if path.is_file():
            return dynamics.load(path)
        steps = round(1000 * s.picoseconds * _length(complete) / s.timestep)
        limits = self._limits(potential, known)
        bound = known.data.take(np.flatnonzero(gaps(known.data.positions, s.atoms) < BOUND))
        geometries: list[FloatArray] = list(bound.positions[np.argsort(bound.energies, kind="stable")])
        last = dynamics.load(complete[-1].labels_path("dynamics")).ended() if len(complete) > 1 else {}
        begin, note = starts(
            potential, s.temperatures, s.replicas, geometries, last, Complex.of(known.data).full, limits,
            np.random.default_rng([s.seed, now.number, 0]),
        )  # fmt: skip
        kelvins = ", ".join(f"{kelvin:g}" for kelvin in s.temperatures)
        self.reporter.say(
            f"round {now.number}: {len(begin)} replicas, {steps * s.timestep / 1000:.3g} ps at {kelvins} K"
            + (f"; {note}" if note else "")
        )
        seen = dynamics.run(
            potential, begin, dynamics.Plan(steps, s.timestep), limits,
            [(s.seed, now.number, 5, i) for i in range(len(begin))],
            stop=self.stop, progress=lambda done: self.reporter.progress(f"round {now.number}: dynamics", done),
        )  # fmt: skip
        if seen is None:
            raise StoppedError
        now.folder.mkdir(parents=True, exist_ok=True)
        seen.save(path)
        return seen

    def _limits(self, potential: Potential, known: Lesson) -> dict[str, float]:
        """Expected errors, eV/Å, beyond which a term does not know what it does: beyond the range of its training
        points or, where these are so far from each other that anything is in range, of what validated it."""
        errors = potential.uncertainty(known.data.positions[known.data.split == VALIDATION])
        least, limits = _LEAST * self.settings.force * KCAL_MOL, dict[str, float]()
        for name, known_errors in potential.error_limits.items():
            ends = known_errors.left > _END * known_errors.far
            limit = _BEYOND * float(np.quantile(errors[name], 0.95)) if ends else known_errors.left
            limits[name] = max(least, limit)
        return limits

    def _ask(self, now: Round, name: str, make: Callable[[], list[Asked]]) -> None:
        """Write down what is asked, once: the one called `name` is the last to be written."""
        if now.asked_path(name).is_file():
            return
        now.asked_path(name).parent.mkdir(parents=True, exist_ok=True)
        for asked in sorted(make(), key=lambda asked: asked.name == name):
            asked.save(now.asked_path(asked.name))

    def _first(self, now: Round) -> Dataset:
        """The labels that the learning begins with, with sides."""
        given, s = self.root / START_DATA, self.settings
        if given.is_file():
            data = load_dataset(given)
        else:
            if not now.asked_path("first").is_file():
                self.reporter.say("the first geometries: dynamics with the calculator")
                frames = first_frames(self.root, s, self.stop, self.reporter)
                if frames is None:
                    raise StoppedError
                self._ask(now, "first", lambda: [frames])
            (data,) = self._labelled(now, ["first"])
        return data if data.split is not None else divided(data, s.points, s.seed)

    def _labelled(self, now: Round, names: list[str]) -> list[Dataset]:
        """The labels of what was asked. Raises _MissingError where they have to come from elsewhere."""
        made = []
        for name in names:
            if (data := now.labels(name)) is None:
                if self.settings.labels == "elsewhere":
                    raise _MissingError
                data = self._label(now, name)
            made.append(data)
        return made

    def _label(self, now: Round, name: str) -> Dataset:
        """Label what was asked, with the calculator. Raises InputError where it fails for all."""
        asked, path = Asked.load(now.asked_path(name), name), now.labels_path(name)
        what = f"round {now.number}: labels ({name})"
        outcome = label(
            asked.task(self.settings), path, processes=self.processes, stop=self.stop,
            progress=lambda done, failed: self.reporter.reporter.progress(what, (done + failed) / len(asked)),
        )  # fmt: skip
        data = labels_of(outcome.data, outcome.failures, len(asked), what, self.reporter)
        if outcome.failures:
            rows = [{"frame": failure.index, "reason": failure.reason} for failure in outcome.failures]
            write_json(now.failures_path(name), rows)
        save_dataset(path, data)
        with suppress(OSError):
            working_file(path).unlink()
        return load_dataset(path)

    def _lesson(self, some: list[Round]) -> Lesson:
        """All labels of some rounds."""
        tests, picked, alone = list[Dataset](), list[Dataset](), dict[str, list[Dataset]]()
        for r in some[1:]:
            for asked in r.asked():
                (data,) = self._labelled(r, [asked.name])
                if asked.alone:
                    alone.setdefault(asked.name.removeprefix("alone_"), []).append(data)
                else:
                    (tests if asked.name == "test" else picked).append(data)
        return lesson(self.settings, self._first(some[0]), tests, picked, alone)

    def _teach(self, now: Round, made: Lesson, before: Path | None, retrain: Collection[str]) -> dict[str, Any]:
        self.reporter.say(f"round {now.number}: training {', '.join(sorted(retrain))}")
        start = time.perf_counter()
        quiet = replace(self.reporter, quiet=True)
        facts = teach(self._models(now).parent, self.settings, made, quiet, before, retrain)
        return {**facts, "training_s": round(time.perf_counter() - start, 1)}

    def _manifest(self, r: Round) -> Path:
        """Of the models that a complete round ends with."""
        return self._models(Round(self.root, int(r.record()["model"])))

    @staticmethod
    def _models(r: Round) -> Path:
        """Of the models that a round trains."""
        return r.folder / "model" / "manifest.yaml"

    @staticmethod
    def _spent(some: list[Round]) -> int:
        """Labels of the complex that were asked."""
        return sum(len(asked) for r in some for asked in r.asked() if not asked.alone)


def _length(complete: list[Round]) -> float:
    """Of a round's dynamics, over that of the first: doubled after each round that hardly stopped a replica."""
    longer = 1.0
    for r in complete[1:]:
        ends = r.record()["ends"]
        if sum(end["reason"] != dynamics.FINISHED for end in ends) <= dynamics.FEW * len(ends):
            longer = min(2 * longer, _LONGEST)
    return longer


def _best(records: list[dict[str, Any]]) -> int:
    """The round whose models had the smallest errors, each by the worst of its tests; of equal ones the newest."""
    worst: dict[int, float] = {}
    for record in records:
        worst[record["tested"]] = max(record["score"], worst.get(record["tested"], 0.0))
    return min(sorted(worst, reverse=True), key=worst.__getitem__)
