"""Hostile servers: whole sessions, single, in batches and over shared memory, against what the protocol says of it.

All that a server says is in the driver's socket before it begins, and then the end of it, so that a session takes
about a millisecond and needs no thread: only a loop without an end could hang. What it must answer is read off the
same bytes by a reader of its own (`expected`), and its numbers by the formula (`plain`).
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from delta_server import load_potential
from delta_server.errors import DeltaError, NonFiniteError
from delta_server.server.driver import Driver, Ending
from delta_server.units import BOHR, HARTREE

from .plain import PlainSum

Array = npt.NDArray[np.float64]
MODES = ("single", "batch", "shm")
KINDS = ("pos", "h", "ih", "pot", "force", "vir")
_MOST = 4  # structures of a batch


def header(text: str) -> bytes:
    return text.encode().ljust(12)


@dataclass(frozen=True)
class Asked:
    """Positions (B, N, 3), bohr, that were sent: here a driver may refuse them."""

    frames: Array


@dataclass(frozen=True)
class Answer:
    """A reply that is due, to these positions, in these cells (B, 3, 3), bohr, whose columns are the vectors."""

    frames: Array
    cells: Array


Due = str | Asked | Answer


def expected(data: bytes, n_atoms: int, shared: Array | None) -> tuple[list[Due], bool]:
    """What a driver has to say to these bytes, and whether it may end in good order after them.

    It stops at the first thing that is no protocol. shared: positions in shared memory, of as many structures as a
    batch may have; None over sockets.
    """
    at, said, ready, batch, frames, answered, attached = 0, list[Due](), False, 1, None, False, False
    cells = np.zeros((1, 3, 3))

    def take(n: int) -> bytes:
        nonlocal at
        if at + n > len(data):
            raise EOFError
        at += n
        return data[at - n : at]

    try:
        while True:
            if at == len(data):
                return said, answered and frames is None
            word = take(12)
            if word == header("STATUS"):
                said.append("HAVEDATA" if frames is not None else "READY" if ready else "NEEDINIT")
            elif word == header("INIT"):
                length = struct.unpack("=ii", take(8))[1]
                if not 0 <= length <= 2**16:
                    return said, False
                new = 1
                for token in take(length).decode("utf-8", "replace").strip("\0 ").split(","):
                    key, colon, value = token.partition(":")
                    if colon and key.strip() == "batch_size":
                        value = value.strip()
                        if not (value.isdecimal() and len(value) < 10 and 1 <= int(value) <= 4096):
                            return said, False
                        new = int(value)
                if attached and new != batch:
                    return said, False
                batch, ready = new, True
            elif word == header("POSDATA"):
                if shared is not None:
                    if struct.unpack("=i", take(4))[0] != n_atoms:
                        return said, False
                    for _ in KINDS if not attached else ():
                        take(struct.unpack("=i", take(4))[0])
                    attached = True
                    if batch > len(shared):
                        return said, False  # the segments are too small
                    frames, cells = shared[:batch], np.zeros((batch, 3, 3))
                else:
                    boxes = take(144) if batch == 1 else b""
                    if struct.unpack("=i", take(4))[0] != n_atoms:
                        return said, False
                    if batch > 1:
                        boxes = take(144 * batch)
                    cells = np.frombuffer(boxes).reshape(batch, 2, 3, 3)[:, 0]
                    frames = np.frombuffer(take(24 * batch * n_atoms)).reshape(batch, n_atoms, 3)
                said.append(Asked(frames))
            elif word == header("GETFORCE") and frames is not None:
                said.append(Answer(frames, cells))
                frames, answered = None, True
            else:
                return said, word == header("EXIT")
    except (EOFError, struct.error):
        return said, False


class WireFuzz:
    """Sessions against one made dimer."""

    def __init__(self, manifest: Path) -> None:
        self.potential, self.plain = load_potential(manifest), PlainSum(manifest)
        self.x = self.potential.reference / BOHR
        self.n = len(self.x)
        self.memory: dict[str, np.memmap[Any, np.dtype[np.float64]]] = {}
        self.answers = self.refused = 0

    def close(self) -> None:
        for memory in self.memory.values():
            Path(str(memory.filename)).unlink()

    def session(self, seed: int) -> None:
        """One session. Raises AssertionError where the driver does not do what it should, or what it trips over."""
        rng = random.Random(seed)
        mode = MODES[seed % 3]
        if mode == "shm" and not self.memory:
            sizes = {"pos": 3 * self.n, "h": 9, "ih": 9, "pot": 1, "force": 3 * self.n, "vir": 9}
            name = f"/dev/shm/fuzz-{os.getpid()}-{id(self)}"
            self.memory = {k: np.memmap(f"{name}-{k}", float, "w+", shape=_MOST * n) for k, n in sizes.items()}
        data, shared = self._script(rng, mode)
        due, orderly = expected(data, self.n, shared)
        reply, ending = self._converse(data, mode)
        with np.errstate(all="ignore"):
            self._compare(reply, due, ending, orderly, shared)

    def _converse(self, data: bytes, mode: str) -> tuple[bytes, Ending | DeltaError]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
            ours.sendall(data)
            ours.shutdown(socket.SHUT_WR)
            driver = Driver(self.potential, check_geometry=False, dump=Path("/dev/null"))
            ending: Ending | DeltaError
            try:
                ending = driver.converse(theirs, "shm" if mode == "shm" else "unix")
            except DeltaError as error:
                ending = error
            theirs.close()
            reply = b""
            with suppress(ConnectionResetError):
                while part := ours.recv(2**20):
                    reply += part
        return reply, ending

    def _compare(
        self, reply: bytes, due: list[Due], ending: Ending | DeltaError, orderly: bool, shared: Array | None
    ) -> None:
        at = 0

        def take(n: int) -> bytes:
            nonlocal at
            assert at + n <= len(reply), "a reply that is cut"
            at += n
            return reply[at - n : at]

        for item in due:
            if at == len(reply) and not isinstance(ending, Ending):
                break  # it refused before this
            if isinstance(item, str):
                assert take(12) == header(item)
            if not isinstance(item, Answer):
                continue
            assert take(12) == header("FORCEREADY")
            batch = len(item.frames)
            if shared is None:
                energies = np.frombuffer(take(8 * batch))
                assert struct.unpack("=i", take(4))[0] == self.n
                forces = np.frombuffer(take(24 * batch * self.n)).reshape(batch, self.n, 3)
                virials = np.frombuffer(take(72 * batch)).reshape(batch, 3, 3)
            else:
                energies, forces, virials = (
                    self.memory[k][: batch * m].reshape(batch, *shape)
                    for k, m, shape in (("pot", 1, ()), ("force", 3 * self.n, (self.n, 3)), ("vir", 9, (3, 3)))
                )
            for _ in range(batch):
                extra = take(struct.unpack("=i", take(4))[0])
                assert extra.startswith(b"{")
                assert b"nan" not in extra
                assert b"inf" not in extra
            for i in range(batch):
                told = (energies[i] * HARTREE, forces[i] * (HARTREE / BOHR), virials[i] * HARTREE)
                asked = (item.frames[i], self._near(item.frames[i], item.cells[i]))
                assert any(self._is_formula(told, frame) for frame in asked)
            self.answers += 1
        assert at == len(reply), "more was said than asked for"
        if isinstance(ending, Ending):
            assert orderly, "ended in good order after what was none"
            return
        self.refused += 1
        if isinstance(ending, NonFiniteError):
            asked = [self.plain(x * BOHR) for item in due if isinstance(item, Asked) for x in item.frames]
            assert not all(np.isfinite(virial).all() and np.abs(virial).max() < 1e100 for *_, virial in asked)

    def _is_formula(self, told: tuple[float, Array, Array], frame: Array) -> bool:
        """Whether energy, forces and virial in eV and Å are the formula's at a frame in bohr."""
        energy, force, virial = self.plain(frame * BOHR)
        size = 1e-9 * max(1.0, float(np.abs(virial).max()), float(np.abs(force).max()))
        return bool(
            abs(told[0] - energy) < 1e-8 * max(1.0, abs(energy))
            and np.abs(told[1] - force).max() < 10 * size
            and np.abs(told[2] - virial).max() < 100 * size
        )

    def _near(self, frame: Array, cell: Array) -> Array:
        """Atoms that a changed byte moved by more than half a cell, in the image that is nearest to the molecule."""
        if not (np.isfinite(cell).all() and 1e-9 < abs(np.linalg.det(cell)) < 1e30):
            return frame
        away: Array = np.round((frame - self.x) @ np.linalg.inv(cell).T) @ cell.T
        return frame - away

    def _script(self, rng: random.Random, mode: str) -> tuple[bytes, Array | None]:
        """What a server says, and the positions that it has in shared memory, if it has."""
        batch = rng.randint(2, _MOST) if mode == "batch" or (mode == "shm" and rng.random() < 0.3) else 1
        shared = None
        if mode == "shm":
            shared = self.memory["pos"].reshape(_MOST, self.n, 3)
            shared[:] = [self._frame(rng) for _ in range(_MOST)]
        names = b"".join(
            struct.pack("=i", len(name)) + name.encode()
            for name in (Path(str(memory.filename)).name for memory in self.memory.values() if mode == "shm")
        )
        init = self._init(rng, batch)
        messages, first = [header("STATUS"), init, header("STATUS")], True
        for _ in range(rng.randint(0, 4)):
            if shared is not None:
                position = struct.pack("=i", self.n) + (names if first else b"")
                first = False
            else:
                frames = np.array([self._frame(rng) for _ in range(batch)])
                if rng.random() < 0.3:
                    frames[-1] = frames[0]
                count, cells = struct.pack("=i", self.n), rng.choice(self._cells) * 2
                position = (count + cells * batch if batch > 1 else cells + count) + frames.tobytes()
            status = header("STATUS") * rng.choice((0, 0, 1, 2))
            messages += [header("POSDATA") + position, status, header("GETFORCE"), header("STATUS")]
        messages += [header("EXIT")] if rng.random() < 0.5 else []
        return rng.choice(_SPOIL)(rng, messages), shared

    _cells = (np.diag([200.0, 190.0, 180.0]).tobytes(), bytes(72), np.full(9, 1e300).tobytes(), b"\xff" * 72)

    def _frame(self, rng: random.Random) -> Array:
        x = self.x + np.array([rng.gauss(0, 0.02) for _ in range(3 * self.n)]).reshape(self.n, 3)
        kind = rng.random()
        if kind < 0.02:
            x[rng.randrange(self.n), rng.randrange(3)] = rng.choice((np.nan, np.inf, -np.inf, 1e300, 1e155, 1e-310))
        elif kind < 0.03:
            x[rng.randrange(self.n)] = x[rng.randrange(self.n)]  # one atom on another, or on itself
        elif kind < 0.04:
            x *= rng.choice((0.0, 1e-200, 1e-9, 0.5, 2.0, 1e9, 1e200))
        return x

    def _init(self, rng: random.Random, batch: int) -> bytes:
        text = rng.choice((b" ", b"\0", b"", b" k : v , ,")) if batch == 1 else b" k : v, batch_size:%d" % batch
        if rng.random() < 0.03:
            text = rng.choice((b"batch_size:0", b"batch_size:-3", b"batch_size:99999999999",
                               b"batch_size:" + b"9" * 5000,
                               b"batch_size:\xc2\xb2", b"\xff" * 60, b"batch_size:4097", bytes(60000)))  # fmt: skip
        return header("INIT") + struct.pack("=ii", rng.choice((0, 7, -1)), len(text)) + text


