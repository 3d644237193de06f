"""What a round trains on, and how: earlier choices kept, and made anew where they are no longer what they were."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from .._types import BoolArray, IntArray
from ..data.apart import placed_in
from ..data.dataset import TEST, TRAIN, VALIDATION, Dataset
from ..data.imports import concatenate
from ..gdml import Model
from ..loading import read_model
from ..manifest import load_manifest
from ..training.choice import Choice, Selection
from ..training.databases import Complex
from ..training.fit import Hyper
from ..training.labels import Labels
from ..training.record import RECORD, load_record
from ..training.reporter import Reporter
from ..training.tasks import Recipe, TrainingTask
from ..training.trainer import train
from ..units import KCAL_MOL
from .settings import Settings

_VALIDATE = 60  # configurations of the newest tests, at most, choose σ and λ; older ones are learned from
_ENOUGH = 20  # such configurations, and the first ones no longer validate
_GREW = 1.6  # times the points that σ and λ were chosen for, and they are chosen anew
_MARGIN = 1.0  # eV above what the temperature explains: such labels are of no use to a model


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is trained on: configurations, with the side of each, and molecules alone, by kind.

    wild: configurations left out, as no temperature explains their energy.
    """

    data: Dataset
    alone: Mapping[str, Labels]
    wild: int


def lesson(
    settings: Settings, first: Dataset, tests: Sequence[Dataset], picked: Sequence[Dataset],
    alone: Mapping[str, Sequence[Dataset]],
) -> Lesson:  # fmt: skip
    """All labels so far. first: with its split. The newest tests validate, as their frames are of the model's own
    dynamics; older ones are trained on, as everything that was picked is."""
    sides: list[IntArray] = []
    validating = 0
    for data in reversed(tests):
        side = VALIDATION if validating < _VALIDATE else TRAIN
        sides.insert(0, np.full(len(data), side))
        validating += len(data) * (side == VALIDATION)
    assert first.split is not None
    begun = first.split.copy()
    if validating >= _ENOUGH:
        begun[begun == VALIDATION] = TRAIN
    parts = [first, *tests, *picked]
    split = np.concatenate([begun, *sides, *(np.full(len(data), TRAIN) for data in picked)])
    plain = [replace(part, split=None, index=None, name="") for part in parts]
    data = concatenate(plain, [f"labels {i}" for i in range(len(parts))])
    placed = np.concatenate([placed_in(first), *(placed_frames(part) for part in parts[1:])])
    data = replace(data, run=np.where(placed, 1 + np.arange(len(data)), 0))
    sane = data.energies < _highest(settings, data)
    sane[: len(first)] = True
    data = replace(data, split=split, name=settings.name).take(np.flatnonzero(sane))
    return Lesson(data, {kind: reduce(add, map(_as_labels, sets)) for kind, sets in alone.items() if sets},
                  int((~sane).sum()))  # fmt: skip


def placed_frames(data: Dataset) -> BoolArray:
    """(n,) which configurations have their fragments placed, of labels that a round asked for: `Asked.task` gives
    them runs of their own, beyond that of the others."""
    assert data.run is not None
    return data.run > 0


def _highest(settings: Settings, data: Dataset) -> float:
    """kcal/mol that dynamics may reach, as `molecule.limits` has it, from the complex or from its fragments apart."""
    from ase.units import kB

    lowest = max(data.energies.min(), data.isolated()[1].min(0).sum())
    warm = 3 * len(settings.numbers) * kB * max(settings.temperatures) + _MARGIN
    return float(lowest + warm / KCAL_MOL)


def _as_labels(data: Dataset) -> Labels:
    return Labels(data.name, data.numbers, data.positions, data.energies, data.forces, data.theory)


