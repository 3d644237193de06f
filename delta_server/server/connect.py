"""Finding the server: patient with one that is not there yet, prompt with one that never can be."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable

from ..errors import InputError, NoServerError
from .address import Address
from .wire import Interrupted

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # s


def connect(
    address: Address,
    retry: float = 60.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_wait: Callable[[str], None] = lambda reason: None,
) -> socket.socket:
    """A socket connected to the server, tried again for `retry` seconds.

    on_wait is called once with the reason when the first attempt fails. Raises NoServerError at the deadline,
    InputError for an address that waiting cannot mend, Interrupted if should_stop says so.
    """
    deadline = time.monotonic() + retry
    pause, waiting = _FIRST_PAUSE, False
    while True:
        try:
            return _attempt(address)
        except (FileNotFoundError, ConnectionError, TimeoutError, BlockingIOError) as error:
            reason = _reason(address, error)
        except PermissionError as error:
            raise InputError(f"{address}: {error.strerror}: the socket belongs to somebody else") from None
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                reason = "the name server does not answer"
            else:
                raise InputError(f"{address}: host {address.name!r} cannot be resolved: {error}") from None
        except OSError as error:
            reason = f"{error.strerror or error}"
        if should_stop():
            raise Interrupted
        if time.monotonic() + pause > deadline:
            raise NoServerError(f"{address}: no server within {retry:g} s: {reason}; is i-PI running?")
        if not waiting:
            on_wait(reason)
            waiting = True
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _attempt(address: Address) -> socket.socket:
    if address.mode == "inet":
        sock = socket.create_connection((address.name, address.port), timeout=5.0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a host that is gone is noticed in two minutes
        for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(5.0)
        sock.connect(address.path)
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(address: Address, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such socket yet"
    if isinstance(error, ConnectionRefusedError) and address.mode != "inet":
        try:
            if not stat.S_ISSOCK(os.stat(address.path).st_mode):
                return f"{address.path} is no socket"
        except OSError:
            pass
        return "the socket file is there but nobody listens (left behind by a server that died?)"
    return error.strerror or str(error)
