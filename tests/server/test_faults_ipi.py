"""The driver and the real i-PI: whatever happens to one driver, i-PI goes on with another or can still be ended.

`Ipi.finished` asks for every step in the output and in the trajectories.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from processes import Driver, Ipi, wait_until

from .conftest import StartDriver, StartIpi, System

EXTRAS = ("energy_first", "energy_second", "energy_binding", "binding_force_rms")
SIGNALS = {signal.SIGTERM: 143, signal.SIGKILL: -9}


def wait_computing(*drivers: Driver) -> Driver:
    """Wait until one of the drivers computes; returns it."""
    idle = {driver: driver.cpu for driver in drivers}
    wait_until(lambda: any(driver.cpu > cpu + 0.04 for driver, cpu in idle.items()), "a driver to compute")
    return max(drivers, key=lambda driver: driver.cpu - idle[driver])


def two_drivers(
    start_driver: StartDriver, start_ipi: StartIpi, slow: System, address: str, **keywords: Any
) -> tuple[Driver, Driver, Ipi]:
    """i-PI with two drivers connected from the start: the one that computes, the idle one, and i-PI."""
    pair = [start_driver(slow.manifest, address) for _ in range(2)]
    for driver in pair:
        driver.wait_for("waiting for the server")
    ipi = start_ipi(slow.numbers, slow.positions, **{"steps": 2, **keywords})
    ipi.wait_for("Handshaking was successful", count=2)
    busy = wait_computing(*pair)
    return busy, next(driver for driver in pair if driver is not busy), ipi


@pytest.fixture
def address(socket_folder: Path) -> str:
    """Where `start_ipi` listens."""
    return f"unix:{socket_folder}/delta"


# A driver goes away


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_driver_ends_while_computing(
    start_driver: StartDriver, start_ipi: StartIpi, slow: System, address: str, number: signal.Signals
) -> None:
    busy, idle, ipi = two_drivers(start_driver, start_ipi, slow, address)
    busy.send(number)
    assert busy.ended(SIGNALS[number]) == []
    ipi.finished()
    idle.finished()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_driver_ends_while_idle(
    start_driver: StartDriver, start_ipi: StartIpi, slow: System, address: str, number: signal.Signals
) -> None:
    """i-PI notices only when it turns to it, once the other one has left too; a third one does the rest."""
    busy, idle, ipi = two_drivers(start_driver, start_ipi, slow, address)
    busy.send(signal.SIGSTOP)  # or the run might be over by then
    idle.send(number)
    assert idle.ended(SIGNALS[number]) == []
    busy.send(signal.SIGTERM)
    busy.send(signal.SIGCONT)
    busy.finished(143)
    third = start_driver(slow.manifest, address)
    ipi.finished()
    third.finished()


def test_driver_that_hangs(start_driver: StartDriver, start_ipi: StartIpi, slow: System, address: str) -> None:
    """With a timeout i-PI gives its request to another one, and the driver finds itself alone afterwards."""
    busy, idle, ipi = two_drivers(start_driver, start_ipi, slow, address, steps=1, options="<timeout> 3 </timeout>")
    busy.send(signal.SIGSTOP)
    ipi.finished()
    idle.finished()
    busy.send(signal.SIGCONT)
    assert "connection" in busy.failed(4, 5)


def test_exit_on_disconnect(start_driver: StartDriver, start_ipi: StartIpi, slow: System, address: str) -> None:
    ipi = start_ipi(
        slow.numbers, slow.positions, options="<exit_on_disconnect> True </exit_on_disconnect>", steps=1000
    )
    driver = start_driver(slow.manifest, address)
    driver.wait_for("connected\n")
    wait_computing(driver)
    driver.send(signal.SIGTERM)
    driver.finished(143)
    assert ipi.wait() == 0
    assert (ipi.folder / "RESTART").stat().st_size > 0


# i-PI goes away


def test_ipi_is_killed_and_comes_back(
    start_driver: StartDriver, start_ipi: StartIpi, slow: System, address: str, socket_folder: Path
) -> None:
    """The same driver serves the next i-PI."""
    driver = start_driver(slow.manifest, address, "--reconnect")
    first = start_ipi(slow.numbers, slow.positions)
    driver.wait_for("connected\n")
    wait_computing(driver)
    first.kill()
    driver.wait_for("waiting for the server: the socket file is there but nobody listens")
    (socket_folder / "delta").unlink()
    start_ipi(slow.numbers, slow.positions, steps=1).finished()
    driver.wait_for("EXIT received")
    driver.send(signal.SIGTERM)
    driver.finished(143)


def test_ipi_is_stopped(start_driver: StartDriver, start_ipi: StartIpi, slow: System, address: str) -> None:
    """EXIT while computing or after it, RESTART written."""
    ipi = start_ipi(slow.numbers, slow.positions, steps=1000)
    driver = start_driver(slow.manifest, address)
    driver.wait_for("connected\n")
    wait_computing(driver)
    ipi.stopped()
    assert len(driver.ended(0, 4, 5)) <= 1


# Modes


@pytest.mark.parametrize(
    ("mode", "beads", "socket", "options"),
    [
        ("unix", 1, "", "<consolidate_messages> False </consolidate_messages>"),
        ("unix", 3, "matching='any'", "<batch_size> 2 </batch_size>"),
        ("shm", 1, "", ""),
        ("shm", 3, "matching='any'", "<batch_size> 2 </batch_size>"),
    ],
    ids=["messages apart", "padded batches", "shared memory", "shared memory, padded batches"],
)
def test_modes(
    start_driver: StartDriver,
    start_ipi: StartIpi,
    dimer: System,
    mode: str,
    beads: int,
    socket: str,
    options: str,
) -> None:
    """The numbers that i-PI wrote are those of the potential."""
    ipi = start_ipi(
        dimer.numbers, dimer.positions, mode=mode, beads=beads, socket=socket, options=options, extras=EXTRAS
    )
    driver = start_driver(dimer.manifest, ipi.address)
    ipi.finished()
    driver.finished()
    potential = dimer.potential
    frames = np.array(
        [
            [atoms.positions for atoms in ase.io.read(ipi.folder / f"run.pos_{bead}.xyz", ":", format="extxyz")]
            for bead in range(beads)
        ]
    )
    result = potential.compute(frames.reshape(-1, 6, 3))
    energies = result.energy.reshape(beads, -1).mean(0)
    assert np.loadtxt(ipi.folder / "run.out")[:, 1] == pytest.approx(energies, abs=1e-5)
    for name, values in result.parts.energies.items():
        for bead, expected in enumerate(values.reshape(beads, -1)):
            written = np.loadtxt(ipi.folder / f"run.energy_{name}_{bead}")
            assert written == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("mode", "driver_mode", "options", "reason"),
    [
        ("shm", "unix", (), "connect with --socket shm:"),
        ("shm", "unix", ("--reconnect",), "connect with --socket shm:"),
        ("unix", "shm", (), "<ffsocket mode='shm'>"),
        ("batch", "unix", ("--ready",), "no --ready"),
    ],
)
def test_driver_in_another_mode_than_ipi(
    start_driver: StartDriver,
    start_ipi: StartIpi,
    dimer: System,
    mode: str,
    driver_mode: str,
    options: tuple[str, ...],
    reason: str,
) -> None:
    """It says so and leaves, and i-PI takes the right one."""
    batch = "<batch_size> 2 </batch_size>" if mode == "batch" else ""
    ipi = start_ipi(dimer.numbers, dimer.positions, mode=mode.replace("batch", "unix"), beads=2, options=batch)
    path = ipi.address.partition(":")[2]
    wrong = start_driver(dimer.manifest, f"{driver_mode}:{path}", *options)
    assert reason in wrong.failed(6, 8)
    right = start_driver(dimer.manifest, ipi.address)
    ipi.finished()
    right.finished()


# Geometries that cannot be: i-PI is told nothing, waits for another driver, and can be ended


@pytest.mark.parametrize(
    ("wrong", "batch", "reason"),
    [
        ("fewer atoms", 1, "sends 3 atoms"),
        ("fewer atoms", 2, "sends 3 atoms"),
        ("unit", 1, "0.53 times"),
        ("order", 2, "another order of atoms"),
    ],
)
def test_input_of_another_molecule(
    start_driver: StartDriver, start_ipi: StartIpi, dimer: System, wrong: str, batch: int, reason: str
) -> None:
    atoms = {"fewer atoms": [0, 1, 2], "order": [0, 3, 1, 2, 4, 5], "unit": list(range(6))}[wrong]
    ipi = start_ipi(
        dimer.numbers[atoms],
        dimer.positions[atoms],
        unit="atomic_unit" if wrong == "unit" else "angstrom",
        options=f"<batch_size> {batch} </batch_size>",
    )
    driver = start_driver(dimer.manifest, ipi.address)
    assert reason in driver.failed(6)
    ipi.stopped()


def test_forces_that_are_no_numbers(start_driver: StartDriver, start_ipi: StartIpi, dimer: System) -> None:
    """i-PI would take them, and end with exit code 0 and a trajectory of NaN."""
    positions = dimer.positions.copy()
    positions[4] = positions[1]
    ipi = start_ipi(dimer.numbers, positions)
    driver = start_driver(dimer.manifest, ipi.address, "--no-geometry-check")
    assert "not-finite.extxyz" in driver.failed(7)
    (dump,) = driver.folder.glob("*.extxyz")
    assert ase.io.read(dump).positions == pytest.approx(positions, abs=1e-5)
    ipi.stopped()
    assert "nan" not in (ipi.folder / "RESTART").read_text().lower()


# The shipped system, as a user runs it


def test_shipped_system(start_driver: StartDriver, start_ipi: StartIpi, h2o_benzene: Path, inputs: Path) -> None:
    start = ase.io.read(inputs / "h2o_benzene/init.xyz", format="xyz")
    extras = ("energy_water", "energy_benzene", "energy_binding", "binding_force_rms")
    ipi = start_ipi(start.numbers, start.positions, steps=20, extras=extras, started=True)
    driver = start_driver(h2o_benzene, ipi.address, started=True)
    ipi.finished()
    driver.finished()
    for name in extras:
        assert len(np.loadtxt(ipi.folder / f"run.{name}_0")) == 21
