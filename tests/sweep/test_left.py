"""What a sweep does where a model leaves what it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from delta_server.errors import InputError
from delta_server.ipi.records import Output
from delta_server.loading import load_potential
from delta_server.molecule.limits import Limits
from delta_server.molecule.structures import read_structure, write_structure
from delta_server.potential import Departure
from delta_server.sweep.stability import LiveStability
from delta_server.sweep.state import MemberState
from delta_server.sweep.watch import Watch
from delta_server.sweep.write import SweepPlan, write_sweep

FRAME = "13\n# CELL(abcABC): 1 1 1 90 90 90 Step: {} Bead: 0 positions{{angstrom}}\n{}\n"


@pytest.fixture
def path_apart(na_benzene: Path) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Na⁺ on benzene, and 4, 5 Å away from there."""
    atoms = read_structure(na_benzene.parent / "geometry.xyz")
    ion = atoms.numbers == 11
    away = (atoms.positions[ion] - atoms.positions[~ion].mean(0))[0]
    away /= np.linalg.norm(away)
    frames = [atoms.positions.copy() for _ in range(3)]
    for frame, distance in zip(frames, (0.0, 4.0, 5.0), strict=True):
        frame[ion] += distance * away
    return frames


def test_a_start_that_is_far_beyond_is_refused(tmp_path: Path, na_benzene: Path, path_apart: list) -> None:  # type: ignore[type-arg]
    atoms = read_structure(na_benzene.parent / "geometry.xyz")
    atoms.positions = path_apart[1]
    write_structure(tmp_path / "apart.xyz", atoms)
    with pytest.raises(InputError, match=r"far beyond .* after 0 steps binding: expected .* --no-relax, .* learn$"):
        write_sweep(na_benzene, tmp_path / "sweep", SweepPlan([300.0]), structure=tmp_path / "apart.xyz")
    assert not (tmp_path / "sweep").exists()
    sweep = write_sweep(
        na_benzene, tmp_path / "sweep", SweepPlan([300.0]), structure=tmp_path / "apart.xyz", relax=False
    )
    assert sweep.record.start.steps == 0


@pytest.mark.parametrize("stop_outside", [False, True])
def test_it_is_told_once_and_stops_if_asked(
    tmp_path: Path,
    na_benzene: Path,
    path_apart: list,
    stop_outside: bool,  # type: ignore[type-arg]
) -> None:
    potential = load_potential(na_benzene)
    text = "".join(
        FRAME.format(100 * k, "\n".join(f"H {a} {b} {c}" for a, b, c in x)) for k, x in enumerate(path_apart)
    )
    (tmp_path / "pos.xyz").write_text(text)
    outputs = [Output(tmp_path / "out", "properties", 10), Output(tmp_path / "pos.xyz", "xyz", 100)]
    state = MemberState("300K", 300.0, 1000, 0.5)
    stability = LiveStability(potential, potential.reference, 0.0, 300.0, Limits(uncertainty=1e9))
    told: list[tuple[int, Departure]] = []
    watch = Watch(state, stability, outputs, lambda step, departure: told.append((step, departure)), stop_outside)
    assert watch.look()
    assert [(step, departure.term, departure.far) for step, departure in told] == [(100, "binding", True)]
    assert state.left == {"binding": 100}
    assert state.broken_step == (100 if stop_outside else None)
    assert state.reason.startswith("left what the model was trained on, binding: expected error") == stop_outside
