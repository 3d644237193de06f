"""From a labelled data set to a folder that `delta-driver` serves: models, manifest, record."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from .._types import IntArray
from ..archive import sha256_of
from ..errors import InputError
from ..gdml import Model, save_model
from ..gdml.symmetry import Group
from ..gdml.uncertainty import calibrate
from ..geometry import read_structure, write_structure
from ..manifest import FORMAT, format_atoms
from ..units import KCAL_MOL
from .cholesky import NotPositiveDefiniteError
from .data.dataset import TRAIN, VALIDATION, Dataset, fingerprint, load_dataset
from .data.split import split
from .databases import Complex, Kind
from .fit import Hyper, Labels, fit, force_mae
from .heldout import RECORD
from .memory import Speed, available_memory, forecast
from .scales import Progress
from .select import LAMBDAS, SIGMAS, Search, Trial, select
from .stock import find_permutations, train_stock

if TYPE_CHECKING:
    from ase import Atoms

_MAE = "validation_force_mae_kcal_per_mol_per_angstrom"


class Reporter(Protocol):
    """Who is told how the training goes."""

    def say(self, line: str) -> None: ...

    def progress(self, stage: str, done: float) -> None: ...

    def trial(self, trial: Trial) -> None: ...

    def learning(self, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Recipe:
    """How to train; written into the record beside the models."""

    n_train: int
    n_validation: int = 0  # 0: as many as `n_train`, 200 at most
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

    @classmethod
    def of_the_paper(cls, n_train: int, **other: Any) -> Recipe:
        """arXiv 2511.01913, Sec. IV: sGDML's defaults for every database."""
        return cls(
            n_train, symmetry="sgdml", choose_group=False, n_far=0, energies=False, robust=False,
            sigmas=_STOCK_SIGMAS, lams=_STOCK_LAMBDAS, absolute=True, **other,
        )  # fmt: skip


_RETRIES = 3
_STOCK_SIGMAS = tuple(float(s) for s in range(10, 101, 10))
_STOCK_LAMBDAS = (1e-10,)


