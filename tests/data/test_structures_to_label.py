"""Configurations that are to be labelled: what is read from a file with a cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from delta_server.data.structures import read_structures


def _wet(shift: float) -> Atoms:
    pair = molecule("H2O") + molecule("CH4")
    pair.positions[3:] += [0.0, 0.0, 3.6]
    pair.positions += shift
    pair.set_cell([[12.0, 0, 0], [2.0, 12.0, 0], [0, 1.0, 12.0]])
    pair.pbc = True
    return pair


def test_molecules_that_a_cell_cut_are_whole(tmp_path: Path) -> None:
    wrapped = [_wet(shift) for shift in (0.0, 5.0, 11.7)]
    for frame in wrapped:
        frame.wrap()
    assert any(np.ptp(frame.positions, axis=0).max() > 8 for frame in wrapped)
    write(tmp_path / "wrapped.extxyz", wrapped)
    read = read_structures(tmp_path / "wrapped.extxyz")
    whole = _wet(0.0).get_all_distances()
    for positions in read.positions:
        assert np.linalg.norm(positions[:, None] - positions, axis=2) == pytest.approx(whole, abs=1e-6)
