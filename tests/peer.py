"""The server's side of i-PI's protocol, every byte of it in the hands of a test.

Written from the description of the wire, not with the package's own code. Every wait has a deadline.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import struct
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from processes import DEADLINE, wait_until

Array = npt.NDArray[np.float64]

CELL = np.diag([188.97, 200.03, 211.01])  # bohr
NO_CELL = np.zeros((3, 3))  # what ASE sends for a gas


def header(text: str) -> bytes:
    return text.encode().ljust(12)


def init(text: bytes = b" ", replica: int = 0) -> bytes:
    return header("INIT") + struct.pack("=ii", replica, len(text)) + text


def posdata(positions: npt.ArrayLike, cell: Array = CELL, n_atoms: int | None = None) -> bytes:
    """One structure (bohr). n_atoms: what to announce, if not the truth."""
    x = np.asarray(positions, dtype=float)
    count = struct.pack("=i", len(x) if n_atoms is None else n_atoms)
    return header("POSDATA") + _cell(cell) + count + x.tobytes()


def batch_posdata(frames: npt.ArrayLike, cell: Array = CELL, n_atoms: int | None = None) -> bytes:
    """A batch (B, N, 3) of structures (bohr)."""
    x = np.asarray(frames, dtype=float)
    count = struct.pack("=i", x.shape[1] if n_atoms is None else n_atoms)
    return header("POSDATA") + count + len(x) * _cell(cell) + x.tobytes()


def shm_posdata(n_atoms: int, names: list[str]) -> bytes:
    """The first POSDATA of i-PI's shared-memory mode."""
    lengths = (struct.pack("=i", len(name)) + name.encode() for name in names)
    return header("POSDATA") + struct.pack("=i", n_atoms) + b"".join(lengths)


def _cell(cell: Array) -> bytes:
    inverse = np.linalg.inv(cell) if cell.any() else cell
    return cell.tobytes() + inverse.tobytes()


@dataclass(frozen=True)
class Reply:
    """What came back for B structures, in atomic units; the extras as they were sent."""

    energies: Array  # (B,)
    forces: Array  # (B, N, 3)
    virials: Array  # (B, 3, 3)
    extras: tuple[bytes, ...]

    @property
    def decoded(self) -> list[Any]:
        return [json.loads(extra.decode("utf-8")) for extra in self.extras]


class Connection:
    """A driver that has connected."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.settimeout(DEADLINE)

    def send(self, *messages: bytes) -> None:
        """All messages in one piece, as i-PI does."""
        self.socket.sendall(b"".join(messages))

    def trickle(self, *messages: bytes) -> None:
        """Byte by byte (unix sockets): the next one leaves when the driver has taken the last one."""
        for byte in b"".join(messages):
            self.socket.sendall(bytes([byte]))
            wait_until(lambda: self.unread == 0, "the driver to read a byte", pause=0.0)

    @property
    def unread(self) -> int:
        """Not 0 while the driver has left something in its socket (unix sockets)."""
        return struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)))[0]

    def read(self, n: int) -> bytes:
        data = bytearray()
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise EOFError(f"the driver left after {len(data)} of {n} bytes: {bytes(data)!r}")
            data += part
        return bytes(data)

    def header(self) -> str:
        return self.read(12).decode("ascii").rstrip()

    def status(self) -> str:
        """The answer to STATUS."""
        self.send(header("STATUS"))
        return self.header()

    def handshake(self, text: bytes = b" ") -> None:
        """STATUS, INIT, STATUS; then the driver is ready."""
        assert self.status() == "NEEDINIT"
        self.send(init(text))
        assert self.status() == "READY"

    def reply(self, n_atoms: int, batch: int | None = None) -> Reply:
        """The answer to GETFORCE, to a single structure or to a batch."""
        n = batch or 1
        assert self.header() == "FORCEREADY"
        energies = self._floats(n)
        assert self._int32() == n_atoms
        forces, virials = self._floats(n, n_atoms, 3), self._floats(n, 3, 3)
        return Reply(energies, forces, virials, tuple(self.read(self._int32()) for _ in range(n)))

    def compute(self, positions: Array, cell: Array = CELL) -> Reply:
        """POSDATA and GETFORCE in one piece, and the answer."""
        self.send(posdata(positions, cell), header("GETFORCE"))
        return self.reply(len(positions))

    def compute_batch(self, frames: Array, cell: Array = CELL) -> Reply:
        self.send(batch_posdata(frames, cell), header("GETFORCE"))
        return self.reply(frames.shape[1], len(frames))

    def rest(self) -> bytes:
        """What still comes until the driver closes. ConnectionResetError if it closed with unread bytes."""
        data = b""
        while part := self.socket.recv(65536):
            data += part
        return data

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close as a machine that went down does: the driver's next read or write fails (TCP)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _int32(self) -> int:
        return struct.unpack("=i", self.read(4))[0]

    def _floats(self, *shape: int) -> Array:
        return np.frombuffer(self.read(8 * int(np.prod(shape)))).reshape(shape)


class Peer:
    """A listening server; `address` is what the driver's ``--socket`` takes."""

    def __init__(self, where: Path | str) -> None:
        """where: the file of a unix socket, or an internet address, which gets a port of its own."""
        if isinstance(where, Path):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.bind(str(where))
            self.address = f"unix:{where}"
        else:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.socket.bind((where, 0))
            self.address = f"inet:{where}:{self.socket.getsockname()[1]}"
        self.socket.settimeout(DEADLINE)
        self.socket.listen()
        self.connections: list[Connection] = []

    def accept(self) -> Connection:
        self.connections.append(Connection(self.socket.accept()[0]))
        return self.connections[-1]

    def close(self) -> None:
        """Close everything; the socket file stays behind, as after a crash."""
        for connection in self.connections:
            connection.close()
        self.socket.close()


@contextlib.contextmanager
def listening(where: Path | str) -> Iterator[Peer]:
    peer = Peer(where)
    try:
        yield peer
    finally:
        peer.close()
