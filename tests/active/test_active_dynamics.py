"""Dynamics of many replicas: where each is stopped, what is kept of it, and that it does not know of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from delta_server import load_potential
from delta_server.active import dynamics
from delta_server.active.dynamics import Plan, Start
from delta_server.active.starts import relax, starts
from delta_server.data.apart import gaps
from delta_server.potential import Potential
from delta_server.symmetry.bond_graph import Group

NO_LIMITS = {"water": 1e9, "benzene": 1e9, "binding": 1e9}
SHORT = Plan(60, frames=3)


@pytest.fixture
def potential(trained: Path) -> Potential:
    return load_potential(trained / "manifest.yaml")


def run(potential: Potential, begin: list[Start], limits: dict[str, float], plan: Plan = SHORT) -> dynamics.Sampled:
    seen = dynamics.run(potential, begin, plan, limits, [(7, i) for i in range(len(begin))])
    assert seen is not None
    return seen


def test_replicas_run_to_the_end_and_their_frames_are_kept(potential: Potential, tmp_path: Path) -> None:
    begin = [Start(potential.reference, kelvin, "relaxed") for kelvin in (100.0, 300.0)]
    seen = run(potential, begin, NO_LIMITS)
    assert [end.reason for end in seen.ends] == ["finished", "finished"]
    assert seen.step.tolist() == [0, 40, 60] * 2
    assert seen.temperature.tolist() == [100.0] * 3 + [300.0] * 3
    assert np.array_equal(run(potential, begin[:1], NO_LIMITS).positions, seen.positions[:3])
    assert seen.errors["binding"][4] == pytest.approx(potential.uncertainty(seen.positions[4])["binding"])
    seen.save(tmp_path / "dynamics.npz")
    again = dynamics.load(tmp_path / "dynamics.npz")
    assert np.array_equal(again.positions, seen.positions)
    assert again.ends == seen.ends
    assert list(again.ended()) == [100.0, 300.0]
    assert dynamics.run(potential, begin, SHORT, NO_LIMITS, [(1,), (2,)], stop=lambda: True) is None


def test_a_replica_is_stopped_where_a_term_is_not_known(potential: Potential) -> None:
    """And the frame where it is stopped is kept."""
    begin = [Start(potential.reference, kelvin, "relaxed") for kelvin in (10.0, 800.0)]
    whole = run(potential, begin, NO_LIMITS, Plan(60))
    limit = float(whole.errors["benzene"][whole.replica == 0].max()) * 1.01
    first = whole.step[(whole.replica == 1) & (whole.errors["benzene"] > limit)][0]
    seen = run(potential, begin, NO_LIMITS | {"benzene": limit}, Plan(60))
    assert seen.ends[0].reason == "finished"
    assert seen.ends[1][:3] == ("unsure", first, "benzene")
    assert seen.last[seen.replica == 1].tolist() == [0] * (len(seen.last) - 5) + [1]
    assert seen.errors["benzene"][-1] > limit


def test_what_comes_apart_is_placed_again_and_what_breaks_ends(potential: Potential) -> None:
    apart, broken = potential.reference.copy(), potential.reference.copy()
    apart[:3] += 30.0
    broken[1] += 2.0 * (broken[1] - broken[0])  # a hydrogen of water
    begin = [Start(apart, 100.0, "apart"), Start(broken, 100.0, "last")]
    seen = run(potential, begin, NO_LIMITS, Plan(40, apart=20.0))
    assert seen.ends[0][:2] == ("finished", 40)
    assert seen.ends[0].dissociated == 3  # as often as it was looked at: its start is apart
    assert seen.ends[1].reason == "changed"
    assert "broke" in seen.ends[1].detail
    assert gaps(apart[None], [f.atoms for f in potential.fragments])[0] > 20.0


def test_starts_are_of_every_kind(potential: Potential) -> None:
    group = Group(15).on(np.arange(15), 15)
    known = [potential.reference]
    made, note = starts(
        potential, (100.0, 300.0), 4, known, {300.0: [potential.reference + 1.0]}, group, NO_LIMITS,
        np.random.default_rng(1),
    )  # fmt: skip
    assert note == ""
    assert [(start.kind, start.temperature) for start in made[:4]] == [
        (kind, 100.0) for kind in ("relaxed", "last", "copy", "apart")
    ]
    fragments = [f.atoms for f in potential.fragments]
    assert gaps(made[3].positions[None], fragments)[0] > gaps(made[1].positions[None], fragments)[0]
    assert np.array_equal(made[5].positions, potential.reference + 1.0)


def test_a_model_that_leads_a_relaxation_astray_is_not_followed(potential: Potential) -> None:
    x, note = relax(potential, potential.reference, {"binding": 0.0})
    assert np.array_equal(x, potential.reference)
    assert note == "not relaxed: the model would lead it where binding is not known"
