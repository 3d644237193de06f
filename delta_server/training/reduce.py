"""A trained Δ-model with fewer pairs of atoms in the descriptors of its terms."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._types import IntArray
from ..data.dataset import load_dataset
from ..errors import InputError
from ..files.whole import write_json
from ..gdml.model import Model
from ..manifest import load_manifest
from .choice import Choice, trained_models
from .databases import Complex
from .fit import Hyper
from .labels import Labels
from .record import TrainingRecord, record_of
from .reporter import Reporter
from .selection.reach import Pairs, Reach
from .selection.reduction import FRACTIONS, Ranking, ReductionStep, Trials, choose, reduction_part
from .tasks import TrainingTask, split_of, tasks
from .trainer import train

_TEST = 200  # configurations that neither trained nor validated, at most

TRIED = "reduction.json"  # beside the models: what was tried for each

Log = Callable[[str, str, ReductionStep], None]
"""Called with the term, the ranking and the step."""


@dataclass(frozen=True, eq=False)
class Reduction:
    """What was tried for each term, ranking by ranking, and which step was chosen."""

    terms: Mapping[str, Mapping[str, list[ReductionStep]]]
    chosen: Mapping[str, ReductionStep]
    pairs: Mapping[str, Pairs]  # that each began with
    manifest: Path | None = None  # of the models that were written

    def reach(self, name: str) -> Reach:
        """How far the pairs of the chosen descriptor of a term reach."""
        return self.pairs[name].reach(self.chosen[name].metric)

    def as_dict(self) -> dict[str, Any]:
        """What was tried, as JSON has it."""
        return {
            name: {
                "chosen": self.chosen[name].as_dict() | self.reach(name).as_dict(),
                **{ranking: [s.as_dict() for s in steps] for ranking, steps in rankings.items()},
            }
            for name, rankings in self.terms.items()
        }


@dataclass
class Reducer:
    """Chooses the descriptor of each model that `train` fits again; see `Chooser`."""

    hypers: Mapping[str, tuple[str, Hyper]]  # group, σ, λ and metric of each
    test: Mapping[str, Labels]
    fragment: IntArray  # (N,) of each atom
    names: tuple[str, ...]  # of the fragments
    keep: float | None
    tolerance: float
    rankings: tuple[Ranking, ...]
    log: Log
    fractions: tuple[float, ...] = FRACTIONS
    which: tuple[str, ...] = ()  # models; none: all
    folder: Path | None = None  # for the record
    kept: Mapping[str, tuple[Model, Mapping[str, Any]]] = field(default_factory=dict)  # the others
    terms: dict[str, dict[str, list[ReductionStep]]] = field(default_factory=dict)
    chosen: dict[str, ReductionStep] = field(default_factory=dict)
    pairs: dict[str, Pairs] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What a training must have in common to go on with this one."""
        options = {"keep": self.keep, "tolerance": self.tolerance, "fractions": list(self.fractions)}
        return {"reduction": options | {"models": list(self.which)}}

    def __call__(self, task: TrainingTask) -> Choice:
        """Try descriptors of fewer and fewer pairs, on as many points as make a small kernel matrix."""
        group, hyper = self.hypers[task.name]
        permutations = task.groups[group]
        part = reduction_part(task.train, len(permutations), task.search)
        rankings = self.terms.setdefault(task.name, {})
        pairs = self.pairs[task.name] = self._pairs(task, hyper)

        def trials(ranking: str) -> Trials:
            return Trials(
                part, task.validation, permutations, hyper, self.test.get(task.name),
                lambda step: self.log(task.name, ranking, step),
            )  # fmt: skip

        for ranking in self.rankings:
            rankings[ranking] = trials(ranking).eliminate(self.fractions, ranking)
        if len(self.rankings) > 1 and task.name == "binding":
            for name, which in (("within", pairs.within), ("between", ~pairs.within)):
                if which.any():
                    rankings[name] = [trials(name).only(np.flatnonzero(which))]
        steps = rankings["importance"]
        step = self.chosen[task.name] = choose(steps, self.keep, self.tolerance)
        if self.folder is not None:
            self._write(self.folder / TRIED)
        sigma = step.sigma / steps[0].sigma * hyper.sigma
        return Choice(group, replace(hyper, metric=step.metric, sigma=sigma), [s.as_dict() for s in steps])

    def found(self, manifest: Path | None = None) -> Reduction:
        """What has been tried so far. manifest: of the models that were written."""
        return Reduction(self.terms, self.chosen, self.pairs, manifest)

    def revise(self, task: TrainingTask, model: Model) -> Choice | None:
        """None: what was tried said it all."""
        return None

    def _write(self, path: Path) -> None:
        """Write what was tried, model by model; one that was finished before a stop keeps what it has there."""
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        write_json(path, before | self.found().as_dict())

    def _pairs(self, task: TrainingTask, hyper: Hyper) -> Pairs:
        n_atoms = len(task.train.numbers)
        metric = hyper.metric_of(n_atoms)
        if task.name == "binding":
            return Pairs.of(metric, task.validation, self.fragment, self.names)
        return Pairs.of(metric, task.validation, np.zeros(n_atoms, dtype=np.intp), (task.name,))


