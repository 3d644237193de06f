"""`delta-sgdml reduce` as a user runs it, on models of little data that are trained here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import warm
from conftest import ROOT

from delta_server import load_potential
from delta_server.checks import check_manifest
from delta_server.data.dataset import load_dataset, save_dataset
from delta_server.gdml.file import METRIC_FORMAT
from delta_server.training.evaluation.evaluate import evaluate
from delta_server.training.evaluation.heldout import RECORD
from delta_server.training.tasks import Recipe
from delta_server.training.trainer import train

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
ALL = {"benzene": 66, "binding": 78}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data.npz, Na⁺ on benzene, in `model` what was trained on it, and what does not go with it."""
    folder = tmp_path_factory.mktemp("reduce")
    whole = load_dataset(ROOT / "models/na_benzene/dataset.npz")
    data = whole.take(np.linspace(0, len(whole) - 1, 90).astype(int))
    save_dataset(folder / "data.npz", data)
    save_dataset(folder / "other.npz", data.take(np.arange(40)))
    recipe = Recipe(24, 20, sigmas=(8.0,), lams=(1e-6,), n_far=4, choose_group=False, robust=False)
    train(folder / "data.npz", folder / "model", recipe)
    (folder / "bare").mkdir()
    for file in (folder / "model").iterdir():
        if file.name != RECORD:
            (folder / "bare" / file.name).symlink_to(file)
    return folder


