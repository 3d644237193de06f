"""What there is to train for one data set: labels and permutations of each model."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._types import IntArray
from ..data.dataset import TRAIN, VALIDATION, Dataset
from ..data.split import split
from ..errors import InputError
from ..symmetry.bond_graph import Group, Symmetry
from .databases import Complex
from .labels import Labels
from .selection.select import LAMBDAS, SIGMAS, Search
from .stock import find_permutations

_VALIDATION = 200  # configurations at most, unless more are asked for
_FEW_VALIDATE = 10  # with fewer it is chance which model is best


@dataclass(frozen=True)
class Recipe:
    """How to train; written into the record beside the models.

    ``n_train``: training points of each model. ``sigmas``, ``lams``: what σ and λ are chosen from; λ is relative to
    the mean diagonal of the kernel matrix, or with ``absolute`` as sGDML's.
    """

    n_train: int
    n_validation: int = 0  # 0: as many as `n_train`, 200 at most and half of what is left
    seed: int = 0
    symmetry: Literal["graph", "skeleton", "sgdml", "none"] = "graph"
    choose_group: bool = True  # of the binding: between none, its fragments' and all; otherwise all
    n_far: int = -1  # binding points pulled apart, among `n_train`; −1: a tenth, 20 at most
    energies: bool = True  # enter the fit of the binding
    metric: Literal["inverse", "auto"] = "inverse"  # sGDML's, or chosen and learned (`select`)
    robust: bool = True  # try for the binding whether labels that stand out should count less
    full: bool = False  # also the single global model, by sGDML's defaults
    sigmas: tuple[float, ...] = SIGMAS
    lams: tuple[float, ...] = LAMBDAS
    absolute: bool = False
    trainer: Literal["delta", "sgdml"] = "delta"

    @property
    def bonds(self) -> Symmetry:
        """The symmetry that is read from the bond graph."""
        return "none" if self.symmetry == "sgdml" else self.symmetry

    @classmethod
    def of_the_paper(cls, n_train: int, **other: Any) -> Recipe:
        """arXiv 2511.01913, Sec. IV: sGDML's defaults for every database."""
        return cls(
            n_train, symmetry="sgdml", choose_group=False, n_far=0, energies=False, robust=False,
            sigmas=_STOCK_SIGMAS, lams=_STOCK_LAMBDAS, absolute=True, **other,
        )  # fmt: skip


_STOCK_SIGMAS = tuple(float(s) for s in range(10, 101, 10))
_STOCK_LAMBDAS = (1e-10,)


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """One model to be trained: its database, what chooses, and permutations (P, N) to choose between, the largest
    last."""

    name: str
    train: Labels
    validation: Labels
    groups: Mapping[str, IntArray]
    search: Search
    recipe: Recipe
    n_far: int = 0  # of the training points, which come first


def tasks(
    system: Complex,
    sides: IntArray,
    recipe: Recipe,
    say: Callable[[str], None],
    done: Collection[str] = (),
) -> Iterator[TrainingTask]:
    """Every model that `recipe` asks for: fragments, binding, full. sides: as `split_of`; done: what to leave out."""
    train, validation = np.flatnonzero(sides == TRAIN), np.flatnonzero(sides == VALIDATION)

    def task(name: str, labels: tuple[Labels, Labels], groups: Mapping[str, Group], n_far: int = 0) -> TrainingTask:
        return TrainingTask(
            name, *labels, _groups(labels[0], groups, recipe, say), _search(name, recipe), recipe, n_far
        )

    for kind in system.kinds:
        if not kind.is_ion and kind.name not in done:
            labels = system.fragment_labels(kind, train), system.fragment_labels(kind, validation)
            yield task(kind.name, labels, {"graph": kind.group})
    if "binding" not in done:
        n_far = min(20, recipe.n_train // 10) if recipe.n_far < 0 else recipe.n_far
        far = np.linspace(0, len(train) - 1, n_far).astype(int)  # even in time, as the near ones stay
        near = system.binding_labels(np.delete(train, far))
        if n_far:
            near = system.apart(train[far], np.random.default_rng(recipe.seed)) + near
        groups = {"none": Group(system.data.n_atoms), "fragments": system.products, "full": system.full}
        if not recipe.choose_group:
            groups = {"full": system.full}
        yield task("binding", (near, system.binding_labels(validation)), groups, n_far)
    if recipe.full and "full" not in done:  # as sGDML does by default
        stock = Recipe.of_the_paper(recipe.n_train, seed=recipe.seed, trainer=recipe.trainer)
        whole = system.full_labels(train)
        permutations = _groups(whole, {}, stock, say)
        yield TrainingTask("full", whole, system.full_labels(validation), permutations, _search("full", stock), stock)


def _search(name: str, recipe: Recipe) -> Search:
    binding = name == "binding"
    return Search(
        recipe.sigmas, recipe.lams, energies=recipe.energies and binding, absolute=recipe.absolute,
        relabel=recipe.symmetry != "sgdml", sigma_stride=1 if recipe.absolute else 2,
        robust=recipe.robust and binding, metrics=recipe.metric == "auto",
    )  # fmt: skip


def _groups(
    train: Labels, groups: Mapping[str, Group], recipe: Recipe, say: Callable[[str], None]
) -> dict[str, IntArray]:
    """Permutations to choose between, the largest last, none twice."""
    if recipe.symmetry == "sgdml":
        say(f"{train.name}: looking for sGDML's permutations")
        return {"sgdml": find_permutations(train.positions, train.numbers, os.cpu_count() or 1)}
    by_order: dict[int, tuple[str, IntArray]] = {}
    for name, group in groups.items():
        if not group.is_closed():
            raise InputError(f"{train.name}: the permutations of {name!r} are no group")
        by_order.setdefault(group.order, (name, group.permutations))
    return dict(by_order.values())


def too_few(sides: IntArray, recipe: Recipe) -> str:
    """What to say where fewer configurations validate than there should, "" where they suffice."""
    there, usual = int((sides == VALIDATION).sum()), min(_VALIDATION, recipe.n_train)
    if there >= (_FEW_VALIDATE if recipe.n_validation else usual):
        return ""
    what = "too few to choose by" if there < _FEW_VALIDATE else f"{usual} are usual"
    return f"validation: {there} configurations, {what}: label more, or train on fewer (-n)"


def split_of(data: Dataset, recipe: Recipe) -> IntArray:
    """The data set's own split where it has one that is large enough, otherwise one by energy and time."""
    n_validation = recipe.n_validation or min(_VALIDATION, recipe.n_train, max(2, (len(data) - recipe.n_train) // 2))
    if data.split is not None:
        sides, rng = np.full(len(data), -1), np.random.default_rng(recipe.seed)
        for side, wanted, name in ((TRAIN, recipe.n_train, "training"), (VALIDATION, n_validation, "validation")):
            there = np.flatnonzero(data.split == side)
            if len(there) < wanted:
                raise InputError(f"asked for {wanted} {name} configurations, the data set's split has {len(there)}")
            sides[rng.permutation(there)[:wanted]] = side
        return sides
    n_test = max(0, min(500, len(data) - recipe.n_train - n_validation))
    return split(data, recipe.n_train, n_validation, n_test, recipe.seed)
