"""What there is to train for one data set: labels and permutations of each model."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

import numpy as np

from .._types import BoolArray, IntArray
from ..data.apart import gaps, placed_in
from ..data.dataset import TEST, TRAIN, VALIDATION, Dataset
from ..data.split import split, spread
from ..errors import InputError
from ..symmetry.bond_graph import Group, Symmetry
from .baselines.calculator import Baseline
from .databases import Complex
from .labels import Labels
from .selection.select import LAMBDAS, SIGMAS, Search
from .stock import find_permutations

_Size = TypeVar("_Size", int, int | Literal["auto"], float | Literal["auto"])
_VALIDATION = 200  # configurations at most, unless more are asked for
_FEW_VALIDATE = 10  # with fewer it is chance which model is best
_ROUGH = 1e-3  # eV by which a global model, whose coefficients are larger, may round: far less than it errs
_PLACED = (0.6, 0.2, 0.2)  # of the configurations with the fragments placed: to train, to validate, to test


Auto = Literal["auto"]
"""The fewest with which the validation error stays what it is (`selection.fewest`)."""
FullModel = Literal["sgdml", "graph", "auto"]
"""Single global models: by sGDML's defaults; with the bond graph's symmetry, with energies, and with σ and λ searched
as for the others; with learned weights of pairs as well."""


@dataclass(frozen=True)
class Recipe:
    """How to train; written into the record beside the models.

    ``n_train``: training points of each model that ``points`` does not name. ``sigmas``, ``lams``: what σ and λ are
    chosen from; λ is relative to the mean diagonal of the kernel matrix, or with ``absolute`` as sGDML's.
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
    full: tuple[FullModel, ...] = ()  # single global models beside the Δ-model; True is ("sgdml",)
    sigmas: tuple[float, ...] = SIGMAS
    lams: tuple[float, ...] = LAMBDAS
    absolute: bool = False
    trainer: Literal["delta", "sgdml"] = "delta"
    points: Mapping[str, int] = field(default_factory=dict)  # training points of models by name
    basis: int | Auto = 0  # points of each model's file, which are fitted to all of the training points; 0: these
    bases: Mapping[str, int | Auto] = field(default_factory=dict)  # of models by name
    keep: float | Auto = 1.0  # of the pairs of each model's descriptor, at most
    keeps: Mapping[str, float | Auto] = field(default_factory=dict)  # of models by name
    tolerance: float = 1.02  # times the validation errors, where "auto" takes fewer points or pairs
    baseline: Baseline | None = None  # below the models, which learn what it leaves
    dispersion: str = ""  # below the binding: D4 of a functional or of gfn2-xtb, with constant coefficients
    electrostatics: bool = False  # charges below the binding, fitted to configurations placed far apart
    cutoff: float = 0.0  # Å between two fragments' centres of mass, where the binding model ends; 0: nowhere
    switch: float = 2.0  # Å, the last part of the cut-off

    def __post_init__(self) -> None:
        full, baseline = cast("object", self.full), cast("object", self.baseline)
        if isinstance(baseline, dict):  # of a record
            object.__setattr__(self, "baseline", Baseline(**baseline))
        if isinstance(full, bool):  # a recipe of version 0.1
            object.__setattr__(self, "full", ("sgdml",) if full else ())

    @property
    def fitted_below(self) -> bool:
        """Whether something is below the binding that is made from the data: a dispersion, or charges."""
        return bool(self.dispersion) or self.electrostatics

    @property
    def most(self) -> int:
        """Training points of the model that has most."""
        return max(self.n_train, *self.points.values()) if self.points else self.n_train

    @property
    def full_models(self) -> dict[str, FullModel]:
        """The single global models by name: ``full``, ``full_graph``, ``full_auto``."""
        return {"full" if kind == "sgdml" else f"full_{kind}": kind for kind in self.full}

    def of_full(self, kind: FullModel) -> Recipe:
        """How a single global model is trained."""
        if kind == "sgdml":
            return Recipe.of_the_paper(self.n_train, seed=self.seed, trainer=self.trainer)
        free = replace(self, sigmas=SIGMAS, lams=LAMBDAS, absolute=False) if self.absolute else self
        return replace(
            free,
            symmetry="graph" if self.symmetry == "sgdml" else self.symmetry,
            metric="auto" if kind == "auto" else "inverse",
            energies=True,
            robust=False,
            trainer="delta",
        )

    def points_of(self, name: str) -> int:
        """Training points of a model: a kind of fragment, ``binding`` or ``full``."""
        return self.points.get(name, self.n_train)

    def basis_of(self, name: str) -> int | Auto:
        """Points that a model keeps, 0: all that it is trained on."""
        return self.bases.get(name, self.basis)

    def keep_of(self, name: str) -> float | Auto:
        """The fraction of the pairs that a model keeps, at most."""
        return self.keeps.get(name, self.keep)

    def of(self, system: Complex) -> Recipe:
        """The same, its ``points``, ``bases`` and ``keeps`` by the names of the system's models; equal fragments
        share one. Raises InputError where there is no such model, or two numbers for one."""
        models = system.models
        models |= {name: name for name in (*models.values(), "binding", *self.full_models)}

        def by_model(what: str, given: Mapping[str, _Size]) -> dict[str, _Size]:
            if unknown := sorted(set(given) - set(models)):
                raise InputError(f"{what} of {', '.join(unknown)}: no such model; there are {', '.join(models)}")
            counts: dict[str, _Size] = {}
            for name, n in given.items():
                if counts.setdefault(models[name], n) != n:
                    two = f"{n} and {counts[models[name]]}"
                    raise InputError(f"{what} of {name}: {two}, of one model; say one number")
                if isinstance(n, int) and n < 2:
                    raise InputError(f"{what} of {name}: {n}; expected 2 or more")
            return counts

        return replace(
            self,
            points=by_model("points", self.points),
            bases=by_model("basis", self.bases),
            keeps=by_model("pairs", self.keeps),
        )

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
    n_placed: int = 0  # of the training points


