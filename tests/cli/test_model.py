"""delta-sgdml model, as a user calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
from ase.build import molecule
from ase.io import write
from conftest import ROOT
from made import made_model

from delta_server import load_potential
from delta_server.gdml import compare, load_model

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
BINDING = ROOT / "models/na_benzene/binding.npz"


def call(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [SGDML, "model", *map(str, arguments)]
    return warm.run(command, folder)


def answer(folder: Path, *arguments: object) -> str:
    done = call(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_model_is_converted_there_and_back(tmp_path: Path) -> None:
    there = answer(tmp_path, "convert", BINDING, "-o", "there.npz")
    assert "(native, " in there
    assert "→ there.npz (sgdml, " in there
    assert "kcal/mol/Å" in there
    digest = sha256((tmp_path / "there.npz").read_bytes()).hexdigest()
    assert f"sha256: {digest}" in there
    assert "a manifest that names this file by its sha256" in there
    back = json.loads(answer(tmp_path, "convert", "there.npz", "-o", "back.npz", "--json"))
    assert (back["from"], back["form"]) == ("sgdml", "native")
    assert back["bytes"] == (tmp_path / "back.npz").stat().st_size
    assert 0 < back["difference_kcal_mol_angstrom"]["energy"] < 1e-5
    found = compare(load_model(BINDING), load_model(tmp_path / "back.npz"))
    assert 0 < found.energy < 1e-5
    assert 0 < found.forces < 1e-5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back.npz", "there.npz"]


def test_what_is_in_a_file(tmp_path: Path) -> None:
    text = answer(tmp_path, "info", BINDING)
    for words in ("C6H6Na, 13 atoms", "1000, energies in the fit", "GFN2-xTB", "kcal/mol"):
        assert words in text
    found = json.loads(answer(tmp_path, "info", BINDING, "--json"))
    assert found["form"] == "native"
    assert (found["atoms"], found["training_points"], found["permutations"]) == (13, 1000, 12)
    model = load_model(BINDING)
    assert (found["sigma"], found["lam"], tuple(found["calibration"])) == (model.sigma, model.lam, model.calibration)
    assert found["bytes_on_disk"] == BINDING.stat().st_size
    assert found["sha256"] == sha256(BINDING.read_bytes()).hexdigest()


def test_a_calibration_is_shown_and_kept(tmp_path: Path) -> None:
    with np.load(BINDING) as data:
        np.savez(tmp_path / "a.npz", **{**data, "error_calibration": [0.25, 0.5, 1.25]})
    assert "0.5 s^1.25 kcal/mol/Ang, s of length 0.25" in answer(tmp_path, "info", "a.npz")
    answer(tmp_path, "convert", "a.npz", "-o", "b.npz")
    answer(tmp_path, "convert", "b.npz", "-o", "c.npz")
    for name in ("b.npz", "c.npz"):
        assert json.loads(answer(tmp_path, "info", name, "--json"))["calibration"] == [0.25, 0.5, 1.25]


def test_units_that_the_file_does_not_carry_are_written_into_the_next(tmp_path: Path) -> None:
    with np.load(ROOT / "models/methane_dimer/methane.npz") as data:
        np.savez(tmp_path / "bare.npz", **{k: v for k, v in data.items() if not k.endswith("_unit")})
    assert "length unit" in call(tmp_path, "info", "bare.npz").stderr
    units = ("--length-unit", "Ang", "--energy-unit", "kcal/mol")
    answer(tmp_path, "convert", "bare.npz", "-o", "native.npz", *units)
    assert json.loads(answer(tmp_path, "info", "native.npz", "--json"))["energy_unit"] == "kcal/mol"


def model(folder: Path) -> Path:
    return Path(shutil.copy(BINDING, folder / "model.npz"))


def random_weights(folder: Path) -> Path:
    positions = 3 * np.random.default_rng(0).standard_normal((8, 3))
    return made_model(folder / "model.npz", np.full(8, 6), positions, [range(8)], n_train=3, seed=0)


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (Path, ["info", "model.npz"], ["model.npz", "no such model"]),
        (Path, ["convert", "model.npz", "-o", "out.npz"], ["model.npz", "no such model"]),
        (Path, ["info", ROOT / "models/h2o_benzene/dataset.npz"], ["dataset.npz", "type is 'd'"]),
        (model, ["convert", "model.npz", "-o", "model.npz"], ["is the model itself"]),
        (model, ["convert", "model.npz", "-o", "."], ["no regular file"]),
        (model, ["convert", "model.npz", "-o", "nowhere/out.npz"], ["no such directory"]),
        (model, ["info", "model.npz", "--length-unit", "bohr"], ["'Ang'", "'bohr'"]),
        (model, ["convert", "model.npz", "-o", "out.npz", "--energy-unit", "cal"], ["'cal'", "kcal/mol"]),
        (random_weights, ["convert", "model.npz", "-o", "out.npz"], ["model.npz: ", "not those of a training"]),
        (model, ["convert", "model.npz"], ["--output"]),
    ],
)
def test_bad_input(tmp_path: Path, make: Callable[[Path], Any], arguments: list[object], words: list[str]) -> None:
    make(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    done = call(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.splitlines()[-1]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_manifest_for_models_that_exist(tmp_path: Path) -> None:
    models = ROOT / "models/h2o_benzene"
    parts = [models / "water.npz", models / "benzene.npz"]
    binding = ["--binding", models / "binding.npz", "-o", "own.yaml"]
    said = answer(tmp_path, "manifest", *parts, *binding, "--structure", models / "geometry.xyz")
    assert "h2o, c6h6" in said
    own, shipped = (load_potential(path) for path in (tmp_path / "own.yaml", models / "manifest.yaml"))
    frame = shipped.reference[None]
    assert own.compute(frame).energy == pytest.approx(shipped.compute(frame).energy, abs=0)
    again = call(tmp_path, "manifest", *parts, *binding)
    assert "exists; give --overwrite" in again.stderr
    other = call(tmp_path, "manifest", *parts[::-1], *binding, "--overwrite")
    assert other.returncode == 2
    assert "give the fragments in its order" in other.stderr


def test_a_manifest_starts_from_a_bound_complex(tmp_path: Path) -> None:
    """Whose geometry is a training point, of which the first may be pulled apart."""
    models = ROOT / "models/h2o_benzene"
    parts = [models / "water.npz", models / "benzene.npz"]
    answer(tmp_path, "manifest", *parts, "--binding", models / "binding.npz", "-o", "own.yaml")
    potential = load_potential(tmp_path / "own.yaml")
    assert potential.compute(potential.reference[None], part="binding").energy[0] < -0.05  # eV
    lone = call(tmp_path, "manifest", *parts, "-o", "lone.yaml")
    assert (lone.returncode, "no model of the binding" in lone.stderr) == (2, True)
    answer(tmp_path, "manifest", *parts, "-o", "lone.yaml", "--structure", models / "geometry.xyz")
    assert load_potential(tmp_path / "lone.yaml").bindings == ()


def test_a_manifest_in_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/deep")
    water = shutil.copy(ROOT / "models/h2o_benzene/water.npz", tmp_path)
    write(tmp_path / "water.xyz", molecule("H2O"))
    answer(tmp_path, "manifest", water, "-o", "link/own.yaml", "--structure", "water.xyz")
    assert load_potential(tmp_path / "real/deep/own.yaml").n_atoms == 3


def test_an_ion_of_a_manifest_has_an_energy(tmp_path: Path) -> None:
    models = ROOT / "models/na_benzene"
    shipped = load_potential(models / "manifest.yaml")
    rest = [models / "benzene.npz", "--binding", models / "binding.npz", "-o", "own.yaml"]
    given = [*rest, "--structure", models / "geometry.xyz"]
    answer(tmp_path, "manifest", "Na=122.66904509206462kcal/mol", *given)
    frame = shipped.reference[None]
    assert load_potential(tmp_path / "own.yaml").compute(frame).energy == pytest.approx(
        shipped.compute(frame).energy, abs=0
    )
    for ion in ("Na=5.3", "Xx=1eV", "Na=naneV"):
        wrong = call(tmp_path, "manifest", ion, *given, "--overwrite")
        assert wrong.returncode == 2
        assert f"{ion}: no such file; an ion is its element and its energy" in wrong.stderr
