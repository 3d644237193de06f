"""From a labelled data set to a folder that `delta-driver` serves: models, manifest, record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._types import IntArray
from ..data.consistency import check_dataset
from ..data.dataset import TRAIN, VALIDATION, Dataset, fingerprint, load_dataset
from ..errors import InputError
from ..files.whole import sha256_of
from ..gdml import Model
from ..gdml.devices import find_device
from ..terms.base import Term
from ..units import KCAL_MOL
from .baselines.calculator import NAME as BASELINE
from .baselines.cutoff import check_cutoff
from .baselines.dispersion import NAME as DISPERSION
from .baselines.dispersion import Dispersion, dispersion_below
from .baselines.electrostatics import NAME as ELECTROSTATICS
from .baselines.electrostatics import FittedCharges, fit_charges
from .baselines.remainder import labels_less
from .choice import Choice, Chooser, Selection
from .databases import Complex
from .evaluation.expected_errors import calibrate
from .fit import Hyper, fit, force_mae
from .labels import Labels
from .output import start_of, write_manifests, write_model
from .record import VALIDATION_MAE, TrainingRecord, open_record
from .reporter import Reporter, Silent
from .selection.fewest import SizeSearch, SizeTrial, fewer_pairs, fewer_points
from .solve.cholesky import NotPositiveDefiniteError
from .solve.iterative import plan_memory
from .solve.least_squares import least_squares_bytes
from .solve.memory import Forecast, Speed, available_memory, forecast, peak_with
from .stock import train_stock
from .tasks import Recipe, TrainingTask, split_of, tasks, too_few

_RETRIES = 3  # with ten times the λ each


def train(
    dataset: str | Path | Dataset,
    folder: str | Path,
    recipe: Recipe,
    reporter: Reporter | None = None,
    structure: Path | None = None,
    choose: Chooser | None = None,
    more: Mapping[str, Labels] | None = None,
    *,
    device: str = "cpu",
    overwrite: bool = False,
) -> Path:
    """Train every model that `recipe` asks for; returns the manifest's path.

    dataset: labelled, the isolated fragments too. reporter: who is told how it goes; nobody by default. structure:
    the start geometry that the manifest names; by default the configuration of lowest energy. choose: decides how
    each model is fitted, in place of `select`. more: labels that a model is trained on beside the data set's,
    by its name, as of a molecule alone. device: what solves, as in `make_kernel`. overwrite: replaces whatever
    training is in the folder.

    Models appear in `folder` as they are finished; the manifest is written last. A training that was stopped goes on
    after the models that the record in the folder lists, if recipe and data are the same.

    Raises InputError for data or a recipe that cannot be trained with.
    """
    if recipe.metric == "auto" and (recipe.trainer == "sgdml" or recipe.absolute):
        raise InputError("metric auto: stock sGDML knows 1/r alone; leave out --trainer sgdml and --recipe paper")
    if (recipe.keep != 1 or recipe.keeps) and (recipe.trainer == "sgdml" or recipe.absolute):
        raise InputError("fewer pairs: stock sGDML has all; leave out --trainer sgdml and --recipe paper")
    if (recipe.basis or recipe.bases) and recipe.trainer == "sgdml":
        raise InputError("a basis: stock sGDML fits as many points as labels; leave out --trainer sgdml")
    if (recipe.baseline or recipe.fitted_below) and recipe.full:
        raise InputError("global models (--full) have nothing below them: train them in a folder of their own")
    if recipe.cutoff and not (recipe.baseline or recipe.fitted_below):
        raise InputError(
            "a cut-off is for models above --baseline, --dispersion or --electrostatics; here it would leave nothing"
        )
    if recipe.dispersion and recipe.baseline and recipe.baseline.part != "fragments":
        raise InputError("--dispersion and --baseline: both are below the binding; leave one out")
    device = "cpu" if device == "cpu" or find_device(device) is None else device
    if device != "cpu" and recipe.trainer == "sgdml":
        raise InputError(f"device {device!r}: stock sGDML solves on the CPU; leave out --trainer sgdml")
    folder, reporter = Path(folder), reporter or Silent()
    data, about = _load(dataset, folder.name)
    start = time.perf_counter()
    failed = [check for check in check_dataset(data) if not check.passed]
    for check in failed:
        both = "; no model can learn both" if "one zero" in check.name else ""
        reporter.say(f"{data.name}: {check.name}: {check.found}{both}")
    if failed:
        reporter.say(f"{data.name}: the models can be no better than these labels (dataset info)")
    start_geometry = start_of(data, structure)
    system = Complex.of(data, recipe.bonds)
    recipe = recipe.of(system)
    sides = split_of(data, recipe)
    if few := too_few(sides, recipe):
        reporter.say(few)
    choose = choose or Selection(reporter)
    record = open_record(folder, about, sides, recipe, choose.settings, overwrite)
    system, below, made = _less(system, sides, recipe, reporter)
    if made:
        record = record.with_facts({name: there.as_dict() for name, there in made.items()})
    folder.mkdir(parents=True, exist_ok=True)
    training = _Training(folder, data, record, choose, reporter, device)
    for task in tasks(system, sides, recipe, reporter.say, training.record.models):
        if (others := (more or {}).get(task.name)) is not None:
            others = labels_less(others, system.atoms_of(task.name), below, data.n_atoms)
            task = replace(task, train=task.train + others)
        training.fit(task)
    manifest = write_manifests(folder, system, start_geometry, training.record.digests, recipe, list(made.values()))
    reporter.say(_summary(training.record.models, folder, time.perf_counter() - start))
    return manifest


def _less(
    system: Complex, sides: IntArray, recipe: Recipe, reporter: Reporter
) -> tuple[Complex, list[Term], dict[str, Dispersion | FittedCharges]]:
    """The complex with what is below the models taken off its labels; the terms of that; and what of it was made
    from the data, by the names of these terms."""
    wanted = {BASELINE: recipe.baseline, DISPERSION: recipe.dispersion, ELECTROSTATICS: recipe.electrostatics}
    new = [name for name, there in wanted.items() if there]
    if taken := set(new) & set(system.names):
        raise InputError(f"{system.data.name}: a fragment is called {taken.pop()!r}, as a term would be; rename it")
    if recipe.cutoff:
        check_cutoff(system, np.flatnonzero(sides == TRAIN), recipe.cutoff, recipe.switch)
    terms: list[Term] = []
    used = np.flatnonzero(np.isin(sides, (TRAIN, VALIDATION)))
    if recipe.baseline:
        reporter.say(f"baseline: labels less {recipe.baseline.method.theory} ({recipe.baseline.part})")
        terms += recipe.baseline.terms(system.data)
        system = system.less(terms, used, partial(reporter.progress, "baseline"))
    made: dict[str, Dispersion | FittedCharges] = {}

    def take_off(name: str, there: Dispersion | FittedCharges) -> Complex:
        reporter.say(str(there))
        made[name] = there
        terms.append(there.term(system))
        return system.less(terms[-1:], used)

    if recipe.dispersion:
        system = take_off(DISPERSION, dispersion_below(system, recipe.dispersion))
    if recipe.electrostatics:
        ending = recipe.cutoff - recipe.switch if recipe.cutoff else 0.0
        system = take_off(ELECTROSTATICS, fit_charges(system, np.flatnonzero(sides == TRAIN), ending))
    return system, terms, made


def _summary(models: Mapping[str, Mapping[str, Any]], folder: Path, seconds: float) -> str:
    """What came out, in a line."""
    errors = ", ".join(
        f"{name} {entry[VALIDATION_MAE]:.4f}" if VALIDATION_MAE in entry else f"{name} as it was"
        for name, entry in models.items()
    )
    return f"{folder}: {len(models)} models in {seconds:.0f} s, validation force MAE (kcal/mol/Å): {errors}"


def _load(dataset: str | Path | Dataset, name: str) -> tuple[Dataset, dict[str, str]]:
    """The data set, and how the record tells it from others. name: of one that has none."""
    if isinstance(dataset, Dataset):
        data, about = dataset if dataset.name else replace(dataset, name=name), {}
    else:
        data, about = load_dataset(dataset), {"sha256": sha256_of(Path(dataset))}
    data.isolated()
    file = data.name if isinstance(dataset, Dataset) else Path(dataset).name
    return data, {"name": file, **about, "fingerprint": fingerprint(data)}


class _Training:
    """One training at work: each model is chosen, fitted, calibrated, written and recorded."""

    def __init__(
        self,
        folder: Path,
        data: Dataset,
        record: TrainingRecord,
        choose: Chooser,
        reporter: Reporter,
        device: str,
    ) -> None:
        self._folder, self._data, self._choose, self._reporter, self._device = folder, data, choose, reporter, device
        self.record = record
        if done := record.models:
            reporter.say(f"{record.path}: goes on after {', '.join(done)}")
        for name, (model, entry) in choose.kept.items():
            if name not in self.record.models:
                self._enter(name, model, entry)

    def fit(self, task: TrainingTask) -> None:
        """Train one model, into the folder and the record."""
        start = time.perf_counter()
        task = replace(task, search=replace(task.search, device=self._device))
        self._reporter.say(f"{task.name}: {len(task.validation)} validation configurations choose σ, λ and symmetry")
        choice = self._choose(task)
        hyper, model, expected, seconds = self._made(task, choice)
        if (other := self._choose.revise(task, model)) is not None:
            choice = other
            hyper, model, expected, seconds = self._made(task, choice)
        hyper, model, tried = self._smallest(task, task.groups[choice.group], hyper, model)
        facts = {
            "n_train": len(task.train), "n_far": task.n_far, "n_placed": task.n_placed, "basis": hyper.basis,
            "rows": expected.rows, "energies": hyper.energies,
            "lambda": hyper.lam, "lambda_absolute": model.lam, "robust": hyper.robust,
            "forecast_s": round(expected.seconds, 2), "fit_s": round(seconds, 2),
            "total_s": round(time.perf_counter() - start, 2), VALIDATION_MAE: force_mae(model, task.validation),
            **({"sizes": [trial.as_dict() for trial in tried]} if tried else {}),
        }  # fmt: skip
        self._finish(task.name, self._calibrated(task.name, model, task.validation), choice, facts)

    def _made(self, task: TrainingTask, choice: Choice) -> tuple[Hyper, Model, Forecast, float]:
        """How it was fitted in the end, the model, what was foretold of the fit, and the seconds that it took."""
        basis, keep = task.recipe.basis_of(task.name), task.recipe.keep_of(task.name)
        basis = basis if basis != "auto" and basis < len(task.train) else 0
        hyper = replace(choice.hyper, basis=basis, device=self._device)
        if keep != "auto" and keep < 1:
            hyper, *_ = self._fewer_pairs(task, task.groups[choice.group], hyper, keep) or [hyper]
        choice = choice._replace(hyper=hyper)
        expected = self._forecast(task, choice)
        hyper = self._within_memory(task, choice, expected)
        start = time.perf_counter()
        hyper, model = self._fit(task, task.groups[choice.group], hyper)
        return hyper, model, expected, time.perf_counter() - start

    def _forecast(self, task: TrainingTask, choice: Choice) -> Forecast:
        """Foretell what the fit will take, and say so."""
        train, hyper, permutations = task.train, choice.hyper, task.groups[choice.group]
        speed = Speed.measure(train, permutations, hyper.device)
        expected = forecast(
            len(train), len(train.numbers), len(permutations), hyper.energies, speed, hyper.robust, hyper.basis,
            hyper.device,
        )  # fmt: skip
        of = f"{hyper.basis} points fitted to " * (hyper.basis > 0)
        self._reporter.say(
            f"{task.name}: {of}{len(train)} points, {len(permutations)} permutations ({choice.group}), "
            f"{hyper.metric or '1/r'}, σ {hyper.sigma:.3g}, λ {hyper.lam:.2g}: {expected.rows} rows, "
            f"{expected.peak / 1e9:.2f} GB, about {expected.seconds:.0f} s"
        )
        return expected

    def _within_memory(self, task: TrainingTask, choice: Choice, expected: Forecast) -> Hyper:
        """The settings, to be solved iteratively where a factorisation would need more bytes than are free."""
        hyper, needed = choice.hyper, expected.memory
        if task.recipe.trainer == "sgdml" or needed <= (free := available_memory(hyper.device)):
            return hyper
        if hyper.basis:
            raise InputError(
                f"{task.name}: a basis of {hyper.basis} points takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} are "
                "free: take a smaller --basis"
            )
        if hyper.device != "cpu":
            raise InputError(
                f"{task.name}: {expected.rows} rows take {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free on "
                f"{hyper.device}: take --device cpu, a --basis, or fewer points"
            )
        memory, n_perms = int(0.8 * free), len(task.groups[choice.group])
        plan = plan_memory(len(task.train), len(task.train.numbers), n_perms, hyper.energies, memory)
        self._reporter.say(
            f"{task.name}: {free / 1e9:.2g} GB are free: solved iteratively, {peak_with(plan.memory) / 1e9:.2f} GB"
        )
        return replace(hyper, memory=memory)

    def _fit(self, task: TrainingTask, permutations: IntArray, hyper: Hyper) -> tuple[Hyper, Model]:
        """The model, with ten times the λ where all points need more than those that it was chosen on."""
        if task.recipe.trainer == "sgdml":
            return hyper, train_stock(task.train, permutations, hyper)
        for _ in range(_RETRIES):
            try:
                return hyper, fit(task.train, permutations, hyper, self._reporter.progress)
            except NotPositiveDefiniteError as error:
                hyper = replace(hyper, lam=10 * hyper.lam)
                self._reporter.say(f"{task.name}: {error}; trying λ {hyper.lam:.1e}")
        return hyper, fit(task.train, permutations, hyper, self._reporter.progress)

    def _smallest(
        self, task: TrainingTask, permutations: IntArray, hyper: Hyper, model: Model
    ) -> tuple[Hyper, Model, list[SizeTrial]]:
        """A model with the fewest pairs and points of those that are as accurate, where that is asked for; and what
        was tried, the model as it was first."""
        recipe, train = task.recipe, task.train
        pairs, points = recipe.keep_of(task.name) == "auto", recipe.basis_of(task.name) == "auto"
        if not (pairs or points):
            return hyper, model, []
        size = len(train), len(train.numbers), hyper.energies
        bases = fewer_points(*size, available_memory(self._device), self._device) if points else []
        most = max((least_squares_bytes(m, *size[1:], self._device) for m in bases), default=0)
        peak = peak_with(most, self._device)
        what = " and ".join(["pairs"] * pairs + ["points"] * points)
        self._reporter.say(
            f"{task.name}: fewest {what} with {recipe.tolerance:g} times the validation errors, {peak / 1e9:.2f} GB"
        )
        search = SizeSearch(
            train, task.validation, permutations, recipe.tolerance, lambda trial: self._reporter.say(f"  {trial}"),
            self._reporter.progress,
        )  # fmt: skip
        best = search.look(hyper, model)
        if pairs:
            best = search.last(best, self._fewer_pairs(task, permutations, hyper))
        best = search.last(best, [replace(best.hyper, basis=m) for m in bases])
        return best.hyper, best.model, search.tried

    def _fewer_pairs(
        self, task: TrainingTask, permutations: IntArray, hyper: Hyper, keep: float | None = None
    ) -> list[Hyper]:
        fragment = self._data.isolated()[0] if task.name == "binding" else None
        return fewer_pairs(
            task.train, task.validation, permutations, hyper, task.search, fragment, keep, self._reporter.progress
        )

    def _calibrated(self, name: str, model: Model, validation: Labels) -> Model:
        """The model with expected errors, where there is enough to find them on."""
        try:
            calibration = calibrate(model, validation.positions, validation.forces * KCAL_MOL)
        except InputError as error:
            self._reporter.say(f"{name}: no expected errors: {error}")
            return model
        return replace(model, calibration=calibration)

    def _finish(self, name: str, model: Model, choice: Choice, facts: dict[str, Any]) -> None:
        path = self._enter(name, model, {
            "group": choice.group, "sigma": model.sigma, "permutations": len(model.permutations),
            "calibration": model.calibration, **facts, "metric": str(model.metric), "trials": choice.trials,
        })  # fmt: skip
        self._reporter.say(
            f"{name}: validation force MAE {facts[VALIDATION_MAE]:.4f} kcal/mol/Å, {facts['fit_s']:.1f} s "
            f"→ {path.name} ({path.stat().st_size / 1e6:.2f} MB)"
        )

    def _enter(self, name: str, model: Model, facts: Mapping[str, Any]) -> Path:
        """Write a model, and then what the record says of it."""
        file = write_model(self._folder, name, model, self._data)
        self.record = self.record.with_entry(name, {**facts, **file})
        self.record.save()
        return self._folder / file["file"]
