"""How each model of a training is to be fitted: what decides, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..gdml import Model
from .fit import Hyper
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
