"""`delta-sgdml analyze descriptor` on the shipped data, as a user asks for it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import warm
from conftest import ROOT

from delta_server.data.dataset import load_dataset, save_dataset

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
SYSTEMS = ("c60_buckycatcher", "h2o_benzene", "na_benzene")


def data_of(system: str) -> Path:
    return ROOT / "models" / system / "dataset.npz"


def call(folder: Path, *arguments: object, code: int = 0) -> str:
    command = [SGDML, "analyze", "descriptor", *map(str, arguments)]
    done = warm.run(command, folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
    return done.stderr if code else done.stdout


def test_one_system(tmp_path: Path) -> None:
    """C60 in the buckycatcher: half of the pairs of atoms are between the two and make most of z², though binding
    is a hundredth of the force."""
    data = load_dataset(data_of("c60_buckycatcher"))
    save_dataset(tmp_path / "c60_buckycatcher.npz", data.take(np.arange(280)))  # bound, 400 K
    command = ("c60_buckycatcher.npz", "--pairs", 1000)
    said = json.loads(call(tmp_path, *command, "--json"))
    (one,) = said["datasets"]
    assert said["units"] == {"z2": "1/Ang^2", "sigma": "1/Ang", "force": "kcal/mol/Ang"}
    assert (one["name"], one["atoms"], one["pairs"]) == ("c60_buckycatcher", 148, 1000)
    assert [part["entries"] for part in one["parts"]] == [60 * 59 // 2, 88 * 87 // 2, 60 * 88]
    assert sum(part["contribution"] for part in one["parts"]) == pytest.approx(one["z2"])
    assert 0.65 < one["share_between"] < 0.85
    assert 1.5 < one["sigma_ratio"] < 2.2
    assert one["sigma_ratio"] == one["sigma_inter"] / one["sigma_intra"]
    forces = one["forces"]
    assert 0.005 < forces["binding"]["median"] / forces["isolated"]["median"] < 0.02
    table = call(tmp_path, *command, "--plot", "d.png")
    picture = (tmp_path / "d.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000
    assert "between c60–catcher    5280      48.5" in table
    assert f"σ_inter/σ_intra = {one['sigma_ratio']:.2f}" in table
    assert f"{one['drift']:.2f} times larger for configurations far apart in time" in table
    assert "picture: d.png" in table


def test_far_apart_in_time(tmp_path: Path) -> None:
    """C60 turns slowly: the longer one waits, the larger the part between."""
    command = (data_of("c60_buckycatcher"), "--pairs", 500, "--json")
    every, far = (json.loads(call(tmp_path, *command, *more))["datasets"][0] for more in ((), ("--apart", 250)))
    assert far["sigma_inter"] > 1.2 * every["sigma_inter"]
    assert far["sigma_intra"] == pytest.approx(every["sigma_intra"], rel=0.1)


def test_several_systems(tmp_path: Path) -> None:
    files = [data_of(system) for system in SYSTEMS]
    rows = call(tmp_path, *files, "--pairs", 300, "--plot", "all.svg").splitlines()
    said = json.loads(call(tmp_path, *files, "--pairs", 300, "--json"))
    assert [row.split()[0] for row in rows[1:4]] == list(SYSTEMS)
    for row, one, path in zip(rows[1:4], said["datasets"], files, strict=True):
        assert one["file"] == str(path)
        assert f"{100 * one['share_between']:.1f}" in row
        assert f"{one['sigma_ratio']:.2f}" in row
    assert said["picture"] is None
    assert (tmp_path / "all.svg").stat().st_size > 5000


def test_what_it_cannot_use(tmp_path: Path) -> None:
    data = load_dataset(data_of("na_benzene"))
    save_dataset(tmp_path / "bare.npz", replace(data, fragment=None, fragment_energies=None, fragment_forces=None))
    save_dataset(tmp_path / "one.npz", data.take(slice(0, 1)))  # type: ignore[arg-type]
    said = call(tmp_path, "bare.npz", code=2)
    assert "bare.npz: no labels of isolated fragments" in said
    assert "delta-sgdml dataset label bare.npz -o labelled.npz" in said
    assert "one configuration" in call(tmp_path, "one.npz", code=2)
    assert "none.npz" in call(tmp_path, "none.npz", code=2)
    assert "no folder" in call(tmp_path, data_of("na_benzene"), "--plot", "nowhere/d.png", code=2)
    assert "frames apart" in call(tmp_path, data_of("na_benzene"), "--apart", 10**6, code=2)


def test_help(tmp_path: Path) -> None:
    said = call(tmp_path, "--help")
    assert "Example: delta-sgdml analyze descriptor" in " ".join(said.split())
