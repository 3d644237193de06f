"""Where the server is: ``unix:NAME``, ``inet:HOST:PORT``, ``shm:NAME``, or what i-PI's own input says."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from ..errors import InputError
from ..ipi.input import DEFAULT_PREFIX, ForceFieldSocket, force_field_sockets, read_input

SocketMode = Literal["unix", "inet", "shm"]

_MAX_UNIX_PATH = 107  # bytes, Linux


@dataclass(frozen=True)
class Address:
    """A server's address; `name` is the socket's name (unix, shm) or the host (inet). wrapped: whether it may put
    positions into its cell before it sends them."""

    mode: SocketMode
    name: str
    port: int = 0
    prefix: str = DEFAULT_PREFIX
    wrapped: bool = True

    @property
    def path(self) -> str:
        """The socket file of a unix or shm address."""
        return self.prefix + self.name

    def __str__(self) -> str:
        return f"inet:{self.name}:{self.port}" if self.mode == "inet" else f"{self.mode}:{self.path}"


def parse_address(text: str, prefix: str = DEFAULT_PREFIX) -> Address:
    """``unix:NAME``, ``inet:HOST:PORT`` (IPv6 in brackets) or ``shm:NAME``. Raises InputError.

    A NAME that starts with / is a whole path and takes no prefix.
    """
    mode, _, rest = text.partition(":")
    if mode in ("unix", "shm") and rest:
        return _checked(Address(cast(SocketMode, mode), rest, prefix="" if rest.startswith("/") else prefix))
    if mode == "inet":
        host, _, port = rest.rpartition(":")
        if host and _is_number(port):
            return _checked(Address("inet", host.strip("[]"), int(port)))
    raise InputError(f"socket {text!r}: expected unix:NAME, inet:HOST:PORT or shm:NAME")


def _is_number(text: str) -> bool:
    """Whether `int` takes it: not every digit is one (²), nor any number of them."""
    return text.isdecimal() and len(text) < 10


def _checked(address: Address) -> Address:
    if address.mode == "inet":
        if not 1 <= address.port <= 65535:
            raise InputError(f"socket {address}: port {address.port} is not in 1 to 65535")
    elif (size := len(os.fsencode(address.path))) > _MAX_UNIX_PATH:
        raise InputError(
            f"socket {address}: the path has {size} bytes, unix sockets take "
            f"{_MAX_UNIX_PATH}; choose a shorter name or --sockets-prefix"
        )
    return address


def address_from_input(path: str | Path, name: str | None = None, prefix: str | None = None) -> Address:
    """The address of an i-PI input's ``<ffsocket>``, the one called `name` if there are several.

    prefix: overrides the input's ``sockets_prefix``, as `i-pi -S` does. Raises InputError.
    """
    sockets = force_field_sockets(read_input(path))
    if not sockets:
        raise InputError(f"{path}: has no <ffsocket>, so there is nothing to connect to")
    if name is None and len(sockets) > 1:
        raise InputError(f"{path}: has several <ffsocket>: {', '.join(sockets)}; choose one with --ffsocket NAME")
    if name is not None and name not in sockets:
        raise InputError(f"{path}: has no <ffsocket name={name!r}>; there are {', '.join(sockets)}")
    socket = sockets[name] if name is not None else next(iter(sockets.values()))
    try:
        return replace(_address(socket, prefix or socket.prefix), wrapped=socket.wrapped)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _address(socket: ForceFieldSocket, prefix: str) -> Address:
    if socket.mode == "inet":
        if not _is_number(socket.port):
            raise InputError(f"<port> is {socket.port!r}, expected a number")
        return _checked(Address("inet", socket.address, int(socket.port)))
    if socket.mode in ("unix", "shm"):
        return _checked(Address(cast(SocketMode, socket.mode), socket.address, prefix=prefix))
    raise InputError(f"<ffsocket mode={socket.mode!r}>, expected unix, inet or shm")
