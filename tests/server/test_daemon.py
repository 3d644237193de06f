"""One daemon, several servers: served together, each with its own fate."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import ase.io
import numpy as np
import pytest
from peer import Connection, Peer, Reply, batch_posdata, header, init, listening, posdata
from processes import Driver

from delta_server import load_potential
from delta_server.units import BOHR, HARTREE

from .conftest import StartDriver, System

GETFORCE, EXIT = header("GETFORCE"), header("EXIT")

Peers = Callable[[int], list[Peer]]


@pytest.fixture
def peers(socket_folder: Path) -> Iterator[Peers]:
    """Servers on unix sockets ``0``, ``1``, …"""
    with ExitStack() as stack:
        yield lambda n: [stack.enter_context(listening(socket_folder / str(i))) for i in range(n)]


def start(start_driver: StartDriver, system: System, servers: list[Peer], *options: str) -> Driver:
    first, *others = (peer.address for peer in servers)
    more = (word for address in others for word in ("--socket", address))
    return start_driver(system.manifest, first, *more, *options)


def ready(
    start_driver: StartDriver, system: System, servers: list[Peer], *options: str
) -> tuple[Driver, list[Connection]]:
    """A daemon and its connections, with INIT behind them."""
    daemon = start(start_driver, system, servers, *options)
    connections = [peer.accept() for peer in servers]
    for connection in connections:
        connection.handshake()
    return daemon, connections


def ask(connection: Connection, frame: np.ndarray) -> None:
    connection.send(posdata(frame), GETFORCE)


def busy_with(daemon: Driver, connection: Connection, frame: np.ndarray) -> None:
    """Ask, and go on once the daemon is in the middle of it."""
    idle = daemon.cpu
    ask(connection, frame)
    daemon.wait_busy(idle)


def right(reply: Reply, system: System, frames: np.ndarray) -> None:
    """What the potential gives in process, alone."""
    frames = np.reshape(frames, (-1, system.n_atoms, 3)) * BOHR
    for i, frame in enumerate(frames):
        result = system.potential.compute(frame)
        assert reply.energies[i] == pytest.approx(result.energy / HARTREE, rel=1e-10)
        assert reply.forces[i] == pytest.approx(result.forces * BOHR / HARTREE, abs=1e-10)
        assert reply.virials[i] == pytest.approx(result.virial / HARTREE, abs=1e-9)
        for name, energy in result.parts.energies.items():
            assert reply.decoded[i][f"energy_{name}"] == pytest.approx(energy, rel=1e-9)


def left_cleanly(connection: Connection) -> None:
    assert connection.rest() == b""
    connection.close()


def bye(*connections: Connection) -> None:
    for connection in connections:
        connection.send(EXIT)
        left_cleanly(connection)


def alive(connection: Connection, system: System) -> None:
    right(connection.compute(system.bohr), system, system.bohr)


# When all is well


@pytest.mark.parametrize("n", [2, 8])
def test_servers_are_served_in_any_order(start_driver: StartDriver, peers: Peers, dimer: System, n: int) -> None:
    servers = peers(n)
    daemon, connections = ready(start_driver, dimer, servers)
    frames = dimer.frames(n)
    for order in (range(n), reversed(range(n))):
        for i in order:
            right(connections[i].compute(frames[i]), dimer, frames[i])
            assert connections[i].status() == "READY"
    for connection, frame in zip(connections, frames, strict=True):  # all at once
        ask(connection, frame)
    for connection, frame in zip(connections, frames, strict=True):
        right(connection.reply(dimer.n_atoms), dimer, frame)
    bye(*connections)
    daemon.finished()
    for peer in servers:
        assert f"{peer.address}: EXIT received" in daemon.said
    assert f"{3 * n} requests ({3 * n} structures)" in daemon.said


def test_a_lone_server_does_not_wait_for_the_others(start_driver: StartDriver, peers: Peers, dimer: System) -> None:
    """One is connected and silent, one listens and says nothing at all, one is not there yet."""
    one, silent, mute, late = peers(4)
    late.close()
    daemon = start(start_driver, dimer, [one, silent, mute, late])
    connection, quiet = one.accept(), silent.accept()
    connection.handshake()
    quiet.handshake()
    for _ in range(3):
        alive(connection, dimer)
    bye(connection)
    alive(quiet, dimer)
    daemon.send(signal.SIGTERM)
    left_cleanly(quiet)
    left_cleanly(mute.accept())
    daemon.finished(143)


def test_requests_that_wait_together_are_evaluated_together(
    start_driver: StartDriver, peers: Peers, slow: System
) -> None:
    """While the first is computed the other three come."""
    daemon, connections = ready(start_driver, slow, peers(4))
    frames = slow.frames(4)
    busy_with(daemon, connections[0], frames[0])
    for connection, frame in zip(connections[1:], frames[1:], strict=True):
        ask(connection, frame)
    for connection, frame in zip(connections, frames, strict=True):
        right(connection.reply(slow.n_atoms), slow, frame)
    bye(*connections)
    daemon.finished()
    assert "4 requests (4 structures)" in daemon.said
    assert "2.0 structures evaluated at once" in daemon.said  # 1 and 3


def test_servers_of_different_kinds(
    start_driver: StartDriver, peers: Peers, dimer: System, socket_folder: Path
) -> None:
    """Single structures over unix, batches over TCP, messages apart: each connection has its own state."""
    (unix, apart), frames = peers(2), dimer.frames(5)
    with listening("127.0.0.1") as inet:
        daemon = start(start_driver, dimer, [unix, inet, apart])
        single, batch, slowly = unix.accept(), inet.accept(), apart.accept()
        single.handshake()
        batch.handshake(b" batch_size:3")
        assert slowly.status() == "NEEDINIT"
        slowly.send(init(b"\0"))
        slowly.send(posdata(frames[4]))
        assert slowly.status() == "HAVEDATA"
        for _ in range(3):
            batch.send(batch_posdata(frames[[1, 2, 2]]), GETFORCE)
            ask(single, frames[0])
            right(single.reply(6), dimer, frames[0])
            right(batch.reply(6, 3), dimer, frames[[1, 2, 2]])
        assert slowly.status() == "HAVEDATA"
        slowly.send(GETFORCE)
        right(slowly.reply(6), dimer, frames[4])
        bye(single, batch, slowly)
        daemon.finished()
        assert "7 requests (10 structures)" in daemon.said


def test_two_connections_to_one_server(start_driver: StartDriver, peers: Peers, dimer: System) -> None:
    """What an i-PI with several beads makes of two drivers, in one process."""
    (peer,) = peers(1)
    daemon = start_driver(dimer.manifest, peer.address, "--socket", peer.address)
    pair = [peer.accept(), peer.accept()]
    for connection in pair:
        connection.handshake()
    for connection in pair:
        alive(connection, dimer)
    bye(*pair)
    daemon.finished()


def test_addresses_from_several_inputs(
    start_driver: StartDriver, peers: Peers, dimer: System, tmp_path: Path, socket_folder: Path
) -> None:
    servers = peers(2)
    for i, _ in enumerate(servers):
        (tmp_path / f"{i}.xml").write_text(
            f"<simulation><ffsocket mode='unix' name='delta'><address>{i}</address></ffsocket></simulation>"
        )
    options = ["--input", "0.xml", "--input", "1.xml", "--sockets-prefix", f"{socket_folder}/"]
    daemon = start_driver(dimer.manifest, None, *options)
    bye(*[peer.accept() for peer in servers])
    daemon.finished()


# One has trouble, the others do not notice


def reason(daemon: Driver, peer: Peer, code: int) -> str:
    """The daemon ended with that code and gave one reason, with the address of the server that it was about."""
    line = daemon.failed(code)
    assert line.startswith(f"delta-driver: {peer.address}: ")
    return line


@pytest.mark.parametrize(
    ("fault", "code", "what"),
    [
        (lambda c, x: c.close(), 4, "closed the connection"),
        (lambda c, x: (c.send(posdata(x)[:100]), c.close()), 5, "in the middle of a message"),
        (lambda c, x: ask(c, x[:3]), 6, "sends 3 atoms"),
        (lambda c, x: ask(c, x[[0, 3, 1, 2, 4, 5]]), 6, "another order of atoms"),
        (lambda c, x: ask(c, x * BOHR), 6, "0.53 times"),
        (lambda c, x: c.send(b"GET / HTTP/1.1\r\n\r\n"), 8, "the server sent"),
        (lambda c, x: c.send(init(b" batch_size:999999999")), 8, "batch_size"),
    ],
    ids=["gone", "gone in a message", "fewer atoms", "order", "unit", "not i-PI", "absurd batch"],
)
def test_trouble_with_one_is_its_own(
    start_driver: StartDriver,
    peers: Peers,
    dimer: System,
    fault: Callable[[Connection, np.ndarray], None],
    code: int,
    what: str,
) -> None:
    servers = peers(3)
    daemon, (a, b, c) = ready(start_driver, dimer, servers)
    bad = servers[1]
    alive(a, dimer)
    fault(b, dimer.bohr)
    if b.socket.fileno() >= 0:
        left_cleanly(b)
    daemon.wait_for(f"delta-driver: {bad.address}: ")  # said at once
    for connection in (a, c):
        alive(connection, dimer)
    bye(a, c)
    assert what in reason(daemon, bad, code)


def test_forces_that_are_no_numbers_spoil_nobodys_batch(
    start_driver: StartDriver, peers: Peers, slow: System, tmp_path: Path
) -> None:
    servers = peers(3)
    daemon, (a, b, c) = ready(start_driver, slow, servers, "--no-geometry-check")
    frames = slow.frames(3)
    frames[1, 4] = frames[1, 1]
    busy_with(daemon, a, frames[0])
    ask(b, frames[1])
    ask(c, frames[2])
    right(a.reply(slow.n_atoms), slow, frames[0])
    right(c.reply(slow.n_atoms), slow, frames[2])
    left_cleanly(b)
    bye(a, c)
    assert "frame 0: argon" in reason(daemon, servers[1], 7)
    (dump,) = tmp_path.glob("*-2-not-finite.extxyz")
    assert ase.io.read(dump).positions == pytest.approx(frames[1] * BOHR, abs=1e-6)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_server_gone_during_the_force(start_driver: StartDriver, peers: Peers, slow: System, how: str) -> None:
    (one,) = peers(1)
    with listening("127.0.0.1") as gone:
        daemon, (a, b) = ready(start_driver, slow, [one, gone])
        busy_with(daemon, b, slow.bohr)
        ask(a, slow.bohr)
        getattr(b, how)()
        right(a.reply(slow.n_atoms), slow, slow.bohr)
        bye(a)
        assert "connection" in daemon.failed(4, 5)


def test_a_server_that_never_comes(
    start_driver: StartDriver, peers: Peers, dimer: System, socket_folder: Path
) -> None:
    servers = peers(1)
    daemon = start(start_driver, dimer, servers, "--socket", f"unix:{socket_folder}/nobody", "--retry", "0.3")
    connection = servers[0].accept()
    connection.handshake()
    daemon.wait_for("no server within 0.3 s")
    alive(connection, dimer)
    bye(connection)
    assert daemon.failed(3).startswith(f"delta-driver: unix:{socket_folder}/nobody: no server within")


def test_the_first_failure_is_the_exit_code(start_driver: StartDriver, peers: Peers, dimer: System) -> None:
    servers = peers(3)
    daemon, (a, b, c) = ready(start_driver, dimer, servers)
    a.send(bytes(12))
    left_cleanly(a)
    daemon.wait_for("the server sent")
    b.close()
    daemon.wait_for("closed the connection")
    bye(c)
    first, second = daemon.ended(8)
    assert servers[0].address in first
    assert servers[1].address in second


def test_a_server_comes_back_while_another_is_served(
    start_driver: StartDriver, peers: Peers, dimer: System, socket_folder: Path
) -> None:
    stays, goes = peers(2)
    daemon, (a, b) = ready(start_driver, dimer, [stays, goes], "--reconnect")
    alive(b, dimer)
    goes.close()
    (socket_folder / "1").unlink()
    daemon.wait_for(f"{goes.address}: waiting for the server: no such socket yet")
    alive(a, dimer)
    with listening(socket_folder / "1") as again:
        b = again.accept()
        b.handshake()
        alive(b, dimer)
        alive(a, dimer)
        daemon.send(signal.SIGTERM)
        left_cleanly(a)
        left_cleanly(b)
        daemon.finished(143)


# Signals


def test_signal_while_computing_and_waiting(start_driver: StartDriver, peers: Peers, slow: System) -> None:
    """Whatever was asked is answered, then the daemon leaves all."""
    daemon, connections = ready(start_driver, slow, peers(3))
    frames = slow.frames(2)
    busy_with(daemon, connections[0], frames[0])
    ask(connections[1], frames[1])
    daemon.send(signal.SIGTERM)
    for connection, frame in zip(connections, frames, strict=False):
        right(connection.reply(slow.n_atoms), slow, frame)
    for connection in connections:
        left_cleanly(connection)
    daemon.finished(143)


def test_second_signal_while_computing(start_driver: StartDriver, peers: Peers, slow: System) -> None:
    """No reply, but a clean end for everybody."""
    daemon, connections = ready(start_driver, slow, peers(2))
    busy_with(daemon, connections[0], slow.bohr)
    daemon.send(signal.SIGTERM)
    daemon.send(signal.SIGINT)
    for connection in connections:
        left_cleanly(connection)
    assert daemon.ended(130, 143) == []


def test_killed_while_computing(start_driver: StartDriver, peers: Peers, slow: System) -> None:
    """Each connection has a guardian: unread bytes are no reset."""
    daemon, connections = ready(start_driver, slow, peers(3))
    busy_with(daemon, connections[0], slow.bohr)
    daemon.send(signal.SIGSTOP)
    ask(connections[1], slow.bohr)
    daemon.send(signal.SIGKILL)
    for connection in connections:
        left_cleanly(connection)
    daemon.ended(-signal.SIGKILL)


# Options


def test_extras_hold_expected_errors(start_driver: StartDriver, peers: Peers, h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    system = System(h2o_benzene, potential.numbers, potential.reference)
    daemon, connections = ready(start_driver, system, peers(2), "--uncertainty")
    frames = system.frames(2)
    for connection, frame in zip(connections, frames, strict=True):
        ask(connection, frame)
    for connection, frame in zip(connections, frames, strict=True):
        (extra,) = connection.reply(system.n_atoms).decoded
        for name, error in potential.uncertainty(frame * BOHR).items():
            assert extra[f"error_{name}"] == pytest.approx(error, rel=1e-3)  # what is left of large numbers
    bye(*connections)
    daemon.finished()


def test_a_wrong_address_is_told_before_any_server_is_met(
    start_driver: StartDriver, peers: Peers, dimer: System
) -> None:
    daemon = start(start_driver, dimer, peers(1), "--socket", "nonsense")
    assert re.search(r"socket 'nonsense': expected unix:NAME", daemon.failed(2))
