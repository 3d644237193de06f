"""The road from a data set to dynamics under i-PI, as a user goes it, and where it ends early."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import warm
from conftest import ROOT

from delta_server.data.dataset import load_dataset, save_dataset

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))


def call(folder: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = warm.run([SGDML, *arguments], folder)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """60 configurations of Na⁺ on benzene."""
    whole = load_dataset(ROOT / "models/na_benzene/dataset.npz")
    save_dataset(tmp_path / "data.npz", whole.take(np.linspace(0, len(whole) - 1, 60).astype(int)))
    return tmp_path / "data.npz"


def test_from_a_data_set_to_dynamics(data: Path, tmp_path: Path) -> None:
    quick = ("--sigma", 8, "--lambda", "1e-6", "--n-validation", 12, "--threads", 1)
    done = call(tmp_path, "train", data, "-n", 20, "-o", "model", "--full", "sgdml,graph", *quick)
    assert done.stdout == "model/manifest.yaml\n"
    assert "validation force MAE" in done.stderr
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {
        "benzene.npz", "binding.npz", "full.npz", "full.yaml", "full_graph.npz", "full_graph.yaml", "manifest.yaml",
        "geometry.xyz", "training.json",
    }  # fmt: skip
    again = call(tmp_path, "train", data, "-n", 20, "-o", "model", "--full", "graph,sgdml", *quick)
    assert "goes on after benzene, binding, full, full_graph" in again.stderr
    header = next(line for line in done.stderr.splitlines() if line.split()[:2] == ["symmetry", "perms"])
    assert {"metric", "robust", "σ", "λ"} <= set(header.split())
    assert max(len(line) for line in done.stderr.splitlines() if line.startswith("  ")) <= 100
    assert "model: 4 models in " in done.stderr
    other = call(tmp_path, "train", "--full", data, "-n", 18, "-o", "model", *quick, code=2)
    assert "full was ['sgdml', 'graph'], now ['sgdml']" in other.stderr
    assert "n_train was 20, now 18" in other.stderr
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.yaml").write_text("mine")
    assert "give --overwrite" in call(tmp_path, "train", data, "-n", 20, "-o", foreign, *quick, code=2).stderr

    rivals = ("--against", "model/full.yaml", "--against", "model/full_graph.yaml")
    told = call(tmp_path, "evaluate", "model/manifest.yaml", data, *rivals).stdout.splitlines()
    ladder = told[told.index("total, MAE (kcal/mol, kcal/mol/Å), and how much of the one above each leaves out") :]
    assert [line.split()[0] for line in ladder[2:5]] == ["full", "full_graph", "na_benzene"]
    assert ladder[3].endswith("%")
    said = json.loads(
        call(tmp_path, "evaluate", "model/manifest.yaml", data, "--against", "model/full.yaml", "--json",
             "--curve", "10,20", "--plot", "errors.png").stdout
    )  # fmt: skip
    assert len(said["evaluated"]) == 28
    assert said["improvement_of_the_first"]["full"][0]["part"] == "total"
    assert [e["name"] for e in said["curve"]] == ["10", "20"]
    assert (tmp_path / "errors.png").stat().st_size > 10_000
    assert (tmp_path / "errors_curve.png").stat().st_size > 10_000

    switched = call(tmp_path, "train", data, "-n", 20, "-o", "switched", "--switch", 1, *quick, code=2)
    assert switched.stderr.strip().endswith("--switch goes with --cutoff")

    record = (tmp_path / "model/training.json").read_bytes()
    for wrong in (("nothing.npz",), (data, "--points", "wine=10")):
        call(tmp_path, "train", *wrong, "-o", "model", "-n", 20, "--overwrite", code=2)
    assert (tmp_path / "model/training.json").read_bytes() == record

    assert (
        "18 steps" not in call(tmp_path, "input", "model/manifest.yaml", "-o", "run/nvt.xml", "--time", 0.01).stdout
    )
    call(tmp_path, "run", "run/nvt.xml", "model/manifest.yaml", "--dir", "out")
    assert len((tmp_path / "out/nvt.out").read_text().splitlines()) > 1
    assert (
        "exists; give --overwrite"
        in call(tmp_path, "input", "model/manifest.yaml", "-o", "run/nvt.xml", code=2).stderr
    )


@pytest.mark.parametrize(("arguments", "message"), [
    (("nothing.npz",), "nothing.npz: no such data set"),
    (("data.npz", "-n", 100), "the data set has 60"),
    (("data.npz", "-n", 20, "--lambda", "inf"), "--lambda inf: expected finite numbers"),
    (("data.npz", "-n", 20, "--structure", "data.npz"), "ase cannot read a structure"),
    (("data.npz", "--points", "binding=20,water=10"), "no such model; there are benzene, binding"),
    (("data.npz", "--full=grap"), "--full 'grap': expected some of sgdml, graph, auto"),
    (("data.npz", "--basis", 10, "--trainer", "sgdml"), "a basis: stock sGDML"),
    (("data.npz", "--points", "binding"), "'binding': expected a number such as 100, for models by name"),
    (("data.npz", "--basis", "binding=5,water=auto"), "basis of water: no such model"),
    (("data.npz", "--reduce", "auto,binding=1.5"), "'auto,binding=1.5': expected auto or a number such as 0.5"),
    (("data.npz", "-n", 20, "--like", "nothing.yaml"), "training.json: no such record"),
    (("data.npz", "-n", 20, "--trainer", "sgdml", "--sigma", 8, "--lambda", "1e-8"), "absolute λ only"),
])  # fmt: skip
def test_bad_input(data: Path, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    done = call(tmp_path, "train", *arguments, "-o", "model", "--n-validation", 12, "--threads", 1, code=2)
    (*_, line) = done.stderr.splitlines()
    assert message in line
    assert line.startswith("delta-sgdml: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model" / "manifest.yaml").exists()
