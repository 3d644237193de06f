"""Dynamics that i-PI wraps into a small cell: the same numbers as without, over every way into i-PI."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from peer import NO_CELL, Peer, header, posdata
from processes import Process

from delta_server import load_potential
from delta_server.ipi.tables import read_properties
from delta_server.server import __file__ as server_package
from delta_server.units import BOHR, HARTREE

from .conftest import StartDriver
from .test_transports import BIN, INPUTS, OURS

SOCKET = (
    '<ffsocket name="delta" mode="{mode}" pbc="{pbc}"><address> delta </address> <latency> 1e-4 </latency>'
    "<timeout> 600 </timeout>{batch}</ffsocket>"
)
DIRECT = (
    '<ffdirect name="delta" pbc="{pbc}"><pes> custom </pes>'
    f"<pes_path> {Path(server_package).with_name('ipi_pes.py')} </pes_path>"
    f"<parameters> {{manifest: {ROOT / 'models/h2o_benzene/manifest.yaml'}}} </parameters></ffdirect>"
)


def potential_energies(folder: Path, prefix: str, forcefield: str, beads: int, start: np.ndarray) -> np.ndarray:
    """Of 40 steps (41,), eV."""
    folder.mkdir()
    text = (INPUTS / "nve.xml").read_text()
    text = re.sub(r"<ffsocket.*</ffsocket>", forcefield, text, flags=re.S)
    text = re.sub(r"<total_steps>.*?</total_steps>", "<total_steps>40</total_steps>", text)
    text = re.sub(r'stride="20"', 'stride="1"', text)
    text = re.sub(r"<trajectory[^>]*extra_type.*?</trajectory>", "", text)
    text = text.replace('nbeads="1"', f'nbeads="{beads}"')
    (folder / "input.xml").write_text(text)
    symbols = [line.split()[0] for line in (INPUTS / "init.xyz").read_text().splitlines()[2:]]
    atoms = [f"{s} {x:.10f} {y:.10f} {z:.10f}" for s, (x, y, z) in zip(symbols, start, strict=True)]
    comment = "# CELL(abcABC): 11 12 13 80 100 75 cell{angstrom} positions{angstrom}"
    (folder / "init.xyz").write_text("\n".join([str(len(atoms)), comment, *atoms, ""]))
    processes = [Process([str(BIN / "i-pi"), "-S", prefix, "input.xml"], folder, "i-pi.log")]
    if "ffsocket" in forcefield:
        command = [*OURS, "--input", "input.xml", "--sockets-prefix", prefix]
        processes.append(Process(command, folder, "driver.log"))
    try:
        for process in processes:
            assert process.wait() == 0, process.said
    finally:
        for process in processes:
            process.kill()
    return read_properties(folder / "nve.out").columns["potential"]


@pytest.mark.parametrize(
    ("forcefield", "beads", "batch"),
    [("unix", 1, 1), ("shm", 1, 1), ("unix", 4, 4), ("direct", 1, 1)],
    ids=["unix", "shm", "beads in a batch", "ffdirect"],
)
def test_wrapped_dynamics(tmp_path: Path, socket_folder: Path, forcefield: str, beads: int, batch: int) -> None:
    """Both molecules are cut from the first step on, and atoms cross all the time. What is left is what rounding of
    positions does to the models' sums, as after any translation."""
    start = np.loadtxt(INPUTS / "init.xyz", skiprows=2, usecols=(1, 2, 3)) + np.array([5.0, 6.2, 3.0])
    found = []
    for pbc in ("True", "False"):
        text = DIRECT if forcefield == "direct" else SOCKET
        size = f"<batch_size> {batch} </batch_size>" if batch > 1 else ""
        text = text.format(mode=forcefield, pbc=pbc, batch=size) if text is SOCKET else text.replace("{pbc}", pbc)
        found.append(potential_energies(tmp_path / pbc, f"{socket_folder}/{pbc}", text, beads, start))
    assert len(found[0]) == 41
    assert found[0] == pytest.approx(found[1], abs=2e-6)


@pytest.mark.parametrize("pbc", [True, False])
def test_a_guest_beyond_half_the_cell(h2o_benzene: Path, peer: Peer, start_driver: StartDriver, pbc: bool) -> None:
    """Where i-PI wraps, it is taken for its nearest image; where it does not, it has left."""
    path = peer.address.removeprefix("unix:")
    socket = f'<ffsocket name="a" mode="unix" pbc="{pbc}"><address> {path} </address></ffsocket>'
    (start := Path(path).with_name("input.xml")).write_text(f'<simulation sockets_prefix="">{socket}</simulation>')
    start_driver(h2o_benzene, None, "--input", str(start), "--sockets-prefix", "/")
    potential, cell = load_potential(h2o_benzene), 30.0 * np.eye(3)
    connection = peer.accept()
    connection.handshake()
    x = potential.reference.copy()
    x[:3] += [0.0, 0.0, 30.0]
    reply = connection.compute(x / BOHR, cell / BOHR)
    expected = potential.compute(potential.reference if pbc else x).energy / HARTREE
    assert reply.energies[0] == pytest.approx(expected, abs=1e-7)


def test_a_bond_that_is_cut_and_no_cell(h2o_benzene: Path, peer: Peer, start_driver: StartDriver) -> None:
    """After a sound first geometry too; a bond that breaks is served."""
    driver, potential = start_driver(h2o_benzene, peer.address), load_potential(h2o_benzene)
    connection = peer.accept()
    connection.handshake()
    x = potential.reference.copy()
    for shift in (0.0, 1.0, 3.0):
        x[1] = potential.reference[1] + [0.0, 0.0, shift]
        connection.compute(x / BOHR, NO_CELL)
    x[1] += [0.0, 0.0, 10.0]
    connection.send(posdata(x / BOHR, NO_CELL), header("GETFORCE"))
    assert connection.rest() == b""
    assert re.search(r"request 3, structure 0: bond O0–H1 is .* cut by periodic wrapping", driver.failed(6))
