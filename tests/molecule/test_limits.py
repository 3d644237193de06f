"""When a trajectory counts as broken: one definition, for what runs and for what has run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.units import kB
from conftest import ROOT

from delta_server.errors import InputError
from delta_server.loading import load_potential
from delta_server.molecule.bonds import BondGraph
from delta_server.molecule.intact import IntactMolecule
from delta_server.molecule.limits import Limits
from delta_server.sweep.record import load_sweep
from delta_server.sweep.stability import LiveStability


def test_energies_about_the_start() -> None:
    """3N kT above it, of P beads 3N kPT; and a margin on both sides."""
    assert Limits(energy=0.5).energies(-10.0, 15, 300.0) == pytest.approx((-10.5, -9.5 + 45 * kB * 300))
    assert Limits().energies(0.0, 4, 50.0, beads=16) == pytest.approx((-1.0, 1.0 + 12 * kB * 16 * 50))
    assert Limits().energies(0.0, 4, 50.0, relaxed=-3.0)[0] == -4.0
    assert Limits(heat=2.0).hottest(300.0) == 700.0


@pytest.mark.parametrize(("name", "least"), [("stretch", 1.0), ("energy", 0.0), ("heat", 1.0), ("uncertainty", 0.0)])
def test_what_can_be_no_limit(name: str, least: float) -> None:
    assert getattr(Limits(**{name: least + 1e-9}), name) > least
    for value in (least, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match=f"{name} {value:g}, expected a number above {least:g}"):
            Limits(**{name: value})


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"stretch": 1.0}, "stretch 1, expected a number above 1"),
        ({"energy": -1.0}, "energy -1, expected a number above 0"),
        ({"heat": "hot"}, "limits.heat: Input should be a valid number"),
        ({"cold": 1.0}, "limits.cold"),
        ([], "limits: Input should be an object"),
    ],
)
def test_a_sweep_with_other_limits(tmp_path: Path, limits: object, words: str) -> None:
    record = json.loads((ROOT / "inputs/c60_buckycatcher/sweep/sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps(record | {"limits": limits}))
    with pytest.raises(InputError, match=rf"sweep\.json: .*{words}.*write the sweep anew"):
        load_sweep(tmp_path)


def test_limits_are_kept_in_the_record(tmp_path: Path) -> None:
    record = json.loads((ROOT / "inputs/c60_buckycatcher/sweep/sweep.json").read_text())
    limits = Limits(1.3, 0.5, 2.0, 0.1)
    record["limits"] = {"stretch": 1.3, "energy": 0.5, "heat": 2, "uncertainty": 0.1}
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    sweep = load_sweep(tmp_path)
    assert sweep.record.limits == limits
    assert sweep.record.model_dump(mode="json")["limits"] == record["limits"]


def test_both_see_the_same_frame_break(h2o_benzene: Path) -> None:
    """Frame by frame while it runs, in blocks with a sieve afterwards; atoms shaken more and more."""
    potential = load_potential(h2o_benzene)
    live = LiveStability(potential, potential.reference, 0.0, 300.0, Limits(stretch=1.3, uncertainty=1e9))
    graph = BondGraph(potential.numbers, potential.reference, 1.3)
    rng = np.random.default_rng(0)
    causes = set()
    for _ in range(20):
        width = np.linspace(0.01, 0.2, 150)[:, None, None]
        frames = potential.reference + width * rng.standard_normal((150, 15, 3))
        if rng.random() < 0.5:
            frames[60:, :3] = frames[60:, 3:4] + frames[60:, :3] - frames[60:, :1] + [0.0, 0.0, 1.3]
        found = graph.first_change(frames)
        told = [live.of_geometry(frame)[0] for frame in frames[: 150 if found is None else found[0] + 1]]
        assert found is not None
        assert told == [None] * found[0] + [found[1]]
        causes.add(found[1].split(":")[0].split()[-1])
    assert causes == {"broke", "formed"}


def test_bonds_between_fragments_may_break() -> None:
    """Two hydrogen atoms 0.75 Å apart look bonded; as two molecules they may part."""
    numbers, start = np.array([1, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.75]])
    apart = start * 10
    assert "H0–H1 broke: 7.50 Å, was 0.75" in str(BondGraph(numbers, start).change(apart))
    two = BondGraph(numbers, start, fragments=[np.array([0]), np.array([1])])
    assert two.change(apart) is None
    assert two.first_change(np.stack([start, apart])) is None


def test_one_verdict_for_a_value_and_for_a_series(h2o_benzene: Path) -> None:
    """The series' is the first value's that is none of the allowed, what is no number included."""
    potential = load_potential(h2o_benzene)
    molecule = IntactMolecule(potential.numbers, potential.reference, Limits())
    energies = molecule.energies(-570.0, 300.0)
    assert energies.first_breach(np.array([-570.0, -570.99, -569.0])) is None
    for wrong in (-571.01, -567.0, np.nan, np.inf):
        assert energies.first_breach(np.array([-570.0, wrong, -580.0])) == (1, energies.breach(wrong))
    assert energies.breach(-567.0) == "energy -567.000 eV, beyond -571.000 to -567.837"
    assert molecule.energies(-570.0, 300.0, beads=None).breach(1e6) is None  # of unknown zero-point energy
    assert molecule.temperatures(300.0).breach(1001.0) == "temperature 1001 K, beyond 0 to 1000"
    assert molecule.expected_error.breach(1.5) == "uncertainty 1.5 eV/Å, beyond 0 to 1"
