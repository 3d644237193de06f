"""Leaving a connection in order, and the process that does it for a driver that was killed."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from delta_server.server.guardian import Guardian, leave
from delta_server.server.wire import header

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A server's end and a driver's end."""
    server, driver = socket.socketpair()
    server.settimeout(20)
    with server, driver:
        yield server, driver


def test_leaving_reads_on_until_the_server_closes(pair: Pair) -> None:
    """A close with unread bytes would be a reset, which i-PI does not survive."""
    server, driver = pair
    server.sendall(header("POSDATA") + bytes(100_000))
    thread = threading.Thread(target=leave, args=(driver,))
    thread.start()
    assert server.recv(1) == b""
    server.sendall(header("GETFORCE"))  # still taken
    server.shutdown(socket.SHUT_WR)
    thread.join(20)
    assert not thread.is_alive()
    assert server.recv(1) == b""


def test_leaving_a_silent_server_takes_no_longer_than_asked(pair: Pair) -> None:
    server, driver = pair
    began = time.monotonic()
    leave(driver, linger=0.2)
    assert 0.15 < time.monotonic() - began < 10
    assert server.recv(1) == b""


def test_leaving_twice_or_after_the_server_is_harmless(pair: Pair) -> None:
    server, driver = pair
    server.close()
    leave(driver)
    leave(driver)


def test_a_guardian_that_is_released_ends_at_once(pair: Pair) -> None:
    _, driver = pair
    guardian = Guardian(driver)
    began = time.monotonic()
    guardian.release()
    assert guardian._process.returncode == 0
    assert time.monotonic() - began < 10


def test_a_process_that_crashes_leaves_no_reset_behind(pair: Pair) -> None:
    server, driver = pair
    child = os.fork()
    if child == 0:
        server.close()
        Guardian(driver)
        server_said = header("STATUS")
        assert driver.recv(len(server_said), socket.MSG_PEEK | socket.MSG_WAITALL)
        os.kill(os.getpid(), signal.SIGKILL)  # with the bytes unread
    driver.close()
    server.sendall(header("STATUS"))
    os.waitpid(child, 0)
    assert server.recv(1) == b""  # a ConnectionResetError without the guardian
