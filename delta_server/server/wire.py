"""i-PI's wire format: 12-byte headers, native int32 and float64, atomic units.

Nothing is believed: lengths are checked before anything is allocated, a message is read whole however it
was cut into packets, and a reply leaves in one `send` where the server has room for it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._types import FloatArray
from ..errors import ProtocolError, ServerClosedError, ServerLostError

HEADER_BYTES = 12
_POLL = 0.25  # s; how long a signal may wait while the server neither sends nor reads
_MAX_INIT = 2**16
MAX_BATCH = 4096


class Interrupted(Exception):  # noqa: N818 - not an error: somebody asked to stop
    """The stop flag was set while waiting for the server."""


def header(text: str) -> bytes:
    """A message header: upper case, padded with spaces to 12 bytes."""
    return text.upper().ljust(HEADER_BYTES).encode("ascii")


_KNOWN = {header(text): text for text in ("STATUS", "INIT", "POSDATA", "GETFORCE", "EXIT")}
NEEDINIT, READY, HAVEDATA, FORCEREADY = map(header, ("NEEDINIT", "READY", "HAVEDATA", "FORCEREADY"))


class Stream:
    """Exact reads over a connected socket, greedy underneath: what has arrived is taken in one call."""

    def __init__(
        self,
        sock: socket.socket,
        should_stop: Callable[[], bool] = lambda: False,
        too_late: Callable[[], bool] = lambda: False,
    ) -> None:
        """should_stop: asked when the server is silent, or does not read; too_late: also while it goes on sending."""
        self._socket = sock
        # Blocking, with the time limit in the kernel: Python's own would cost a poll() before every call.
        self._socket.settimeout(None)
        self._limit(_POLL)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(_POLL))
        self._should_stop, self._too_late = should_stop, too_late
        self._buffer = memoryview(bytearray(65536))
        self._start = self._end = 0

    def __len__(self) -> int:
        """Bytes that have arrived and were not read yet."""
        return self._end - self._start

    def _limit(self, seconds: float) -> None:
        """How long a receive may block."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))

    def _fill(self, needed: int, deadline: float | None) -> bool:
        """Wait until `needed` bytes are in the buffer. False if the deadline came first."""
        if self._start + needed > len(self._buffer):
            left = bytes(self._buffer[self._start : self._end])
            if needed > len(self._buffer):
                self._buffer = memoryview(bytearray(needed + 65536))
            self._buffer[: len(left)] = left
            self._start, self._end = 0, len(left)
        while self._end - self._start < needed:
            if self._too_late():
                raise Interrupted
            if deadline is not None:
                wait = deadline - time.monotonic()
                if wait <= 0:
                    return False
                self._limit(min(wait, _POLL))
            try:
                got = self._socket.recv_into(self._buffer[self._end :])
            except BlockingIOError:
                if self._should_stop():
                    raise Interrupted from None
                continue
            except OSError as error:
                raise ServerLostError(f"connection lost: {error.strerror or error}") from None
            finally:
                if deadline is not None:
                    self._limit(_POLL)
            if got == 0:
                if len(self):
                    raise ServerLostError(
                        f"the server closed the connection in the middle of a message ({len(self)} of {needed} bytes)"
                    )
                raise ServerClosedError("the server closed the connection")
            self._end += got
        return True

    def read(self, n: int) -> memoryview:
        """The next n bytes; the view holds until the next call."""
        if self._end - self._start < n:
            try:
                self._fill(n, None)
            except ServerClosedError:  # between two messages that is an ending, inside one it is a loss
                raise ServerLostError("the server closed the connection in the middle of a message") from None
        start = self._start
        self._start += n
        if self._start == self._end:
            self._start = self._end = 0
        return self._buffer[start : start + n]

    def header(self, wait: float | None = None) -> str | None:
        """The next header, or None if none came within `wait` seconds. Raises ProtocolError on an unknown one."""
        if self._end - self._start < HEADER_BYTES and not self._fill(
            HEADER_BYTES, None if wait is None else time.monotonic() + wait
        ):
            return None
        raw = bytes(self.read(HEADER_BYTES))
        if raw not in _KNOWN:
            raise ProtocolError(
                f"the server sent {raw!r}, expected one of {', '.join(_KNOWN.values())}: "
                "not i-PI's protocol, or out of step"
            )
        return _KNOWN[raw]

    def refuse_closed(self) -> None:
        """Raise ServerClosedError where the server has closed already: TCP would take the answer without a word."""
        try:
            if not len(self) and not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ServerClosedError("the server closed the connection before it had its answer")
        except BlockingIOError:
            return
        except OSError as error:
            raise ServerLostError(f"connection lost: {error.strerror or error}") from None

    def int32(self) -> int:
        return int(struct.unpack("=i", self.read(4))[0])

    def floats(self, n: int) -> FloatArray:
        """The next n float64, as a view that holds until the next call."""
        return np.frombuffer(self.read(8 * n), dtype=np.float64)

    def send(self, data: bytes) -> None:
        """All of it, in one call where the server has room. Raises ServerLostError, and Interrupted where the
        server does not read and somebody asks to stop."""
        left = memoryview(data)
        while True:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                pass
            except OSError as error:
                raise ServerLostError(f"connection lost while sending: {error.strerror or error}") from None
            if not left:
                return
            if self._should_stop():
                raise Interrupted


def _timeval(seconds: float) -> bytes:
    whole, fraction = divmod(max(seconds, 1e-6), 1.0)
    return struct.pack("ll", int(whole), int(1e6 * fraction))


@dataclass(frozen=True)
class Init:
    """What INIT says."""

    replica: int
    text: str
    batch_size: int


def read_init(stream: Stream) -> Init:
    """INIT's body: int32 replica, int32 length, text that may announce ``batch_size:N``."""
    replica, length = stream.int32(), stream.int32()
    if not 0 <= length <= _MAX_INIT:
        raise ProtocolError(f"INIT announces a text of {length} bytes, expected 0 to {_MAX_INIT}")
    text = bytes(stream.read(length)).decode("utf-8", "replace") if length else ""
    batch_size = 1
    for token in text.strip("\0 ").split(","):
        key, separator, value = token.partition(":")
        if separator and key.strip() == "batch_size":
            value = value.strip()
            if not (value.isdecimal() and len(value) < 10 and 1 <= int(value) <= MAX_BATCH):
                raise ProtocolError(f"INIT announces batch_size {value[:20]!r}, expected 1 to {MAX_BATCH}")
            batch_size = int(value)
    return Init(replica, text, batch_size)


def pack_single(energy: float, forces: FloatArray, virial: FloatArray, extra: bytes) -> bytes:
    """Reply to GETFORCE for one structure (hartree and bohr)."""
    return b"".join(
        (
            FORCEREADY,
            struct.pack("=di", energy, len(forces)),
            forces.tobytes(),
            virial.tobytes(),
            struct.pack("=i", len(extra)),
            extra,
        )
    )


def pack_batch(energies: FloatArray, forces: FloatArray, virials: FloatArray, extras: list[bytes]) -> bytes:
    """Reply to GETFORCE for a batch: N energies, one atom count, forces, virials, N × (length, extra)."""
    return b"".join(
        (
            FORCEREADY,
            energies.tobytes(),
            struct.pack("=i", forces.shape[1]),
            forces.tobytes(),
            virials.tobytes(),
            *pack_extras(extras),
        )
    )


def pack_extras(extras: list[bytes]) -> list[bytes]:
    """Each extra behind its length, as batches and shared memory want them."""
    return [struct.pack("=i", len(e)) + e for e in extras]
