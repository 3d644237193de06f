"""One SIGTERM ends the driver within five seconds, whatever the server does, and however many servers there are."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from peer import Connection, Peer, header, init, listening, posdata
from processes import Driver

from .conftest import StartDriver, System

GETFORCE, STATUS = header("GETFORCE"), header("STATUS")
LONGEST = 5.0  # s


def ends_in_time(driver: Driver, number: signal.Signals = signal.SIGTERM) -> None:
    began = time.monotonic()
    driver.send(number)
    driver.finished(128 + number)
    assert time.monotonic() - began < LONGEST, driver.said


def pour(connection: Connection, message: bytes, pause: float = 0.0) -> None:
    """Send it again and again, byte by byte where there is a pause, until the driver is gone."""

    def send() -> None:
        with suppress(OSError):
            while True:
                for piece in [message] if not pause else [message[i : i + 1] for i in range(len(message))]:
                    connection.socket.sendall(piece)
                    time.sleep(pause)

    threading.Thread(target=send, daemon=True).start()


def swallow(connection: Connection) -> None:
    """Read whatever comes, and throw it away."""

    def read() -> None:
        with suppress(OSError):
            while connection.socket.recv(65536):
                pass

    threading.Thread(target=read, daemon=True).start()


def flood_of_status(connection: Connection, x: np.ndarray) -> None:
    swallow(connection)
    pour(connection, 100 * STATUS)


def flood_that_nobody_reads(connection: Connection, x: np.ndarray) -> None:
    pour(connection, 1000 * STATUS)


def flood_of_inits(connection: Connection, x: np.ndarray) -> None:
    pour(connection, 100 * init(b" "))


def flood_of_positions(connection: Connection, x: np.ndarray) -> None:
    """Asked for again and again, and the answer never wanted."""
    pour(connection, posdata(x) + STATUS)


def flood_of_requests(connection: Connection, x: np.ndarray) -> None:
    swallow(connection)
    pour(connection, posdata(x) + GETFORCE)


def replies_that_nobody_reads(connection: Connection, x: np.ndarray) -> None:
    pour(connection, posdata(x) + GETFORCE)


def reply_read_byte_by_byte(connection: Connection, x: np.ndarray) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    replies_that_nobody_reads(connection, x)

    def sip() -> None:
        with suppress(OSError):
            while connection.socket.recv(1):
                time.sleep(0.02)

    threading.Thread(target=sip, daemon=True).start()


def trickled_positions(connection: Connection, x: np.ndarray) -> None:
    connection.send(posdata(x)[:20])
    pour(connection, bytes(8), pause=0.05)


def trickled_header(connection: Connection, x: np.ndarray) -> None:
    swallow(connection)
    pour(connection, STATUS, pause=0.05)


def half_of_positions(connection: Connection, x: np.ndarray) -> None:
    connection.send(posdata(x)[:200])


def owed_getforce(connection: Connection, x: np.ndarray) -> None:
    connection.send(posdata(x))
    assert connection.status() == "HAVEDATA"


def owed_getforce_asked_after(connection: Connection, x: np.ndarray) -> None:
    owed_getforce(connection, x)
    flood_of_status(connection, x)


def half_of_getforce(connection: Connection, x: np.ndarray) -> None:
    owed_getforce(connection, x)
    connection.send(GETFORCE[:5])


RUDE = [
    flood_of_status, flood_that_nobody_reads, flood_of_inits, flood_of_positions, flood_of_requests,
    replies_that_nobody_reads, reply_read_byte_by_byte, trickled_positions, trickled_header, half_of_positions,
    owed_getforce, owed_getforce_asked_after, half_of_getforce,
]  # fmt: skip
Rude = Callable[[Connection, np.ndarray], None]


@pytest.mark.parametrize("rude", RUDE, ids=lambda rude: rude.__name__)
def test_of_one_server(start_driver: StartDriver, peer: Peer, dimer: System, rude: Rude) -> None:
    driver = start_driver(dimer.manifest, peer.address)
    connection = peer.accept()
    connection.handshake()
    rude(connection, dimer.bohr)
    time.sleep(0.5)
    ends_in_time(driver)


@pytest.fixture
def crowd(socket_folder: Path) -> Iterator[list[Peer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(listening(socket_folder / str(i))) for i in range(len(RUDE) + 1)]


def test_of_every_such_server_at_once(start_driver: StartDriver, crowd: list[Peer], dimer: System) -> None:
    """And the one that is polite gets what it asked for."""
    first, *others = (peer.address for peer in crowd)
    driver = start_driver(dimer.manifest, first, *(word for other in others for word in ("--socket", other)))
    polite, *connections = [peer.accept() for peer in crowd]
    for connection in (polite, *connections):
        connection.handshake()
    for connection, rude in zip(connections, RUDE, strict=True):
        rude(connection, dimer.bohr)
    time.sleep(0.5)
    polite.send(posdata(dimer.bohr))
    assert polite.status() == "HAVEDATA"
    began = time.monotonic()
    driver.send(signal.SIGTERM)
    polite.send(GETFORCE)
    assert np.isfinite(polite.reply(dimer.n_atoms).forces).all()
    assert polite.rest() == b""
    driver.finished(143)
    assert time.monotonic() - began < LONGEST, driver.said


def test_positions_that_are_whole_are_answered(start_driver: StartDriver, peer: Peer, dimer: System) -> None:
    """Within the two seconds that a server has to take them."""
    driver = start_driver(dimer.manifest, peer.address)
    connection = peer.accept()
    connection.handshake()
    owed_getforce(connection, dimer.bohr)
    driver.send(signal.SIGTERM)
    time.sleep(1.0)
    connection.send(GETFORCE)
    assert np.isfinite(connection.reply(dimer.n_atoms).forces).all()
    assert connection.rest() == b""
    driver.finished(143)


@pytest.mark.parametrize("wait", [0.0, 0.3, 0.6, 0.9, 1.2])
def test_while_models_are_loaded(start_driver: StartDriver, socket_path: Path, slow: System, wait: float) -> None:
    """Nothing is owed: at once. (Before the interpreter is there the signal itself ends it.)"""
    driver = start_driver(slow.manifest, f"unix:{socket_path}")
    time.sleep(wait)
    began = time.monotonic()
    driver.send(signal.SIGTERM)
    driver.ended(143, -signal.SIGTERM)
    assert time.monotonic() - began < LONGEST
