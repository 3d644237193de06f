"""The whole training on little data: what it writes, that it goes on, and that what it writes is a potential."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, bound

from delta_server import load_potential
from delta_server.checks import check_manifest
from delta_server.data.dataset import Dataset, load_dataset, save_dataset
from delta_server.errors import InputError
from delta_server.files.whole import sha256_of
from delta_server.training.baselines.calculator import Baseline
from delta_server.training.choice import Like
from delta_server.training.databases import Complex
from delta_server.training.evaluation.evaluate import evaluate
from delta_server.training.evaluation.heldout import RECORD
from delta_server.training.reporter import Silent
from delta_server.training.selection.scales import ScalesIteration
from delta_server.training.selection.select import Trial
from delta_server.training.tasks import Recipe
from delta_server.training.trainer import train


class Listener:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.trials: list[Trial] = []
        self.stages: set[str] = set()
        self.learned: list[ScalesIteration] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def trial(self, trial: Trial) -> None:
        self.trials.append(trial)

    def learning(self, progress: ScalesIteration) -> None:
        self.learned.append(progress)

    def progress(self, stage: str, done: float) -> None:
        assert 0 <= done <= 1
        self.stages.add(stage)


QUICK = Recipe(24, 20, sigmas=(8.0,), lams=(1e-6,), n_far=4)


def dataset_of(system: str, folder: Path, n: int = 120) -> Path:
    data = bound(system)
    path = folder / f"{system}.npz"
    save_dataset(path, data.take(np.linspace(0, len(data) - 1, n).astype(int)))
    return path


@pytest.mark.parametrize("system", ["h2o_benzene", "na_benzene", "methane_dimer"])
def test_from_a_data_set_to_a_potential(system: str, tmp_path: Path) -> None:
    source, out, listener = dataset_of(system, tmp_path), tmp_path / "out", Listener()
    recipe = replace(QUICK, choose_group=system != "methane_dimer")
    manifest = train(source, out, recipe, listener)
    data = load_dataset(source)
    record = json.loads((out / RECORD).read_text())
    assert record["dataset"]["sha256"] == sha256_of(source)
    assert len(record["train"]) == 24
    assert len(record["validation"]) == 20
    assert not set(record["train"]) & set(record["validation"])
    assert {"kernel matrix", "factorisation"} <= listener.stages
    assert sum(len(m["trials"]) for m in record["models"].values()) == len(listener.trials)
    assert record["models"]["binding"]["n_far"] == 4

    walk = system == "h2o_benzene"
    assert [c for c in check_manifest(manifest, walk=walk) if not c.passed and c.name != "separated fragments"] == []
    potential = load_potential(manifest)
    free = np.setdiff1d(np.arange(len(data)), record["train"] + record["validation"])
    result = evaluate(potential, data, free)
    label = np.abs(data.binding_forces()[free]).mean()
    assert result.binding is not None
    assert result.binding.force_mae < 0.85 * label
    assert result.total.force_mae < 0.1 * np.abs(data.forces[free]).mean()


def test_a_metric_of_its_own_is_better(tmp_path: Path) -> None:
    """On the same points, and served like any other model."""
    source = dataset_of("h2o_benzene", tmp_path)
    data, errors = load_dataset(source), []
    for metric in ("inverse", "auto"):
        listener = Listener()
        recipe = replace(QUICK, metric=metric, sigmas=(4.0, 16.0), choose_group=False, robust=False)
        manifest = train(source, tmp_path / metric, recipe, listener)
        record = json.loads((tmp_path / metric / RECORD).read_text())
        free = np.setdiff1d(np.arange(len(data)), record["train"] + record["validation"])
        errors.append(evaluate(load_potential(manifest), data, free).total.force_mae)
        assert bool(listener.learned) == (metric == "auto")
        wrong = [c for c in check_manifest(manifest, walk=False) if not c.passed]
        assert [c for c in wrong if c.name != "separated fragments"] == []
    assert {t["metric"] for t in record["models"]["benzene"]["trials"]} > {"1/r", "learned", "r^-2"}
    assert errors[1] < 0.9 * errors[0]
    with pytest.raises(InputError, match="1/r alone"):
        train(source, tmp_path / "stock", replace(recipe, trainer="sgdml"), Listener())


def test_equal_fragments_share_a_model_whatever_their_order(tmp_path: Path) -> None:
    source = dataset_of("methane_dimer", tmp_path)
    data = load_dataset(source)
    order = np.array([0, 1, 2, 3, 4, 7, 9, 5, 8, 6])  # the second methane is no longer C H H H H
    assert data.fragment is not None
    assert data.fragment_forces is not None
    save_dataset(source, replace(
        data, numbers=data.numbers[order], positions=data.positions[:, order], forces=data.forces[:, order],
        fragment_forces=data.fragment_forces[:, order], fragment=data.fragment[order],
    ))  # fmt: skip
    manifest = train(source, tmp_path / "out", replace(QUICK, choose_group=False), Listener())
    first, second = yaml.safe_load(manifest.read_text())["fragments"]
    assert first["model"] == second["model"] == "methane.npz"
    potential = load_potential(manifest)
    fragments = [t.atoms for t in potential.fragments]
    assert (potential.numbers[fragments[0]] == potential.numbers[fragments[1]]).all()
    x = load_dataset(source).positions[:3]
    swapped = x.copy()
    swapped[:, fragments[0]], swapped[:, fragments[1]] = x[:, fragments[1]], x[:, fragments[0]]
    assert np.abs(potential.compute(x).energy - potential.compute(swapped).energy).max() < 1e-8


def test_a_stopped_training_goes_on(tmp_path: Path) -> None:
    source, out = dataset_of("na_benzene", tmp_path), tmp_path / "out"

    class Interrupts(Listener):
        def trial(self, trial: Trial) -> None:
            if trial.group == "none":  # the binding is at work
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(source, out, QUICK, Interrupts())
    assert not (out / "manifest.yaml").exists()
    before = (out / "benzene.npz").stat().st_mtime_ns
    listener = Listener()
    manifest = train(source, out, QUICK, listener)
    assert "goes on after benzene" in listener.lines[0]
    assert (out / "benzene.npz").stat().st_mtime_ns == before
    assert load_potential(manifest).n_atoms == 13
    listener.lines.clear()
    with pytest.raises(InputError, match="another training"):
        train(source, out, replace(QUICK, seed=1, baseline=Baseline("gfn2-xtb")), listener)
    assert not [line for line in listener.lines if line.startswith("baseline")]  # told before it is computed


def test_the_same_seed_gives_the_same_models(tmp_path: Path) -> None:
    source = dataset_of("na_benzene", tmp_path)
    models = []
    for name in ("a", "b"):
        train(source, tmp_path / name, replace(QUICK, choose_group=False), Listener())
        models.append([load_potential(tmp_path / name / "manifest.yaml").compute(load_dataset(source).positions[:5])])
    assert np.abs(models[0][0].forces - models[1][0].forces).max() < 1e-7


def test_the_full_model_and_the_papers_recipe(tmp_path: Path) -> None:
    source = dataset_of("na_benzene", tmp_path)
    recipe = replace(Recipe.of_the_paper(24, n_validation=20, full=True), sigmas=(10.0, 20.0))
    train(source, tmp_path / "out", recipe, Listener())
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert set(record["models"]) == {"benzene", "binding", "full"}
    assert {m["lambda_absolute"] for m in record["models"].values()} == {1e-10}
    assert {m["group"] for m in record["models"].values()} == {"sgdml"}
    potential = load_potential(tmp_path / "out" / "full.yaml")
    data = load_dataset(source)
    which = np.array(record["validation"])
    mae = record["models"]["full"]["validation_force_mae_kcal_per_mol_per_angstrom"]
    assert evaluate(potential, data, which).total.force_mae == pytest.approx(mae, rel=1e-6)


def broken(data: Dataset, what: str) -> Dataset:
    assert data.fragment_energies is not None
    match what:
        case "unlabelled":
            return replace(data, fragment_forces=None)
        case "one fragment":
            return replace(
                data, fragment=np.zeros(data.n_atoms, dtype=np.intp), charges=None, fragment_names=(),
                fragment_energies=data.fragment_energies[:, :1],
            )  # fmt: skip
        case "ion":
            return replace(data, fragment_energies=data.fragment_energies + np.arange(len(data))[:, None])
        case _:
            return replace(data, split=np.full(len(data), 2))


@pytest.mark.parametrize(("what", "message"), [
    ("unlabelled", "no labels of isolated fragments.*dataset label"),
    ("one fragment", "one fragment; a Δ-model needs at least two"),
    ("ion", "energy of the ion sodium varies"),
    ("split", "asked for 24 training configurations, the data set's split has 0"),
])  # fmt: skip
def test_data_that_cannot_be_trained_with(tmp_path: Path, what: str, message: str) -> None:
    source = dataset_of("na_benzene", tmp_path)
    save_dataset(source, broken(load_dataset(source), what))
    with pytest.raises(InputError, match=message):
        train(source, tmp_path / "out", replace(QUICK, choose_group=False), Listener())
    assert not (tmp_path / "out" / "manifest.yaml").exists()


def test_more_points_than_there_are(tmp_path: Path) -> None:
    source = dataset_of("na_benzene", tmp_path)
    with pytest.raises(InputError, match=r"the data set has 120"):
        train(source, tmp_path / "out", Recipe(200), Listener())


def test_what_does_not_fit_into_memory_is_solved_iteratively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from delta_server.training import trainer as module

    source, listener = dataset_of("na_benzene", tmp_path), Listener()
    recipe = replace(QUICK, choose_group=False, robust=False)
    whole = load_potential(train(source, tmp_path / "whole", recipe, Listener()))
    monkeypatch.setattr(module, "available_memory", lambda _: 9_000_000)
    parts = load_potential(train(source, tmp_path / "parts", recipe, listener))
    assert [line for line in listener.lines if "GB are free: solved iteratively" in line]
    x = load_dataset(source).positions[:5]
    assert np.abs(whole.compute(x).forces - parts.compute(x).forces).max() < 1e-3
    monkeypatch.setattr(module, "available_memory", lambda _: 1000)
    with pytest.raises(InputError, match="memory"):
        train(source, tmp_path / "nothing", recipe, listener)


def test_far_points_are_apart_and_have_no_binding() -> None:
    system = Complex.of(load_dataset(ROOT / "models/h2o_benzene/dataset.npz"))
    far = system.apart(np.arange(8), np.random.default_rng(0))
    water, benzene = (k.members[0][1] for k in system.kinds)
    distance = np.linalg.norm(far.positions[:, water].mean(1) - far.positions[:, benzene].mean(1), axis=1)
    assert np.allclose(distance, [30, 40, 60, 100] * 2)
    assert not far.energies.any()
    assert not far.forces.any()
    near = system.data.positions[:8]
    for atoms in (water, benzene):
        inside = [np.linalg.norm(x[:, atoms[0]] - x[:, atoms[1]], axis=1) for x in (near, far.positions)]
        assert np.allclose(*inside)


def test_the_choices_of_models_that_exist_serve_others(na_benzene_data: Dataset, tmp_path: Path) -> None:
    first = train(na_benzene_data, tmp_path / "first", replace(QUICK, sigmas=(6.0, 9.0)))
    more = replace(QUICK, points={"c6h6": 30, "binding": 28}, n_train=30)
    second = train(na_benzene_data, tmp_path / "second", more, choose=Like(first, Silent()))
    choices, others = (json.loads((path.parent / RECORD).read_text())["models"] for path in (first, second))
    for name, entry in choices.items():
        for key in ("group", "sigma", "lambda", "energies", "robust", "metric"):
            assert others[name][key] == entry[key]
        assert entry["trials"]
        assert others[name]["trials"] == []
    assert (others["c6h6"]["n_train"], others["binding"]["n_train"]) == (30, 28)


def test_labels_of_two_zeros_are_said(na_benzene_data: Dataset, tmp_path: Path) -> None:
    energies = na_benzene_data.energies.copy()
    energies[::2] += 23.0605
    two, heard = replace(na_benzene_data, energies=energies), Listener()
    train(two, tmp_path / "model", replace(QUICK, points={"binding": 20}), heard)
    (line,) = [line for line in heard.lines if "no model can learn both" in line]
    assert "one zero of energy: energies fall into 2 groups" in line
    assert "(1 eV) apart" in line
