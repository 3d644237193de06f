"""Which frames of a round are asked to be labelled, and that none are where nothing is to be learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from conftest import ROOT

from delta_server import load_potential
from delta_server.active import dynamics
from delta_server.active.asked import Asked
from delta_server.active.choosing import test_frames as frames_that_test
from delta_server.active.choosing import wanted
from delta_server.active.dynamics import Plan, Start
from delta_server.active.settings import Settings
from delta_server.terms.sgdml import SgdmlTerm


def test_a_molecule_whose_frames_are_all_known_is_not_asked_for() -> None:
    potential = load_potential(ROOT / "models/methane_dimer/manifest.yaml")
    settings = Settings(
        name="dimer", numbers=tuple(potential.numbers.tolist()), fragment=(0,) * 5 + (1,) * 5,
        names=("methane_1", "methane_2"), charges=(0, 0), multiplicities=(1, 1), temperatures=(150.0,), force=0.1,
        energy=0.1, budget=50, calculator="gfn2-xtb", first=10, points=10, test=4, picks=8, replicas=2,
        picoseconds=0.1, timestep=0.5,
    )  # fmt: skip
    seen = dynamics.run(
        potential, [Start(potential.reference, 150.0, "relaxed")] * 2, Plan(200, frames=20),
        dict.fromkeys((*settings.names, "binding"), 1e9), [(7, 0), (7, 1)],
    )  # fmt: skip
    assert seen is not None
    tested = frames_that_test(settings, 1, potential, seen)

    def asked(of: dynamics.Sampled) -> list[Asked]:
        return wanted(settings, 1, potential, of, tested, {"methane"}, 50)

    (alone,) = asked(seen)
    assert alone.name == "alone_methane"
    assert alone.positions.shape[1:] == (5, 3)
    assert 0 < len(alone) <= 2 * settings.picks
    (term,) = (t for t in potential.terms if isinstance(t, SgdmlTerm) and t.part == "fragments")
    assert term.load is not None
    points = term.load().training_positions
    assert points is not None
    points = points[: len(seen.positions)]
    assert asked(replace(seen, positions=np.concatenate([points, points + 9.0], axis=1))) == []