def _sound(rng: random.Random, messages: list[bytes]) -> bytes:
    return b"".join(messages)


def _cut(rng: random.Random, messages: list[bytes]) -> bytes:
    data = b"".join(messages)
    return data[: rng.randrange(len(data))]


def _flip(rng: random.Random, messages: list[bytes]) -> bytes:
    data = bytearray(b"".join(messages))
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _count(rng: random.Random, messages: list[bytes]) -> bytes:
    """Another number in the place of one."""
    data = bytearray(b"".join(messages))
    at = rng.randrange(12, len(data) - 3)
    data[at : at + 4] = struct.pack("=i", rng.choice((0, -1, 1, 7, 2**31 - 1, -(2**31), 2**16, 10**6)))
    return bytes(data)


def _shuffle(rng: random.Random, messages: list[bytes]) -> bytes:
    rng.shuffle(messages)
    return b"".join(messages)


def _drop(rng: random.Random, messages: list[bytes]) -> bytes:
    del messages[rng.randrange(len(messages))]
    return b"".join(messages)


def _repeat(rng: random.Random, messages: list[bytes]) -> bytes:
    messages[rng.randrange(len(messages))] *= rng.choice((2, 3, 50))
    return b"".join(messages)[:150_000]


def _noise(rng: random.Random, messages: list[bytes]) -> bytes:
    messages.insert(rng.randrange(len(messages)), rng.randbytes(rng.choice((1, 4, 12, 13, 200))))
    return b"".join(messages)


_SPOIL: tuple[Callable[[random.Random, list[bytes]], bytes], ...] = (
    _sound, _cut, _flip, _count, _shuffle, _drop, _repeat, _noise,
)  # fmt: skip
