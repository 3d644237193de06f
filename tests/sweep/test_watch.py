"""Whose geometry it was, when a driver of several systems ends without a number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from delta_server.errors import NonFiniteError
from delta_server.ipi.records import Output
from delta_server.loading import load_potential
from delta_server.molecule.limits import Limits
from delta_server.sweep.stability import LiveStability
from delta_server.sweep.state import MemberState
from delta_server.sweep.watch import Watch, nearest

FRAME = "15\n# CELL(abcABC): 1 1 1 90 90 90 Step: {} Bead: 0 positions{{angstrom}}\n{}\n"
ROW = "  {:.10e}  0.01  -570.0  300.0  0.5  {:.10e}  300.0\n"


def frame(step: int, x: np.ndarray) -> str:  # type: ignore[type-arg]
    return FRAME.format(step, "\n".join(f"H {a} {b} {c}" for a, b, c in x))


@pytest.fixture
def watches(tmp_path: Path, h2o_benzene: Path) -> list[Watch]:
    """Two systems: one with the water above benzene, one with it 5 Å away."""
    potential = load_potential(h2o_benzene)
    x = potential.reference
    energy = float(potential.compute(x).energy)
    found = []
    for i in range(2):
        shifted = x.copy()
        shifted[:3] += [0.0, 0.0, 5.0 * i]
        (tmp_path / f"{i}.xyz").write_text(frame(0, x) + frame(20, shifted))
        (tmp_path / f"{i}.out").write_text("".join(ROW.format(s, energy + 0.1) for s in (0, 10, 20)))
        outputs = [Output(tmp_path / f"{i}.out", "properties", 10), Output(tmp_path / f"{i}.xyz", "xyz", 20)]
        stability = LiveStability(potential, x, energy, 300.0, Limits(uncertainty=1e9))
        found.append(Watch(MemberState(f"{i}", 300.0, 100, 0.5), stability, outputs))
        assert found[i].look()
        assert not found[i].look()
        assert (found[i].state.step, found[i].broken) == (20, False)
    return found


@pytest.mark.parametrize("which", [0, 1])
def test_the_nearest_is_blamed(watches: list[Watch], tmp_path: Path, which: int, h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    frames = [watch.last_frame.copy() for watch in watches if watch.last_frame is not None]
    frames[which][1] = frames[which][0]  # atoms on top of each other
    with pytest.raises(NonFiniteError):
        potential.compute(frames[which])
    write(tmp_path / "dump.extxyz", [Atoms(potential.numbers, x) for x in frames], format="extxyz")
    assert nearest(watches, tmp_path / "dump.extxyz", potential) is watches[which]


def test_the_first_broken_record_counts(watches: list[Watch], tmp_path: Path) -> None:
    watch = watches[0]
    with (tmp_path / "0.out").open("a") as file:
        file.write(ROW.format(30, -570.0) + ROW.format(40, 1e3) + ROW.format(50, 1e4))
    assert watch.look()
    assert (watch.state.broken_step, watch.state.step) == (40, 50)
    assert watch.state.reason.startswith("energy 1000.000 eV, beyond")
