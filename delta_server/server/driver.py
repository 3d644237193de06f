"""The driver: one connection to an i-PI server, from NEEDINIT to EXIT.

i-PI sends GETFORCE along with the positions. It is read before anything is computed, for a client that dies
with unread bytes resets the connection, and i-PI 3.3.1 then hangs for good (`guardian` has the rest of that story).
"""

from __future__ import annotations

import enum
import logging
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import GeometryError, NonFiniteError, ProtocolError, ServerClosedError
from ..potential import Part, Potential, Result
from ..terms.base import Frames
from ..units import BOHR, HARTREE
from . import wire
from .address import SocketMode
from .batcher import Evaluate, Evaluator
from .guardian import LINGER, Guardian, leave
from .shm import KINDS, MAX_NAME, Segments

log = logging.getLogger("delta-driver")

_DRAIN = 0.1  # s; every known server sends its next header right behind the positions
_OWED = 2.0  # s; after a signal, for the server to take the answer to what it has asked
_HURRIED = 1.0  # s; after a signal, for the server to close too


class Ending(enum.Enum):
    """How a connection ended when nothing went wrong."""

    EXIT = "EXIT received"
    CLOSED = "the server closed between two requests, without EXIT (as ASE does): taken for its end"
    STOPPED = "stopped by a signal"


@dataclass
class Stats:
    """What was served so far; times in seconds."""

    requests: int = 0
    structures: int = 0
    kernel: float = 0.0  # in the models
    wire: float = 0.0  # reading, checking, packing, sending
    cpu_kernel: float = 0.0
    wall: float = 0.0  # of connections that have ended, as is `cpu`
    cpu: float = 0.0
    energies: dict[str, FloatArray] = field(default_factory=dict)  # eV, by term, of the last request

    def summary(self) -> str:
        """One line, per request."""
        if not self.requests:
            return "no request was served"
        n = self.requests
        return (
            f"{n} requests ({self.structures} structures) in {self.wall:.1f} s; per request: "
            f"{1e3 * self.kernel / n:.3f} ms in the kernel, {1e3 * self.wire / n:.3f} ms in the wire, "
            f"{1e3 * (self.cpu - self.cpu_kernel) / n:.3f} ms CPU outside the kernel"
        )


class Driver:
    """Serves a potential over connected sockets.

    part: which terms to serve (`Potential.compute`). extras: send the decomposition along as JSON with constant
    keys; uncertainty: and in it the expected errors (`Potential.uncertainty`). ready: say READY to the first
    STATUS instead of NEEDINIT (pysisyphus wants that). check_geometry: refuse a first geometry that cannot be the
    manifest's molecule. dump: folder for a geometry whose forces are not finite; label: in that file's name, of a
    driver that is not alone in its process. wrapped: whether the server may put positions into its cell.
    should_stop: asked while waiting; when true, the request at hand is answered, if the server takes the answer
    within two seconds, and the connection left. on_request: called after every reply. evaluate: a `Batcher` to go
    through; None goes directly.
    """

    def __init__(
        self,
        potential: Potential,
        *,
        part: Part = "all",
        extras: bool = True,
        uncertainty: bool = False,
        ready: bool = False,
        check_geometry: bool = True,
        dump: Path = Path(),
        label: str = "",
        wrapped: bool = True,
        should_stop: Callable[[], bool] = lambda: False,
        on_request: Callable[[Stats], None] = lambda stats: None,
        evaluate: Evaluate | None = None,
    ) -> None:
        self.potential, self.part, self.ready = potential, part, ready
        self.extras, self.uncertainty = extras, uncertainty and extras
        self.evaluate = evaluate or Evaluator(potential, part, self.uncertainty)
        self.check_geometry, self.dump, self.label, self.wrapped = check_geometry, dump, label, wrapped
        self.should_stop, self.on_request = should_stop, on_request
        self.stats = Stats()

    def warm_up(self) -> None:
        """One evaluation of the manifest's structure: whatever fails, fails before i-PI waits."""
        Evaluator(self.potential, self.part, self.uncertainty)(self.potential.in_cell(self.potential.reference[None]))

    def serve(self, sock: socket.socket, mode: SocketMode = "unix") -> Ending:
        """Serve one connection until EXIT, its end or a stop.

        Raises as `converse`. Whatever happens, the connection is left so that i-PI can go on with another client.
        """
        guardian = None
        try:
            guardian = _guardian(sock)
            return self.converse(sock, mode)
        finally:
            leave(sock, _HURRIED if self.should_stop() else LINGER)
            if guardian is not None:
                guardian.release()

    def converse(self, sock: socket.socket, mode: SocketMode = "unix") -> Ending:
        """What `serve` does between connecting and leaving.

        Raises ServerClosedError (before it had an answer, or with one owed), ServerLostError, ProtocolError,
        GeometryError or NonFiniteError.
        """
        began, cpu = time.perf_counter(), time.thread_time()
        try:
            with np.errstate(all="ignore"):  # what does not come out finite is told, once
                return _Connection(self, sock, mode).run()
        except wire.Interrupted:
            return Ending.STOPPED
        finally:
            self.stats.wall += time.perf_counter() - began
            self.stats.cpu += time.thread_time() - cpu


