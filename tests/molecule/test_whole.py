"""Molecules that wrapping cut are whole again: any cell, any place; and what no cell has cut stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.geometry import cellpar_to_cell
from conftest import SYSTEMS, shipped
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from delta_server.errors import GeometryError
from delta_server.loading import load_potential
from delta_server.molecule.whole import Unwrapper
from delta_server.potential import Potential
from delta_server.terms.base import Frames

CELLS = {
    "cubic": [14.0, 14.0, 14.0, 90, 90, 90],
    "long": [11.0, 14.0, 30.0, 90, 90, 90],
    "monoclinic": [13.0, 15.0, 14.0, 90, 62, 90],
    "triclinic": [15.0, 13.5, 16.0, 70, 105, 66],
    "flat": [28.0, 14.0, 14.0, 90, 90, 30],  # far from reduced
}


def wrapped(positions: np.ndarray, cell: np.ndarray, centred: bool) -> np.ndarray:
    """Every atom back into the cell, about the origin as i-PI has it, or from it on as ase has it."""
    turns = positions @ np.linalg.inv(cell)
    return (turns - (np.round(turns) if centred else np.floor(turns))) @ cell


def placed(potential: Potential, seed: int) -> np.ndarray:
    """The complex turned and moved to any place."""
    rng = np.random.default_rng(seed)
    turned = potential.reference @ Rotation.random(random_state=seed).as_matrix().T
    return np.asarray(turned + rng.uniform(-40, 40, 3))


@pytest.mark.parametrize("kind", CELLS)
def test_whole_in_any_cell(h2o_benzene: Path, kind: str) -> None:
    """All distances are those of the complex, in one batch as one by one."""
    potential = load_potential(h2o_benzene)
    cell = np.asarray(cellpar_to_cell(CELLS[kind]))
    x = np.stack([placed(potential, seed) for seed in range(60)])
    cut = np.stack([wrapped(frame, cell, bool(k % 2)) for k, frame in enumerate(x)])
    assert sum(np.ptp(frame, axis=0).max() > 9 for frame in cut) > 20  # else nothing is tried
    cells = np.stack([cell] * len(x))
    whole = potential.whole(Frames(cut, cells)).positions
    for a, b in zip(x, whole, strict=True):
        assert pdist(b) == pytest.approx(pdist(a), abs=1e-9)
    for k in (0, 7, 59):
        alone = potential.whole(Frames(cut[k : k + 1], cells[:1])).positions
        assert (alone == whole[k : k + 1]).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_complexes_that_are_longer_than_half_the_cell(system: str) -> None:
    potential = shipped(system)
    extent = np.linalg.norm(np.ptp(potential.reference, axis=0))
    cell = np.eye(3) * max(9.0, extent + 2.5)
    for seed in range(4):
        x = placed(potential, seed)
        (whole,) = potential.whole(Frames(wrapped(x, cell, True)[None], cell[None])).positions
        assert pdist(whole) == pytest.approx(pdist(x), abs=1e-9)


def test_energies_along_a_way_through_the_walls_of_the_cell(h2o_benzene: Path) -> None:
    """No jump, whatever is cut: both molecules, one of them, none but on two sides."""
    potential = load_potential(h2o_benzene)
    x = potential.reference + np.linspace(0, 28, 400)[:, None, None] * np.array([1.0, 0.7, 0.4])
    cells = np.stack([np.eye(3) * 14.0] * len(x))
    cut = np.stack([wrapped(frame, cells[0], True) for frame in x])
    energy, expected = (potential.compute(frames).energy for frames in (potential.whole(Frames(cut, cells))[0], x))
    assert energy == pytest.approx(expected, abs=1e-6)
    assert np.abs(potential.compute(cut).energy - expected).max() > 10.0


@pytest.mark.parametrize("length", [0.0, 1.0, 5.0, 14.0, 100.0])
@pytest.mark.parametrize("periodic", [True, False])
def test_what_is_whole_is_not_touched(h2o_benzene: Path, length: float, periodic: bool) -> None:
    """Not even copied; dummy cells that are too small for anything included."""
    potential = load_potential(h2o_benzene)
    rng = np.random.default_rng(0)
    x = potential.reference + 0.1 * rng.standard_normal((50, 15, 3)) + rng.uniform(-50, 50, (50, 1, 3))
    frames = Frames(x, np.stack([np.eye(3) * length] * 50))
    assert potential.whole(frames, np.full((50, 3), periodic)).positions is x
    assert potential.whole(Frames(x)).positions is x


@pytest.mark.parametrize("length", [0.0, 14.0, 100.0])
def test_a_bond_that_breaks_is_no_bond_that_was_cut(h2o_benzene: Path, length: float) -> None:
    """A hydrogen atom that leaves slowly is left where it is; beyond any doubt it is refused where no cell tells."""
    potential = load_potential(h2o_benzene)
    away = potential.reference[1] - potential.reference[0]
    away /= np.linalg.norm(away)
    for stretch in (0.5, 1.0, 2.0, 4.0):
        x = potential.reference[None].copy()
        x[0, 1] += stretch * away
        assert potential.whole(Frames(x, np.eye(3)[None] * length)).positions is x
    x[0, 1] += 9.0 * away
    frames = Frames(x, np.eye(3)[None] * length)
    if length == 0.0:
        with pytest.raises(GeometryError, match=r"^frame 0: bond O0–H1 is 13\.9\d Å, .* no cell"):
            potential.whole(frames)
        assert potential.whole(frames, name=None).positions is x
    elif length == 100.0:
        assert potential.whole(frames).positions is x


def test_a_bond_that_breaks_at_the_wall(h2o_benzene: Path) -> None:
    """1.5 Å too long and cut: put together as it is, broken."""
    potential = load_potential(h2o_benzene)
    x = potential.reference.copy()
    x[1] += 1.5 * (x[1] - x[0]) / np.linalg.norm(x[1] - x[0])
    cell = np.eye(3) * 14.0
    for shift in np.linspace(0, 14, 29):
        cut = wrapped(x + np.array([shift, shift, 0]), cell, True)
        (whole,) = potential.whole(Frames(cut[None], cell[None])).positions
        assert pdist(whole) == pytest.approx(pdist(x), abs=1e-9)


def test_guests_that_are_far_away(h2o_benzene: Path) -> None:
    """Nearer than half the cell: the image that is. Said not to be periodic: as it is, unless a bond was cut."""
    potential = load_potential(h2o_benzene)
    cell = np.eye(3) * 20.0
    x = potential.reference.copy()
    x[:3] += 5.0 * np.array([0.0, 0.0, np.sign(x[0, 2] - x[3:, 2].mean())])
    beside = x.copy()
    beside[:3] += [0.0, 0.0, 20.0]
    (whole,) = potential.whole(Frames(beside[None], cell[None])).positions
    assert pdist(whole) == pytest.approx(pdist(x), abs=1e-9)
    frames = Frames(beside[None], cell[None])
    assert potential.whole(frames, np.zeros((1, 3), dtype=bool)).positions is frames.positions
    assert potential.whole(frames, False).positions is frames.positions
    beside[3] += [20.0, 0.0, 0.0]
    (whole,) = potential.whole(Frames(beside[None], cell[None]), np.zeros((1, 3), dtype=bool)).positions
    assert pdist(whole) == pytest.approx(pdist(x), abs=1e-9)


def test_directions_without_a_cell(h2o_benzene: Path) -> None:
    """A slab's cell has two vectors."""
    potential = load_potential(h2o_benzene)
    cell = np.diag([14.0, 13.0, 0.0])
    for seed in range(20):
        x = placed(potential, seed)
        cut = x.copy()
        cut[:, :2] = wrapped(x, np.diag([14.0, 13.0, 1.0]), False)[:, :2]
        (whole,) = potential.whole(Frames(cut[None], cell[None])).positions
        assert pdist(whole) == pytest.approx(pdist(x), abs=1e-9)


