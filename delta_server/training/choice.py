"""How each model of a training is to be fitted: what decides, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import InputError
from ..gdml import Model
from ..loading import read_model
from ..manifest import Manifest, load_manifest
from .fit import Hyper
from .record import TrainingRecord, record_beside
from .reporter import Reporter
from .selection.select import select
from .tasks import TrainingTask


class Choice(NamedTuple):
    """How one model is to be fitted: the name of its group of permutations, σ, λ and metric; and what was tried, for
    the record."""

    group: str
    hyper: Hyper
    trials: list[dict[str, Any]]


class Chooser(Protocol):
    """What decides how a model is fitted."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was told, for the record: a training goes on only with the same."""
        ...

    @property
    def kept(self) -> Mapping[str, tuple[Model, Mapping[str, Any]]]:
        """Models that stay as they are, and what their record says of them."""
        ...

    def __call__(self, task: TrainingTask) -> Choice:
        """The choice for one model. Raises InputError where nothing can be chosen."""
        ...

    def revise(self, task: TrainingTask, model: Model) -> Choice | None:
        """Another choice where the first did not make a model that is good enough; None: it stands."""
        ...


@dataclass(frozen=True)
class Selection:
    """The chooser of `train`: the smallest force error on the validation configurations (`select`)."""

    reporter: Reporter

    @property
    def settings(self) -> Mapping[str, Any]:
        """None: the recipe says it all."""
        return {}

    @property
    def kept(self) -> Mapping[str, tuple[Model, Mapping[str, Any]]]:
        """None: every model is trained."""
        return {}

    def __call__(self, task: TrainingTask) -> Choice:
        """The best of the task's search."""
        group, hyper, trials = select(
            task.train, task.validation, task.groups, task.search, self.reporter.trial, task.recipe.seed,
            self.reporter.learning,
        )  # fmt: skip
        return Choice(group, hyper, [t.as_dict() for t in trials])

    def revise(self, task: TrainingTask, model: Model) -> Choice | None:
        """None: the search said it all."""
        return None


@dataclass(frozen=True)
class Like:
    """The chooser of `train --like`: every model has the group, σ, λ and metric of one that exists; what has none is
    searched as usual.

    manifest: of these, trained here.
    """

    manifest: Path
    reporter: Reporter

    @cached_property
    def choices(self) -> dict[str, Trained]:
        """What is taken, by the names of the models. Raises InputError where no record is beside the manifest."""
        record = record_beside(self.manifest)
        return trained_models(load_manifest(self.manifest), record)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The choices, so that a training goes on only with the same."""
        choices = self.choices.items()
        return {"like": {name: [c.group, c.hyper.sigma, c.hyper.lam, str(c.hyper.metric)] for name, c in choices}}

    @property
    def kept(self) -> Mapping[str, tuple[Model, Mapping[str, Any]]]:
        """None: every model is trained."""
        return {}

    def __call__(self, task: TrainingTask) -> Choice:
        """The choice that the model has there. Raises InputError where the molecule has no such group."""
        if (taken := self.choices.get(task.name)) is None:
            return Selection(self.reporter)(task)
        group = taken.group
        if group not in task.groups:
            raise InputError(
                f"{self.manifest}: {task.name} has the group {group!r}; here are {', '.join(task.groups)}"
            )
        return Choice(group, taken.hyper, [])

    def revise(self, task: TrainingTask, model: Model) -> Choice | None:
        """None: it is asked for."""
        return None


class Trained(NamedTuple):
    """A model that exists, and how it was fitted: its group, and σ, λ and metric."""

    model: Model
    group: str
    hyper: Hyper


def trained_models(manifest: Manifest, record: TrainingRecord) -> dict[str, Trained]:
    """The models that a manifest names, by kind and ``binding``, with what the record says of them. Raises
    InputError, ModelFileError."""
    trained = {}
    for entry in manifest.models().values():
        name, model = manifest.resolve(entry.model).stem, read_model(manifest, entry)
        hyper = replace(record.model(name).hyper, metric=model.metric)
        trained[name] = Trained(model, record.group(name), hyper)
    return trained
