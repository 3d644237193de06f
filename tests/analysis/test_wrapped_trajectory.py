"""Trajectories that were wrapped: every analysis gets whole molecules, from any format that tells the cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import cellpar_to_cell
from ase.io import write
from made_runs import frame
from scipy.spatial.distance import pdist

from delta_server import load_potential
from delta_server.analysis.stability import stability
from delta_server.analysis.trajectory import Run
from delta_server.errors import GeometryError
from delta_server.ipi.cells import cells_of

PARAMETERS = (13.0, 14.5, 13.5, 100.0, 75.0, 95.0)


@pytest.fixture
def motion(h2o_benzene: Path) -> list[Atoms]:
    """Through the cell, whole."""
    potential, cell = load_potential(h2o_benzene), cellpar_to_cell(PARAMETERS)
    moves = np.arange(30)[:, None, None] * np.array([0.5, 0.4, 0.7])
    return [Atoms(potential.numbers, x, cell=cell, pbc=True) for x in potential.reference + moves]


def distances(run: Run) -> np.ndarray:
    return np.stack([pdist(x) for block in run.blocks() for x in block.positions])


def wrap(frames: list[Atoms]) -> np.ndarray:
    """All distances of the whole molecules; then they are wrapped."""
    whole = np.stack([pdist(atoms.positions) for atoms in frames])
    for atoms in frames:
        atoms.wrap()
    assert np.abs(np.stack([pdist(atoms.positions) for atoms in frames]) - whole).max() > 5
    return whole


def write_ipi(path: Path, frames: list[Atoms]) -> None:
    cell = "".join(f"  {x:10.5f}" for x in (100, 100, 100, 90, 90, 90))
    own = "".join(f"  {x:10.5f}" for x in PARAMETERS)
    texts = [frame(10 * k, atoms.positions, atoms.symbols) for k, atoms in enumerate(frames)]
    assert cell in texts[0]
    path.write_text("".join(texts).replace(cell, own))


@pytest.mark.parametrize("first", [0, 13], ids=["first frame whole", "first frame cut"])
@pytest.mark.parametrize("form", ["extxyz", "ipi"])
def test_wrapped_trajectories(tmp_path: Path, motion: list[Atoms], form: str, first: int) -> None:
    whole = wrap(motion)[first:]
    path = tmp_path / "run.xyz"
    if form == "ipi":
        write_ipi(path, motion[first:])
    else:
        write(path, motion[first:], format="extxyz")
    assert distances(Run("run", path)) == pytest.approx(whole, abs=1e-4)


def test_cells_of_ipi(tmp_path: Path, motion: list[Atoms]) -> None:
    write_ipi(tmp_path / "x.xyz", motion)
    index = Run("x", tmp_path / "x.xyz")._index
    assert index is not None
    assert cells_of(index.path, index.begins) == pytest.approx(np.stack([motion[0].cell.array] * 30), abs=1e-4)
    (tmp_path / "bare.xyz").write_text("2\n# nothing\nH 0 0 0\nH 0 0 1\n")
    assert not cells_of(tmp_path / "bare.xyz", np.array([12])).any()


def test_wrapped_and_no_cell(tmp_path: Path, motion: list[Atoms]) -> None:
    """Analyses end with the number of the frame; the one that looks for broken bonds finds them."""
    path = tmp_path / "run.xyz"
    frames = [motion[0].copy(), *motion]
    wrap(motion)
    for atoms in frames:
        atoms.cell, atoms.pbc = None, False
    write(path, frames, format="extxyz")
    with pytest.raises(GeometryError, match=r"run\.xyz, frame \d+: bond .* cut by periodic wrapping, and no cell"):
        distances(Run("run", path))
    report = stability(Run("run", path, timestep=1.0))
    assert "broke" in str(report.cause)