def call(folder: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [SGDML, "reduce", *map(str, arguments), "--threads", "1"]
    done = warm.run(command, folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def parsed(text: str) -> Any:
    """JSON by the standard, which knows no NaN."""

    def no(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=no)


def state(folder: Path) -> dict[Path, str]:
    return {path: sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_models_of_fewer_pairs(home: Path, tmp_path: Path) -> None:
    given = home / "model/manifest.yaml", home / "data.npz"
    done = call(tmp_path, *given, "-o", "few", "--keep", 0.9, "--fractions", 0.95)
    tables, last = done.stdout.rsplit("\n", 2)[:2]
    assert last == "few/manifest.yaml"
    few = tmp_path / "few"
    names = {"benzene.npz", "binding.npz", "geometry.xyz", "manifest.yaml", "reduction.json", "training.json"}
    assert {path.name for path in few.iterdir()} == names
    said, record = (parsed((few / name).read_text()) for name in ("reduction.json", RECORD))
    for name, every in ALL.items():
        chosen = said[name]["chosen"]
        assert chosen["pairs"] <= 0.9 * every
        assert record["models"][name]["metric"] == chosen["metric"]
        with np.load(few / f"{name}.npz") as file:
            assert str(file["format"]) == METRIC_FORMAT
            assert len(file["pairs"]) == chosen["pairs"]
        reached = f"{chosen['pairs_per_atom']:.2f} +{chosen['distance_90_percent_angstrom']:.2f}"
        reached += f" +{chosen['largest_distance_angstrom']:.2f} +{100 * chosen['kept_within']:.0f} %"
        assert re.search(f"^{name} +{chosen['pairs']} +{reached}", tables, re.M), tables

    assert [
        c for c in check_manifest(few / "manifest.yaml") if not c.passed and c.name != "separated fragments"
    ] == []
    data = load_dataset(home / "data.npz")
    before = json.loads((home / "model" / RECORD).read_text())
    assert [record[side] for side in ("train", "validation")] == [before[side] for side in ("train", "validation")]
    free = np.setdiff1d(np.arange(len(data)), record["train"] + record["validation"])
    found = evaluate(load_potential(few / "manifest.yaml"), data, free)
    assert found.binding is not None
    assert found.total.force_mae < 0.1 * np.abs(data.forces[free]).mean()
    assert found.binding.force_mae < 0.5 * np.abs(data.binding_forces()[free]).mean()

    # as a stop between the two models leaves it: what was tried for the first stays on record
    del record["models"]["binding"]
    (few / RECORD).write_text(json.dumps(record))
    said.pop("binding")
    (few / "reduction.json").write_text(json.dumps(said))
    again = call(tmp_path, *given, "-o", "few", "--keep", 0.9, "--fractions", 0.95)
    assert "\nbenzene " not in again.stdout
    assert "\nbinding " in again.stdout
    both = parsed((few / "reduction.json").read_text())
    assert set(both) == set(ALL)
    assert both["benzene"] == said["benzene"]


def test_a_machine_is_told_and_nothing_is_written(home: Path) -> None:
    before = state(home)
    done = call(home, "model/manifest.yaml", "data.npz", "--keep", 0.5, "--fractions", "0.7,0.3", "--json")
    assert state(home) == before
    said = parsed(done.stdout)
    assert set(said) == {"models"}
    assert set(said["models"]) == set(ALL)
    for name, model in said["models"].items():
        steps, chosen = model["importance"], model["chosen"]
        assert [steps[0][key] for key in ("pairs", "kept", "metric")] == [ALL[name], 1, "1/r"]
        assert len(steps) == 3  # all, 0.7 and 0.5, but not 0.3
        assert chosen["pairs"] == steps[-1]["pairs"] <= ALL[name] / 2
        assert chosen["kept"] == pytest.approx(chosen["pairs"] / ALL[name], abs=1e-4)
        assert 0 < chosen["distance_90_percent_angstrom"] <= chosen["largest_distance_angstrom"] < 8
        assert f"{name:10} importance  {chosen['pairs']:6d} pairs" in done.stderr
    binding = said["models"]["binding"]["chosen"]
    assert 66 * binding["kept_within"] + 12 * binding["kept_between"] == pytest.approx(binding["pairs"], abs=0.01)
    assert said["models"]["benzene"]["chosen"]["kept_between"] is None


def test_rivals_and_a_picture(home: Path, tmp_path: Path) -> None:
    given = home / "model/manifest.yaml", home / "data.npz"
    done = call(tmp_path, *given, "--fractions", 0.6, "--rivals", "--plot", "pairs.svg", "--json")
    said = parsed(done.stdout)["models"]
    assert set(said["benzene"]) == {"chosen", "importance", "shortest", "random"}
    assert set(said["binding"]) == {*said["benzene"], "within", "between"}
    assert [said["binding"][kind][0]["pairs"] for kind in ("within", "between")] == [66, 12]
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.svg"]
    text = (tmp_path / "pairs.svg").read_text(encoding="utf-8")
    for words in ("importance", "random", "all between fragments", "1.05 × all pairs", "sodium"):
        assert words in text
    assert f"binding: {said['binding']['chosen']['pairs']} of 78 pairs" in text


GIVEN = ("model/manifest.yaml", "data.npz")


@pytest.mark.parametrize(("arguments", "words"), [
    (("bare/manifest.yaml", "data.npz"), "bare/training.json: no record of a training"),
    (("model/manifest.yaml", "other.npz", "-o", "few"), "trained on another data set than"),
    (("nothing.yaml", "data.npz"), "nothing.yaml: no such manifest"),
    ((*GIVEN, "--fractions", "x"), "--fractions 'x': expected numbers such as 0.8,0.6,0.4"),
    ((*GIVEN, "--fractions", "0.8,80"), "expected numbers between 0 and 1"),
    ((*GIVEN, "--plot", "pairs.txt"), "pairs.txt: expected a name that ends in .png"),
    ((*GIVEN, "-o", "model", "--overwrite"), "model: holds the models that are to be reduced"),
])  # fmt: skip
def test_bad_input(home: Path, arguments: tuple[str, ...], words: str) -> None:
    """Before anything is computed: one line, nothing written, nothing lost."""
    before = state(home)
    done = call(home, *arguments, code=2)
    (line,) = done.stderr.splitlines()
    assert words in line
    assert line.startswith("delta-sgdml: ")
    assert done.stdout == ""
    assert state(home) == before


def test_the_others_stay_as_they_are(home: Path) -> None:
    options = ("--only", "binding", "--keep", 0.6, "--fractions", "0.6", "-o", "one")
    call(home, "model/manifest.yaml", "data.npz", *options)
    before, after = (load_potential(home / f / "manifest.yaml") for f in ("model", "one"))
    x = load_dataset(home / "data.npz").positions[:4]
    fragments = [potential.compute(x, "fragments").energy for potential in (before, after)]
    bindings = [potential.compute(x, "binding").energy for potential in (before, after)]
    assert np.array_equal(*fragments)
    assert not np.array_equal(*bindings)
    done = call(home, "model/manifest.yaml", "data.npz", "--only", "water", code=2)
    assert "there are benzene, binding" in done.stderr
