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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .._types import IntArray
from ..data.dataset import TRAIN, VALIDATION, Dataset, fingerprint, load_dataset
from ..errors import InputError
from ..files.whole import sha256_of
from ..gdml import Model, save_model
from ..manifest import FORMAT, format_atoms
from ..molecule.structures import read_structure, write_structure
from ..units import KCAL_MOL
from .databases import Complex
from .evaluation.expected_errors import calibrate
from .fit import Hyper, fit, force_mae
from .labels import Labels
from .record import RECORD
from .selection.scales import ScalesIteration
from .selection.select import Trial, select
from .solve.cholesky import NotPositiveDefiniteError
from .solve.memory import Speed, available_memory, forecast
from .stock import train_stock
from .tasks import Recipe, TrainingTask, sides_of, tasks

if TYPE_CHECKING:
    from ase import Atoms

_MAE = "validation_force_mae_kcal_per_mol_per_angstrom"


class Reporter(Protocol):
    """Who is told how the training goes."""

    def say(self, line: str) -> None: ...

    def progress(self, stage: str, done: float) -> None: ...

    def trial(self, trial: Trial) -> None: ...

    def learning(self, progress: ScalesIteration) -> None: ...


_RETRIES = 3


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

    def __call__(self, task: TrainingTask) -> tuple[str, Hyper, list[dict[str, Any]]]:
        """The group, σ, λ and metric, and what was tried, for the record."""
        ...


def train(
    dataset: Path,
    folder: Path,
    recipe: Recipe,
    reporter: Reporter,
    structure: Path | None = None,
    choose: Chooser | None = None,
) -> Path:
    """Train every model that `recipe` asks for; returns the manifest's path.

    choose: in place of `select`.

    Models appear in `folder` as they are finished; the manifest is written last. A training that was stopped goes on
    after the models that the record in the folder lists, if recipe and data are the same.

    Raises InputError for data or a recipe that cannot be trained with.
    """
    if recipe.metric == "auto" and (recipe.trainer == "sgdml" or recipe.absolute):
        raise InputError("metric auto: stock sGDML knows 1/r alone; leave out --trainer sgdml and --recipe paper")
    data = load_dataset(dataset)
    data.isolated()
    sides = sides_of(data, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    work = _Work(dataset, data, sides, folder, recipe, reporter, choose)
    system = Complex.of(data, recipe.bonds)
    for task in tasks(system, sides, recipe, reporter.say, work.record["models"]):
        work.fit(task)
    return work.write_manifest(system, structure)


@dataclass(frozen=True)
class _Selection:
    """`select`; see `Chooser`."""

    reporter: Reporter

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}

    @property
    def kept(self) -> Mapping[str, tuple[Model, Mapping[str, Any]]]:
        return {}

    def __call__(self, task: TrainingTask) -> tuple[str, Hyper, list[dict[str, Any]]]:
        group, hyper, trials = select(
            task.train, task.validation, task.groups, task.search, self.reporter.trial, task.recipe.seed,
            self.reporter.learning,
        )  # fmt: skip
        return group, hyper, [t.as_dict() for t in trials]


class _Work:
    """One training: where it writes, what it has done."""

    def __init__(
        self,
        path: Path,
        data: Dataset,
        sides: IntArray,
        folder: Path,
        recipe: Recipe,
        reporter: Reporter,
        choose: Chooser | None,
    ) -> None:
        self.data, self.folder, self.recipe, self.reporter = data, folder, recipe, reporter
        self.choose: Chooser = choose or _Selection(reporter)
        self.train, self.validation = np.flatnonzero(sides == TRAIN), np.flatnonzero(sides == VALIDATION)
        self.record: dict[str, Any] = {
            "format": "delta-sgdml-training/1",
            "dataset": {"name": path.name, "sha256": sha256_of(path), "fingerprint": fingerprint(data)},
            "recipe": asdict(recipe),
            **self.choose.settings,
            "train": self.train.tolist(),
            "validation": self.validation.tolist(),
            "versions": _versions(),
            "models": {},
        }
        self._continue()
        for name, (model, entry) in self.choose.kept.items():
            if name not in self.record["models"]:
                self._enter(name, model, entry)

    def _continue(self) -> None:
        """Take over what an earlier, equal training finished. Raises InputError where the folder holds another's."""
        path = self.folder / RECORD
        if not path.exists():
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            kept = ("dataset", "recipe", "train", *self.choose.settings)
            same = all(before[k] == json.loads(json.dumps(self.record[k])) for k in kept)
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

    def fit(self, task: TrainingTask) -> None:
        """One model, into the folder and the record."""
        name, train, validation, start = task.name, task.train, task.validation, time.perf_counter()
        group, hyper, trials = self.choose(task)
        permutations, energies = task.groups[group], hyper.energies
        speed = Speed.measure(train, permutations)
        expected = forecast(len(train), len(train.numbers), len(permutations), energies, speed)
        self.reporter.say(
            f"{name}: {len(train)} points, {len(permutations)} permutations ({group}), {hyper.metric or '1/r'}, "
            f"σ {hyper.sigma:.3g}, λ {hyper.lam:.2g}: {expected.rows} rows, {expected.memory / 1e9:.2f} GB, "
            f"about {expected.seconds:.0f} s"
        )
        if task.recipe.trainer == "delta" and expected.memory > (free := available_memory()):
            self.reporter.say(f"{name}: {free / 1e9:.1f} GB are free: solved iteratively, in less memory")
            hyper = replace(hyper, memory=int(0.8 * free))
        fitting = time.perf_counter()
        if task.recipe.trainer == "sgdml":
            model = train_stock(train, permutations, hyper)
        else:
            hyper, model = self._fit(train, permutations, hyper)
        seconds = time.perf_counter() - fitting
        facts = {
            "n_train": len(train), "n_far": task.n_far, "rows": expected.rows, "energies": energies,
            "lambda": hyper.lam, "lambda_absolute": model.lam, "robust": hyper.robust,
            "forecast_s": round(expected.seconds, 2), "fit_s": round(seconds, 2),
            "total_s": round(time.perf_counter() - start, 2), _MAE: force_mae(model, validation),
        }  # fmt: skip
        self._finish(name, self._calibrated(name, model, validation), group, trials, facts)

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
        self, name: str, model: Model, group: str, trials: list[dict[str, Any]], facts: dict[str, Any]
    ) -> None:
        file = f"{name}.npz"
        self._enter(name, model, {
            "group": group, "sigma": model.sigma, "permutations": len(model.permutations),
            "calibration": model.calibration, **facts, "metric": str(model.metric), "trials": trials,
        })  # fmt: skip
        self.reporter.say(
            f"{name}: validation force MAE {facts[_MAE]:.4f} kcal/mol/Å, {facts['fit_s']:.1f} s "
            f"→ {file} ({(self.folder / file).stat().st_size / 1e6:.2f} MB)"
        )

    def _enter(self, name: str, model: Model, facts: Mapping[str, Any]) -> None:
        """Write a model and what the record says of it."""
        file = f"{name}.npz"
        save_model(self.folder / file, replace(model, name=f"{self.data.name}_{name}"))
        self.record["models"][name] = {**facts, "file": file, "sha256": sha256_of(self.folder / file)}
        write_whole(self.folder / RECORD, json.dumps(self.record, indent=1) + "\n")

    def write_manifest(self, system: Complex, structure: Path | None) -> Path:
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
                    entry |= {"model": f"{kind.name}.npz", "sha256": self._sha256(kind.name)}
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
                "binding": {"model": "binding.npz", "sha256": self._sha256("binding")},
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
