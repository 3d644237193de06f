"""Heavier hydrogens under real i-PI: what it moves, keeps and goes on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.units import _amu, _me
from made_ladder import stopping_at

from delta_server.analysis import find_runs
from delta_server.analysis.report.sources import read_sources
from delta_server.analysis.runs import made_with
from delta_server.dynamics import Walkers
from delta_server.errors import InputError
from delta_server.ipi.tables import read_properties
from delta_server.loading import load_potential
from delta_server.manifest import load_manifest
from delta_server.molecule.masses import repartitioned
from delta_server.molecule.structures import read_structure
from delta_server.sweep.record import load_sweep
from delta_server.sweep.session import RunOptions, Session
from delta_server.sweep.umbrella import Umbrella
from delta_server.sweep.write import START, SweepPlan, write_sweep
from delta_server.variables.definition import default_variables

PLAN = SweepPlan((300.0,), time=0.4, timestep=2.0, stride=5, frames=10, checkpoint=50, hydrogen_mass=3.0)


def test_they_are_i_pi_s_after_a_stop_too(tmp_path: Path, h2o_benzene: Path) -> None:
    folder = tmp_path / "heavy"
    write_sweep(h2o_benzene, folder, PLAN, relax=False)
    sweep = load_sweep(folder)
    assert sweep.record.hydrogen_mass == 3
    assert Session(sweep, "batched", sweep.members, stopping_at(50)).run() == "stopped"
    assert Session(sweep, "batched", sweep.members, RunOptions()).run() == "finished"
    start = read_structure(folder / START)
    expected = repartitioned(start.numbers, start.positions, 3.0) * _amu / _me
    last = (folder / "ladder" / "resume.xml").read_text()
    masses = last.split("<m ", 1)[1].split("[", 1)[1].split("]", 1)[0]
    assert np.array([float(x) for x in masses.split(",")]) == pytest.approx(expected, rel=1e-5)
    conserved = read_properties(folder / "300K" / "300K_md.out")["conserved"]
    assert len(conserved) == 41
    assert np.ptp(conserved) < 0.06  # eV; 0.03, and 0.09 with hydrogens of 1 u


def test_who_looks_at_times_is_told(tmp_path: Path, h2o_benzene: Path) -> None:
    folder = tmp_path / "heavy"
    write_sweep(h2o_benzene, folder, replace(PLAN, time=0.02), relax=False)
    sweep = load_sweep(folder)
    assert Session(sweep, "batched", sweep.members, RunOptions()).run() == "finished"
    (run,) = find_runs(folder)
    assert made_with(run).notes == ("made with hydrogens of 3 u: its times are not those of the molecules",)
    assert made_with(run, h2o_benzene).notes == made_with(run).notes
    (source,) = read_sources([folder])
    assert made_with(run).notes[0] in source.notes


def test_quantum_nuclei_have_their_own(tmp_path: Path, h2o_benzene: Path) -> None:
    with pytest.raises(InputError, match="nuclei that are quantum"):
        write_sweep(h2o_benzene, tmp_path / "new", replace(PLAN, kind="pimd"), relax=False)
    assert not (tmp_path / "new").exists()


def test_walkers_move_them_as_slowly(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    own = Walkers(potential, potential.reference[None], [300.0], [1])
    heavy = Walkers(potential, potential.reference[None], [300.0], [1], masses=np.full(len(potential.numbers), 4.0))
    still = Walkers(potential, potential.reference[None], [300.0], [1], masses=np.full(len(potential.numbers), 16.0))
    assert heavy.velocities == pytest.approx(2 * still.velocities)
    assert own.thermal() == pytest.approx([1.0], abs=0.5)
    hydrogen, oxygen = np.flatnonzero(potential.numbers == 1), np.flatnonzero(potential.numbers == 8)
    assert (heavy.velocities[0, hydrogen] ** 2).mean() < (own.velocities[0, hydrogen] ** 2).mean()
    assert (heavy.velocities[0, oxygen] ** 2).mean() > (own.velocities[0, oxygen] ** 2).mean()


def test_windows_are_pulled_with_them(tmp_path: Path, h2o_benzene: Path) -> None:
    """The pull has the run's steps of 2 fs."""
    windows = Umbrella("R_CM", default_variables(load_manifest(h2o_benzene)), (3.5, 4.5))
    plan = replace(PLAN, kind="umbrella", umbrella=windows)
    write_sweep(h2o_benzene, tmp_path / "windows", plan, relax=False)
    text = (tmp_path / "windows" / "300K_4.5" / "input.xml").read_text()
    assert text.count("<masses") == 1
    assert '<masses mode="manual" units="dalton"> [12.015, 3.0, 3.0,' in text
