"""How each model of a training is to be fitted: what decides, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import InputError
from ..gdml import Model
from ..loading import read_model
from ..manifest import load_manifest
from .fit import Hyper
from .record import RECORD, load_record
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

    @property
    def settings(self) -> Mapping[str, Any]:
        """The choices, so that a training goes on only with the same."""
        choices = choices_of(self.manifest).items()
        return {"like": {name: [group, h.sigma, h.lam, str(h.metric)] for name, (group, h) in choices}}

    @property
    def kept(self) -> Mapping[str, tuple[Model, Mapping[str, Any]]]:
        """None: every model is trained."""
        return {}

    def __call__(self, task: TrainingTask) -> Choice:
        """The choice that the model has there. Raises InputError where the molecule has no such group."""
        if task.name not in (choices := choices_of(self.manifest)):
            return Selection(self.reporter)(task)
        group, hyper = choices[task.name]
        if group not in task.groups:
            raise InputError(
                f"{self.manifest}: {task.name} has the group {group!r}; here are {', '.join(task.groups)}"
            )
        return Choice(group, hyper, [])

    def revise(self, task: TrainingTask, model: Model) -> Choice | None:
        """None: it is asked for."""
        return None


def choices_of(manifest: Path) -> dict[str, tuple[str, Hyper]]:
    """The group, and σ, λ and metric, of each model that a manifest names, by kind and ``binding``. Raises InputError
    where no record of their training is beside it."""
    record = load_record(manifest.parent / RECORD)
    if record is None:
        raise InputError(f"{manifest.parent / RECORD}: no such record of the training")
    choices, named = {}, load_manifest(manifest)
    for entry in named.models().values():
        name = named.resolve(entry.model).stem
        hyper = replace(record.model(name).hyper, metric=read_model(named, entry).metric, basis=0)
        choices[name] = record.group(name), hyper
    return choices
