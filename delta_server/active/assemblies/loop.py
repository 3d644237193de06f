"""The loop: from an assembly's models of pairs and triples, round by round, to such whose errors on the n-mers of the
assembly's own dynamics are as asked.

A round: dynamics with the model at every temperature; n-mers of its frames, drawn at random over the distances within
the cut-off, are labelled, and test the model before anything is learned from them; of each kind that is not as asked
those are labelled that its model knows least of, and it is trained again, with its group, σ, λ, metric and number of
points in the basis. Each step leaves a file, and what is there is not done again.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..._types import IntArray
from ...checks.tested import OwnErrors
from ...data.bodies import Bodies, clear, label_bodies
from ...data.dataset import Dataset, load_dataset, save_dataset
from ...errors import InputError
from ...loading import load_potential
from ...potential import Potential
from ...training.choice import Like
from ...training.evaluation.evaluate import evaluate
from ...training.evaluation.own import errors_of
from ...training.record import record_beside
from ...training.reporter import Reporter
from ...training.trainer import train
from ...units import KCAL_MOL
from .. import dynamics
from ..loop import MET, SPENT, Ending, StoppedError, Watched, labels_of, until_ended
from ..rounds import Round, rounds
from ..teaching import counted
from .kinds import Kind, Nmers, begun, charges_of, kinds_of, model_files, more, write_manifest
from .settings import AssemblySettings

_TEST = "test_"  # what the names of labels that test begin with
_LEAST = 3.0  # times the target of forces: expected errors below this never stop a replica


def learn(
    root: Path,
    settings: AssemblySettings,
    reporter: Reporter,
    *,
    processes: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Ending:
    """Begin the learning of an assembly in a folder, or go on with it, to its end.

    Raises InputError where the data sets are not those of the manifest's models, or the calculator cannot label.
    """
    return until_ended(root, _Loop(root, settings, Watched(reporter, stop), processes, stop).next_round)


@dataclass(frozen=True)
class _Test:
    """Errors on the n-mers of one kind at each temperature, of what n bodies bind and, if the assembly has models of
    molecules from the same training, of these; and the labels."""

    kind: Kind
    rows: Sequence[OwnErrors]
    data: Sequence[Dataset]

    def missed(self, force: float, energy: float) -> Iterator[str]:
        """What is not as asked."""
        for row in self.rows:
            if not (row.force_mae <= force and row.energy_mae <= energy):
                yield f"{self._said(row)}, asked {force:g} and {energy:g}"

    def lines(self) -> Iterator[str]:
        """What there is to tell, a line for each row."""
        for row in self.rows:
            yield f"{self._said(row)}, {row.n} n-mers"

    def _said(self, row: OwnErrors) -> str:
        what = self.kind.name if row.part == "binding" else f"{row.part} of {self.kind.name}"
        return (
            f"{what} at {row.temperature:g} K: MAE {row.force_mae:.3f} ± {row.force_mae_error:.3f} kcal/mol/Å, "
            f"{row.energy_mae:.4f} ± {row.energy_mae_error:.4f} kcal/mol"
        )


class _Loop:
    """A learning at work."""

    def __init__(
        self, root: Path, settings: AssemblySettings, reporter: Watched, processes: int, stop: Callable[[], bool]
    ) -> None:
        self.root, self.settings, self.reporter = root, settings, reporter
        self.processes, self.stop = processes, stop

    def next_round(self) -> Ending | None:
        """The next round; what ends the loop, or None."""
        *complete, now = rounds(self.root)
        if complete and (ended := complete[-1].record().get("ending")) and not self._goes_on(complete[-1]):
            return Ending(**ended, manifest=_manifest(complete[-1]))
        began = time.perf_counter()
        content = self._round(now, complete) if complete else self._begin(now)
        now.write({**content, "seconds": round(time.perf_counter() - began, 1)})
        ended = content.get("ending")
        return Ending(**ended, manifest=_manifest(now)) if ended else None

    def _goes_on(self, last: Round) -> bool:
        """Whether the budget that was spent has grown since, by a test at least."""
        record = last.record()
        left = self.settings.budget - int(record["spent"])
        return record["ending"]["kind"] == SPENT and left >= self._of_a_test(len(kinds_of(_manifest(last))))

    def _begin(self, now: Round) -> dict[str, Any]:
        """The data of each kind, with their sides, and the manifest that the learning begins with."""
        s, first = self.settings, Path(self.settings.manifest)
        kinds = kinds_of(first)
        if s.budget < (needed := self._of_a_test(len(kinds))):
            raise InputError(f"a budget of {s.budget} labels: the test of one round takes {needed}")
        datasets = {name: load_dataset(name) for name in s.datasets}
        potential = load_potential(first)
        for kind in kinds:
            numbers = np.concatenate(
                [potential.numbers[atoms] for atoms in (_molecules(potential, name)[0] for name in kind.between)]
            )
            data = begun(kind, numbers, datasets)
            if data.theory != (theory := s.method.theory):
                raise InputError(f"{kind.name}: its labels are {data.theory or 'of no method told'}, not {theory}")
            now.folder.mkdir(parents=True, exist_ok=True)
            save_dataset(now.labels_path(kind.name), data)
        write_manifest(_manifest(now), first, {})
        return {"spent": 0}

    def _round(self, now: Round, complete: list[Round]) -> dict[str, Any]:
        """Dynamics, its test, labels, training."""
        s, before = self.settings, _manifest(complete[-1])
        potential, kinds = load_potential(before), kinds_of(before)
        seen = self._dynamics(now, potential, complete)
        molecules = {name: _molecules(potential, name) for kind in kinds for name in kind.between}
        files = model_files(before)
        nmers = [Nmers(kind, potential, molecules, _singles(kind, files)) for kind in kinds]
        tests = [self._test(now, i, of, seen) for i, of in enumerate(nmers)]
        missed = [line for test in tests for line in test.missed(s.force, s.energy)] + dynamics.astray(seen.ends)
        self.reporter.say(f"round {now.number}: {dynamics.say_ends(seen.ends)}{'' if missed else '; as asked'}")
        needs = self._needs(tests, seen, files) if missed else set()
        spent = int(complete[-1].record()["spent"]) + sum(len(data) for test in tests for data in test.data)
        a_test = self._of_a_test(len(kinds))
        ending = self._ending(now, complete[-1], missed, s.budget - spent - a_test)
        trained: dict[Path, Path] = {}
        for i, of in enumerate(nmers):
            if ending is None and of.kind.name in needs:
                picks = min(s.picks, s.budget - spent - a_test)
                new = list(tests[i].data)
                if picks >= 2:
                    make = partial(of.least_known, seen, picks, [s.seed, now.number, 2, i])
                    new.append(self._labelled(now, f"picked_{of.kind.name}", make, of.kind))
                    spent += len(new[-1])
                data = more(*self._known(complete, of.kind, new), [s.seed, now.number, 3, i])
                trained[of.kind.model.parent] = self._train(now, of.kind, data)
                save_dataset(now.labels_path(of.kind.name), data)
        write_manifest(_manifest(now), before, trained)
        return {
            "met": not missed, "missed": missed, "needs": sorted(needs), "ending": ending, "spent": spent,
            "test": {test.kind.name: [row.model_dump(mode="json") for row in test.rows] for test in tests},
            "ends": [{"kind": kind, **end._asdict()} for kind, end in zip(seen.kinds, seen.ends, strict=True)],
        }  # fmt: skip

    def _test(self, now: Round, i: int, nmers: Nmers, seen: dynamics.Sampled) -> _Test:
        """Label n-mers of a kind, and hold its models against them."""
        s, kind = self.settings, nmers.kind
        potential, rows, labels = load_potential(kind.trained), list[OwnErrors](), list[Dataset]()
        for kelvin in s.temperatures:
            frames = seen.positions[seen.temperature == kelvin]
            make = partial(nmers.drawn, frames, s.test, [s.seed, now.number, 1, i, round(1000 * kelvin)])
            labels.append(self._labelled(now, f"{_TEST}{kind.name}_{kelvin:g}K", make, kind))
            of_model = errors_of(evaluate(potential, labels[-1]), kelvin)
            rows += [row for row in of_model if row.part == "binding" or (nmers.singles and row.part != "total")]
        test = _Test(kind, rows, labels)
        for line in test.lines():
            self.reporter.say(f"round {now.number}: {line}")
        return test

    def _needs(self, tests: Sequence[_Test], seen: dynamics.Sampled, files: Mapping[str, Path]) -> set[str]:
        """The kinds that are to learn: those that are not as asked or stopped replicas; a species that did has its
        model from one of them. All where a replica went astray."""
        names = {test.kind.name for test in tests}
        if any(end.reason in (dynamics.CHANGED, dynamics.EXPLODED) for end in seen.ends):
            return names
        needs = {test.kind.name for test in tests if any(test.missed(self.settings.force, self.settings.energy))}
        folders = {test.kind.model.parent.resolve(): test.kind.name for test in tests}
        unsure = {term for end in seen.ends if end.reason == dynamics.UNSURE for term in end.detail.split(", ")}
        return needs | {folders[files[term].parent] for term in unsure if files[term].parent in folders}

    def _of_a_test(self, kinds: int) -> int:
        """Labels that the test of a round takes."""
        return kinds * self.settings.test * len(self.settings.temperatures)

    def _ending(self, now: Round, before: Round, missed: list[str], left: int) -> dict[str, str] | None:
        """What ends the loop after a round's test, if anything does. left: labels after this test and the next."""
        if not missed and before.record().get("met"):
            return {"kind": MET, "line": f"errors are as asked in rounds {before.number} and {now.number}"}
        if left >= 0:
            return None
        missing = "; ".join(missed) or "errors are as asked, but in one round alone"
        return {"kind": SPENT, "line": f"the budget of {self.settings.budget} labels is spent; missing: {missing}"}

    def _dynamics(self, now: Round, potential: Potential, complete: list[Round]) -> dynamics.Sampled:
        """Frames of the model's own dynamics, each replica from where one of the last round ended."""
        path, s = now.labels_path("dynamics"), self.settings
        if path.is_file():
            return dynamics.load(path)
        last = dynamics.load(complete[-1].labels_path("dynamics")).ended() if len(complete) > 1 else {}
        begin = []
        for kelvin in s.temperatures:
            places = last.get(kelvin, [])
            for k in range(s.replicas):
                x, word = (places[k], "last frame") if k < len(places) else (potential.reference, "structure")
                begin.append(dynamics.Start(x, kelvin, word))
        steps = round(1000 * s.picoseconds / s.timestep)
        kelvins = ", ".join(f"{kelvin:g}" for kelvin in s.temperatures)
        self.reporter.say(f"round {now.number}: {len(begin)} replicas, {s.picoseconds:g} ps at {kelvins} K")
        least = _LEAST * s.force * KCAL_MOL
        seen = dynamics.run(
            potential, begin, dynamics.Plan(steps, s.timestep),
            {name: max(least, limits.far) for name, limits in potential.error_limits.items()},
            [(s.seed, now.number, 0, i) for i in range(len(begin))],
            stop=self.stop, progress=lambda done: self.reporter.progress(f"round {now.number}: dynamics", done),
        )  # fmt: skip
        if seen is None:
            raise StoppedError
        now.folder.mkdir(parents=True, exist_ok=True)
        seen.save(path)
        return seen

    def _known(self, complete: list[Round], kind: Kind, new: list[Dataset]) -> tuple[Dataset, list[Dataset]]:
        """The newest data of a kind, and what was labelled since: tests of rounds that did not train it; `new`."""
        since: list[Dataset] = []
        for r in reversed(complete):
            if r.labels_path(kind.name).is_file():
                return load_dataset(r.labels_path(kind.name)), [*since, *new]
            tests = sorted(r.folder.glob(f"{glob.escape(_TEST + kind.name)}_*K.npz"))
            since = [*map(load_dataset, tests), *since]
        raise InputError(f"{self.root}: no data of {kind.name} there")

    def _charges(self, kind: Kind) -> dict[str, int]:
        return charges_of(load_dataset(Round(self.root, 0).labels_path(kind.name)), kind.between)

    def _labelled(self, now: Round, name: str, make: Callable[[], Bodies], kind: Kind) -> Dataset:
        """The labels of n-mers. Raises InputError where the calculator fails for all."""
        path = now.labels_path(name)
        if path.is_file():
            return load_dataset(path)
        bodies, what = make(), f"round {now.number}: labels ({name})"
        count = len(bodies.structures)
        outcome = label_bodies(
            bodies, self.settings.method, path, self._charges(kind),
            afresh=True, processes=min(self.processes, count), stop=self.stop,
            progress=lambda done, failed: self.reporter.reporter.progress(what, (done + failed) / count),
        )  # fmt: skip
        save_dataset(path, labels_of(outcome.data, outcome.failures, count, what, self.reporter))
        clear(bodies, path)
        return load_dataset(path)

    def _train(self, now: Round, kind: Kind, data: Dataset) -> Path:
        """Train a kind's models anew; their folder."""
        folder = now.folder / kind.name
        n_train, n_validation = counted(data)
        self.reporter.say(f"round {now.number}: training {kind.name} on {n_train}")
        recipe = replace(record_beside(kind.trained).recipe(), n_train=n_train, n_validation=n_validation, full=())
        quiet = replace(self.reporter, quiet=True)
        train(data, folder, recipe, quiet, kind.trained.with_name("geometry.xyz"), Like(kind.trained, quiet))
        return folder


def _singles(kind: Kind, files: Mapping[str, Path]) -> dict[str, Path]:
    """The models of its species that are from a kind's training."""
    of = {name: files[f"1_{name}"] for name in kind.between if f"1_{name}" in files}
    return {name: file for name, file in of.items() if file.parent == kind.model.parent.resolve()}


def _molecules(potential: Potential, species: str) -> list[IntArray]:
    """The atoms of each molecule of a species."""
    return [f.atoms for f in potential.fragments if f.name.rpartition("_")[0] == species]


def _manifest(r: Round) -> Path:
    """The assembly's, with the models that a round ends with."""
    return r.folder / "manifest.yaml"
