"""The cell that a server sends reaches the terms: over sockets, in batches, in shared memory.

i-PI's lattice vectors are columns on the wire, the rows of `Frames.cells`; a zero cell, as ASE sends it, is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest
from made_kinds import CELL
from peer import NO_CELL, Peer, Reply, header, shm_posdata

from delta_server import load_potential
from delta_server.potential import Potential
from delta_server.units import BOHR, HARTREE

from .conftest import StartDriver

CELLS = [(CELL, CELL.T / BOHR), (None, NO_CELL)]


def moved(potential: Potential, n: int) -> np.ndarray:
    """(n, N, 3) Å."""
    noise = np.random.default_rng(5).standard_normal((n, potential.n_atoms, 3))
    return potential.reference + 0.02 * noise


def right(reply: Reply, potential: Potential, frames: np.ndarray, cell: np.ndarray | None) -> None:
    result = potential.compute(frames, cells=cell)
    assert reply.energies == pytest.approx(result.energy / HARTREE, abs=1e-12)
    assert reply.forces == pytest.approx(result.forces * BOHR / HARTREE, abs=1e-12)
    assert reply.virials == pytest.approx(result.virial / HARTREE, abs=1e-12)
    ripple = [extras["energy_ripple"] for extras in reply.decoded]
    assert ripple == pytest.approx(result.parts.energies["ripple"])
    assert (np.abs(ripple) > 1e-3).all() == (cell is not None)


@pytest.mark.parametrize("batch", [1, 3])
def test_sockets(springs: Path, peer: Peer, start_driver: StartDriver, batch: int) -> None:
    driver, potential = start_driver(springs, peer.address), load_potential(springs)
    frames = moved(potential, batch)
    connection = peer.accept()
    connection.handshake(f"batch_size:{batch}".encode())
    for cell, wire in CELLS:
        x = frames / BOHR
        reply = connection.compute(x[0], wire) if batch == 1 else connection.compute_batch(x, wire)
        right(reply, potential, frames, cell)
    connection.send(header("EXIT"))
    driver.finished()


def test_servers_with_and_without_a_cell_in_one_batch(springs: Path) -> None:
    from delta_server.server.batcher import Batcher, Evaluator, _together
    from delta_server.terms.base import Frames

    potential = load_potential(springs)
    x = moved(potential, 3)
    frames = _together([Frames(x[:1]), Frames(x[1:], np.stack([CELL] * 2))])
    energies = Batcher(Evaluator(potential))(frames).result.energy
    assert energies[0] == pytest.approx(potential.compute(x[0]).energy, abs=1e-12)
    assert energies[2] == pytest.approx(potential.compute(x[2], cells=CELL).energy, abs=1e-12)


@pytest.fixture
def segments() -> Iterator[dict[str, SharedMemory]]:
    """i-PI's six, for one structure of six atoms."""
    sizes = {"pos": 18, "h": 9, "ih": 9, "pot": 1, "force": 18, "vir": 9}
    made = {kind: SharedMemory(create=True, size=8 * n) for kind, n in sizes.items()}
    yield made
    for segment in made.values():
        segment.close()
        segment.unlink()


def test_shared_memory(
    springs: Path, peer: Peer, socket_path: Path, start_driver: StartDriver, segments: dict[str, SharedMemory]
) -> None:
    driver, potential = start_driver(springs, f"shm:{socket_path}"), load_potential(springs)
    arrays = {kind: np.ndarray(segment.size // 8, buffer=segment.buf) for kind, segment in segments.items()}
    connection = peer.accept()
    connection.handshake()
    first = shm_posdata(potential.n_atoms, [segment.name for segment in segments.values()])
    for message, (cell, wire) in zip((first, shm_posdata(potential.n_atoms, [])), CELLS, strict=True):
        frames = moved(potential, 1)
        arrays["pos"][:18], arrays["h"][:9] = frames.reshape(-1) / BOHR, wire.reshape(-1)
        connection.send(message, header("GETFORCE"))
        assert connection.header() == "FORCEREADY"
        extras = (connection.read(int.from_bytes(connection.read(4), "little")),)
        values = [arrays[kind].copy() for kind in ("pot", "force", "vir")]
        reply = Reply(values[0][:1], values[1][:18].reshape(1, 6, 3), values[2][:9].reshape(1, 3, 3), extras)
        right(reply, potential, frames, cell)
    connection.send(header("EXIT"))
    driver.finished()