def train(dataset: Path, folder: Path, recipe: Recipe, reporter: Reporter, structure: Path | None = None) -> Path:
    """Train every model that `recipe` asks for; returns the manifest's path.

    Models appear in `folder` as they are finished; the manifest is written last. A training that was stopped goes on
    after the models that the record in the folder lists, if recipe and data are the same.

    Raises InputError for data or a recipe that cannot be trained with.
    """
    if recipe.metric == "auto" and (recipe.trainer == "sgdml" or recipe.absolute):
        raise InputError("metric auto: stock sGDML knows 1/r alone; leave out --trainer sgdml and --recipe paper")
    data = load_dataset(dataset)
    data.isolated()
    sides = _sides(data, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    work = _Work(dataset, data, sides, folder, recipe, reporter)
    system = Complex.of(data, "none" if recipe.symmetry == "sgdml" else recipe.symmetry)
    fragments = {kind.name: work.fragment(system, kind) for kind in system.kinds if not kind.is_ion}
    binding = work.binding(system)
    if recipe.full:
        work.full(system)
    return work.write_manifest(system, fragments, binding, structure)


def _sides(data: Dataset, recipe: Recipe) -> IntArray:
    """The data set's own split where it has one that is large enough, otherwise one by energy and time."""
    n_validation = recipe.n_validation or min(200, recipe.n_train, max(2, (len(data) - recipe.n_train) // 2))
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


class _Work:
    """One training: where it writes, what it has done."""

    def __init__(
        self, path: Path, data: Dataset, sides: IntArray, folder: Path, recipe: Recipe, reporter: Reporter
    ) -> None:
        self.data, self.folder, self.recipe, self.reporter = data, folder, recipe, reporter
        self.train, self.validation = np.flatnonzero(sides == TRAIN), np.flatnonzero(sides == VALIDATION)
        self.record: dict[str, Any] = {
            "format": "delta-sgdml-training/1",
            "dataset": {"name": path.name, "sha256": sha256_of(path), "fingerprint": fingerprint(data)},
            "recipe": asdict(recipe),
            "train": self.train.tolist(),
            "validation": self.validation.tolist(),
            "versions": _versions(),
            "models": {},
        }
        self._continue()

    def _continue(self) -> None:
        """Take over what an earlier, equal training finished. Raises InputError where the folder holds another's."""
        path = self.folder / RECORD
        if not path.exists():
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            same = all(before[k] == json.loads(json.dumps(self.record[k])) for k in ("dataset", "recipe", "train"))
        except (ValueError, KeyError, TypeError):
            same = False
        if not same:
            raise InputError(
                f"{path}: another training (data or recipe differ); choose another folder, or --overwrite it"
            )
        for name, entry in before["models"].items():
            model = self.folder / entry["file"]
            if model.is_file() and sha256_of(model) == entry["sha256"]:
                self.record["models"][name] = entry
        if self.record["models"]:
            self.reporter.say(f"{path}: goes on after {', '.join(self.record['models'])}")

    def fragment(self, system: Complex, kind: Kind) -> str:
        """W(f) → file name."""
        train, validation = (system.fragment_labels(kind, w) for w in (self.train, self.validation))
        return self._model(kind.name, train, validation, self._groups(train, {"graph": kind.group}))

    def binding(self, system: Complex) -> str:
        """W(b) → file name."""
        recipe = self.recipe
        n_far = min(20, recipe.n_train // 10) if recipe.n_far < 0 else recipe.n_far
        far = np.linspace(0, len(self.train) - 1, n_far).astype(int)  # even in time, as the near ones stay
        train = system.binding_labels(np.delete(self.train, far))
        validation = system.binding_labels(self.validation)
        if n_far:
            train = system.apart(self.train[far], np.random.default_rng(recipe.seed)) + train
        groups = {"none": Group(self.data.n_atoms), "fragments": system.products, "full": system.full}
        if not recipe.choose_group:
            groups = {"full": system.full}
        return self._model("binding", train, validation, self._groups(train, groups), recipe.energies, n_far)

    def full(self, system: Complex) -> str:
        """The single global model, trained as sGDML does by default → file name."""
        train, validation = system.full_labels(self.train), system.full_labels(self.validation)
        stock = Recipe.of_the_paper(self.recipe.n_train, seed=self.recipe.seed, trainer=self.recipe.trainer)
        self.reporter.say("full: looking for sGDML's permutations")
        groups = {"sgdml": find_permutations(train.positions, train.numbers, os.cpu_count() or 1)}
        return self._model("full", train, validation, groups, recipe=stock)

    def _groups(self, train: Labels, groups: Mapping[str, Group]) -> dict[str, IntArray]:
        """Permutations to choose between, the largest last, none twice."""
        if self.recipe.symmetry == "sgdml":
            self.reporter.say(f"{train.name}: looking for sGDML's permutations")
            return {"sgdml": find_permutations(train.positions, train.numbers, os.cpu_count() or 1)}
        found: dict[int, tuple[str, IntArray]] = {}
        for name, group in groups.items():
            if not group.is_closed():
                raise InputError(f"{train.name}: the permutations of {name!r} are no group")
            found.setdefault(group.order, (name, group.permutations))
        return dict(found.values())

    def _model(
        self,
        name: str,
        train: Labels,
        validation: Labels,
        groups: Mapping[str, IntArray],
        energies: bool = False,
        n_far: int = 0,
        recipe: Recipe | None = None,
    ) -> str:
        recipe, file = recipe or self.recipe, f"{name}.npz"
        if name in self.record["models"]:
            return file
        start = time.perf_counter()
        search = Search(
            recipe.sigmas, recipe.lams, energies=energies, absolute=recipe.absolute,
            relabel=recipe.symmetry != "sgdml", sigma_stride=1 if recipe.absolute else 2,
            robust=recipe.robust and name == "binding", metrics=recipe.metric == "auto",
        )  # fmt: skip
        group, hyper, trials = select(
            train, validation, groups, search, self.reporter.trial, recipe.seed, self.reporter.learning
        )
        permutations = groups[group]
        speed = Speed.measure(train, permutations)
        expected = forecast(len(train), len(train.numbers), len(permutations), energies, speed)
        self.reporter.say(
            f"{name}: {len(train)} points, {len(permutations)} permutations ({group}), {hyper.metric or '1/r'}, "
            f"σ {hyper.sigma:.3g}, λ {hyper.lam:.2g}: {expected.rows} rows, {expected.memory / 1e9:.2f} GB, "
            f"about {expected.seconds:.0f} s"
        )
        if recipe.trainer == "delta" and expected.memory > (free := available_memory()):
            self.reporter.say(f"{name}: {free / 1e9:.1f} GB are free: solved iteratively, in less memory")
            hyper = replace(hyper, memory=int(0.8 * free))
        fitting = time.perf_counter()
        if recipe.trainer == "sgdml":
            model = train_stock(train, permutations, hyper)
        else:
            hyper, model = self._fit(train, permutations, hyper)
        seconds = time.perf_counter() - fitting
        facts = {
            "n_train": len(train), "n_far": n_far, "rows": expected.rows, "energies": energies,
            "lambda": hyper.lam, "lambda_absolute": model.lam, "robust": hyper.robust,
            "forecast_s": round(expected.seconds, 2), "fit_s": round(seconds, 2),
            "total_s": round(time.perf_counter() - start, 2), _MAE: force_mae(model, validation),
        }  # fmt: skip
        self._finish(name, file, self._calibrated(name, model, validation), group, trials, facts)
        return file

    def _calibrated(self, name: str, model: Model, validation: Labels) -> Model:
        """With expected errors, where there is enough to find them on."""
        try:
            found = calibrate(model, validation.positions, validation.forces * KCAL_MOL)
        except InputError as error:
            self.reporter.say(f"{name}: no expected errors: {error}")
            return model
        return replace(model, calibration=found)

    def _fit(self, train: Labels, permutations: IntArray, hyper: Hyper) -> tuple[Hyper, Model]:
        """`fit`, with ten times the λ where the whole training set needs more than the part that chose it."""
        for _ in range(_RETRIES):
            try:
                return hyper, fit(train, permutations, hyper, self.reporter.progress)
            except NotPositiveDefiniteError as error:
                hyper = replace(hyper, lam=10 * hyper.lam)
                self.reporter.say(f"{train.name}: {error}; trying λ {hyper.lam:.1e}")
        return hyper, fit(train, permutations, hyper, self.reporter.progress)

    def _finish(
        self, name: str, file: str, model: Model, group: str, trials: list[Trial], facts: dict[str, Any]
    ) -> None:
        save_model(self.folder / file, replace(model, name=f"{self.data.name}_{name}"))
        self.record["models"][name] = {
            "file": file, "sha256": sha256_of(self.folder / file), "group": group, "sigma": model.sigma,
            "permutations": len(model.permutations), "calibration": model.calibration, **facts,
            "trials": [t.as_dict() for t in trials],
        }  # fmt: skip
        write_whole(self.folder / RECORD, json.dumps(self.record, indent=1) + "\n")
        self.reporter.say(
            f"{name}: validation force MAE {facts[_MAE]:.4f} kcal/mol/Å, {facts['fit_s']:.1f} s "
            f"→ {file} ({(self.folder / file).stat().st_size / 1e6:.2f} MB)"
        )

    def write_manifest(
        self, system: Complex, fragments: Mapping[str, str], binding: str, structure: Path | None
    ) -> Path:
        """``geometry.xyz`` and ``manifest.yaml``, and ``full.yaml`` for the global model."""
        import yaml

        data = self.data
        write_structure(self.folder / "geometry.xyz", _structure(data, structure))
        entries: dict[int, dict[str, Any]] = {}
        for kind in system.kinds:
            for i, atoms in kind.members:
                entry: dict[str, Any] = {"name": system.names[i], "atoms": format_atoms(tuple(atoms.tolist()))}
                if kind.is_ion:
                    entry |= {"energy": system.ion_energy(kind), "energy_unit": "kcal/mol"}
                else:
                    entry |= {"model": fragments[kind.name], "sha256": self._sha256(kind.name)}
                entries[i] = entry
        head = {"format": FORMAT, "name": data.name, "theory": data.theory or None, "structure": "geometry.xyz"}
        head = {k: v for k, v in head.items() if v}

        def write(name: str, body: dict[str, Any]) -> Path:
            write_whole(self.folder / name, yaml.safe_dump(head | body, sort_keys=False, allow_unicode=True))
            return self.folder / name

        if "full" in self.record["models"]:
            whole = {"name": "complex", "atoms": f"0:{data.n_atoms}", "model": "full.npz"}
            whole["sha256"] = self._sha256("full")
            write("full.yaml", {"fragments": [whole]})
        return write(
            "manifest.yaml",
            {
                "fragments": [entries[i] for i in sorted(entries)],
                "binding": {"model": binding, "sha256": self._sha256("binding")},
            },
        )

    def _sha256(self, name: str) -> str:
        sha256: str = self.record["models"][name]["sha256"]
        return sha256


def _structure(data: Dataset, given: Path | None) -> Atoms:
    """The start geometry: the given one, or the configuration of lowest energy."""
    from ase import Atoms

    if given is None:
        return Atoms(data.numbers, data.positions[data.energies.argmin()])
    atoms = read_structure(given)
    if not np.array_equal(atoms.numbers, data.numbers):
        raise InputError(f"{given}: {atoms.get_chemical_formula('reduce')}, in another order than the data set")
    return atoms


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("delta-server", "numpy", "scipy", "numba", "sgdml"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
