"""`delta-sgdml evaluate` as a user runs it, on the shipped models and their held-out configurations."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import warm
from conftest import ROOT, held_out
from made_runs import write_run

from delta_server.data.dataset import fingerprint, load_dataset, save_dataset
from delta_server.molecule.structures import read_structure

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
FOLDER = ROOT / "models/h2o_benzene"
MANIFEST, BINDING = FOLDER / "manifest.yaml", FOLDER / "binding.npz"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty configurations that the models were not trained on."""
    path = tmp_path_factory.mktemp("held_out") / "reference.npz"
    save_dataset(path, held_out("h2o_benzene"))
    return path


def call(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [SGDML, "evaluate", *map(str, arguments)]
    return warm.run(command, folder)


def answer(folder: Path, *arguments: object) -> str:
    done = call(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def rewritten(reference: Path, path: Path, drop: tuple[str, ...] = (), **changes: object) -> Path:
    """The reference with some arrays changed or left out."""
    with np.load(reference) as arrays:
        np.savez(path, **{k: v for k, v in arrays.items() if k not in drop} | changes)  # type: ignore[arg-type]
    return path


def test_the_table(reference: Path, tmp_path: Path) -> None:
    lines = answer(tmp_path, MANIFEST, reference).splitlines()
    assert lines[0] == "h2o_benzene: 50 of 50 configurations evaluated, 0 left out"
    assert "training.json does not tell of this data set: nothing left out" in lines[1]
    rows = {line.split()[0]: line.split() for line in lines if line[:1].isalpha()}
    assert {"total", "water", "benzene", "binding"} < set(rows)
    energy, _, force = map(float, rows["total"][1:4])
    assert 0.001 < energy < 0.05
    assert 0.01 < force < 0.15
    assert rows["binding"][6] == "%"
    assert "energy (kcal/mol)" in lines[3]
    assert "force (kcal/mol/Å)" in lines[3]
    assert len([line for line in lines if "force RMSE" in line]) == 3
    assert not list(tmp_path.iterdir())


def test_json_and_a_picture_of_two_rivals(reference: Path, tmp_path: Path) -> None:
    rivals = ("--against", BINDING, "--against", ROOT / "models/h2o_benzene/manifest.yaml")
    said = json.loads(answer(tmp_path, MANIFEST, reference, *rivals, "--plot", "errors.png", "--json"))
    assert said["units"]["energy"] == "kcal/mol"
    assert said["units"]["force"] == "kcal/mol/Ang"
    assert said["evaluated"] == list(range(50))
    names = [model["name"] for model in said["models"]]
    assert names == ["h2o_benzene", "binding", "h2o_benzene/manifest.yaml"]
    mine, alone = said["models"][0]["parts"], said["models"][1]["parts"]
    assert [part["name"] for part in mine] == ["total", "water", "benzene", "binding"]
    (gain,) = said["improvement_of_the_first"]["binding"]
    assert gain["energy"] == pytest.approx(1 - mine[0]["energy_mae"] / alone[0]["energy_mae"])
    same = said["improvement_of_the_first"]["h2o_benzene/manifest.yaml"]
    assert [(g["part"], g["force"]) for g in same] == [(part["name"], 0) for part in mine]
    worst = said["models"][0]["worst"]
    assert [w["force_rmse"] for w in worst] == sorted((w["force_rmse"] for w in worst), reverse=True)
    assert worst[0]["force_rmse"] > mine[0]["force_rmse"]
    assert said["picture"] == "errors.png"
    picture = (tmp_path / "errors.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 30_000
    assert [path.name for path in tmp_path.iterdir()] == ["errors.png"]


def test_points_of_the_training_are_left_out_unless_all_are_asked_for(reference: Path, tmp_path: Path) -> None:
    data = load_dataset(reference)
    for file in FOLDER.iterdir():
        (tmp_path / file.name).symlink_to(file)
    record = {"dataset": {"fingerprint": fingerprint(data)}, "train": list(range(20)), "validation": [38]}
    (tmp_path / "training.json").unlink()
    (tmp_path / "training.json").write_text(json.dumps(record))
    text = answer(tmp_path, "manifest.yaml", reference)
    assert "29 of 50 configurations evaluated, 21 left out" in text
    assert "trained or validated on 21 of these configurations" in text
    some = json.loads(answer(tmp_path, "manifest.yaml", reference, "-n", 10, "--json"))
    assert len(set(some["evaluated"])) == 10
    assert set(some["evaluated"]) <= set(range(20, 50)) - {38}
    assert some == json.loads(answer(tmp_path, "manifest.yaml", reference, "-n", 10, "--json"))
    everything = json.loads(answer(tmp_path, "manifest.yaml", reference, "--all", "--json"))
    assert (len(everything["evaluated"]), everything["left_out"]) == (50, 0)


def test_totals_alone_and_another_theory(reference: Path, tmp_path: Path) -> None:
    data = rewritten(reference, tmp_path / "bare.npz", drop=("fragment", "E_frag", "F0"), theory="PBE0+MBD-NL")
    done = call(tmp_path, MANIFEST, data, "--plot", "errors.svg")
    assert done.returncode == 0
    assert "no labels of isolated fragments" in done.stdout
    assert "water " not in done.stdout
    (line,) = done.stderr.splitlines()
    assert "warning: h2o_benzene was made for 'GFN2-xTB (tblite 0.8.0)', the labels are of 'PBE0+MBD-NL'" in line
    assert "<svg" in (tmp_path / "errors.svg").read_text(encoding="utf-8")


def test_bad_input(reference: Path, tmp_path: Path) -> None:
    with np.load(reference) as arrays:
        order = np.r_[3:15, 0:3]
        turned = {k: arrays[k][:, order] for k in ("R", "F", "F0")} | {k: arrays[k][order] for k in ("z", "fragment")}
    rewritten(reference, tmp_path / "turned.npz", **turned)
    for arguments, words in (
        ((MANIFEST, "turned.npz"), "atom 0 is C, in h2o_benzene it is O: the same atoms in another order"),
        ((MANIFEST, "nothing.npz"), "nothing.npz: no such data set"),
        ((MANIFEST, BINDING), "type is 'm' (a trained model)"),
        ((MANIFEST, reference, "--against", reference), "reference.npz: type is 'd'"),
        ((MANIFEST, reference, "--against", FOLDER / "water.npz"), "has 15 atoms, water has 3"),
        ((MANIFEST, reference, "--against", "full.yaml"), "full.yaml"),
        ((MANIFEST, reference, "--against", "nonesuch"), "calculator 'nonesuch': "),
        ((MANIFEST, reference, "--plot", "errors.txt"), "errors.txt: expected a name that ends in .png"),
        ((MANIFEST, reference, "--plot", "there/errors.png"), "no folder there"),
        ((MANIFEST, reference, "-n", 0), "-n"),
    ):
        done = call(tmp_path, *arguments)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert words in done.stderr.splitlines()[-1], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["turned.npz"]


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A manifest of its own, and runs of two temperatures, two of them at one, with frames of its data set."""
    shutil.copytree(FOLDER, tmp_path / "models", ignore=shutil.ignore_patterns("full*", "own.json"))
    data = held_out("h2o_benzene", 12)
    symbols = read_structure(FOLDER / "geometry.xyz").symbols
    for name, kelvin in (("100K", 100.0), ("300K_1", 300.0), ("300K_2", 300.0)):
        write_run(tmp_path / f"sweep/{name}", data.positions, symbols, kelvin=kelvin, prefix=f"{name}_md")
    return tmp_path / "models/manifest.yaml", tmp_path / "sweep"


def test_its_own_dynamics(own: tuple[Path, Path], tmp_path: Path) -> None:
    """Held-out configurations in the place of its own: both errors are of one size. A second call labels nothing."""
    manifest, sweep = own
    words = (manifest, "--own", sweep, "--sample", 3, "-j", 1)
    told = json.loads(answer(tmp_path, *words, "--json"))
    rows = {(row["part"], row["temperature"]): row for row in told["own"]}
    assert set(rows) == {(p, t) for p in ("total", "water", "benzene", "binding") for t in (100.0, 300.0)}
    assert all(row["n"] == 3 and row["force_mae_error"] > 0 for row in rows.values())
    held = {row["part"]: row for row in told["held_out"]}
    for (part, _), row in rows.items():
        assert 0.01 < row["force_mae"] / held[part]["force_mae"] < 10
    (labels,) = sweep.glob("own-*")
    assert str(labels) == told["labels"]
    assert load_dataset(labels).labelled_fragments
    before = labels.stat().st_mtime_ns
    text = answer(tmp_path, *words)
    assert "energy (kcal/mol)" in text
    assert "own 100 K (3)" in text
    assert f"record: {manifest.parent / 'own.json'}" in text
    assert labels.stat().st_mtime_ns == before
    done = warm.run([SGDML, "check", "--no-walk", manifest], tmp_path)
    assert "6 frames of sweep; energy MAE" in done.stdout
    record = (manifest.parent / "own.json").read_bytes()
    fewer = call(tmp_path, *words[:-4], "--sample", 1, "-j", 1)
    assert "stays: a test on 6 frames, this one is on 2" in fewer.stderr
    other = call(tmp_path, *words[:-4], "--sample", 1, "-j", 1, "--calculator", "gfn1-xtb")
    assert other.returncode == 0, other.stderr
    assert "record: none" in other.stdout
    assert (manifest.parent / "own.json").read_bytes() == record


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "give a data set to evaluate on, or the model's own run: --own RUN"),
        (("--own", "sweep", "--all"), "--own goes without"),
        (("--own", "nowhere"), "nowhere: no such file or folder"),
        (("--own", "sweep", "--skip", "9"), "no frames after --skip 9 ps"),
        (("--own", "sweep", "--calculator", "nothing"), "nothing"),
    ],
)
def test_what_cannot_be_its_own(
    own: tuple[Path, Path], tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = call(tmp_path, own[0], *words)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