def divided(data: Dataset, points: int, seed: int) -> Dataset:
    """The first labels, with sides: at most so many to train on, and at most 60 to validate on, a third of what there
    is; of bound and of placed configurations alike. The rest is left out."""
    split, rng, placed = np.full(len(data), TEST), np.random.default_rng(seed), placed_in(data)
    for some in (np.flatnonzero(~placed), np.flatnonzero(placed)):
        mixed, n_validation = rng.permutation(some), min(_VALIDATE, len(some) // 3)
        split[mixed[:n_validation]] = VALIDATION
        split[mixed[n_validation:][:points]] = TRAIN
    return replace(data, split=split)


def counted(data: Dataset) -> tuple[int, int]:
    """How many train and how many validate, besides those with the fragments placed."""
    assert data.split is not None
    count: IntArray = np.bincount(data.split[~placed_in(data)], minlength=TEST + 1)
    return int(count[TRAIN]), int(count[VALIDATION])


@dataclass(frozen=True)
class Keeping:
    """The chooser of a round: what need not be trained stays as it is; what is trained has the group, σ, λ and metric
    that it had, or new ones."""

    previous: Mapping[str, tuple[str, Hyper]]
    anew: Collection[str]
    kept: Mapping[str, tuple[Model, Mapping[str, Any]]]
    reporter: Reporter
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, task: TrainingTask) -> Choice:
        """The choice that the model had, or a new one."""
        if task.name in self.previous and task.name not in self.anew:
            group, hyper = self.previous[task.name]
            if group in task.groups:
                return Choice(group, hyper, [])
        return Selection(self.reporter)(task)


def teach(
    folder: Path,
    settings: Settings,
    lesson: Lesson,
    reporter: Reporter,
    before: Path | None = None,
    retrain: Collection[str] = (),
    stuck: Collection[str] = (),
) -> dict[str, Any]:
    """Train the models of a round into a folder; returns what the round's record says of it.

    before: the manifest of the round before; None: everything is chosen. retrain: models by kind, and ``binding``;
    the others stay. stuck: those whose error did not fall although they were trained on more: they are chosen anew,
    as those are that have many more points than when they were chosen.
    """
    n_train, n_validation = counted(lesson.data)
    recipe = Recipe(n_train, n_validation, seed=settings.seed, metric=settings.metric)
    chooser = _keeping(before, retrain, stuck, n_train, lesson, reporter)
    train(lesson.data, folder, recipe, reporter, choose=chooser, alone=lesson.alone)
    chosen = sorted(chooser.anew) if before else sorted(retrain)
    return {
        "points": n_train, "validation": n_validation, "alone": {k: len(v) for k, v in lesson.alone.items()},
        "wild": lesson.wild, "trained": sorted(retrain), "chosen_anew": chosen,
    }  # fmt: skip


def _keeping(
    before: Path | None,
    retrain: Collection[str],
    stuck: Collection[str],
    n_train: int,
    lesson: Lesson,
    reporter: Reporter,
) -> Keeping:
    now = {name: n_train + len(lesson.alone.get(name, ())) for name in retrain}
    record = None if before is None else load_record(before.parent / RECORD)
    if before is None or record is None:
        return Keeping({}, (), {}, reporter, {"learn": {"chosen_for": now}})
    manifest = load_manifest(before)
    models = {manifest.resolve(e.model).stem: read_model(manifest, e) for e in manifest.models().values()}
    previous = {
        name: (record.group(name), replace(record.model(name).hyper, metric=model.metric))
        for name, model in models.items()
    }
    kept = {n: (m, record.models[n]) for n, m in models.items() if n not in retrain}
    chosen_for = record.content.get("learn", {}).get("chosen_for", {})
    anew = {n for n in now if n in stuck or now[n] > _GREW * chosen_for.get(n, 0)}
    chosen_for |= {n: now[n] for n in anew}
    return Keeping(previous, anew, kept, reporter, {"learn": {"chosen_for": chosen_for}})


def models_of(data: Dataset) -> dict[str, str]:
    """The model of each fragment of several atoms, and the binding's, by the names of the terms."""
    system = Complex.of(data)
    kinds = [kind for kind in system.kinds if not kind.is_ion]
    return {system.names[i]: kind.name for kind in kinds for i, _ in kind.members} | {"binding": "binding"}