def tasks(
    system: Complex,
    sides: IntArray,
    recipe: Recipe,
    say: Callable[[str], None],
    done: Collection[str] = (),
) -> Iterator[TrainingTask]:
    """Every model that `recipe` asks for: fragments, binding, full. sides: as `split_of`; done: what to leave out.

    Configurations with the fragments placed teach the binding, and a full model: the fragments are as in the others.
    """
    train, validation = np.flatnonzero(sides == TRAIN), np.flatnonzero(sides == VALIDATION)
    placed = placed_in(system.data)
    bound = validation[~placed[validation]]

    def task(
        name: str, train: Labels, validation: Labels, groups: Mapping[str, Group], n_far: int = 0, n_placed: int = 0,
        recipe: Recipe = recipe,
    ) -> TrainingTask:  # fmt: skip
        tried = _groups(train, groups, recipe, say)
        return TrainingTask(name, train, validation, tried, _search(name, recipe), recipe, n_far, n_placed)

    for kind in system.kinds:
        if not kind.is_ion and kind.name not in done:
            points = spread(train[~placed[train]], recipe.points_of(kind.name))
            labels = system.fragment_labels(kind, points), system.fragment_labels(kind, bound)
            yield task(kind.name, *labels, {"graph": kind.group})
    if "binding" not in done:
        n = recipe.points_of("binding")
        n_far = min(20, n // 10) if recipe.n_far < 0 else recipe.n_far
        points, n_placed = points_apart(train, placed, n)
        groups = {"none": Group(system.data.n_atoms), "fragments": system.products, "full": system.full}
        if not recipe.choose_group:
            groups = {"full": system.full}
        labels = binding_points(system, points, placed, n_far, recipe.seed), system.binding_labels(validation)
        yield task("binding", *labels, groups, n_far, n_placed)
    for name, how in recipe.full_models.items():
        if name not in done:
            points, n_placed = points_apart(train, placed, recipe.points_of(name))
            labels = system.full_labels(points), system.full_labels(validation)
            yield task(name, *labels, {"graph": system.full}, 0, n_placed, recipe.of_full(how))


def points_apart(train: IntArray, placed: BoolArray, count: int) -> tuple[IntArray, int]:
    """So many training points of a model of the whole complex, and how many of them have the fragments placed: all
    there are, but a quarter at most, as more of them cost the bound complex what it needs. placed: (n,) of the data
    set."""
    apart = spread(train[placed[train]], count // 4)
    return np.sort(np.concatenate([spread(train[~placed[train]], count - len(apart)), apart])), len(apart)


def binding_points(system: Complex, points: IntArray, placed: BoolArray, n_far: int, seed: int) -> Labels:
    """Labels of the binding, of which the first are pulled apart, even in time as those are that stay near."""
    bound = np.flatnonzero(~placed[points])
    far = bound[np.linspace(0, len(bound) - 1, n_far).astype(int)]
    near = system.binding_labels(np.delete(points, far))
    return system.apart(points[far], np.random.default_rng(seed)) + near if n_far else near


def _search(name: str, recipe: Recipe) -> Search:
    binding = name == "binding"
    energies = recipe.energies and (binding or name.startswith("full"))
    return Search(
        recipe.sigmas, recipe.lams, energies=energies, absolute=recipe.absolute,
        relabel=recipe.symmetry != "sgdml", sigma_stride=1 if recipe.absolute else 2,
        robust=recipe.robust and binding, metrics=recipe.metric == "auto",
        rounding=_ROUGH if name.startswith("full") else Search.rounding,
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
    """The data set's own split where it has one that is large enough, otherwise one by energy and time.

    Configurations with the fragments placed are shared out beside, over all distances.
    """
    placed = placed_in(data)
    bound, apart = np.flatnonzero(~placed), np.flatnonzero(placed)
    n_train, sides = recipe.most, np.full(len(data), -1)
    n_validation = recipe.n_validation or min(_VALIDATION, n_train, max(2, (len(bound) - n_train) // 2))
    if data.split is not None:
        rng = np.random.default_rng(recipe.seed)
        for side, wanted, name in ((TRAIN, n_train, "training"), (VALIDATION, n_validation, "validation")):
            there = bound[data.split[bound] == side]
            if len(there) < wanted:
                raise InputError(f"asked for {wanted} {name} configurations, the data set's split has {len(there)}")
            sides[rng.permutation(there)[:wanted]] = side
        sides[apart] = data.split[apart]
        return sides
    n_test = max(0, min(500, len(bound) - n_train - n_validation))
    sides[bound] = split(data.take(bound), n_train, n_validation, n_test, recipe.seed)
    atoms = [data.atoms_of(k) for k in range(data.n_fragments)]
    left = apart[np.argsort(gaps(data.positions[apart], atoms), kind="stable")]
    for side, share in zip((TRAIN, VALIDATION, TEST), _PLACED, strict=True):
        chosen = spread(left, round(share * len(apart)))
        sides[chosen] = side
        left = left[~np.isin(left, chosen)]
    return sides
