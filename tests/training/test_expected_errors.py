"""Expected errors of the sum, in Python and as a user asks for them: predict, model calibrate, dataset select."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import warm
import yaml
from conftest import ROOT, bound

from delta_server import load_potential
from delta_server.data.dataset import load_dataset
from delta_server.errors import GeometryError, ManifestError, ModelFileError
from delta_server.terms.base import Frames
from delta_server.training.evaluation.expected_errors import rank_correlation
from delta_server.units import KCAL_MOL

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
TERMS = ("water", "benzene", "binding")


def call(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [SGDML, *map(str, arguments)]
    return warm.run(command, folder)


def answer(folder: Path, *arguments: object) -> str:
    done = call(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """30 frames, the first of which is there twice."""
    data = bound("h2o_benzene")
    positions = data.positions[1::83]
    path = tmp_path / "run.xyz"
    ase.io.write(path, [ase.Atoms(data.numbers, x) for x in (*positions, positions[0])])
    return path


@pytest.fixture
def uncalibrated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of the same models without expected errors."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("models") / "uncalibrated"))
    for name in TERMS:
        with np.load(folder / f"{name}.npz") as arrays:
            kept = {k: v for k, v in arrays.items() if k != "error_calibration"}
        np.savez(folder / f"{name}.npz", **kept)
    manifest = folder / "manifest.yaml"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if "sha256" not in line))
    return manifest


def test_squares_add_up_by_atoms(trained: Path) -> None:
    potential = load_potential(trained / "manifest.yaml")
    x = load_dataset(trained / "data.npz").positions[:7]
    whole = potential.uncertainty(x)
    assert list(whole) == [*TERMS, "total"]
    assert {e.shape for e in whole.values()} == {(7,)}
    squares = 3 / 15 * whole["water"] ** 2 + 12 / 15 * whole["benzene"] ** 2
    assert whole["total"] == pytest.approx(np.sqrt(squares + whole["binding"] ** 2))
    assert potential.uncertainty(x, "fragments")["total"] == pytest.approx(np.sqrt(squares))
    assert potential.uncertainty(x, "binding")["total"] == pytest.approx(whole["binding"])
    one = potential.uncertainty(x[2])
    assert one["binding"] == pytest.approx(whole["binding"][2])
    assert np.ndim(one["total"]) == 0
    with pytest.raises(GeometryError, match="shape"):
        potential.uncertainty(x[:, :4])


def test_the_total_orders_the_errors_of_the_sum(trained: Path) -> None:
    data = bound("h2o_benzene")
    unseen = np.setdiff1d(np.arange(len(data)), np.arange(0, len(data), 4))[::5]  # data.npz has every fourth
    potential = load_potential(trained / "manifest.yaml")
    wrong = potential.compute(data.positions[unseen]).forces / KCAL_MOL - data.forces[unseen]
    true = np.sqrt((wrong**2).mean((1, 2)))
    expected = potential.uncertainty(data.positions[unseen])["total"] / KCAL_MOL
    assert rank_correlation(expected, true) > 0.6
    assert np.sqrt((expected**2).mean()) == pytest.approx(np.sqrt((true**2).mean()), rel=0.25)


def test_an_ion_has_no_error_and_a_fragment_is_not_called_total(
    trained: Path, na_benzene: Path, tmp_path: Path
) -> None:
    potential = load_potential(na_benzene)
    (ion,) = (term for term in potential.terms if term.names == ("sodium",))
    errors = ion.expected_error(Frames(np.stack([potential.reference] * 2)))
    assert errors is not None
    assert errors.tolist() == [[0.0], [0.0]]
    folder = Path(shutil.copytree(trained, tmp_path / "copy"))
    manifest = folder / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("name: water", "name: total"))
    with pytest.raises(ManifestError, match="'total' and names that start with 'binding' are taken"):
        load_potential(manifest)


def test_predict_tells_them(trained: Path, frames: Path, tmp_path: Path) -> None:
    manifest = trained / "manifest.yaml"
    said = json.loads(answer(tmp_path, "predict", manifest, frames, "--uncertainty", "--json"))
    assert (said["unit"], said["error_unit"]) == ("eV", "eV/Ang")
    x = np.stack([a.positions for a in ase.io.read(frames, ":")])
    for name, errors in load_potential(manifest).uncertainty(x).items():
        assert [row[f"error_{name}"] for row in said["frames"]] == pytest.approx(errors, rel=1e-6)
    table = answer(tmp_path, "predict", manifest, frames, "--uncertainty")
    assert "energy_binding (eV)" in table
    assert "error_binding (eV/Å)" in table
    answer(tmp_path, "predict", manifest, frames, "--uncertainty", "--part", "binding", "-o", "out.extxyz")
    info = ase.io.read(tmp_path / "out.extxyz", 3).info
    assert {k for k in info if k.startswith("error_")} == {"error_binding", "error_total"}
    assert info["error_binding"] == pytest.approx(said["frames"][3]["error_binding"])
    plain = json.loads(answer(tmp_path, "predict", manifest, frames, "--json"))
    assert "error" not in json.dumps(plain)


def test_without_calibration_nothing_is_written(frames: Path, tmp_path: Path, uncalibrated: Path) -> None:
    potential = load_potential(uncalibrated)
    with pytest.raises(ModelFileError, match="water: the model has no error calibration"):
        potential.uncertainty(potential.reference)
    done = call(tmp_path, "predict", uncalibrated, frames, "--uncertainty", "-o", "out.extxyz")
    assert done.returncode == 2
    assert (
        "the model has no error calibration; `delta-sgdml model calibrate MANIFEST DATASET` adds one" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["run.xyz"]


def test_calibrate(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "models"))
    _, *lines = answer(folder, "model", "calibrate", "manifest.yaml", "data.npz").splitlines()
    assert [line.split()[0] for line in lines[:3]] == list(TERMS)
    assert lines[2].split()[-3] == "60"  # configurations
    assert lines[4] == "written into the models, manifest.yaml and its training.json"
    said = json.loads(answer(folder, "model", "calibrate", "manifest.yaml", "data.npz", "--json"))
    assert said["force_rmse_unit"] == "kcal/mol/Ang"
    assert [model["name"] for model in said["models"]] == list(TERMS)
    info = json.loads(answer(folder, "model", "info", "binding.npz", "--json"))
    assert info["calibration"] == said["models"][2]["calibration"]
    done = call(folder, "model", "calibrate", "manifest.yaml", ROOT / "models/na_benzene/dataset.npz")
    assert (done.returncode, done.stdout) == (2, "")
    assert "not the same complex" in done.stderr


def test_select(trained: Path, frames: Path, tmp_path: Path) -> None:
    manifest = trained / "manifest.yaml"
    said = json.loads(answer(tmp_path, "dataset", "select", frames, manifest, "-n", 5, "-o", "out.extxyz", "--json"))
    assert (said["candidates"], said["left_out"], said["unit"]) == (30, 0, "kcal/mol/Ang")
    picked = [row["frame"] for row in said["frames"]]
    everything = ase.io.read(frames, ":")
    for i, atoms in zip(picked, ase.io.read(tmp_path / "out.extxyz", ":"), strict=True):
        assert atoms.info["frame"] == i
        assert atoms.positions == pytest.approx(everything[i].positions, abs=1e-6)
    left = [row["left_error"] for row in said["frames"]]
    assert left == sorted(left, reverse=True)
    total = load_potential(manifest).uncertainty(np.stack([a.positions for a in everything]))["total"] / KCAL_MOL
    assert picked[0] == total.argmax()
    assert [row["expected_error"] for row in said["frames"]] == pytest.approx(total[picked], rel=1e-6)

    arguments = ("dataset", "select", frames, manifest, "-n", 40, "--term", "benzene", "-o", "all.xyz")
    lines = answer(tmp_path, *arguments).splitlines()
    assert lines[-2] == "29 of 30 frames → all.xyz"  # one is there twice
    assert lines[-1] == "all others are copies of these or of training points"
    thin = json.loads(answer(tmp_path, *arguments, "--every", 7, "--overwrite", "--json"))
    assert sorted(row["frame"] for row in thin["frames"]) == [0, 7, 14, 21, 28]


def test_select_leaves_out_what_is_no_such_molecule(trained: Path, frames: Path, tmp_path: Path) -> None:
    everything = ase.io.read(frames, ":")
    everything[4].positions[1] += 3.0  # a hydrogen gone
    ase.io.write(frames, everything)
    done = call(
        tmp_path, "dataset", "select", frames, trained / "manifest.yaml", "-n", 3, "-o", "out.extxyz", "--json"
    )
    assert done.returncode == 0
    assert "1 of 30 frames cannot be h2o_benzene" in done.stderr
    assert "the first is 4" in done.stderr
    said = json.loads(done.stdout)
    assert said["left_out"] == 1
    assert 4 not in [row["frame"] for row in said["frames"]]


def test_select_bad_input(trained: Path, frames: Path, tmp_path: Path, uncalibrated: Path) -> None:
    manifest = trained / "manifest.yaml"
    squeezed = ase.io.read(frames, ":")
    for atoms in squeezed:
        atoms.positions /= 1.8897
    ase.io.write(tmp_path / "bohr.xyz", squeezed)
    before = sorted(p.name for p in tmp_path.iterdir())
    for arguments, words in (
        ((frames, manifest, "-o", "out.txt"), "out.txt: expected a name that ends in .extxyz"),
        ((frames, manifest, "-o", "there/out.xyz"), "no folder there"),
        ((frames, manifest, "-o", "out.xyz", "--term", "wine"), "no term 'wine'"),
        ((frames, uncalibrated, "-o", "out.xyz"), "no error calibration"),
        ((ROOT / "models/na_benzene/geometry.xyz", manifest, "-o", "out.xyz"), "expected 15 (C6H8O)"),
        (("bohr.xyz", manifest, "-o", "out.xyz"), "0.53 times too short"),
        (("none.xyz", manifest, "-o", "out.xyz"), "none.xyz: no such file"),
    ):
        done = call(tmp_path, "dataset", "select", *arguments)
        assert (done.returncode, done.stdout) in ((2, ""), (6, "")), done.stderr
        assert "Traceback" not in done.stderr
        assert words in done.stderr.splitlines()[-1], done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_several_bindings_share_by_their_atoms(trained: Path, tmp_path: Path) -> None:
    """The same binding said as one between two fragments."""
    folder = Path(shutil.copytree(trained, tmp_path / "models"))
    manifest = folder / "manifest.yaml"
    entries = yaml.safe_load(manifest.read_text())
    entries["binding"] = [entries["binding"] | {"between": ["water", "benzene"]}]
    manifest.write_text(yaml.safe_dump(entries))
    plain, named = load_potential(trained / "manifest.yaml"), load_potential(manifest)
    here, there = plain.uncertainty(plain.reference), named.uncertainty(plain.reference)
    assert there["binding_water_benzene"] == pytest.approx(here["binding"])
    assert there["binding"] == pytest.approx(here["binding"])
    assert there["total"] == pytest.approx(here["total"])
