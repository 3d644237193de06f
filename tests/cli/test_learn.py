"""`delta-sgdml learn`: begun, killed, gone on with, with labels from here and from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import warm
from conftest import ROOT

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
GEOMETRY = str(ROOT / "models/h2o_benzene/geometry.xyz")
FLAKY = ("--calculator", "flaky:Flaky")
QUICK = (
    "--temperatures",
    "150",
    "--test",
    "4",
    "--picks",
    "4",
    "--replicas",
    "2",
    "--time",
    "0.04",
    "--budget",
    "20",
)


def learn(folder: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = warm.run([SGDML, "learn", *arguments], folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def begin(folder: Path, trained: Path, *arguments: str) -> None:
    """A learning that begins with the small model and its data, and asks for more than it can be."""
    aim = ("--force", "0.001", "--energy", "0.3")
    learn(
        folder,
        "start",
        trained / "data.npz",
        "--model",
        trained / "manifest.yaml",
        "-o",
        "dir",
        *QUICK,
        *aim,
        *arguments,
    )


def records(folder: Path) -> list[dict[str, Any]]:
    """Of every round, without what depends on the time that it took."""
    made = []
    for path in sorted(folder.glob("dir/rounds/*/round.json")):
        content = json.loads(path.read_text())
        made.append({k: v for k, v in content.items() if k not in ("seconds", "training_s")})
    return made


@pytest.fixture(scope="module")
def undisturbed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a learning that was run to its end: its budget."""
    folder = tmp_path_factory.mktemp("undisturbed")
    begin(folder, trained, *FLAKY)
    done = learn(folder, "run", "dir", "-j", 1, code=1)
    (folder / "lines").write_text(done.stderr)
    line, manifest = done.stdout.splitlines()
    assert "dir: the budget of 20 labels is spent; missing: 150 K: force MAE" in line
    assert (folder / manifest).is_file()
    return folder


def test_rounds_test_before_they_learn(undisturbed: Path) -> None:
    _, first, last = records(undisturbed)
    assert [row["part"] for row in first["test"][:4]] == ["total", "water", "benzene", "binding"]
    assert [row["n"] for row in first["test"]] == [3] * 4 + [4] * 4
    assert first["tested"] == 0
    assert first["model"] == last["tested"] == 1
    assert {"water", "benzene", "binding"} >= {*first["needs"]} > set()
    assert first["spent"] == 12
    assert last["spent"] == 20
    assert (undisturbed / "dir/rounds/01/model/own.json").is_file()
    assert "own dynamics" in warm.run([SGDML, "check", "dir/rounds/01/model/manifest.yaml"], undisturbed).stdout


def test_frames_on_which_the_calculator_fails_are_left_out_and_listed(undisturbed: Path) -> None:
    (failed,) = json.loads((undisturbed / "dir/rounds/01/test.failures.json").read_text())
    assert "no convergence in 250 cycles" in failed["reason"]
    (line,) = [
        line
        for line in (undisturbed / "lines").read_text().splitlines()
        if line.startswith("round 1: labels (test): ")
    ]
    assert "1 of 8 frames have none, the first because: " in line


def test_status_and_report(undisturbed: Path) -> None:
    told = json.loads(learn(undisturbed, "status", "dir", "--json").stdout)
    assert told["spent"] == told["budget"] == 20
    assert [r["round"] for r in told["rounds"]] == [0, 1, 2]
    assert "150 K" in learn(undisturbed, "status", "dir").stdout
    learn(undisturbed, "report", "dir", "-o", "page.html")
    page = (undisturbed / "page.html").read_text()
    assert page.count("<svg") == 2
    assert "the budget of 20 labels is spent" in page
    assert "src=" not in page


def test_killed_and_gone_on_with_it_comes_to_the_same_end(undisturbed: Path, trained: Path, tmp_path: Path) -> None:
    begin(tmp_path, trained, *FLAKY)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    for file in ("rounds/01/asked/test.npz", "rounds/01/test.npz", "rounds/01/model/training.json"):
        process = warm.start([SGDML, "learn", "run", "dir", "-j", "1"], tmp_path, tmp_path / "log", env=environment)
        deadline = time.monotonic() + 60
        while not (tmp_path / "dir" / file).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
    learn(tmp_path, "run", "dir", "-j", 1, code=1)
    assert records(tmp_path) == records(undisturbed)


def test_where_labels_come_from_elsewhere_a_round_asks_for_them_once(trained: Path, tmp_path: Path) -> None:
    """What tests, and what each model would learn from; asked again, it waits for the same."""
    begin(tmp_path, trained, "--labels", "elsewhere")
    for _ in range(2):
        done = learn(tmp_path, "run", "dir", code=75)
        assert "then `delta-sgdml learn add dir FILE…`" in done.stdout
        names = sorted(f.stem for f in (tmp_path / "dir/to_label").iterdir())
        whole = [f"{what}_{molecule}" for what in ("picked", "test") for molecule in ("benzene", "complex", "water")]
        assert names == sorted(["alone_benzene_benzene", "alone_water_water", *whole])
    assert "round 1 awaits labels" in learn(tmp_path, "status", "dir").stdout
    assert len(records(tmp_path)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((GEOMETRY, "--budget", "60"), "--budget 60: one round takes 90 labels (60 first ones, 30 to test)"),
        ((GEOMETRY, "--temperatures", "100,-3"), "expected temperatures above 0 K"),
        ((GEOMETRY, "--temperatures", "warm"), "expected numbers, as in '100,300'"),
        ((GEOMETRY, "--charges", "1"), "there are 2 fragments"),
        ((GEOMETRY, "--model", "manifest.yaml"), "goes with the data set that it was trained on"),
        (("nothing.xyz",), "nothing.xyz"),
    ],
)
def test_what_cannot_be_begun(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = learn(tmp_path, "start", *arguments, "-o", "dir", code=2)
    (line,) = done.stderr.splitlines()
    assert words in line
    assert not (tmp_path / "dir").exists()


def test_what_cannot_be_gone_on_with(undisturbed: Path, tmp_path: Path) -> None:
    for command in ("run", "status", "report"):
        assert "no learning there (learn.json)" in learn(tmp_path, command, "dir", code=2).stderr
    assert "a learning is there already" in learn(undisturbed, "start", GEOMETRY, "-o", "dir", code=2).stderr
    assert "no labels are awaited" in learn(undisturbed, "add", "dir", GEOMETRY, code=2).stderr
    shutil.copytree(undisturbed / "dir", tmp_path / "dir")
    settings = tmp_path / "dir/learn.json"
    settings.write_text(settings.read_text().replace('"budget"', '"buget"'))
    assert "unknown key 'buget'; did you mean 'budget'?" in learn(tmp_path, "run", "dir", code=2).stderr
