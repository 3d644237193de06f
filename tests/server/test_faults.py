"""The driver against every fault of a server, as a process against a scripted peer.

Whatever happens: the exit code says what it was, one line on stderr says why, and the server sees a clean end
of the connection, never a reset (i-PI 3.3.1 hangs on one).
"""

from __future__ import annotations

import resource
import signal
import socket
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from peer import (
    CELL,
    NO_CELL,
    Connection,
    Peer,
    Reply,
    batch_posdata,
    header,
    init,
    listening,
    posdata,
    shm_posdata,
)
from processes import Driver, wait_until

from delta_server.errors import InputError
from delta_server.server.address import parse_address
from delta_server.units import BOHR, HARTREE

from .conftest import StartDriver, System

GETFORCE, EXIT = header("GETFORCE"), header("EXIT")
NAN, INF = float("nan"), float("inf")


def meet(start_driver: StartDriver, peer: Peer, system: System, *options: str) -> tuple[Driver, Connection]:
    """A driver and its connection, before the first word."""
    driver = start_driver(system.manifest, peer.address, *options)
    return driver, peer.accept()


def ready(
    start_driver: StartDriver, peer: Peer, system: System, *options: str, text: bytes = b" "
) -> tuple[Driver, Connection]:
    """A driver and its connection, with INIT behind them."""
    driver, connection = meet(start_driver, peer, system, *options)
    connection.handshake(text)
    return driver, connection


def computing(start_driver: StartDriver, peer: Peer, slow: System, *options: str) -> tuple[Driver, Connection]:
    """A driver in the middle of a computation."""
    driver, connection = ready(start_driver, peer, slow, *options)
    idle = driver.cpu
    connection.send(posdata(slow.bohr), GETFORCE)
    driver.wait_busy(idle)
    return driver, connection


def left_cleanly(connection: Connection) -> None:
    """The driver said nothing more and closed without a reset."""
    assert connection.rest() == b""
    connection.close()


def bye(driver: Driver, connection: Connection) -> None:
    """EXIT, and the driver ends as it should."""
    connection.send(EXIT)
    left_cleanly(connection)
    driver.finished()


def right(reply: Reply, system: System, frames: np.ndarray) -> None:
    """The reply is what the potential gives in process."""
    result = system.potential.compute(np.reshape(frames, (-1, system.n_atoms, 3)) * BOHR)
    assert reply.energies == pytest.approx(result.energy / HARTREE, rel=1e-10)
    assert reply.forces == pytest.approx(result.forces * BOHR / HARTREE, abs=1e-12)
    assert reply.virials == pytest.approx(result.virial / HARTREE, abs=1e-12)


# The conversation, when all is well