def _guardian(sock: socket.socket) -> Guardian | None:
    try:
        return Guardian(sock)
    except OSError as error:
        log.warning("no guardian for the connection (%s): i-PI may hang if this driver is killed", error)
        return None


class _Connection:
    """The state of one connection."""

    def __init__(self, driver: Driver, sock: socket.socket, mode: SocketMode) -> None:
        self.driver, self.mode = driver, mode
        self.n_atoms = driver.potential.n_atoms
        self.reply: bytes | None = None
        self.answered = False  # any request
        self.owes = False  # an answer: positions are there
        self.deadline: float | None = None  # of the request at hand, after a signal
        self.stream = wire.Stream(sock, self._should_leave, self._too_late)
        self.initialised = driver.ready
        self.batch = 1
        self.segments: Segments | None = None
        self.looked_at_geometry = not driver.check_geometry

    def _should_leave(self) -> bool:
        """Whether somebody asked to stop, and nothing is owed or it was not taken in time."""
        return self.driver.should_stop() and (not self.owes or self._too_late())

    def _too_late(self) -> bool:
        """Whether somebody asked to stop two seconds ago, or more."""
        if not self.driver.should_stop():
            return False
        self.deadline = self.deadline or time.monotonic() + _OWED
        return time.monotonic() > self.deadline

    def run(self) -> Ending:
        following = None
        while True:
            try:
                message = following or self.stream.header()
            except ServerClosedError:
                if self.answered and not self.owes:
                    return Ending.CLOSED
                raise
            following = None
            if message == "STATUS":
                if self.reply is not None:
                    self.stream.send(wire.HAVEDATA)
                else:
                    self.stream.send(wire.READY if self.initialised else wire.NEEDINIT)
            elif message == "INIT":
                batch = wire.read_init(self.stream).batch_size
                if self.segments is not None and batch != self.batch:
                    raise ProtocolError(f"INIT changes the batch from {self.batch} to {batch} in shared memory")
                self.batch = batch
                self.initialised = True
            elif message == "POSDATA":
                following = self._positions()
            elif message == "GETFORCE":
                if self.reply is None:
                    raise ProtocolError("the server sent GETFORCE before any POSDATA")
                began = time.perf_counter()
                self.stream.refuse_closed()
                self.stream.send(self.reply)
                self.reply, self.owes, self.answered = None, False, True
                self.driver.stats.wire += time.perf_counter() - began
                self.driver.stats.requests += 1
                self.driver.on_request(self.driver.stats)
            else:
                return Ending.EXIT
            if self._should_leave():
                return Ending.STOPPED

    def _positions(self) -> str | None:
        """POSDATA: read, drain, compute, and keep the reply. Returns the header that was read ahead."""
        stats = self.driver.stats
        began = time.perf_counter()
        positions, cells = (self._read_shm if self.mode == "shm" else self._read)()
        self.owes = True
        unique = batch = len(positions)
        while unique > 1 and np.array_equal(positions[unique - 1], positions[unique - 2]):
            unique -= 1  # i-PI pads a short batch with copies of its last structure
        frames = self._whole(Frames(positions[:unique] * BOHR, cells[:unique].transpose(0, 2, 1) * BOHR))
        self._check(frames.positions)
        read = time.perf_counter()
        following = self.stream.header(wait=_DRAIN)
        drained, cpu = time.perf_counter(), time.thread_time()
        try:
            result, errors = self.driver.evaluate(frames)
            computed = time.perf_counter()
            stats.cpu_kernel += time.thread_time() - cpu
            stats.kernel += computed - drained
            stats.structures += unique
            stats.energies = result.parts.energies
            self.reply = self._pack(result, errors, batch)
        except NonFiniteError as error:
            driver = self.driver
            written = dump_geometry(driver.potential.numbers, frames.positions, driver.dump, driver.label)
            raise NonFiniteError(f"{error}; {written}") from None
        stats.wire += read - began + time.perf_counter() - computed
        return following

    def _read(self) -> tuple[FloatArray, FloatArray]:
        """Positions (batch, N, 3) and cells (batch, 3, 3), whose columns are lattice vectors, from the socket, bohr.

        Nothing is allocated before the atom count is right.
        """
        stream, n = self.stream, self.n_atoms
        if self.batch > 1:
            self._expect_atoms(stream.int32(), "")
            cells = stream.floats(18 * self.batch).reshape(self.batch, 2, 3, 3)[:, 0].copy()  # without their inverses
            return stream.floats(self.batch * n * 3).reshape(self.batch, n, 3), cells
        head = bytes(stream.read(8))
        count, length = struct.unpack("=ii", head)
        if 0 < length <= MAX_NAME:  # a name's length behind an atom count; no cell's number looks like that
            raise ProtocolError("the server speaks shared memory: connect with --socket shm:NAME")
        cells = np.frombuffer(head + stream.read(136), count=9).reshape(1, 3, 3)  # without its inverse
        batched = "; the server may be sending batches, which it announces only after NEEDINIT (no --ready)"
        self._expect_atoms(stream.int32(), batched if count == n else "")
        return stream.floats(n * 3).reshape(1, n, 3), cells

    def _read_shm(self) -> tuple[FloatArray, FloatArray]:
        stream = self.stream
        self._expect_atoms(stream.int32(), "; does the server use <ffsocket mode='shm'>?")
        if self.segments is None:
            names = {}
            for kind in KINDS:
                length = stream.int32()
                if not 0 < length <= MAX_NAME:
                    raise ProtocolError(f"a shared-memory name of {length} bytes, expected 1 to {MAX_NAME}")
                names[kind] = bytes(stream.read(length)).decode("utf-8", "replace")
            self.segments = Segments.attach(names, self.batch, self.n_atoms)
        return self.segments.positions, self.segments.cells

    def _expect_atoms(self, found: int, hint: str) -> None:
        if found != self.n_atoms:
            raise GeometryError(
                f"the server sends {found} atoms, {self.driver.potential.name} has {self.n_atoms}{hint}"
            )

    def _whole(self, frames: Frames) -> Frames:
        """Molecules that i-PI's wrapping cut, made whole; of a first geometry, `_check` says what is wrong."""
        request = self.driver.stats.requests
        refused = self.driver.check_geometry and self.looked_at_geometry
        name = (lambda i: f"request {request}, structure {i}") if refused else None
        return self.driver.potential.whole(frames, None if self.driver.wrapped else False, name)

    def _check(self, frames: FloatArray) -> None:
        """On the first request of a connection: this molecule. (That positions are finite is for `Potential`.)"""
        if not self.looked_at_geometry:
            for i, frame in enumerate(frames):
                place = f" (structure {i} of the batch)" if len(frames) > 1 else ""
                self.driver.potential.check_geometry(frame, f"first geometry from the server{place}")
            self.looked_at_geometry = True

    def _pack(self, result: Result, errors: Mapping[str, FloatArray], batch: int) -> bytes:
        """The reply in atomic units; the last structure stands for its copies that pad the batch."""
        extras = extras_json(result, errors) if self.driver.extras else [b""] * len(result.energy)
        if self.batch == 1 and self.segments is None:
            energy, forces, virial = float(result.energy[0]) / HARTREE, result.forces[0], result.virial[0]
            return wire.pack_single(energy, forces * (BOHR / HARTREE), virial / HARTREE, extras[0])
        which = np.minimum(np.arange(batch), len(result.energy) - 1)
        energies, virials = result.energy[which] / HARTREE, result.virial[which] / HARTREE
        forces = result.forces[which] * (BOHR / HARTREE)
        extras = [extras[i] for i in which]
        if self.segments is None:
            return wire.pack_batch(energies, forces, virials, extras)
        self.segments.energies[:] = energies
        self.segments.forces[:] = forces
        self.segments.virials[:] = virials
        return b"".join((wire.FORCEREADY, *wire.pack_extras(extras)))


