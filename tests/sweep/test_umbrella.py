"""Umbrella windows under real i-PI: stopped, resumed, told apart from the physics, and analysed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made import made_dimer
from made_ladder import stopping_at

from delta_server.analysis import analyze_free_energy, analyze_stability, find_runs
from delta_server.analysis.free_energy.binding import StandardState
from delta_server.analysis.report.collect import collect
from delta_server.analysis.report.page import About, make_page
from delta_server.analysis.report.sources import choose_what, read_sources
from delta_server.errors import InputError
from delta_server.ipi.tables import read_extras, read_properties
from delta_server.loading import load_potential
from delta_server.manifest import load_manifest
from delta_server.molecule.limits import Limits
from delta_server.sweep.record import load_sweep
from delta_server.sweep.session import RunOptions, Session
from delta_server.sweep.umbrella import Overlap, Umbrella, overlaps, pull, shared, window_bias
from delta_server.sweep.write import SweepPlan, write_sweep
from delta_server.terms.base import Frames
from delta_server.terms.bias import near
from delta_server.variables.definition import Variables, default_variables

CENTRES = (3.5, 3.75, 5.0)


def plan(manifest: Path, **changes: object) -> SweepPlan:
    windows = Umbrella("R_CM", default_variables(load_manifest(manifest)), CENTRES)
    short = {"umbrella": windows, "time": 0.2, "stride": 5, "frames": 10, "checkpoint": 50}
    return SweepPlan((200.0,), "umbrella", **short | changes)  # type: ignore[arg-type]


def test_windows_are_run_resumed_and_analysed(tmp_path: Path, h2o_benzene: Path) -> None:
    manifest, folder = h2o_benzene, tmp_path / "windows"
    narrow = Limits(energy=0.02)  # eV; below the relaxed molecule, not below the warm start of a window
    write_sweep(manifest, folder, plan(manifest, limits=narrow), relax=False)
    sweep = load_sweep(folder)
    assert [member.name for member in sweep.members] == ["200K_3.5", "200K_3.75", "200K_5"]
    assert Session(sweep, "batched", sweep.members, stopping_at(50)).run() == "stopped"
    assert Session(sweep, "batched", sweep.members, RunOptions()).run() == "finished"
    potential = load_potential(manifest)
    windows = sweep.record.windows
    assert windows is not None
    runs = {run.path.parent.name: run for run in find_runs(folder)}
    for k, member in enumerate(sweep.members):
        table = read_properties(member.folder / f"{member.name}_md.out")
        key, steps, values = read_extras(member.folder / f"{member.name}_md.variable_R_CM_0")
        assert key == "R_CM"
        assert np.array_equal(steps, table["step"])
        assert steps.tolist() == list(range(0, 401, 5))
        constant, centre = windows.force_constants[k], windows.centres[k]
        assert table["ensemble_bias"] == pytest.approx(constant / 2 * (values - centre) ** 2, abs=1e-6)
        (block,) = runs[member.name].blocks()
        physical = potential.compute(block.positions).energy
        assert table["potential"][::2] == pytest.approx(physical, abs=2e-4)  # i-PI's electronvolt, printed positions
        spread = np.sqrt(8.617e-5 * 200 / constant)
        assert abs(values[0] - centre) < 4 * spread
        assert np.ptp(table["conserved"]) < 0.02
        assert analyze_stability(runs[member.name], limits=narrow).failed is None
        assert potential.compute(potential.reference).energy < table["potential"].min() < table["potential"][0] - 0.02
    assert [(overlap.low, overlap.high) for overlap in overlaps(sweep)] == [(3.5, 3.75), (3.75, 5.0)]
    middle = [runs["200K_3.75"]]
    _, _, values = read_extras(sweep.members[1].folder / "200K_3.75_md.variable_R_CM_0")
    half = float(np.median(values[::2]))  # of the frames: so short a run may stay on one side once it has settled
    state = StandardState(half, half, float(values.max()) + 0.1)
    result = analyze_free_energy(middle, over="R_CM", bins=12, min_count=1, standard=state, equilibrated=False)
    (surface,), (binding,) = result.surfaces, result.binding
    assert surface.name == "windows (1 windows)"
    assert np.isfinite(surface.free_energy).sum() > 3
    assert np.isfinite(binding.value)
    twice = find_runs(*(runs["200K_3.75"].path.parent for _ in range(2)))
    (surface,) = analyze_free_energy(twice, over="R_CM", bins=12, min_count=1, together=True).surfaces
    assert surface.name == "200K_3.75 (2 windows)"


def test_a_page_of_windows(tmp_path: Path, h2o_benzene: Path) -> None:
    """One free energy of all of them, with ΔG° and what parts of them would say."""
    folder = tmp_path / "windows"
    windows = Umbrella("R_CM", default_variables(load_manifest(h2o_benzene)), (3.4, 3.5))
    write_sweep(h2o_benzene, folder, plan(h2o_benzene, umbrella=windows, time=0.5), relax=False)
    sweep = load_sweep(folder)
    assert Session(sweep, "batched", sweep.members, RunOptions()).run() == "finished"
    sources = read_sources([folder])
    standard = StandardState(3.45, 3.45, 4.5)
    choices = replace(choose_what(sources, over="R_CM"), bins=4, standard=standard)
    found = collect(sources, choices)
    assert found.notes == ()
    assert [part.surface for part in found.parts] == [None, None]
    assert not any("free energy" in part.missing for part in found.parts)
    (surface,), (binding,) = found.states, found.binding["windows"]
    alone = analyze_free_energy(find_runs(folder), over="R_CM", bins=4, standard=standard, sphere=False)
    assert surface.free_energy == pytest.approx(alone.surfaces[0].free_energy, nan_ok=True)
    assert binding.value == pytest.approx(alone.binding[0].value)
    assert binding.convergence is not None
    page = make_page(found, About("2026", "delta-sgdml report", {"delta-server": "0"}))
    assert f"{binding.value:.2f} ± {binding.error:.1g}" in page.html
    assert "2 trajectories, biased" in page.html
    assert {"free_energy_200K", "binding_1"} <= {picture.name for picture in page.pictures}
    assert page.data["binding"]["windows"][0]["kcal_per_mol"] == pytest.approx(binding.value)


def test_what_is_shared() -> None:
    assert Overlap(200.0, "R_CM", 3.75, 5.0, 0.09).proposed == (4.0625, 4.375, 4.6875)
    assert Overlap(200.0, "R_CM", 3.75, 5.0, 0.11).proposed == ()
    x = np.random.default_rng(0).standard_normal((2, 20000))
    assert shared(x[0], x[1]) > 0.95
    assert shared(x[0], x[1] + 2) == pytest.approx(0.317, abs=0.02)  # 2 Φ(−1)
    assert shared(x[0], x[1] + 20) == 0


def test_what_no_windows_can_be_made_of(tmp_path: Path) -> None:
    manifest = made_dimer(tmp_path)
    with pytest.raises(InputError, match="umbrella goes with --variable and --windows"):
        write_sweep(manifest, tmp_path / "a", SweepPlan((200.0,), "umbrella"), relax=False)
    known = default_variables(load_manifest(manifest))
    with pytest.raises(InputError, match="--variable R_p: there are R_CM"):
        Umbrella("R_p", known, CENTRES).windows(300.0)
    with pytest.raises(InputError, match="of a single window"):
        Umbrella("R_CM", known, (3.0,)).windows(300.0)
    with pytest.raises(InputError, match="R_CM is never -1, but from 0 to inf"):
        Umbrella("R_CM", known, (-1.0, 3.0)).windows(300.0)
    turn = Variables.model_validate({"variables": {"turn": {"dihedral": ["0", "1", "2", "3"]}}})
    with pytest.raises(InputError, match="turn goes round: expected each place of its 360° once"):
        Umbrella("turn", turn, (-170.0, 190.0)).windows(300.0)


def test_a_dihedral_is_pulled_across_its_seam(h2o_benzene: Path) -> None:
    """A hydrogen of benzene, from one side of its plane to the other."""
    manifest = load_manifest(h2o_benzene)
    potential = load_potential(manifest)
    turn = {"turn": {"dihedral": ["3", "4", "5", "11"]}}
    known = default_variables(manifest).merged(Variables.model_validate({"variables": turn}))
    windows = Umbrella("turn", known, (175.0, 185.0), 0.01).windows(300.0)
    assert windows.restraint(1).energy(np.array([-175.0]))[0] == pytest.approx(0.0)
    starts = pull(potential, windows, potential.reference, 300.0, 1, 0.5)
    found = window_bias(windows, windows.restraint(0), potential.numbers, "").values(Frames(np.array(starts)))
    assert near(found["turn"], 180.0, 360.0) == pytest.approx([175, 185], abs=4)