def reduce(
    manifest: Path,
    dataset: Path,
    folder: Path | None,
    reporter: Reporter,
    log: Log,
    *,
    keep: float | None = None,
    tolerance: float = 1.05,
    rivals: bool = False,
    fractions: tuple[float, ...] = FRACTIONS,
    which: tuple[str, ...] = (),
) -> Reduction:
    """Find descriptors of fewer pairs for every model of a manifest and, with `folder`, train them and write them.

    keep: of the pairs of each, at most; otherwise the fewest whose validation error is at most `tolerance` times that
    of all. which: models, as their files are called; none: all. rivals: also the shortest pairs, random ones, and for
    the binding those within and between fragments.

    Raises InputError where the record beside the manifest does not tell how the models were trained on this data set.
    """
    data, listed = load_dataset(dataset), load_manifest(manifest)
    record = record_of(manifest, data, ", which says how models are trained again")
    whole = record.recipe()
    points = {name: n for name, n in whole.points.items() if name not in whole.full_models}
    recipe = replace(whole, full=(), points=points, keep=1.0, keeps={}, basis=0)
    if recipe.baseline or recipe.fitted_below:
        raise InputError(
            f"{manifest}: reduce takes no models above a baseline, dispersion or charges; train with --metric auto"
        )
    system = Complex.of(data, recipe.bonds)
    trained = trained_models(listed, record)
    hypers = {name: (model.group, model.hyper) for name, model in trained.items()}
    recipe = replace(recipe, bases={name: hyper.basis for name, (_, hyper) in hypers.items() if hyper.basis})
    if unknown := set(which) - set(hypers):
        raise InputError(f"{manifest}: has no model {', '.join(sorted(unknown))}; there are {', '.join(hypers)}")
    rankings: tuple[Ranking, ...] = ("importance", "shortest", "random") if rivals else ("importance",)
    reducer = Reducer(
        hypers, _test(system, record), data.isolated()[0], system.names, keep, tolerance, rankings, log, fractions,
        which, folder, {n: (m.model, record.models[n]) for n, m in trained.items() if which and n not in which},
    )  # fmt: skip
    written = None
    if folder is not None:
        written = train(dataset, folder, recipe, reporter, listed.resolve(listed.structure), reducer)
    else:
        for task in tasks(system, split_of(data, recipe), recipe, reporter.say, reducer.kept):
            reducer(task)
    return reducer.found(written)


def _test(system: Complex, record: TrainingRecord) -> dict[str, Labels]:
    """Labels of each kind of fragment and of the binding that no model was trained or validated on."""
    n = len(system.data)
    seen = np.concatenate([record.configurations("train", n), record.configurations("validation", n)])
    free = np.setdiff1d(np.arange(n), seen)
    if not len(free):
        return {}
    free = free[np.linspace(0, len(free) - 1, min(_TEST, len(free))).astype(int)]
    fragments = {kind.name: system.fragment_labels(kind, free) for kind in system.kinds if not kind.is_ion}
    return {**fragments, "binding": system.binding_labels(free)}
