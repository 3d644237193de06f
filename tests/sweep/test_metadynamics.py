"""Metadynamics: its hills one by one, and under real i-PI, where no crash loses or doubles any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made import made_dimer
from made_ladder import stopping_at

from delta_server.checks import check_term
from delta_server.errors import InputError
from delta_server.ipi.tables import read_extras, read_properties
from delta_server.loading import load_potential
from delta_server.manifest import load_manifest
from delta_server.sweep.metadynamics import Flood, Flooding, Ground, progress_of
from delta_server.sweep.record import load_sweep
from delta_server.sweep.session import RunOptions, Session
from delta_server.sweep.write import SweepPlan, write_sweep
from delta_server.terms.base import Frames
from delta_server.terms.hills import Hills
from delta_server.variables.definition import Variables, default_variables

KT = 8.617333e-5 * 200


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """Of the made dimer: a distance with a wall, and a dihedral that goes round."""
    manifest = load_manifest(made_dimer(tmp_path))
    turn = {"turn": {"dihedral": ["1", "0", "3", "second"]}}
    groups = {f.name: list(f.atoms) for f in manifest.fragments}
    known = default_variables(manifest).merged(Variables.model_validate({"groups": groups, "variables": turn}))
    potential = load_potential(manifest)
    flooding = Flooding(("R_CM", "turn"), known, pace=2, walkers=2, walls=((0.1, 3.1), (None, None)))
    told = flooding.record([200.0], potential.numbers, potential.reference, 1000, 0.5)
    return Ground(told, 200.0, potential.numbers)


def frames_of(ground: Ground, tmp_path: Path, n: int) -> np.ndarray:
    start = load_potential(tmp_path / "manifest.yaml").reference
    x = start + 0.1 * np.random.default_rng(1).standard_normal((n, *start.shape))
    x[:, 3:] += np.linspace(0, 0.5, n)[:, None, None]  # to beyond the wall
    return x


def test_the_contract(ground: Ground, tmp_path: Path) -> None:
    """Forces and virials of hills and walls against finite differences, and a hill across the dihedral's turn."""
    x = frames_of(ground, tmp_path, 2)
    at = np.stack(list(ground.term(ground.flat, "").values(Frames(x)).values()), axis=1)
    more = Hills(
        np.arange(3), np.array([at[0] + [0.1, 360], at[1] - [0.2, 15], at[1]]), np.full(3, 0.3), *_form(ground)
    )
    term = ground.term(more, "")
    assert all(check.passed for check in check_term(term, Frames(x), exact=True))
    alone = Hills(np.arange(1), at[:1] + np.array([0.0, 350.0]), np.array([1.0]), *_form(ground))
    assert alone.energy(at[:1])[0] == pytest.approx(np.exp(-0.5 * (10 / 20) ** 2))


def _form(ground: Ground) -> tuple[np.ndarray, np.ndarray]:
    return ground.flat.widths, ground.flat.turns


def test_hills_count_for_all_walkers_from_the_next_step(ground: Ground, tmp_path: Path) -> None:
    """Begun, stopped and gone on with: the same hills and the same rises of the bias as without a stop."""
    ground.write(tmp_path / "bias.json")
    x = frames_of(ground, tmp_path, 12)
    whole = Flood(tmp_path / "bias.json", tmp_path / "whole.dat", 0)
    rises = [whole.update(Frames(x[k : k + 1])) for k in range(12)]
    assert np.flatnonzero(rises).tolist() == [4, 5, 8, 9]  # steps 3 and 5, after hills at 2 and 4
    first = Flood(tmp_path / "bias.json", tmp_path / "hills.dat", 0)
    again = [first.update(Frames(x[k : k + 1])) for k in range(4)]  # to step 2
    second = Flood(tmp_path / "bias.json", tmp_path / "hills.dat", 2)
    again += [second.update(Frames(x[k : k + 1])) for k in range(4, 12)]
    assert again == rises
    assert (tmp_path / "hills.dat").read_bytes() == (tmp_path / "whole.dat").read_bytes()
    hills = ground.hills(tmp_path / "hills.dat")
    assert hills.steps.tolist() == [2, 2, 4, 4, 6, 6]
    for step in (2, 4, 6):
        now, before = hills.take(slice(step - 2, step)), hills.take(slice(step - 2))
        under = before.energy(now.centres)[0]
        assert now.heights == pytest.approx(KT / 3 * np.exp(-under / (9 * KT)))
        assert hills.energy_at(now.centres, now.steps) == pytest.approx(under)
    for start, what in ((0, "go on with"), (4, "go on with"), (8, "what is missing nothing brings back")):
        with pytest.raises(InputError, match=f"up to step {start}, found 6 up to step 6; {what}"):
            Flood(tmp_path / "bias.json", tmp_path / "hills.dat", start)
    held = replace(ground, told=ground.told.model_copy(update={"until": 5}))
    held.write(tmp_path / "held.json")
    first = Flood(tmp_path / "held.json", tmp_path / "held.dat", 0)
    assert [first.update(Frames(x[k : k + 1])) for k in range(10)] == rises[:10]  # the hills of step 4 count at 5
    later = Flood(tmp_path / "held.json", tmp_path / "held.dat", 5)
    assert [later.update(Frames(x[k : k + 1])) for k in range(10)] == [0.0] * 10
    assert held.hills(tmp_path / "held.dat").steps.tolist() == [2, 2, 4, 4]
    (tmp_path / "hills.dat").write_text("1 2\n")
    with pytest.raises(InputError, match="not the hills of R_CM and turn"):
        ground.hills(tmp_path / "hills.dat")


