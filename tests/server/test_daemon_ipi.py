"""One daemon and several real i-PI processes: each run is what it would be with a driver of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import numpy.typing as npt
import pytest
from conftest import ROOT
from ipi.utils.units import unit_to_internal
from processes import Driver, Ipi, wait_until

from delta_server import load_potential
from delta_server.units import HARTREE

from .conftest import StartDriver, System

StartIpi = Callable[..., Ipi]
STEPS = 10


@pytest.fixture
def methanes() -> System:
    manifest = ROOT / "models/methane_dimer/manifest.yaml"
    potential = load_potential(manifest)
    return System(manifest, potential.numbers, potential.reference)


@pytest.fixture
def start_ipi(tmp_path: Path, socket_folder: Path) -> Iterator[StartIpi]:
    """Start i-PI, each with a folder and a socket of its own: (numbers, positions, ...), see `Ipi`."""
    runs: list[Ipi] = []

    def start(numbers: npt.ArrayLike, positions: npt.ArrayLike, **keywords: Any) -> Ipi:
        folder = tmp_path / f"run-{len(runs)}"
        folder.mkdir()
        prefix = f"{socket_folder}/{len(runs)}-"
        runs.append(Ipi(numbers, positions, folder=folder, prefix=prefix, **keywords))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


def serve(start_driver: StartDriver, system: System, *runs: Ipi) -> Driver:
    first, *others = (run.address for run in runs)
    return start_driver(system.manifest, first, *(word for address in others for word in ("--socket", address)))


def step(run: Ipi) -> int:
    path = run.folder / "run.out"
    return len([line for line in path.read_text().splitlines() if line[:1] != "#"]) - 1 if path.exists() else 0


def displaced(system: System, i: int) -> np.ndarray:
    return system.positions + 0.02 * np.random.default_rng(i).standard_normal(system.positions.shape)


def test_eight_runs_at_once_are_eight_runs_alone(
    start_driver: StartDriver, start_ipi: StartIpi, methanes: System
) -> None:
    """Energies along each trajectory are the potential's, and the first repeats with a driver of its own."""
    runs = [start_ipi(methanes.numbers, displaced(methanes, i), steps=STEPS) for i in range(8)]
    daemon = serve(start_driver, methanes, *runs)
    for run in runs:
        run.finished()
    daemon.finished()
    again = start_ipi(methanes.numbers, displaced(methanes, 0), steps=STEPS)
    alone = serve(start_driver, methanes, again)
    again.finished()
    alone.finished()

    potential = load_potential(methanes.manifest)
    energies = [np.loadtxt(run.folder / "run.out")[:, 1] for run in runs]
    for run, found in zip(runs, energies, strict=True):
        frames = [atoms.positions for atoms in ase.io.read(run.folder / "run.pos_0.xyz", ":", format="extxyz")]
        energy = unit_to_internal("energy", "electronvolt", found) * HARTREE  # i-PI's eV is older
        assert energy == pytest.approx(potential.compute(np.array(frames)).energy, abs=3e-5)  # 6 digits of an Å
    assert len({energy[-1] for energy in energies}) == 8
    # i-PI writes 6 decimals of an eV
    assert np.loadtxt(again.folder / "run.out")[:, 1] == pytest.approx(energies[0], abs=1.1e-6)
    assert f"{8 * (STEPS + 1)} requests" in daemon.said


def test_the_fate_of_one_run_is_its_own(start_driver: StartDriver, start_ipi: StartIpi, methanes: System) -> None:
    """One is killed, one holds another molecule, one is asked to stop; the fourth goes on to its end."""
    killed = start_ipi(methanes.numbers, displaced(methanes, 0), steps=10**6)
    asked = start_ipi(methanes.numbers, displaced(methanes, 1), steps=10**6)
    water = start_ipi([8, 1, 1], [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    good = start_ipi(methanes.numbers, displaced(methanes, 2), steps=60)
    daemon = serve(start_driver, methanes, killed, asked, water, good)
    wait_until(lambda: min(map(step, (killed, asked, good))) > 2, "all runs to advance")
    before = step(good)
    killed.kill()
    asked.stopped()
    good.finished()
    assert before < 60
    first, *others = sorted(daemon.ended(5, 4, 6), key=lambda line: killed.address in line)
    assert first.startswith(f"delta-driver: {water.address}: the server sends 3 atoms, methane_dimer has 10")
    # killed between two requests, it closes as ASE does at its end
    assert len(others) <= 1
    assert all(line.startswith(f"delta-driver: {killed.address}: ") for line in others)
    assert others or f"{killed.address}: the server closed between two requests" in daemon.said
    assert f"{good.address}: EXIT received" in daemon.said
    water.stopped()


def test_sigterm_leaves_every_run_able_to_go_on(
    start_driver: StartDriver, start_ipi: StartIpi, methanes: System
) -> None:
    """The next daemon serves the same two to their end."""
    runs = [start_ipi(methanes.numbers, displaced(methanes, i), steps=40) for i in range(2)]
    daemon = serve(start_driver, methanes, *runs)
    wait_until(lambda: min(map(step, runs)) > 2, "both runs to advance")
    daemon.send(signal.SIGTERM)
    daemon.finished(143)
    following = serve(start_driver, methanes, *runs)
    for run in runs:
        run.finished()
    following.finished()