def test_conversation_as_ipi_leads_it(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    for frame in dimer.frames(3):
        right(connection.compute(frame), dimer, frame)
        assert connection.status() == "READY"
    bye(driver, connection)


def test_posdata_and_getforce_apart(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """i-PI with consolidate_messages=False: STATUS before, between and after."""
    driver, connection = ready(start_driver, peer, dimer)
    for frame in dimer.frames(2):
        assert connection.status() == "READY"
        connection.send(posdata(frame))
        assert connection.status() == "HAVEDATA"
        connection.send(GETFORCE)
        right(connection.reply(dimer.n_atoms), dimer, frame)
    bye(driver, connection)


def test_conversation_as_ase_leads_it(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """A NUL byte for INIT, no cell, no EXIT: the end of the connection between two requests is no failure."""
    driver, connection = ready(start_driver, peer, dimer, text=b"\0")
    connection.send(posdata(dimer.bohr, NO_CELL))
    assert [connection.status(), connection.status()] == ["HAVEDATA", "HAVEDATA"]
    connection.send(GETFORCE)
    right(connection.reply(dimer.n_atoms), dimer, dimer.bohr)
    connection.close()
    driver.finished()
    assert "the server closed between two requests, without EXIT" in driver.said


def test_server_gone_with_an_answer_owed(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """Whatever it was given before, this one it did not get."""
    driver, connection = ready(start_driver, peer, dimer)
    right(connection.compute(dimer.bohr), dimer, dimer.bohr)
    connection.send(posdata(dimer.bohr))
    assert connection.status() == "HAVEDATA"
    connection.close()
    assert "closed the connection" in driver.failed(4)


def test_ready_as_the_first_answer(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = meet(start_driver, peer, dimer, "--ready")
    assert connection.status() == "READY"
    right(connection.compute(dimer.bohr), dimer, dimer.bohr)
    bye(driver, connection)


def test_extras_are_json_with_the_same_keys_every_time(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """Anything else (null, bad UTF-8, a key `raw`, a key that comes and goes) ends or hangs i-PI."""
    driver, connection = ready(start_driver, peer, dimer)
    frames = dimer.frames(3)
    extras = [connection.compute(frame).decoded[0] for frame in frames]
    assert {tuple(extra) for extra in extras} == {
        ("energy_first", "energy_second", "energy_binding", "binding_force_rms")
    }
    energies = dimer.potential.compute(frames * BOHR).parts.energies
    for name, values in energies.items():
        assert [extra[f"energy_{name}"] for extra in extras] == pytest.approx(values)
    assert all(isinstance(value, float) for extra in extras for value in extra.values())
    bye(driver, connection)


def test_no_extras_have_no_length(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = ready(start_driver, peer, dimer, "--no-extras")
    assert connection.compute(dimer.bohr).extras == (b"",)
    bye(driver, connection)


# Finding the server


def forsaken(path: Path) -> None:
    """Leave a socket file that nobody listens to, as a server that died does."""
    with listening(path):
        pass


def closed_port() -> str:
    with listening("127.0.0.1") as peer:
        return peer.address


@pytest.mark.parametrize("stale", [False, True], ids=["no socket file", "stale socket file"])
def test_server_comes_later(start_driver: StartDriver, socket_path: Path, dimer: System, stale: bool) -> None:
    if stale:
        forsaken(socket_path)
    driver = start_driver(dimer.manifest, f"unix:{socket_path}")
    driver.wait_for("waiting for the server: the socket file" if stale else "waiting for the server: no such socket")
    socket_path.unlink(missing_ok=True)
    with listening(socket_path) as peer:
        connection = peer.accept()
        connection.handshake()
        bye(driver, connection)


def test_internet_server_comes_later(start_driver: StartDriver, dimer: System) -> None:
    address = closed_port()
    driver = start_driver(dimer.manifest, address)
    driver.wait_for("waiting for the server: Connection refused")
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))) as server:
        server.settimeout(20)
        connection = Connection(server.accept()[0])
        connection.handshake()
        right(connection.compute(dimer.bohr), dimer, dimer.bohr)
        bye(driver, connection)


@pytest.mark.parametrize("kind", ["nothing", "stale socket", "file", "closed port"])
def test_no_server_before_the_deadline(
    start_driver: StartDriver, socket_path: Path, dimer: System, kind: str
) -> None:
    address = closed_port() if kind == "closed port" else f"unix:{socket_path}"
    if kind == "stale socket":
        forsaken(socket_path)
    if kind == "file":
        socket_path.write_text("")
    expected = {
        "nothing": "no such socket yet",
        "stale socket": "nobody listens",
        "file": "is no socket",
        "closed port": "Connection refused",
    }
    driver = start_driver(dimer.manifest, address, "--retry", "0.1")
    reason = driver.failed(3)
    assert "no server within 0.1 s" in reason
    assert expected[kind] in reason


# Root may open anything as long as it has CAP_DAC_OVERRIDE (1): PR_CAPBSET_DROP (24) keeps it from what is exec'd.
_WITHOUT_PRIVILEGE = """
import ctypes, os, sys
if os.geteuid() == 0:
    assert ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_socket_of_somebody_else(start_driver: StartDriver, peer: Peer, socket_path: Path, dimer: System) -> None:
    """No waiting mends a lack of permission."""
    socket_path.chmod(0)
    driver = start_driver(
        dimer.manifest, peer.address, "--retry", "1e6", wrapper=[sys.executable, "-c", _WITHOUT_PRIVILEGE]
    )
    assert "Permission denied" in driver.failed(2)


@pytest.mark.parametrize("text", ["unix:", "shm", "inet:host", "inet:host:0", "inet:host:²", "inet:h:" + "9" * 5000])
def test_address_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="socket"):
        parse_address(text)


# Messages in pieces


def test_header_in_two_packets(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = meet(start_driver, peer, dimer)
    for half in (slice(5), slice(5, None)):
        connection.trickle(header("STATUS")[half])  # comes back when the driver has read it
    assert connection.header() == "NEEDINIT"
    connection.trickle(init(b" ")[:12])
    connection.send(init(b" ")[12:], header("STATUS")[:11])
    connection.trickle(header("STATUS")[11:])
    assert connection.header() == "READY"
    bye(driver, connection)


@pytest.mark.parametrize("batch", [None, 2])
def test_positions_byte_by_byte(start_driver: StartDriver, peer: Peer, dimer: System, batch: int | None) -> None:
    driver, connection = ready(start_driver, peer, dimer, text=f" batch_size:{batch or 1}".encode())
    frames = dimer.frames(batch or 1)
    connection.trickle(batch_posdata(frames) if batch else posdata(frames[0]), GETFORCE)
    right(connection.reply(dimer.n_atoms, batch), dimer, frames)
    bye(driver, connection)


# The server goes away


def test_server_gone_while_idle(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    began = time.monotonic()
    connection.close()
    assert "closed the connection" in driver.failed(4)
    assert time.monotonic() - began < 10


def test_no_cpu_is_burnt_while_no_server_is_there(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """An end of file is always readable: who does not take it for an end spins."""
    driver, connection = ready(start_driver, peer, dimer, "--reconnect", "--retry", "1.5")
    connection.close()
    peer.close()
    driver.wait_for("waiting for the next server")
    began, cpu = time.monotonic(), driver.cpu
    wait_until(lambda: not driver.running, "the driver to end")
    waited, used = time.monotonic() - began, driver.cpu - cpu
    assert waited > 0.5
    assert used < 0.4 * waited
    driver.failed(4)


@pytest.mark.parametrize(("where", "sent"), [("unix", 12), ("unix", 100), ("inet", 160), ("unix", 200)])
def test_server_gone_within_posdata(
    start_driver: StartDriver, socket_path: Path, dimer: System, where: str, sent: int
) -> None:
    with listening(socket_path if where == "unix" else "127.0.0.1") as peer:
        driver, connection = ready(start_driver, peer, dimer)
        connection.send(posdata(dimer.bohr)[:sent])
        connection.close()
        assert "in the middle of a message" in driver.failed(5)


def test_server_gone_within_a_header(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    connection.send(header("STATUS")[:3])
    connection.close()
    assert "3 of 12 bytes" in driver.failed(5)


@pytest.mark.parametrize("where", ["unix", "inet"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_server_gone_during_the_force(
    start_driver: StartDriver, socket_path: Path, slow: System, where: str, how: str
) -> None:
    with listening(socket_path if where == "unix" else "127.0.0.1") as peer:
        driver, connection = computing(start_driver, peer, slow)
        getattr(connection, how)()
        assert "connection" in driver.failed(4, 5)


def test_server_gone_before_getforce(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    connection.send(posdata(dimer.bohr))
    connection.close()
    assert "closed the connection" in driver.failed(4)


def test_server_restarted(start_driver: StartDriver, socket_path: Path, dimer: System) -> None:
    """Gone while idle, then gone in a message, then a third one that says EXIT: one driver serves them all."""
    with listening(socket_path) as peer:
        driver, connection = ready(start_driver, peer, dimer, "--reconnect")
        right(connection.compute(dimer.bohr), dimer, dimer.bohr)
    socket_path.unlink()
    for message in (posdata(dimer.bohr)[:50], EXIT):
        with listening(socket_path) as peer:
            connection = peer.accept()
            connection.handshake()
            right(connection.compute(dimer.bohr), dimer, dimer.bohr)
            connection.send(message)
        socket_path.unlink()
    driver.wait_for("EXIT received; waiting for the next server")
    driver.send(signal.SIGTERM)
    driver.finished(143)


def test_after_exit_no_other_server_is_no_failure(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = ready(start_driver, peer, dimer, "--reconnect", "--retry", "0")
    peer.socket.close()
    bye(driver, connection)


# Signals

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_signal_while_computing(start_driver: StartDriver, peer: Peer, slow: System, number: signal.Signals) -> None:
    """The request is answered, then the driver leaves."""
    driver, connection = computing(start_driver, peer, slow)
    driver.send(number)
    right(connection.reply(slow.n_atoms), slow, slow.bohr)
    left_cleanly(connection)
    driver.finished(CODES[number])


def test_second_signal_while_computing(start_driver: StartDriver, peer: Peer, slow: System) -> None:
    """The second one means it: no reply, but a clean end."""
    driver, connection = computing(start_driver, peer, slow)
    driver.send(signal.SIGTERM)
    driver.send(signal.SIGINT)
    left_cleanly(connection)
    assert driver.ended(130, 143) == []


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_signal_while_idle(start_driver: StartDriver, peer: Peer, dimer: System, number: signal.Signals) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    driver.send(number)
    left_cleanly(connection)
    driver.finished(CODES[number])


def test_signal_between_havedata_and_getforce(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """What was announced is delivered."""
    driver, connection = ready(start_driver, peer, dimer)
    connection.send(posdata(dimer.bohr))
    assert connection.status() == "HAVEDATA"
    driver.send(signal.SIGTERM)
    assert connection.status() == "HAVEDATA"
    connection.send(GETFORCE)
    right(connection.reply(dimer.n_atoms), dimer, dimer.bohr)
    left_cleanly(connection)
    driver.finished(143)


def test_signal_while_waiting_for_the_server(start_driver: StartDriver, socket_path: Path, dimer: System) -> None:
    driver = start_driver(dimer.manifest, f"unix:{socket_path}")
    driver.wait_for("waiting for the server")
    driver.send(signal.SIGTERM)
    driver.finished(143)


def test_positions_that_come_while_it_leaves_are_thrown_away(
    start_driver: StartDriver, peer: Peer, dimer: System
) -> None:
    """Unread they would make the close a reset."""
    driver, connection = ready(start_driver, peer, dimer)
    driver.send(signal.SIGTERM)
    assert connection.rest() == b""
    connection.send(posdata(dimer.bohr), GETFORCE)
    left_cleanly(connection)
    driver.finished(143)


@pytest.mark.parametrize("apart", [False, True], ids=["GETFORCE along", "GETFORCE behind"])
def test_killed_while_computing_leaves_nothing_unread(
    start_driver: StartDriver, peer: Peer, slow: System, apart: bool
) -> None:
    """GETFORCE was read before the computation began: the server sees an end, not a reset."""
    driver, connection = ready(start_driver, peer, slow)
    idle = driver.cpu
    connection.send(posdata(slow.bohr), b"" if apart else GETFORCE)
    if apart:  # the driver has all positions and could begin
        wait_until(lambda: connection.unread == 0, "the driver to read the positions", pause=0.0)
        connection.send(GETFORCE)
    driver.wait_busy(idle)
    driver.send(signal.SIGKILL)
    left_cleanly(connection)
    driver.ended(-signal.SIGKILL)


def test_killed_while_idle(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    driver.send(signal.SIGKILL)
    left_cleanly(connection)
    driver.ended(-signal.SIGKILL)


def test_killed_before_it_read_the_request(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """The moment that no draining covers: the positions are there, the driver has not woken up yet."""
    driver, connection = ready(start_driver, peer, dimer)
    driver.send(signal.SIGSTOP)
    connection.send(posdata(dimer.bohr), GETFORCE)
    driver.send(signal.SIGKILL)
    left_cleanly(connection)
    driver.ended(-signal.SIGKILL)


# Atoms and positions that cannot be


def confine(driver: Driver) -> None:
    """From here on the process may get 256 MiB more; 2**31 atoms would want 48 GiB."""
    limit = driver.memory + 256 * 2**20
    resource.prlimit(driver.pid, resource.RLIMIT_AS, (limit, limit))


@pytest.mark.parametrize(
    ("n_atoms", "batch"),
    [(5, None), (7, None), (0, None), (-1, None), (2**31 - 1, None), (7, 4), (-(2**31), 4), (2**31 - 1, 4)],
)
def test_wrong_number_of_atoms(
    start_driver: StartDriver, peer: Peer, dimer: System, n_atoms: int, batch: int | None
) -> None:
    """Refused from the number alone: the positions never come, and no memory is taken for them."""
    driver, connection = ready(start_driver, peer, dimer, text=f" batch_size:{batch or 1}".encode())
    confine(driver)
    if batch:
        connection.send(batch_posdata(np.zeros((batch, 0, 3)), n_atoms=n_atoms))
    else:
        connection.send(posdata(np.zeros((0, 3)), n_atoms=n_atoms))
    left_cleanly(connection)
    assert f"sends {n_atoms} atoms, dimer0 has 6" in driver.failed(6)


@pytest.mark.parametrize("change", [-1, 1])
def test_number_of_atoms_that_changes(start_driver: StartDriver, peer: Peer, dimer: System, change: int) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    right(connection.compute(dimer.bohr), dimer, dimer.bohr)
    connection.send(posdata(np.resize(dimer.bohr, (6 + change, 3))), GETFORCE)
    left_cleanly(connection)
    assert f"sends {6 + change} atoms" in driver.failed(6)


def test_absurd_batch_size(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = meet(start_driver, peer, dimer)
    confine(driver)
    connection.send(init(b" batch_size:999999999"))
    left_cleanly(connection)
    assert "batch_size" in driver.failed(8)


@pytest.mark.parametrize(("value", "options"), [(NAN, ()), (INF, ("--no-geometry-check",))])
def test_positions_that_are_no_numbers(
    start_driver: StartDriver, peer: Peer, dimer: System, value: float, options: tuple[str, ...]
) -> None:
    """Refused at any request, whatever is asked of the geometry."""
    driver, connection = ready(start_driver, peer, dimer, *options)
    right(connection.compute(dimer.bohr), dimer, dimer.bohr)
    positions = dimer.bohr.copy()
    positions[3, 1] = value
    connection.send(posdata(positions), GETFORCE)
    left_cleanly(connection)
    reason = driver.failed(6)
    assert "atom 3" in reason
    assert "not finite" in reason


def test_positions_of_a_batch_that_are_no_numbers(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    driver, connection = ready(start_driver, peer, dimer, text=b" batch_size:3")
    frames = dimer.frames(3)
    frames[2, 5] = NAN
    connection.send(batch_posdata(frames), GETFORCE)
    left_cleanly(connection)
    reason = driver.failed(6)
    assert "structure 2 of the batch" in reason
    assert "not finite" in reason


@pytest.mark.parametrize(("factor", "hint"), [(BOHR, "0.53 times"), (1 / BOHR, "1.89 times")])
def test_positions_in_the_wrong_unit(
    start_driver: StartDriver, peer: Peer, dimer: System, factor: float, hint: str
) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    connection.send(posdata(dimer.bohr * factor), GETFORCE)
    left_cleanly(connection)
    assert hint in driver.failed(6)


@pytest.mark.parametrize("batch", [None, 2])
def test_atoms_in_another_order(start_driver: StartDriver, peer: Peer, dimer: System, batch: int | None) -> None:
    driver, connection = ready(start_driver, peer, dimer, text=f" batch_size:{batch or 1}".encode())
    positions = dimer.bohr[[0, 3, 1, 2, 4, 5]]
    frames = np.stack([dimer.bohr, positions])
    connection.send(batch_posdata(frames) if batch else posdata(positions), GETFORCE)
    left_cleanly(connection)
    reason = driver.failed(6)
    assert "another order of atoms" in reason
    assert ("structure 1 of the batch" in reason) == bool(batch)


def test_forces_that_are_no_numbers_are_never_sent(
    start_driver: StartDriver, peer: Peer, dimer: System, tmp_path: Path
) -> None:
    driver, connection = ready(start_driver, peer, dimer, "--no-geometry-check")
    positions = dimer.bohr.copy()
    positions[4] = positions[1]
    connection.send(posdata(positions), GETFORCE)
    left_cleanly(connection)
    reason = driver.failed(7)
    (dump,) = tmp_path.glob("*.extxyz")
    assert dump.name in reason
    written = ase.io.read(dump)
    assert written.numbers.tolist() == dimer.numbers.tolist()
    assert written.positions == pytest.approx(positions * BOHR, abs=1e-6)


# Another mode, another protocol


@pytest.mark.parametrize("n", [2, 5])
def test_batches(start_driver: StartDriver, peer: Peer, dimer: System, n: int) -> None:
    driver, connection = ready(start_driver, peer, dimer, text=f" k : v , ,  batch_size:{n}".encode())
    for _ in range(2):
        frames = dimer.frames(n)
        reply = connection.compute_batch(frames)
        right(reply, dimer, frames)
        assert len({tuple(extra) for extra in reply.decoded}) == 1
        assert connection.status() == "READY"
    bye(driver, connection)


def test_batch_padded_with_copies(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """A copy is answered like its original and costs nothing."""
    driver, connection = ready(start_driver, peer, dimer, text=b" batch_size:5")
    frames = dimer.frames(2)[[0, 1, 1, 1, 1]]
    reply = connection.compute_batch(frames)
    right(reply, dimer, frames)
    assert len(set(reply.extras)) == 2
    bye(driver, connection)
    assert "1 requests (2 structures)" in driver.said


@pytest.mark.parametrize("cell", [CELL, np.diag([128.0] * 3), NO_CELL], ids=["cell", "round cell", "no cell"])
def test_batches_that_were_not_announced(
    start_driver: StartDriver, peer: Peer, dimer: System, cell: np.ndarray
) -> None:
    """i-PI announces them only to a client that says NEEDINIT."""
    driver, connection = meet(start_driver, peer, dimer, "--ready")
    assert connection.status() == "READY"
    connection.send(batch_posdata(dimer.frames(2), cell), GETFORCE)
    left_cleanly(connection)
    assert "(no --ready)" in driver.failed(6)


@pytest.mark.parametrize("options", [(), ("--reconnect",)])
def test_shared_memory_server_and_unix_driver(
    start_driver: StartDriver, peer: Peer, dimer: System, options: tuple[str, ...]
) -> None:
    """No other server is waited for: the address is wrong."""
    driver, connection = ready(start_driver, peer, dimer, *options)
    names = [f"ipi_shm_1_2_{kind}" for kind in ("pos", "h", "ih", "pot", "force", "vir")]
    connection.send(shm_posdata(dimer.n_atoms, names), GETFORCE)
    left_cleanly(connection)
    assert "connect with --socket shm:" in driver.failed(8)


@pytest.mark.parametrize("cell", [CELL, NO_CELL], ids=["cell", "no cell"])
def test_unix_server_and_shared_memory_driver(
    start_driver: StartDriver, peer: Peer, socket_path: Path, dimer: System, cell: np.ndarray
) -> None:
    driver = start_driver(dimer.manifest, f"shm:{socket_path}")
    connection = peer.accept()
    connection.handshake()
    connection.send(posdata(dimer.bohr, cell), GETFORCE)
    left_cleanly(connection)
    assert "<ffsocket mode='shm'>" in driver.failed(6, 8)


@pytest.mark.parametrize("message", [b"GET / HTTP/1.1\r\n\r\n", bytes(12), GETFORCE])
def test_no_server_of_this_protocol(start_driver: StartDriver, peer: Peer, dimer: System, message: bytes) -> None:
    driver, connection = ready(start_driver, peer, dimer)
    connection.send(message)
    left_cleanly(connection)
    assert "the server sent" in driver.failed(8)


# What is written on the terminal


def test_names_are_escaped_in_the_log(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    path = dimer.manifest.with_name("named.yaml")
    entries = yaml.safe_load(dimer.manifest.read_text()) | {"name": "a\nb\x1b[31mc\u202e$x$"}
    path.write_text(yaml.safe_dump(entries))
    driver = start_driver(path, peer.address)
    connection = peer.accept()
    connection.handshake()
    bye(driver, connection)
    assert r"a\nb\x1b[31mc\u202e$x$: 6 atoms" in driver.said


@pytest.mark.parametrize("value", [1e155, 1e300])
@pytest.mark.parametrize("options", [(), ("--no-geometry-check",)], ids=["looked at", "not looked at"])
def test_no_warning_of_numpy_on_the_terminal(
    start_driver: StartDriver, peer: Peer, dimer: System, value: float, options: tuple[str, ...]
) -> None:
    """A cell of any size is none of an isolated molecule's business; positions are refused with one line."""
    driver, connection = ready(start_driver, peer, dimer, *options)
    cell = np.diag([value] * 3)
    assert np.isfinite(connection.compute(dimer.bohr, cell).virials).all()
    positions = dimer.bohr.copy()
    positions[2, 1] = value
    connection.send(posdata(positions, cell), GETFORCE)
    left_cleanly(connection)
    driver.failed(6)
