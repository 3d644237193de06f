"""From labelled configurations of a complex to a tested Δ-model: what a script may import.

Load a data set, train a Δ-model on some of it, and see how well it does on configurations that it has not seen:

    >>> from delta_server import load_potential
    >>> from delta_server.training import Recipe, evaluate, held_out, load_dataset, train
    >>> data = load_dataset("models/h2o_benzene/dataset.npz")
    >>> manifest = train(data, "demo/wet", Recipe(n_train=30))
    >>> unseen = held_out(data, [manifest]).which
    >>> errors = evaluate(load_potential(manifest), data, unseen)
    >>> print(f"force MAE {errors.total.force_mae:.1f} kcal/mol/Å on {errors.total.n} configurations")
    force MAE 0.3 kcal/mol/Å on 2400 configurations

Positions are in Å, labels in kcal/mol and kcal/mol/Å, as in sGDML's data sets. Nothing is printed: give `train` a
`Reporter` to be told how it goes. What can go wrong raises `delta_server.errors.InputError`, with one line.

The names below are loaded when they are first used: importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.dataset import Dataset, load_dataset, save_dataset
    from .evaluation.curve import learning_curve
    from .evaluation.evaluate import Evaluation, PartErrors, evaluate, improvements
    from .evaluation.heldout import HeldOut, held_out
    from .reporter import Reporter, Silent
    from .tasks import Recipe
    from .trainer import train

__all__ = [
    "Dataset",
    "Evaluation",
    "HeldOut",
    "PartErrors",
    "Recipe",
    "Reporter",
    "Silent",
    "evaluate",
    "held_out",
    "improvements",
    "learning_curve",
    "load_dataset",
    "save_dataset",
    "train",
]


_HOMES = {
    "..data.dataset": ("Dataset", "load_dataset", "save_dataset"),
    ".evaluation.curve": ("learning_curve",),
    ".evaluation.evaluate": ("Evaluation", "PartErrors", "evaluate", "improvements"),
    ".evaluation.heldout": ("HeldOut", "held_out"),
    ".reporter": ("Reporter", "Silent"),
    ".tasks": ("Recipe",),
    ".trainer": ("train",),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home, __name__), name)
