"""`delta-sgdml predict` on trajectories: molecules that wrapping cut, and frames that are not this molecule."""

from __future__ import annotations

import json
import re
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import warm
from ase import Atoms
from ase.io import read, write

from delta_server import load_potential

CELL = np.array([[13.0, 0.0, 0.0], [3.0, 14.0, 0.0], [-4.0, 2.0, 13.0]])


@pytest.fixture
def frames(h2o_benzene: Path) -> list[Atoms]:
    """A motion across the cell, not wrapped."""
    potential = load_potential(h2o_benzene)
    rng = np.random.default_rng(1)
    x = potential.reference + 0.02 * rng.standard_normal((20, 15, 3)) + np.arange(20)[:, None, None] * 0.7
    return [Atoms(potential.numbers, frame, cell=CELL, pbc=True) for frame in x]


def predict(manifest: Path, folder: Path, frames: list[Atoms], *options: str) -> CompletedProcess[str]:
    write(folder / "frames.extxyz", frames)
    return warm.run(["delta-sgdml", "predict", manifest, "frames.extxyz", *options], folder)


def energies(done: CompletedProcess[str]) -> list[float]:
    assert done.returncode == 0, done.stderr
    return [row["energy"] for row in json.loads(done.stdout)["frames"]]


def wrap(frames: list[Atoms]) -> list[Atoms]:
    for atoms in frames:
        atoms.wrap()
    return frames


def test_wrapped_frames_are_made_whole(h2o_benzene: Path, tmp_path: Path, frames: list[Atoms]) -> None:
    """Energies, forces and what is written are those of whole molecules."""
    expected = energies(predict(h2o_benzene, tmp_path, frames, "--json"))
    wrap(frames)
    done = predict(h2o_benzene, tmp_path, frames, "--json")
    assert energies(done) == pytest.approx(expected, abs=1e-5)  # eight digits in the file
    assert done.stderr == ""
    assert json.loads(done.stdout)["unlike"] == []
    assert predict(h2o_benzene, tmp_path, frames, "-o", "out.extxyz").returncode == 0
    potential = load_potential(h2o_benzene)
    for atoms in read(tmp_path / "out.extxyz", ":"):
        potential.check_geometry(atoms.positions)
        assert potential.compute(atoms.positions).energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)


def test_wrapped_frames_without_their_cell(h2o_benzene: Path, tmp_path: Path, frames: list[Atoms]) -> None:
    """The first of them ends it, with its number and the likely cause."""
    frames = [frames[0].copy(), *wrap(frames)]
    for atoms in frames:
        atoms.cell, atoms.pbc = None, False
    done = predict(h2o_benzene, tmp_path, frames, "-o", "out.extxyz")
    assert done.returncode == 6
    assert re.search(r"frames\.extxyz, frame \d+: bond .* Å, expected .* cut by periodic wrapping", done.stderr)
    assert not (tmp_path / "out.extxyz").exists()


def spoil(frames: list[Atoms]) -> list[Atoms]:
    """Two that are not this molecule: in another order, and broken."""
    frames[4].positions[:2] = frames[4].positions[1::-1]
    frames[7].positions[1] += [0.0, 2.0, 2.0]
    return frames


def test_frames_that_are_not_this_molecule(h2o_benzene: Path, tmp_path: Path, frames: list[Atoms]) -> None:
    right = energies(predict(h2o_benzene, tmp_path, frames, "--json"))
    done = predict(h2o_benzene, tmp_path, spoil(frames), "--json")
    found = energies(done)
    assert [k for k in range(20) if found[k] != right[k]] == [4, 7]
    assert json.loads(done.stdout)["unlike"] == [4, 7]
    assert "2 of 20 frames are not this molecule, the first of them: frames.extxyz, frame 4: bond O0–H" in done.stderr
    done = predict(h2o_benzene, tmp_path, frames, "-o", "out.extxyz")
    mean = np.mean([right[k] for k in range(20) if k not in (4, 7)])
    assert f"(mean energy of 18: {mean:.6f} eV)" in done.stdout
    assert "2 of 20 frames" in done.stderr
    done = predict(h2o_benzene, tmp_path, frames, "-o", "strict.extxyz", "--strict")
    assert done.returncode == 6
    assert "frames.extxyz, frame 4: bond O0–H" in done.stderr
    assert not (tmp_path / "strict.extxyz").exists()


def test_a_first_frame_that_is_not_this_molecule(h2o_benzene: Path, tmp_path: Path, frames: list[Atoms]) -> None:
    """Then the file is hardly meant: refused, strict or not."""
    done = predict(h2o_benzene, tmp_path, spoil(frames)[4:])
    assert done.returncode == 6
    assert "frame 0: bond O0–H" in done.stderr
