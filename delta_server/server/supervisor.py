"""i-PI and its drivers as one job: started together, watched, ended softly.

The processes live in sessions of their own, so that Ctrl-C reaches the supervisor alone, which then asks i-PI to
stop; the drivers serve on until i-PI has written its RESTART. Of a supervisor that is killed all are asked to end.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ..errors import InputError, RunError
from ..files.lock import locked
from ..files.scratch import socket_folder
from ..files.whole import write_whole
from ..ipi.companions import copy_input, refuse_missing
from ..ipi.direct import make_sockets
from ..ipi.input import (
    ForceFieldSocket,
    force_field_sockets,
    parts_of,
    read_input,
    read_schedule,
    refuse_double_counting,
    start_hills,
)
from ..ipi.records import Output, cut, outputs_of
from ..ipi.states import newest_state, set_aside, whole_states
from ..manifest import load_manifest
from ..terms.bias import bias_extras
from .job.driver_process import DRIVER_GRACE, DriverProcess
from .job.ipi_process import IpiProcess
from .job.processes import FATAL, DriverError, RunProgress, end, script
from .job.transport import Transport, choose, part_of
from .leash import leashed
from .record import refuse_another_manifest, write_run

_GRACE = 60.0  # s for i-PI to end softly; its signal handler alone sleeps for one


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: `finished` is false when it was asked to stop, or ended softly before what it was to reach.
    why: i-PI's words, where it ended before its last step."""

    finished: bool
    progress: RunProgress
    wall: float  # s
    why: str = ""