def dump_geometry(numbers: IntArray, frames: FloatArray, folder: Path = Path(), label: str = "") -> str:
    """Write geometries (F, N, 3) in Å whose forces are not finite into a file of this process; where it is, or why
    there is none, in words."""
    from ase import Atoms
    from ase.io import write

    path = folder / f"delta-driver-{os.getpid()}{label}-not-finite.extxyz"
    try:
        write(path, [Atoms(numbers, frame) for frame in frames], format="extxyz")
    except OSError as error:
        return f"its geometry could not be written to {path}: {error.strerror}"
    return f"its geometry (Å) is in {path}"


def extras_json(result: Result, errors: Mapping[str, FloatArray]) -> list[bytes]:
    """What i-PI may record beside the forces of each frame: a JSON object, always with the same keys.

    ``energy_<term>`` in eV for each fragment and the binding, and ``binding_force_rms`` in eV/Å: the root mean
    square over the 3N components of the binding force; ``energy_bias`` and ``variable_<name>`` (Å,
    degrees or a number) where there are biases; ``error_<term>`` in eV/Å for each of `errors`. Keys are names
    and values finite, so that formatting them is enough; `json.dumps` would be a third of the driver's time a step.

    Raises NonFiniteError for a value that is not: i-PI trips over what is no JSON.
    """
    energies, forces, variables = result.parts
    keys = [f"energy_{name}" for name in energies]
    columns = [energy.tolist() for energy in energies.values()]
    if forces is not None:
        keys.append("binding_force_rms")
        columns.append([math.sqrt(np.vdot(f, f) / f.size) for f in forces])
    for name, values in variables.items():
        keys.append(f"variable_{name}")
        columns.append(values.tolist())
    for name, error in errors.items():
        keys.append(f"error_{name}")
        columns.append(error.tolist())
    for key, column in zip(keys, columns, strict=True):
        if not all(map(math.isfinite, column)):
            raise NonFiniteError(f"{key} came out as not a finite number")
    template = "{" + ", ".join(f'"{key}": %r' for key in keys) + "}"
    return [(template % row).encode() for row in zip(*columns, strict=True)]
