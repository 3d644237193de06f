"""What a round trains on, and how: earlier choices kept, and made anew where they are no longer what they were."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._types import BoolArray, IntArray
from ..data.apart import placed_in
from ..data.dataset import TEST, TRAIN, VALIDATION, Dataset
from ..data.imports import concatenate
from ..errors import InputError
from ..gdml import Model
from ..manifest import load_manifest
from ..training.choice import Choice, Selection, trained_models
from ..training.databases import Complex
from ..training.evaluation.expected_errors import MIN_CALIBRATION
from ..training.fit import Hyper, maes
from ..training.labels import Labels
from ..training.record import TrainingRecord, record_beside
from ..training.reporter import Reporter
from ..training.tasks import Recipe, TrainingTask
from ..training.trainer import train
from ..units import BOLTZMANN, KCAL_MOL
from .settings import Settings

_VALIDATE = 60  # of the first labels, at most, choose σ and λ
SHARE = 5  # of later labels one in so many, at random and for good
_ENOUGH = 20  # such labels, and no more than their share of the first ones validates
_GREW = 1.6  # times the points that σ and λ were chosen for, and they are chosen anew
_MARGIN = 1.0  # eV above what the temperature explains: such labels are of no use to a model


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is trained on: configurations, with the side of each; more labels by model, of molecules alone and of the
    binding where the fragments are placed, which the data has beside its sides.

    wild: configurations left out, as no temperature explains their energy.
    """

    data: Dataset
    more: Mapping[str, Labels]
    wild: int


def lesson(
    settings: Settings, first: Dataset, tests: Sequence[Dataset], picked: Sequence[Dataset],
    alone: Mapping[str, Sequence[Dataset]],
) -> Lesson:  # fmt: skip
    """All labels so far. first: with its split; of what tested or was picked later, a share of the bound validates. A
    label that trains a model never validates a later one."""
    assert first.split is not None
    parts = [first, *tests, *picked]
    placed = np.concatenate([placed_in(first), *(placed_frames(data) for data in parts[1:])])
    shares = [
        np.random.default_rng([settings.seed, kind, i]).permutation(len(data)) % SHARE == 0
        for kind, some in enumerate([[first], tests, picked])
        for i, data in enumerate(some)
    ]
    validates = np.concatenate(shares) & ~placed
    split = np.where(validates, VALIDATION, TRAIN)
    begun = first.split.copy()
    if validates[len(first) :].sum() >= _ENOUGH:
        begun[(begun == VALIDATION) & ~validates[: len(first)]] = TRAIN
    split[: len(first)] = begun
    plain = [replace(part, split=None, index=None, name="") for part in parts]
    data = concatenate(plain, [f"labels {i}" for i in range(len(parts))])
    data = replace(data, run=np.where(placed, 1 + np.arange(len(data)), 0))
    sane = data.energies < _highest(settings, data)
    sane[: len(first)] = True
    data = replace(data, split=split, name=settings.name).take(np.flatnonzero(sane))
    more = {kind: reduce(add, map(_as_labels, sets)) for kind, sets in alone.items() if sets}
    placed = np.flatnonzero(placed_in(data) & (data.split == TRAIN))
    if len(placed):
        more["binding"] = Complex.of(data).binding_labels(placed)
        split = np.asarray(data.split).copy()
        split[placed] = TEST
        data = replace(data, split=split)
    return Lesson(data, more, int((~sane).sum()))


def placed_frames(data: Dataset) -> BoolArray:
    """(n,) which configurations have their fragments placed, of labels that a round asked for: `Asked.task` gives
    them runs of their own, beyond that of the others."""
    assert data.run is not None
    return data.run > 0


def _highest(settings: Settings, data: Dataset) -> float:
    """kcal/mol that dynamics may reach, as `molecule.limits` has it, from the complex or from its fragments apart."""
    lowest = max(data.energies.min(), data.isolated()[1].min(0).sum())
    warm = 3 * len(settings.numbers) * BOLTZMANN * max(settings.temperatures) + _MARGIN
    return float(lowest + warm / KCAL_MOL)


def _as_labels(data: Dataset) -> Labels:
    return Labels(data.name, data.numbers, data.positions, data.energies, data.forces, data.theory)