class Supervisor:
    """One i-PI run with its drivers.

    input_file: i-PI's input; manifest: of the potential. drivers: for each ``<ffsocket>`` of the input. An ffsocket
    called ``fragments`` or ``binding`` is served that part. directory: where to run; another than the input's gets
    a copy of the input and of the files that it names. restart: go on from the newest state there, a checkpoint or
    RESTART; what the outputs have beyond it is cut off, for it will be written again.

    transport: forces come from drivers on i-PI's sockets, or are computed in its own process, by the plug-in, from a
    copy of the input that says so; by default in its process where one evaluation serves one i-PI.
    Unix sockets are put in a folder of their own: any number of runs can share a machine.
    holds: open files (locks) that i-PI keeps open as long as it lives, from a caller that has locked the folder and
    made it ready, and keeps a record of its own; by default the folder is locked here, and gets a run.json
    (`record.RunRecord`), with the command that was typed. i-PI is asked to end softly when its supervisor is killed.
    grace: seconds for it to end when it is asked to; then it is killed, which is a stop too.
    """

    def __init__(
        self,
        input_file: Path,
        manifest: Path,
        *,
        drivers: int = 1,
        directory: Path | None = None,
        restart: bool = False,
        threads: int = 1,
        holds: Sequence[int] | None = None,
        grace: float = _GRACE,
        command: str = "",
        transport: Transport = "auto",
    ) -> None:
        """Reads, and touches nothing. Raises InputError."""
        self.manifest, self.grace = manifest.resolve(), grace
        self.directory = (directory or input_file.parent).resolve()
        self.drivers, self.threads = drivers, threads
        self.input, self._restart, self._holds, self._command = input_file.resolve(), restart, holds, command
        self._transport, self._stem = transport, input_file.stem
        self._root = read_input(input_file)
        self._changed = make_sockets(self._root)
        if not force_field_sockets(self._root):
            raise InputError(f"{input_file}: has no <ffsocket>, so no driver is needed: run it with i-pi itself")
        refuse_double_counting(input_file, self._root)
        if (parts := parts_of(self._root)) and bias_extras(load_manifest(manifest)):
            raise InputError(
                f"{input_file}: <ffsocket name={max(parts)!r}> is served a part of the potential, which leaves out "
                f"the bias of {manifest}; use one <ffsocket> of another name, or a manifest without bias"
            )
        self._choose()
        if restart:
            refuse_another_manifest(self.directory, self.manifest)
        else:
            refuse_missing(input_file, self._root)
        self.progress = RunProgress(*read_schedule(input_file, self._root))
        self._processes: list[DriverProcess] = []

    def run(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[RunProgress], None] = lambda progress: None,
        on_event: Callable[[str], None] = lambda event: None,
    ) -> RunOutcome:
        """Run to the end, or until should_stop. on_event is told what a user would want to know, as a line.

        Raises RunError with the last words of whoever failed, InputError where another run works in the folder.
        """
        began = time.monotonic()
        with ExitStack() as stack:
            holds = self._holds
            if holds is None:
                wait = f"waiting for the i-PI of an earlier run in {self.directory} to end"
                lock = locked([self.directory], waiting=lambda: on_event(wait), orphans_only=True)
                holds = stack.enter_context(lock)
                self._make_ready(on_event)
            if self.progress.step >= self.progress.total_steps:
                return RunOutcome(True, self.progress, time.monotonic() - began, "it had reached its last step")
            (self.directory / "EXIT").unlink(missing_ok=True)  # left by an earlier stop, it would end i-PI at once
            self._choose()  # a state may have fewer systems than the input
            self._resolve()
            names = [socket.address for socket in self.sockets.values() if socket.mode != "inet"]
            sockets, held = stack.enter_context(socket_folder(max(names, key=len, default="")))
            ipi = self._start_ipi(f"{sockets}/", (*holds, held))
            grace = self.grace
            try:
                for name in self.sockets if self.forces.batches is None else ():
                    for i in range(self.drivers):  # one by one: those that run are ended if another cannot start
                        self._processes.append(self._start_driver(name, i, f"{sockets}/"))
                finished = self._watch(ipi, should_stop, on_progress, on_event)
            except KeyboardInterrupt:
                grace = 0.0
                raise
            finally:
                end(ipi.process, grace)
                for driver in self._processes:
                    end(driver.process, min(grace, DRIVER_GRACE))
                ipi.close()
        return RunOutcome(finished, self.progress, time.monotonic() - began, ipi.why)

    @property
    def sockets(self) -> dict[str, ForceFieldSocket]:
        """The ``<ffsocket>`` of the input, by name."""
        return force_field_sockets(self._root)

    @property
    def outputs(self) -> dict[str, list[Output]]:
        """The outputs of each system of the input, by its prefix."""
        return outputs_of(self._root, self.directory)

    def _make_ready(self, on_event: Callable[[str], None]) -> None:
        """Fill the folder, which is locked now, for a beginning or for going on."""
        try:
            if self._restart:
                self._go_back(on_event)
            else:
                if (left := self.directory / "RESTART").is_file():
                    on_event(
                        f"{left} is of an earlier run; this one begins anew, old files become #…# (--restart goes on)"
                    )
                set_aside(self.directory, self._root)
                if self.input.parent != self.directory:
                    self.input = copy_input(self.input, self.directory)
        except OSError as error:
            raise InputError(f"{error.filename or self.directory}: {error.strerror}") from None
        write_run(self.directory, self.manifest, self._command)

    def _go_back(self, on_event: Callable[[str], None]) -> None:
        """To the newest state, and the outputs with it."""
        state = newest_state(self.directory, self._root)
        self.input, self._root = state.path, state.root
        self._changed = make_sockets(self._root)
        refuse_double_counting(self.input, self._root)
        schedule = read_schedule(self.input, self._root)
        self.progress.step, self.progress.total_steps, self.progress.timestep = schedule
        if state.step:  # at the first i-PI begins its outputs anew
            cut(state.ends)
        on_event(f"going on from step {state.step} ({state.path.name})")

    def _choose(self) -> None:
        self.forces = choose(self._transport, self.input, self._root, self.drivers)

    def _resolve(self) -> None:
        """Write the input that i-PI is to read, where that is not the one that was given."""
        resolved = deepcopy(self._root)
        told = start_hills(resolved, self.progress.step)
        if self.forces.batches is None and not self._changed and not told:
            return
        self.forces.resolved(resolved, self.manifest, self.threads)
        kind = "socket" if self.forces.batches is None else "direct"
        self.input = self.directory / f"{self._stem}.{kind}.xml"
        write_whole(self.input, ElementTree.tostring(resolved, encoding="unicode"))

    def _start_ipi(self, prefix: str, holds: tuple[int, ...]) -> IpiProcess:
        command = [*script("i-pi"), "-S", prefix, "-V", "medium", self.input.name]
        return IpiProcess(leashed(command), self.directory, self.progress, self.threads, holds, str(self.forces))

    def _start_driver(self, socket: str, number: int, prefix: str) -> DriverProcess:
        command = [str(self.manifest), "--input", self.input.name, "--sockets-prefix", prefix]
        command += ["--part", part_of(socket), *(["--ffsocket", socket] if socket else [])]
        command += ["--threads", str(self.threads)]
        return DriverProcess(f"{socket or 'driver'}-{number}", command, self.directory)

    def _watch(
        self,
        ipi: IpiProcess,
        should_stop: Callable[[], bool],
        on_progress: Callable[[RunProgress], None],
        on_event: Callable[[str], None],
    ) -> bool:
        stopping_since = None
        while ipi.process.poll() is None:
            ipi.read_log()
            on_progress(self.progress)
            if stopping_since is None and should_stop():
                ipi.process.send_signal(signal.SIGTERM)
                stopping_since = time.monotonic()
            if stopping_since is not None and time.monotonic() - stopping_since > self.grace:
                # its threads can wait for one another: a checkpoint is left to go on from
                on_event(f"i-PI did not end within {self.grace:g} s of being asked, and is killed")
                end(ipi.process, 0.0)
                return False
            if ipi.thread_died is not None:
                raise RunError(f"i-PI's socket thread died ({ipi.thread_died}); go on with --restart")
            for driver in self._processes:
                driver.look_after(self.progress, on_event)
            time.sleep(0.1)
        ipi.read_log()
        on_progress(self.progress)
        if stopping_since is not None and ipi.process.returncode == -signal.SIGTERM:
            return False  # it was asked before it listened to signals
        if ipi.model_error is not None:
            code, message = ipi.model_error
            kind = FATAL.get(code, f"code {code}")
            raise DriverError(f"the potential in i-PI's process ended, {kind}: {message}", code)
        if ipi.process.returncode != 0:
            why = ipi.last_words()
            if "Address already in use" in why:
                ports = [f"{s.address}:{s.port}" for s in self.sockets.values() if s.mode == "inet"]
                why += f"; another program listens at {' or '.join(ports)}: choose another <port>"
            raise RunError(f"i-PI ended with code {ipi.process.returncode}: {why} (whole log: {ipi.log})")
        if ipi.ending == "a problem":
            raise RunError(f"i-PI reports a problem: {ipi.why} (whole log: {ipi.log})")
        # i-PI also ends well on an EXIT file or its time limit: what it left tells how far it came
        for left, root in whole_states([self.directory / "RESTART"]):
            self.progress.step = read_schedule(left, root).step
        if stopping_since is not None:
            ipi.why = ""
            return False
        if self.progress.step >= self.progress.total_steps:
            return True
        return ipi.ending == "success" and bool(ipi.why)  # an optimisation that converged, a phonon calculation
