"""Running temperatures of a sweep in one i-PI process, from wherever they are to their end.

One temperature in its own folder, or all that are left in the ladder's. When one of several breaks, i-PI ends softly
(the steps since its last safe state are repeated), the broken system is taken out of its RESTART, and the others go
on in a new process: nothing else needs to know. A broken trajectory keeps what it wrote, up to where it was stopped.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..errors import GeometryError, InputError, NonFiniteError, RunError
from ..files.lock import locked
from ..loading import load_potential
from ..manifest import load_manifest
from ..molecule.structures import read_structure
from ..potential import Departure
from ..server.job.processes import DriverError, RunProgress
from ..server.job.transport import Transport
from ..server.record import hashes
from ..server.supervisor import Supervisor
from .checkpoint import Origin, prepare, prune
from .record import INIT, INPUT, Member, Sweep, prefix_of
from .stability import LiveStability
from .state import MemberState, RunMode, load_state
from .watch import Watch, nearest

Ending = Literal["finished", "stopped"]

_LOOK = 0.5  # s between looks at the outputs
_NUMERIC = (GeometryError.exit_code, NonFiniteError.exit_code)  # exit codes of a driver that a broken molecule causes


@dataclass(frozen=True)
class RunOptions:
    """How temperatures are run. drivers: for each socket; threads: of each; transport: as of `Supervisor`;
    wall_time: seconds after which all stops softly; stop_outside: where a model leaves what it was trained on, a
    trajectory is broken. on_states is told the states as they change, on_event what a user would want to know."""

    drivers: int = 1
    threads: int = 1
    wall_time: float | None = None
    stop_outside: bool = False
    should_stop: Callable[[], bool] = lambda: False
    on_states: Callable[[list[MemberState]], None] = lambda states: None
    on_event: Callable[[str], None] = lambda event: None
    transport: Transport = "auto"

    def deadline(self) -> float:
        """When it stops, on the monotonic clock, if it begins now."""
        return math.inf if self.wall_time is None else time.monotonic() + self.wall_time


class Session:
    """The temperatures that one i-PI process runs: one, in its folder, or several, in the ladder's."""

    def __init__(self, sweep: Sweep, mode: RunMode, members: Sequence[Member], options: RunOptions) -> None:
        self.sweep, self.mode, self.members, self.options = sweep, mode, tuple(members), options
        self.folder = sweep.ladder if mode == "batched" else self.members[0].folder
        self._deadline = options.deadline()
        self._looked = 0.0

    def run(self) -> Ending:
        """Run to the end of every temperature, or until stopped. Raises RunError when i-PI or a driver fails."""
        if self.mode == "jobs" and self.sweep.record.bound_together:
            raise InputError(
                f"{self.sweep.folder}: replicas that exchange, and walkers that share hills, run in one process: "
                "sweep run"
            )
        if not (self.folder / INPUT).is_file():
            raise InputError(f"{self.folder / INPUT}: no such file; write the sweep anew")
        folders = dict.fromkeys([*(m.folder for m in self.members), self.folder])
        with locked(list(folders), waiting=self._tell_of_a_wait) as locks:
            self.states = {m.name: self._state(m) for m in self.members}
            left = self._left()
            if left:
                self._load()
            while left:
                origin = prepare(self.folder, [self._prefix(m) for m in left])
                if origin.step >= self.sweep.record.steps:
                    self._conclude(left, origin)
                elif self._stopping() or not self._leg(left, origin, locks):
                    return "stopped"
                left = self._left()
            for member in self.members:  # engines may have taken the marker away
                self.states[member.name].save(member)
            self._tell()
        return "finished"

    def _tell_of_a_wait(self) -> None:
        self.options.on_event("waiting for an earlier run to end")

    def _state(self, member: Member) -> MemberState:
        state = load_state(self.sweep, member)
        if state.mode not in (None, self.mode) and not state.done:
            how = (
                "in one process: `delta-sgdml sweep run` goes on"
                if state.mode == "batched"
                else "as a job of its own"
            )
            raise InputError(f"{member.folder}: was begun {how}; the other way needs a sweep of its own")
        return state

    def _left(self) -> list[Member]:
        return [m for m in self.members if not self.states[m.name].done]

    def _prefix(self, member: Member) -> str:
        return prefix_of(member.name, self.folder.name if self.mode == "batched" else "alone")

    def _load(self) -> None:
        described = load_manifest(self.sweep.manifest)
        if hashes(described) != self.sweep.record.sha256:
            raise InputError(
                f"{self.sweep.manifest}: manifest or models are not those that the sweep was written with; "
                "write the sweep anew"
            )
        self._potential = load_potential(described)

    def _stability(self, member: Member) -> LiveStability:
        record = self.sweep.record
        exchanged = max(record.temperatures) if record.kind == "remd" else member.temperature
        start, energy = read_structure(self.folder / INIT), record.start.energy
        if record.windows is not None:  # each begins where it was pulled to, and warm
            start = read_structure(member.folder / INIT)
            energy = float(self._potential.compute(start.positions).energy)
        return LiveStability(
            self._potential, start.positions, energy, exchanged, record.limits, record.beads, record.start.energy
        )

    def _stopping(self) -> bool:
        return self.options.should_stop() or time.monotonic() > self._deadline

    def _leg(self, left: list[Member], origin: Origin, locks: list[int]) -> bool:
        """One i-PI process: to the end, a break, or a stop. False when it was stopped."""
        if origin.step:
            self.options.on_event(f"{self.folder.name}: going on from step {origin.step}")
        watches = self._watch(left, origin)
        for watch in watches.values():
            watch.state.phase, watch.state.mode, watch.state.host = "running", self.mode, socket.gethostname()
        self._save(left)

        def broken() -> bool:
            return any(watch.broken for watch in watches.values())

        def on_progress(progress: RunProgress) -> None:
            now = time.monotonic()
            if now - self._looked < _LOOK:
                return
            self._looked = now
            prune(self.folder)
            changed = [watch.look() for watch in watches.values()]
            for watch in watches.values():
                watch.state.ns_per_day = progress.ns_per_day
            if any(changed):
                self._save(left)
            self._tell()

        supervisor = Supervisor(
            origin.input,
            self.sweep.manifest,
            drivers=self.options.drivers,
            directory=self.folder,
            threads=self.options.threads,
            holds=locks,
            transport=self.options.transport,
        )
        try:
            outcome = supervisor.run(lambda: self._stopping() or broken(), on_progress, self.options.on_event)
            finished = outcome.finished
        except RunError as error:
            self._look(watches)
            if not broken() and not self._blame(error, watches):
                for member in left:
                    self.states[member.name].phase, self.states[member.name].reason = "failed", str(error)
                self._save(left)
                raise
            finished = False
        self._look(watches)
        went_on = broken()
        for watch in watches.values():
            state = watch.state
            state.phase = "unstable" if watch.broken else "finished" if finished else "stopped"
            if watch.broken:
                self.options.on_event(f"{state.name} is unstable at {state.broken_at:.3f} ps: {state.reason}")
        if went_on and self.sweep.record.bound_together:
            self._end_together(watches)
        self._save(left)
        self._tell()
        return finished or went_on

    def _end_together(self, watches: dict[str, Watch]) -> None:
        """Replicas that exchange, and walkers that share hills, cannot go on without one of them."""
        first = min((w for w in watches.values() if w.broken), key=lambda w: w.state.broken_step or 0).state
        for watch in watches.values():
            if not watch.broken:
                watch.state.phase, watch.state.broken_step = "unstable", first.broken_step
                watch.state.reason = f"{first.name} broke"

    def _watch(self, members: list[Member], origin: Origin) -> dict[str, Watch]:
        watches = {}
        for member in members:
            state = self.states[member.name]
            state.step, state.reason = origin.step, ""
            state.checked = min(state.checked, origin.step) if origin.step else -1
            outputs = origin.outputs[self._prefix(member)]
            on_left = partial(self._on_left, member.name)
            watches[member.name] = Watch(state, self._stability(member), outputs, on_left, self.options.stop_outside)
        return watches

    def _on_left(self, name: str, step: int, departure: Departure) -> None:
        self.options.on_event(f"{name}, step {step}: left what the model was trained on, {departure}")

    def _conclude(self, members: list[Member], origin: Origin) -> None:
        """The last step was reached, and the run died before it could say so."""
        watches = self._watch(members, origin)
        self._look(watches)
        for watch in watches.values():
            watch.state.phase = "unstable" if watch.broken else "finished"
        self._save(members)

    def _look(self, watches: dict[str, Watch]) -> None:
        for watch in watches.values():
            while watch.look():
                pass

    def _blame(self, error: RunError, watches: dict[str, Watch]) -> bool:
        """Mark whose geometry it was that a driver gave up on; false where that is not what happened."""
        if not isinstance(error, DriverError) or error.code not in _NUMERIC:
            return False
        several = list(watches.values())
        broken: Watch | None = several[0] if len(several) == 1 else None
        dumps = sorted(self.folder.glob("delta-driver-*-not-finite.extxyz"), key=lambda p: p.stat().st_mtime)
        if broken is None and dumps and error.code == NonFiniteError.exit_code:
            broken = nearest(several, dumps[-1], self._potential)
        if broken is None or broken.state.checked < 0:  # a start that cannot be is an error
            return False
        broken.state.broken_step = broken.state.step
        broken.state.reason = (
            "the model gives no forces there" if error.code == NonFiniteError.exit_code else str(error)
        )
        return True

    def _save(self, members: Sequence[Member]) -> None:
        for member in members:
            self.states[member.name].save(member)

    def _tell(self) -> None:
        self.options.on_states([self.states[m.name] for m in self.members])