def test_walkers_are_run_killed_and_resumed(tmp_path: Path, h2o_benzene: Path) -> None:
    manifest, folder = h2o_benzene, tmp_path / "meta"
    flooding = Flooding(("R_CM",), default_variables(load_manifest(manifest)), pace=20, walkers=2, fill=0.15)
    plan = SweepPlan((100.0,), "metadynamics", 0.2, stride=5, frames=10, checkpoint=50, metadynamics=flooding)
    write_sweep(manifest, folder, plan, relax=False)
    sweep = load_sweep(folder)
    assert [member.name for member in sweep.members] == ["100K_1", "100K_2"]
    assert Session(sweep, "batched", sweep.members, stopping_at(110)).run() == "stopped"
    hills = folder / "100K_1" / "hills.dat"
    with hills.open("a") as file:  # a crash: no state but checkpoints, and half a row
        file.write("         999    1  3.1")
    (sweep.ladder / "RESTART").unlink()
    assert Session(sweep, "batched", sweep.members, RunOptions()).run() == "finished"
    ground = Ground.read(folder / "100K_1" / "bias.json")
    there = ground.hills(hills)
    assert there.steps.tolist() == np.repeat(np.arange(20, 301, 20), 2).tolist()
    under = there.energy_at(there.centres, there.steps)
    assert there.heights == pytest.approx(ground.height(under), rel=1e-9)
    for member in sweep.members:
        table = read_properties(member.folder / f"{member.name}_md.out")
        _, steps, values = read_extras(member.folder / f"{member.name}_md.variable_R_CM_0")
        assert steps.tolist() == list(range(0, 401, 5))
        bias = there.energy_at(values[:, None], steps)
        assert table["ensemble_bias"] == pytest.approx(bias, abs=1e-6)
        assert np.ptp(table["conserved"]) < 0.01 < table["ensemble_bias"].max()
    (progress,) = progress_of(sweep)
    assert progress.hills == 30
    assert "100 K: 30 hills, R_CM" in progress.line()
    assert progress.line().endswith("; none after step 300")
    with pytest.raises(InputError, match="walkers that share hills, run in one process"):
        Session(sweep, "jobs", sweep.members[:1], RunOptions()).run()


def test_what_no_metadynamics_can_be_made_of(tmp_path: Path) -> None:
    manifest = made_dimer(tmp_path)
    potential, known = load_potential(manifest), default_variables(load_manifest(manifest))
    with pytest.raises(InputError, match="metadynamics goes with --variable"):
        write_sweep(manifest, tmp_path / "a", SweepPlan((200.0,), "metadynamics"), relax=False)
    for bad, words in (
        (Flooding(("R_p",), known), "--variable: no variable 'R_p'; there are R_CM"),
        (Flooding(("R_CM", "R_CM"), known), "expected one, or two that differ"),
        (Flooding(("R_CM",), known, pace=1001), "--pace 1001: no hill in the run's 1000 steps"),
        (Flooding(("R_CM",), known, widths=(0.1, 0.2)), "--width: expected 1, one for each variable, found 2"),
        (Flooding(("R_CM",), known, walls=((None, 1.0),)), "--walls: R_CM starts at .* not between None and 1.0"),
        (Flooding(("R_CM",), known, fill=0.5), "--fill 0.5: 1000 steps, expected 500 .* and less than .* 1000"),
    ):
        with pytest.raises(InputError, match=words):
            bad.record([200.0], potential.numbers, potential.reference, 1000, 0.5)


def test_the_walls_of_a_dihedral_know_where_it_goes_round(ground: Ground) -> None:
    held = replace(ground, told=ground.told.model_copy(update={"walls": ((None, None), (150.0, 210.0))}))
    energies, _ = held.walls.energy(np.array([[3.0, 179.0], [3.0, -179.0], [3.0, -151.0], [3.0, 140.0]]))
    assert energies[:3].tolist() == [0.0, 0.0, 0.0]
    assert energies[3] == pytest.approx(KT / 2)  # 10 degrees beyond, half of a hill's width
    known = Variables.model_validate(ground.told.definition)
    potential_of = ground.numbers, np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3], [1, 0, 3], [0, 1, 3]])
    with pytest.raises(InputError, match="turn goes round: expected two walls, or none"):
        Flooding(("turn",), known, walls=((150.0, None),)).record([200.0], *potential_of, 1000, 0.5)