@pytest.mark.parametrize("cell", [np.ones((3, 3)), np.full((3, 3), np.nan), np.diag([14.0, 1e-12, 14.0])])
def test_cells_that_are_none(h2o_benzene: Path, cell: np.ndarray) -> None:
    potential = load_potential(h2o_benzene)
    frames = Frames(potential.reference[None].copy(), cell[None])
    assert potential.whole(frames).positions is frames.positions


def test_a_cell_that_is_too_small_for_the_molecule(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    cell = np.eye(3) * 4.5
    cut = wrapped(potential.reference, cell, True)
    with pytest.raises(GeometryError, match=r"frame 0: .* cut by a cell of 4\.5 × 4\.5 × 4\.5 Å, too small"):
        potential.whole(Frames(cut[None], cell[None]))


def test_from_a_frame_that_is_cut_itself(h2o_benzene: Path) -> None:
    """Without a reference: bonds are between nearest images of the first frame."""
    potential = load_potential(h2o_benzene)
    cell = np.asarray(cellpar_to_cell(CELLS["triclinic"]))
    for seed in range(20):
        x = placed(potential, seed)
        cut = wrapped(x, cell, False)
        unwrapper = Unwrapper.of_frame(potential.numbers, cut, cell)
        assert pdist(unwrapper(cut[None], cell[None])[0]) == pytest.approx(pdist(x), abs=1e-9)
