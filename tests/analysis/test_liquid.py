"""Liquids: an ideal gas has g = 1, Brownian molecules their D, a box its density; in a cell that changes too."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import warm
from ase import Atoms
from ase.io import write
from made_assembly import WATER

from delta_server.analysis.liquid.diffusion import diffusion, squared_displacements
from delta_server.analysis.liquid.distribution import Histogram
from delta_server.analysis.liquid.run import Liquid, analyze_liquid
from delta_server.analysis.runs import find_runs
from delta_server.errors import InputError
from delta_server.molecule.lattice import Lattice

CELL = np.array([[12.0, 0.0, 0.0], [3.0, 11.0, 0.0], [0.0, -2.0, 13.0]])


def test_an_ideal_gas() -> None:
    """Of diatomic molecules as long as 1 Å, in a triclinic cell that breathes."""
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(30), 2)
    histogram = Histogram(np.tile([0, 1], 30), owner, ("A", "B"), 5.0, 0.5)
    for k in range(60):
        cell = CELL * (1 + 0.05 * np.sin(k))
        middle, way = rng.random((30, 3)) @ cell, rng.standard_normal((30, 3))
        x = np.stack([middle, middle + way / np.linalg.norm(way, axis=1, keepdims=True)], axis=1).reshape(-1, 3)
        lattice = Lattice.of(cell)
        assert lattice is not None
        histogram.add(x, lattice, float(np.linalg.det(cell)))
    found = histogram.distributions(5)
    assert [g.name for g in found] == ["A–A", "A–B", "B–B"]
    for g in found:
        assert (np.abs(g.g - 1) < 6 * g.error)[2:].all()
        assert np.average(g.g, weights=g.r**2) == pytest.approx(1, abs=0.02)


def test_brownian_molecules() -> None:
    d, interval = 0.4, 0.1  # Å²/ps, ps
    steps = np.sqrt(2 * d * interval) * np.random.default_rng(2).standard_normal((2000, 50, 3))
    walk = diffusion("a", np.cumsum(steps, axis=0), interval, 5.0, 5)
    assert abs(walk.d - d) < 4 * walk.error
    assert walk.error < 0.05 * d
    assert walk.msd == pytest.approx(6 * d * walk.lags, rel=0.05)
    assert walk.window == pytest.approx((1.0, 5.0))
    assert np.isnan(diffusion("a", np.cumsum(steps[:8], axis=0), interval, 5.0, 5).error)


def test_squared_displacements_are_those_by_hand() -> None:
    x = np.cumsum(np.random.default_rng(0).standard_normal((40, 5, 3)), axis=0)
    by_hand = [((x[lag:] - x[: len(x) - lag]) ** 2).sum(2).mean() for lag in range(40)]
    assert squared_displacements(x) == pytest.approx(by_hand, abs=1e-9)


@pytest.fixture
def boxes() -> list[Atoms]:
    """Waters that drift apart in a cell which breathes."""
    ways = np.random.default_rng(3).standard_normal((12, 3))
    ways -= ways.mean(0)
    grid = np.array(list(product(range(3), range(2), range(2)))) / [3, 2, 2] @ CELL
    frames = []
    for k in range(12):
        swell = 1 + 0.01 * np.sin(k)
        x = swell * (grid + 0.1 * k * ways)[:, None] + WATER
        frames.append(Atoms("OH2" * 12, x.reshape(-1, 3), cell=swell * CELL, pbc=True))
    return frames


def liquid_of(path: Path, frames: list[Atoms]) -> Liquid:
    write(path, frames)
    (run,) = find_runs(path, timestep=100.0)
    return analyze_liquid(run, skip=0.0, width=0.5)


def test_wrapped_molecules_are_the_same(boxes: list[Atoms], tmp_path: Path) -> None:
    whole = liquid_of(tmp_path / "whole.extxyz", boxes)
    for box in boxes:
        box.wrap()
    wrapped = liquid_of(tmp_path / "wrapped.extxyz", boxes)
    for a, b in zip((*whole.atoms, *whole.centres), (*wrapped.atoms, *wrapped.centres), strict=True):
        assert a.g == pytest.approx(b.g, abs=1e-9)
    (here,), (there,) = whole.diffusions, wrapped.diffusions
    assert here.msd == pytest.approx(there.msd, abs=1e-6)
    assert here.msd[-1] > 0.02
    assert wrapped.species == {"h2o": 12}
    assert wrapped.mean_density.value == pytest.approx(12 * 18.015 * 1.66054 / np.linalg.det(CELL), rel=0.01)
    assert wrapped.cell[0].value == pytest.approx(12.0, rel=0.01)
    assert wrapped.cell[5].value == pytest.approx(np.degrees(np.arctan2(11, 3)), rel=1e-6)


@pytest.fixture
def walk() -> list[Atoms]:
    """Sixty frames of four waters that walk at random."""
    rng = np.random.default_rng(4)
    middles = np.array([[0, 0, 0], [6, 0, 0], [0, 6, 0], [0, 0, 6.0]]) + np.cumsum(
        0.1 * rng.standard_normal((60, 4, 3)), axis=0
    )
    x = middles[:, :, None] + WATER
    return [Atoms("OH2" * 4, frame.reshape(-1, 3), cell=[12.0] * 3, pbc=True) for frame in x]


def test_an_error_of_d_by_default(walk: list[Atoms], tmp_path: Path) -> None:
    found = liquid_of(tmp_path / "walk.extxyz", walk)
    (water,) = found.diffusions
    assert 0 < water.error < water.d
    assert found.of_diffusion == ""


def test_the_longest_stretch_without_a_gap_has_the_d(walk: list[Atoms], tmp_path: Path) -> None:
    walk[20].positions[0] = np.nan
    found = liquid_of(tmp_path / "nan.extxyz", walk)
    assert found.of_diffusion == "D of 39 of 59 frames, the longest stretch without a gap"
    assert np.isfinite(found.diffusions[0].d)
    assert found.of_diffusion in found.line()


def test_frames_that_tell_no_time(walk: list[Atoms], tmp_path: Path) -> None:
    write(tmp_path / "walk.extxyz", walk)
    (run,) = find_runs(tmp_path / "walk.extxyz")
    with pytest.raises(InputError, match="no time of its frames is known; say --timestep"):
        analyze_liquid(run, skip=1.0)
    untimed = analyze_liquid(run)
    assert untimed.diffusions == []
    assert "no D: the time of the frames is not known" in untimed.line()
    with pytest.raises(InputError, match="bins of 30 Å, and half of the narrowest cell is"):
        analyze_liquid(run, width=30.0)


def test_the_command(boxes: list[Atoms], tmp_path: Path) -> None:
    write(tmp_path / "box.extxyz", boxes)
    done = warm.run(["delta-sgdml", "analyze", "liquid", f"{tmp_path}/box.extxyz", "-o", f"{tmp_path}/g.png"])
    assert done.returncode == 0, done.stderr
    assert "12 h2o; density 0.209" in done.stdout
    assert (tmp_path / "g.png").stat().st_size > 10_000
    write(tmp_path / "cluster.extxyz", [Atoms("OH2", WATER)] * 3)
    done = warm.run(["delta-sgdml", "analyze", "liquid", f"{tmp_path}/cluster.extxyz"])
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "expected frames with a cell of three vectors" in line