def divided(data: Dataset, points: int, seed: int) -> Dataset:
    """The first labels, with sides: at most so many to train on, and to validate on a third of what there is, 10 of
    the bound ones at least and 60 at most; the rest is left out. Raises InputError where there are too few."""
    split, rng, placed = np.full(len(data), TEST), np.random.default_rng(seed), placed_in(data)
    bound = np.flatnonzero(~placed)
    if len(bound) < 2 * MIN_CALIBRATION:
        raise InputError(
            f"{data.name or 'the first labels'}: {len(bound)} labels of the bound complex, a learning needs "
            f"{2 * MIN_CALIBRATION} to begin with; say more (`learn start --first`), or give a larger data set"
        )
    for some, least in ((bound, MIN_CALIBRATION), (np.flatnonzero(placed), 0)):
        mixed, n_validation = rng.permutation(some), max(least, min(_VALIDATE, len(some) // 3))
        split[mixed[:n_validation]] = VALIDATION
        split[mixed[n_validation:][:points]] = TRAIN
    return replace(data, split=split)


def counted(data: Dataset) -> tuple[int, int]:
    """How many train and how many validate, besides those with the fragments placed."""
    assert data.split is not None
    count: IntArray = np.bincount(data.split[~placed_in(data)], minlength=TEST + 1)
    return int(count[TRAIN]), int(count[VALIDATION])


class Earlier(NamedTuple):
    """A model of the round before, and how it was fitted: group, σ, λ and metric, chosen for so many points."""

    model: Model
    group: str
    hyper: Hyper
    chosen_for: int


@dataclass(frozen=True)
class Keeping:
    """The chooser of a round: what need not be trained stays as it is; what is trained has the group, σ, λ and metric
    that it had, or new ones where it has many more points than these were chosen for, or is no better with them than
    the model before on configurations that neither of the two has learned from.

    earlier: models of the round before. kept: those that stay, and what their record says. points: of the others.
    """

    earlier: Mapping[str, Earlier]
    kept: Mapping[str, tuple[Model, Mapping[str, Any]]]
    points: Mapping[str, int]
    reporter: Reporter

    @property
    def settings(self) -> Mapping[str, Any]:
        """What a training must have in common to go on with this one, and what its successor asks."""
        kept = {name: e.chosen_for for name, e in self.earlier.items()}
        return {"learn": {"chosen_for": kept, "points": dict(self.points)}}

    def __call__(self, task: TrainingTask) -> Choice:
        """The choice that the model had, or a new one."""
        earlier = self._kept_for(task)
        return Choice(earlier.group, earlier.hyper, []) if earlier else Selection(self.reporter)(task)

    def revise(self, task: TrainingTask, model: Model) -> Choice | None:
        """A new choice where the model is no better with the one that it had."""
        earlier = self._kept_for(task)
        if earlier is None:
            return None
        now, before = (task.search.merit(*maes(m, task.validation)) for m in (model, earlier.model))
        if now < before:
            return None
        return Selection(self.reporter)(task)

    def _kept_for(self, task: TrainingTask) -> Earlier | None:
        """The model before whose choice still serves."""
        earlier = self.earlier.get(task.name)
        serves = earlier and earlier.group in task.groups and len(task.train) <= _GREW * earlier.chosen_for
        return earlier if serves else None


def teach(
    folder: Path,
    settings: Settings,
    lesson: Lesson,
    reporter: Reporter,
    before: Path | None,
    retrain: Collection[str],
) -> dict[str, Any]:
    """Train the models of a round into a folder; returns what the round's record says of it.

    before: the manifest of the round before, by whose recipe is trained; None: everything is chosen. retrain: models
    by kind, and ``binding``; the others stay.
    """
    n_train, n_validation = counted(lesson.data)
    points = {name: n_train + len(lesson.more.get(name, ())) for name in retrain}
    record = None if before is None else record_beside(before)
    earlier, kept = ({}, {}) if before is None or record is None else _earlier(before, record, retrain)
    recipe = replace(
        record.recipe() if record else Recipe(n_train, metric=settings.metric), n_train=n_train,
        n_validation=n_validation, seed=settings.seed, basis=settings.basis, bases=settings.bases, points={}, full=(),
        keep=1.0, keeps={},
    )  # fmt: skip
    chooser = Keeping(earlier, kept, points, reporter)
    manifest = train(lesson.data, folder, recipe, reporter, choose=chooser, more=lesson.more)
    entries = record_beside(manifest).models
    return {
        "points": points, "validation": n_validation, "wild": lesson.wild,
        "chosen_anew": sorted(name for name in retrain if entries[name]["trials"]),
    }  # fmt: skip


def _earlier(
    before: Path, record: TrainingRecord, retrain: Collection[str]
) -> tuple[dict[str, Earlier], dict[str, tuple[Model, Mapping[str, Any]]]]:
    """Models of the round before that are trained again, and those that stay."""
    carried = record.content.get("learn", {}).get("chosen_for", {})
    earlier, kept = {}, {}
    for name, trained in trained_models(load_manifest(before), record).items():
        facts = record.models[name]
        if name not in retrain:
            kept[name] = trained.model, facts
            continue
        chosen_for = facts["n_train"] if facts["trials"] else carried.get(name, facts["n_train"])
        earlier[name] = Earlier(*trained, chosen_for)
    return earlier, kept


def models_of(data: Dataset) -> dict[str, str]:
    """The model of each fragment of several atoms, and the binding's, by the names of the terms."""
    return Complex.of(data).models | {"binding": "binding"}
