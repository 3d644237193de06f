"""The loop: from a geometry or a data set, round by round, to a model whose errors on its own dynamics are as asked.

A round: dynamics with the model at every temperature; a random sample of its frames is labelled, and tests the model
before anything is learned from it; the frames that each term would learn most from are labelled; the terms that need
it are trained again. Each step leaves a file, and what is there is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._types import FloatArray, IntArray
from ..data.dataset import VALIDATION, Dataset, load_dataset, save_dataset
from ..data.labels import label, working_file
from ..errors import InputError
from ..files.lock import locked
from ..files.whole import write_json
from ..loading import load_potential
from ..potential import Potential
from ..terms.sgdml import SgdmlTerm
from ..training.databases import Complex
from ..training.reporter import Reporter
from ..units import KCAL_MOL
from . import dynamics
from .acquisition import pick
from .asked import Asked
from .elsewhere import hand_out
from .first import first_frames
from .honest import Targets, Test, as_json, test
from .rounds import START_DATA, Round, rounds
from .settings import Settings, load_settings
from .starts import starts
from .teaching import Lesson, divided, kinds_of, lesson, teach

MET, SPENT, WAITING, STOPPED = "met", "spent", "waiting", "stopped"
"""Errors are as asked in two rounds running; the budget is spent; labels are awaited; it was stopped."""

_BEYOND = 3.0  # times the 95th percentile of a term's expected errors where it was validated: a replica is stopped
_LEAST = 3.0  # times the target of forces: expected errors below this never stop one
_POOL = 1000  # frames that are looked at for what to learn from
_BOUND = 6.0  # Å: frames whose fragments are farther apart are no test
_UNSURE = 0.1  # of the replicas, at most, may have been stopped where errors are said to be as asked
_RELAXING = 0.2  # of the steps, from a start until frames test
_LONGEST = 8.0  # times the first rounds' dynamics, which is doubled while no replica is stopped


class StoppedError(Exception):
    """`stop` said so; what is there is kept."""


@dataclass(frozen=True)
class Ending:
    """How a run of the loop ended, and in words."""

    kind: str
    line: str
    manifest: Path | None = None


def learn(
    root: Path,
    reporter: Reporter,
    *,
    processes: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Ending:
    """Go on with the learning in a folder, to its end or until labels from elsewhere are needed.

    Raises InputError where the calculator cannot label, or what is in the folder cannot be used.
    """
    loop = _Loop(root, load_settings(root), reporter, processes, stop)
    try:
        with locked([root], orphans_only=True):
            while True:
                if (ending := loop.next_round()) is not None:
                    return ending
    except StoppedError:
        return Ending(STOPPED, "stopped; the same command goes on")


class _MissingError(Exception):
    """Labels that have to come from elsewhere."""


class _Loop:
    """A learning at work."""

    def __init__(
        self, root: Path, settings: Settings, reporter: Reporter, processes: int, stop: Callable[[], bool]
    ) -> None:
        self.root, self.settings, self.reporter = root, settings, reporter
        self.processes, self.stop = processes, stop
        self.targets = Targets(settings.force, settings.energy, len(settings.names))

    def next_round(self) -> Ending | None:
        """The next round; what ends the loop, or None."""
        *complete, now = rounds(self.root)
        if complete and (ended := complete[-1].record().get("ending")):
            return Ending(ended["kind"], ended["line"], self._manifest(complete[-1]))
        try:
            content = self._begin(now) if not complete else self._round(now, complete)
        except _MissingError:
            count = hand_out(self.root, now, self.settings)
            return Ending(
                WAITING, f"round {now.number}: {count} geometries to label in {self.root / 'to_label'}; then "
                f"`delta-sgdml learn add {self.root} FILE…`"
            )  # fmt: skip
        now.write(content)
        ended = content.get("ending")
        return Ending(ended["kind"], ended["line"], self._manifest(now)) if ended else None

    # rounds

    def _begin(self, now: Round) -> dict[str, Any]:
        """The first labels, and the models trained on them."""
        first = self._first(now)
        if first.split is None:
            first = divided(first, max(10, min(60, len(first) // 3)), self.settings.seed)
        made = lesson(self.settings, first, (), (), {})
        facts = self._teach(now, made, None, {*kinds_of(made.data), "binding"}, ())
        return {"spent": self._spent([now]), "model": now.number, **facts}

    def _first(self, now: Round) -> Dataset:
        """The labels that the learning begins with."""
        given = self.root / START_DATA
        if given.is_file():
            return load_dataset(given)
        if not now.asked_path("first").is_file():
            self.reporter.say("the first geometries: dynamics with the calculator")
            x, temperature = first_frames(self.root, self.settings, self.stop, self.reporter)
            if self.stop():
                raise StoppedError
            self._ask(now, Asked.plain("first", len(self.settings.names), x, temperature))
        (data,) = self._labelled(now, ["first"])
        return data

    def _round(self, now: Round, complete: list[Round]) -> dict[str, Any]:
        before = complete[-1]
        manifest = self._manifest(before)
        potential = load_potential(manifest)
        known = self._lesson(complete)
        seen = self._dynamics(now, potential, known, complete)
        spent = self._spent(complete)
        left = self.settings.budget - spent
        if not now.asked_path("test").is_file():
            self._ask(now, self._test_frames(now, seen))
        elsewhere = self.settings.labels == "elsewhere"
        if elsewhere:  # all at once: a cluster is asked once a round
            names = {*kinds_of(known.data), "binding"}
            self._pick(now, potential, seen, names, left - 2 * self.settings.test_labels)
            self._labelled(now, [asked.name for asked in now.asked()])
        (tested,) = self._labelled(now, ["test"])
        result = self._test(now, potential, tested)
        failed = [end for end in seen.ends if end.reason in (dynamics.CHANGED, dynamics.EXPLODED)]
        unsure = [end for end in seen.ends if end.reason == dynamics.UNSURE]
        missed = {kelvin: self.targets.missed(terms) for kelvin, terms in result.items()}
        sure = not failed and len(unsure) <= _UNSURE * len(seen.ends)
        met = sure and not any(missed.values())
        needs = set() if met else self._needs(result, seen, known)
        facts: dict[str, Any] = {
            "seed": self.settings.seed, "ends": self._ends(seen), "test": as_json(result), "met": met,
            "needs": sorted(needs), "model": before.record()["model"],
        }  # fmt: skip
        self._tell(now, result, seen, met)
        ending = self._ending(now, complete, met, missed, failed, unsure, left - self.settings.test_labels)
        if ending is None and not met:
            if not elsewhere:
                self._pick(now, potential, seen, needs, left - 2 * self.settings.test_labels)
            self._labelled(now, [asked.name for asked in now.asked()])
            stuck = self._stuck(needs, result, complete)
            facts |= self._teach(now, self._lesson([*complete, now]), manifest, needs, stuck)
            facts["model"] = now.number
        return {**facts, "spent": self._spent([*complete, now]), "ending": ending}

    # steps of a round

    def _dynamics(self, now: Round, potential: Potential, known: Lesson, complete: list[Round]) -> dynamics.Sampled:
        """Frames of the model's own dynamics."""
        path = now.labels_path("dynamics")
        if path.is_file():
            return dynamics.load(path)
        s, plan = self.settings, self._plan(complete)
        limits = self._limits(potential, known)
        rng = np.random.default_rng([s.seed, now.number])
        bound = dynamics.gaps(known.data.positions, s.atoms) < _BOUND
        near = known.data.take(np.flatnonzero(bound))
        order = np.argsort(near.energies)
        last: dict[float, list[FloatArray]] = {}
        if len(complete) > 1:
            last = dynamics.load(complete[-1].labels_path("dynamics")).ended()
        group = Complex.of(known.data).full
        begin, note = starts(
            potential, s.temperatures, s.replicas, list(near.positions[order]), last, group, limits, rng
        )
        if note:
            self.reporter.say(f"round {now.number}: {note}")
        self.reporter.say(
            f"round {now.number}: {len(begin)} replicas at {', '.join(f'{t:g}' for t in s.temperatures)} K, "
            f"{plan.steps * plan.timestep / 1000:.3g} ps"
        )
        seen = dynamics.run(
            potential, begin, plan, limits, [(s.seed, now.number, i) for i in range(len(begin))],
            stop=self.stop, progress=lambda done: self.reporter.progress(f"round {now.number}: dynamics", done),
        )  # fmt: skip
        if seen is None:
            raise StoppedError
        now.folder.mkdir(parents=True, exist_ok=True)
        seen.save(path)
        return seen

    def _plan(self, complete: list[Round]) -> dynamics.Plan:
        """Longer dynamics as long as no replica is stopped."""
        longer = 1.0
        for r in complete[1:]:
            ends = r.record()["ends"]
            good = sum(e["reason"] == dynamics.FINISHED for e in ends) >= (1 - _UNSURE) * len(ends)
            longer = min(2 * longer, _LONGEST) if good else longer
        steps = round(1000 * self.settings.picoseconds * longer / self.settings.timestep)
        return dynamics.Plan(steps, self.settings.timestep)

    def _limits(self, potential: Potential, known: Lesson) -> dict[str, float]:
        """Expected errors, eV/Å, beyond which a term does not know what it does."""
        assert known.data.split is not None
        errors = potential.uncertainty(known.data.positions[known.data.split == VALIDATION])
        least = _LEAST * self.settings.force * KCAL_MOL
        return {
            name: max(least, _BEYOND * float(np.quantile(e, 0.95))) for name, e in errors.items() if name != "total"
        }

    def _test_frames(self, now: Round, seen: dynamics.Sampled) -> Asked:
        """A random sample of what the dynamics did, at each temperature."""
        s, chosen = self.settings, []
        rng = np.random.default_rng([s.seed, now.number, 1])
        longest = max(int(seen.step.max(initial=0)), 1)
        for kelvin in s.temperatures:
            there = seen.temperature == kelvin
            for good in (
                there & (seen.gap < _BOUND) & (seen.step >= _RELAXING * longest) & (seen.last == 0),
                there & (seen.step > 0) & (seen.last == 0),
                there,
            ):
                if good.sum() >= s.test:
                    break
            frames = np.flatnonzero(good)
            chosen.append(np.sort(rng.permutation(frames)[: s.test]))
        which = np.concatenate(chosen)
        if not len(which):
            raise InputError(
                f"{now.folder}: the dynamics left no frame: every replica ended before its first look; begin again "
                "with more first labels (`learn start --first`)"
            )
        return Asked.of("test", range(len(s.names)), seen, which, seen.positions[which], seen.errors["total"])

    def _pick(self, now: Round, potential: Potential, seen: dynamics.Sampled, needs: set[str], room: int) -> None:
        """Ask for the frames that each term that needs it would learn most from. room: labels of the complex."""
        tested = {(r, t) for r, t in zip(*self._where(now), strict=True)}
        free = np.array([(r, t) not in tested for r, t in zip(seen.replica, seen.step, strict=True)], dtype=bool)
        pool = np.flatnonzero(free)
        if len(pool) > _POOL:  # of those that stopped a replica, all
            rng = np.random.default_rng([self.settings.seed, now.number, 2])
            urgent = pool[seen.last[pool] == 1]
            others = rng.permutation(np.setdiff1d(pool, urgent))[: max(0, _POOL - len(urgent))]
            pool = np.sort(np.concatenate([urgent, others]))
        count = min(self.settings.picks, room)
        if "binding" in needs and count > 0 and not now.asked_path("picked").is_file():
            picks = pick(potential, seen.positions[pool], count, "binding")
            which = pool[[p.configuration for p in picks]]
            asked = Asked.of(
                "picked", range(len(self.settings.names)), seen, which, seen.positions[which], seen.errors["binding"]
            )
            self._ask(now, asked)
        for term in potential.terms:
            if not isinstance(term, SgdmlTerm) or term.part != "fragments":
                continue
            kind = self._kind(term)
            name = f"alone_{kind}"
            if kind in needs and not now.asked_path(name).is_file():
                self._ask(now, self._picked_alone(name, potential, term, seen, pool))

    def _picked_alone(
        self, name: str, potential: Potential, term: SgdmlTerm, seen: dynamics.Sampled, pool: IntArray
    ) -> Asked:
        """What one molecule would learn most from, of all its copies."""
        from ..potential import Fragment

        n = term.sites.shape[1]
        x = np.concatenate([seen.positions[pool][:, site] for site in term.sites])
        errors = np.concatenate([seen.errors[copy][pool] for copy in term.names])
        alone = SgdmlTerm(term.names[:1], "fragments", np.arange(n)[None], term.predictor, term.load)
        only = Potential(
            potential.numbers[term.sites[0]], potential.reference[term.sites[0]],
            [Fragment(term.names[0], np.arange(n))], [alone], name=term.names[0],
        )  # fmt: skip
        order = np.sort(np.argsort(-errors, kind="stable")[:_POOL])
        picks = pick(only, x[order], self.settings.picks, term.names[0])
        which = order[[p.configuration for p in picks]]
        member = self.settings.names.index(term.names[0])
        frames = pool[which % len(pool)]
        asked = Asked.of(name, (member,), seen, frames, x[which], seen.errors[term.names[0]])
        return replace(asked, expected=errors[which] / KCAL_MOL)

    @staticmethod
    def _kind(term: SgdmlTerm) -> str:
        """The name under which a fragment's model is trained."""
        return term.names[0] if len(term.names) == 1 else term.names[0].removesuffix("_1")

    def _test(self, now: Round, potential: Potential, tested: Dataset) -> Test:
        """The honest test."""
        asked = Asked.load(now.asked_path("test"), "test")
        kept = np.setdiff1d(np.arange(len(asked)), now.failures("test"))
        errors = potential.uncertainty(tested.positions)
        expected = {name: values / KCAL_MOL for name, values in errors.items()}
        return test(potential, tested, asked.temperature[kept], expected)

    def _needs(self, result: Test, seen: dynamics.Sampled, known: Lesson) -> set[str]:
        """Models, by kind, and ``binding``, whose share of the errors is too large, or that stopped replicas."""
        kinds = kinds_of(known.data)
        model_of = {self.settings.names[i]: kind for kind, members in kinds.items() for i in members}
        model_of["binding"] = "binding"
        needs = {
            model_of[name]
            for terms in result.values()
            for name, term in terms.items()
            if name in model_of and self.targets.needs(term)
        }
        for end in seen.ends:
            if end.reason == dynamics.UNSURE:
                needs |= {model_of[name] for name in end.detail.split(", ")}
            elif end.reason != dynamics.FINISHED:
                needs |= {*model_of.values()}
        return needs or {*model_of.values()}

    def _stuck(self, needs: set[str], result: Test, complete: list[Round]) -> set[str]:
        """Models whose error is no smaller than in the round before, although they were trained on more since."""
        before = complete[-1].test() if len(complete) > 1 else {}
        trained = {*complete[-1].record().get("trained", ())} if before else set()
        worse = set()
        for kelvin in result.keys() & before.keys():
            for name, term in result[kelvin].items():
                earlier = before[kelvin].get(name)
                if earlier is not None and term.force - 2 * term.force_error > earlier.force:
                    worse |= {name, name.removesuffix("_1")}
        return needs & trained & worse

    def _ending(
        self, now: Round, complete: list[Round], met: bool, missed: Mapping[float, list[str]],
        failed: list[dynamics.End], unsure: list[dynamics.End], left: int,
    ) -> dict[str, str] | None:  # fmt: skip
        """What ends the loop after this round's test, if anything does. left: labels after it."""
        if met and len(complete) > 1 and complete[-1].record().get("met"):
            return {"kind": MET, "line": f"errors as asked at every temperature in rounds {now.number - 1} and "
                    f"{now.number}"}  # fmt: skip
        if left >= self.settings.test_labels:
            return None
        lacks = [f"{kelvin:g} K: {'; '.join(words)}" for kelvin, words in missed.items() if words]
        if failed:
            lacks.append(f"{len(failed)} replicas did not stay the molecule ({failed[0].detail})")
        if len(unsure):
            lacks.append(f"{len(unsure)} replicas were stopped where {unsure[0].detail} is not known")
        what = "; ".join(lacks) if not met else "errors are as asked, but in one round alone"
        return {"kind": SPENT, "line": f"the budget of {self.settings.budget} labels is spent; missing: {what}"}

    # helpers

    def _ask(self, now: Round, asked: Asked) -> None:
        path = now.asked_path(asked.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        asked.save(path)

    def _where(self, now: Round) -> tuple[list[int], list[int]]:
        """Replicas and steps of the frames that test."""
        asked = Asked.load(now.asked_path("test"), "test")
        return asked.replica.tolist(), asked.step.tolist()

    def _labelled(self, now: Round, names: list[str]) -> list[Dataset]:
        """The labels of what was asked. Raises _MissingError where they have to come from elsewhere."""
        made = []
        for name in names:
            if now.labels(name) is None:
                if self.settings.labels == "elsewhere":
                    raise _MissingError
                self._label(now, name)
            data = now.labels(name)
            assert data is not None
            made.append(data)
        return made

    def _label(self, now: Round, name: str) -> None:
        """Label what was asked, with the calculator."""
        asked, path = Asked.load(now.asked_path(name), name), now.labels_path(name)
        task = asked.task(self.settings, now.number)
        what = f"round {now.number}: labels ({name})"

        def progress(done: int, failed: int) -> None:
            self.reporter.progress(what, (done + failed) / len(asked))

        now.folder.mkdir(parents=True, exist_ok=True)
        outcome = label(task, path, processes=self.processes, stop=self.stop, progress=progress)
        if outcome.data is None:
            raise StoppedError
        if outcome.failures:
            self.reporter.say(
                f"round {now.number}: {len(outcome.failures)} of {len(asked)} frames ({name}) have no labels, the "
                f"first because: {outcome.failures[0].reason}"
            )
            rows = [{"frame": f.index, "reason": f.reason} for f in outcome.failures]
            write_json(now.folder / f"{name}.failures.json", rows)
        save_dataset(path, outcome.data)
        with suppress(OSError):
            working_file(path).unlink()

    def _lesson(self, complete: list[Round]) -> Lesson:
        """All labels of some rounds."""
        first = self._first(complete[0])
        if first.split is None:
            first = divided(first, max(10, min(60, len(first) // 3)), self.settings.seed)
        tests, picked, alone = [], [], dict[str, list[Dataset]]()
        for r in complete[1:]:
            for asked in r.asked():
                data = r.labels(asked.name)
                if data is None:
                    continue
                if asked.name == "test":
                    tests.append(data)
                elif asked.alone:
                    alone.setdefault(asked.name.removeprefix("alone_"), []).append(data)
                else:
                    picked.append(data)
        return lesson(self.settings, first, tests, picked, alone)

    def _teach(
        self, now: Round, made: Lesson, before: Path | None, retrain: set[str], stuck: set[str] | tuple[()]
    ) -> dict[str, Any]:
        self.reporter.say(f"round {now.number}: training {', '.join(sorted(retrain))}")
        start = time.perf_counter()
        facts = teach(now.folder / "model", self.settings, made, self.reporter, before, retrain, stuck)
        return {**facts, "training_s": round(time.perf_counter() - start, 1)}

    def _manifest(self, r: Round) -> Path:
        """Of the models that a round ends with."""
        return Round(self.root, int(r.record()["model"])).folder / "model" / "manifest.yaml"

    def _spent(self, some: list[Round]) -> int:
        """Labels of the complex that were asked."""
        return sum(len(asked) for r in some for asked in r.asked() if not asked.alone)

    def _ends(self, seen: dynamics.Sampled) -> list[dict[str, Any]]:
        return [{"kind": kind, **end._asdict()} for kind, end in zip(seen.kinds, seen.ends, strict=True)]

    def _tell(self, now: Round, result: Test, seen: dynamics.Sampled, met: bool) -> None:
        for kelvin, terms in result.items():
            total, binding = terms["total"], terms["binding"]
            self.reporter.say(
                f"round {now.number}: {kelvin:g} K, {total.n} frames: force {total.force:.3f} ± "
                f"{total.force_error:.3f} kcal/mol/Å, energy {total.energy:.3f} ± {total.energy_error:.3f}, binding "
                f"{binding.energy:.3f} ± {binding.energy_error:.3f} kcal/mol"
            )
        reasons = [end.reason for end in seen.ends]
        counts = ", ".join(f"{reasons.count(r)} {r}" for r in dict.fromkeys(sorted(reasons)))
        away = sum(end.dissociated for end in seen.ends)
        self.reporter.say(
            f"round {now.number}: replicas: {counts}" + (f"; dissociated {away} times" if away else "")
            + ("; errors as asked" if met else "")
        )  # fmt: skip
