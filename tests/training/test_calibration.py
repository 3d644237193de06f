"""Expected errors of models that were trained without: what is added to which file, and that it is all or nothing."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from delta_server import load_potential
from delta_server.data.dataset import load_dataset, save_dataset
from delta_server.errors import DeltaError, InputError
from delta_server.files.whole import sha256_of
from delta_server.gdml import load_model, save_model
from delta_server.training.evaluation.calibration import calibrate_files

MODELS = ("water", "benzene", "binding")


@pytest.fixture
def older(trained: Path, tmp_path: Path) -> Path:
    """The trained folder as it would be without expected errors, one model in sGDML's form."""
    folder = Path(shutil.copytree(trained, tmp_path / "older"))
    text, record = (folder / "manifest.yaml").read_text(), json.loads((folder / "training.json").read_text())
    for name in MODELS:
        path = folder / f"{name}.npz"
        before = sha256_of(path)
        with np.load(path) as arrays:
            kept = {k: v for k, v in arrays.items() if k != "error_calibration"}
        np.savez_compressed(path, **kept)
        if name == "water":
            save_model(path, load_model(path), "sgdml")
        text = text.replace(before, sha256_of(path).upper() if name == "benzene" else sha256_of(path))
        record["models"][name] |= {"sha256": sha256_of(path), "calibration": None}
    (folder / "manifest.yaml").write_text("# by hand\n" + text)
    (folder / "training.json").write_text(json.dumps(record))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_training_stores_expected_errors(trained: Path) -> None:
    record = json.loads((trained / "training.json").read_text())["models"]
    for name in MODELS:
        calibration = load_model(trained / f"{name}.npz").calibration
        assert calibration is not None
        assert list(calibration) == record[name]["calibration"]


def test_models_trained_before_get_what_training_would_have_stored(trained: Path, older: Path) -> None:
    before = load_potential(older / "manifest.yaml").compute(load_dataset(older / "data.npz").positions[:3])
    members = {name: zipfile.ZipFile(older / f"{name}.npz").namelist() for name in MODELS}
    found = calibrate_files(older / "manifest.yaml", older / "data.npz")
    assert [(c.name, c.n) for c in found] == [(name, 60) for name in MODELS]
    record = json.loads((older / "training.json").read_text())["models"]
    for each in found:
        model = load_model(each.path, sha256=record[each.name]["sha256"])
        assert model.calibration == each.calibration
        assert tuple(record[each.name]["calibration"]) == each.calibration
        assert each.calibration == pytest.approx(load_model(trained / f"{each.name}.npz").calibration, rel=1e-3)
        assert zipfile.ZipFile(each.path).namelist() == [*members[each.name], "error_calibration.npy"]
        assert 0.3 < each.rank_correlation < 1
        assert 0.02 < each.force_rmse < 1
    potential = load_potential(older / "manifest.yaml")  # the digests are those of the files
    after = potential.compute(load_dataset(older / "data.npz").positions[:3])
    assert np.array_equal(after.forces, before.forces)
    assert (older / "manifest.yaml").read_text().startswith("# by hand\n")
    assert set(potential.uncertainty(potential.reference)) == {*MODELS, "total"}
    assert set(contents(older)) == set(contents(trained))


def test_calibrating_twice_changes_nothing(older: Path) -> None:
    calibrate_files(older / "manifest.yaml", older / "data.npz")
    once = contents(older)
    calibrate_files(older / "manifest.yaml", older / "data.npz")
    assert contents(older) == once


def other_data(folder: Path) -> None:
    data = load_dataset(folder / "data.npz")
    save_dataset(folder / "data.npz", data.take(slice(1, None)))


def other_molecule(folder: Path) -> None:
    shutil.copy(ROOT / "models/na_benzene/dataset.npz", folder / "data.npz")


def bad_index(folder: Path) -> None:
    record = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps(record | {"validation": [0, 600]}))


def few(folder: Path) -> None:
    record = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps(record | {"validation": [3, 4]}))


def no_labels(folder: Path) -> None:
    with np.load(folder / "data.npz") as arrays:
        kept = {k: v for k, v in arrays.items() if k not in ("E_frag", "F0")}
    np.savez(folder / "data.npz", **kept)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "training.json").unlink(), "training.json: no such record"),
        (lambda folder: (folder / "training.json").write_text("{}"), "is no record of `delta-sgdml train`"),
        (other_data, "tells of another data set"),
        (other_molecule, "not the same complex"),
        (bad_index, "expected a list of configurations, 0 to 599"),
        (few, "2 configurations, expected errors need 10"),
        (no_labels, "no labels of isolated fragments"),
        (lambda folder: (folder / "water.npz").write_bytes(b""), "water.npz"),
    ],
)
def test_what_cannot_be_calibrated_stays_as_it_is(older: Path, spoil: object, words: str) -> None:
    spoil(older)  # type: ignore[operator]
    before = contents(older)
    with pytest.raises(DeltaError, match=words):
        calibrate_files(older / "manifest.yaml", older / "data.npz")
    assert contents(older) == before


def test_a_file_that_cannot_be_written_is_told(older: Path) -> None:
    before = contents(older)
    in_the_way = older / f".training.json.{os.getpid()}.part"
    in_the_way.mkdir()
    with pytest.raises(InputError, match=r"training.json.*: cannot be written: Is a directory; nothing was changed"):
        calibrate_files(older / "manifest.yaml", older / "data.npz")
    in_the_way.rmdir()
    assert contents(older) == before
