"""i-PI and its drivers as one job: started together, watched, ended softly.

The processes live in sessions of their own, so that Ctrl-C reaches the supervisor alone, which then asks i-PI to
stop; the drivers serve on until i-PI has written its RESTART. Of a supervisor that is killed all are asked to end.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import GeometryError, InputError, NonFiniteError, ProtocolError, RunError
from ..files.lock import locked
from ..files.scratch import socket_folder
from ..ipi.companions import copy_input, refuse_missing
from ..ipi.input import ForceFieldSocket, force_field_sockets, read_input, read_schedule, refuse_double_counting
from ..ipi.records import Output, cut, outputs_of
from ..ipi.states import logged_step, newest_state, set_aside
from .leash import leashed
from .record import refuse_another_manifest, write_run

_FATAL = {
    InputError.exit_code: "bad input",
    GeometryError.exit_code: "a geometry that cannot be this molecule",
    NonFiniteError.exit_code: "forces that are not finite",
    ProtocolError.exit_code: "a server that does not speak i-PI's protocol",
}
_SOFT_EXIT = re.compile(r"with message: '(.*?) (?:I-PI reports (success|a problem)\. )?Restartable as is")
_MAX_DEATHS = 5  # of one driver while the run does not advance
_GRACE = 60.0  # s for i-PI to end softly; its signal handler alone sleeps for one
_DRIVER_GRACE = 10.0


@dataclass
class RunProgress:
    """Where the run is."""

    step: int = 0
    total_steps: int = 0
    timestep: float | None = None  # fs
    restarted_drivers: int = 0
    rate: float | None = None  # steps per second since i-PI first told its step

    @property
    def picoseconds(self) -> float | None:
        return None if self.timestep is None else self.step * self.timestep / 1e3

    @property
    def ns_per_day(self) -> float | None:
        return None if self.rate is None or self.timestep is None else self.rate * self.timestep * 86400 / 1e6


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: `finished` is false when it was asked to stop, or ended softly before what it was to reach.
    why: i-PI's words, where it ended before its last step."""

    finished: bool
    progress: RunProgress
    wall: float  # s
    why: str = ""


class DriverError(RunError):
    """A driver ended for good; `code` is its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Supervisor:
    """One i-PI run with its drivers.

    input_file: i-PI's input; manifest: of the potential. drivers: for each ``<ffsocket>`` of the input. An ffsocket
    called ``fragments`` or ``binding`` is served that part. directory: where to run; another than the input's gets
    a copy of the input and of the files that it names. restart: go on from the newest state there, a checkpoint or
    RESTART; what the outputs have beyond it is cut off, for it will be written again.

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
    ) -> None:
        """Reads, and touches nothing. Raises InputError."""
        self.manifest, self.grace = manifest.resolve(), grace
        self.directory = (directory or input_file.parent).resolve()
        self.drivers, self.threads = drivers, threads
        self.input, self._restart, self._holds, self._command = input_file.resolve(), restart, holds, command
        self._root = read_input(input_file)
        if not force_field_sockets(self._root):
            raise InputError(f"{input_file}: has no <ffsocket>, so no driver is needed: run it with i-pi itself")
        refuse_double_counting(input_file, self._root)
        if restart:
            refuse_another_manifest(self.directory, self.manifest)
        else:
            refuse_missing(input_file, self._root)
        self.progress = RunProgress(*read_schedule(input_file, self._root))
        self._processes: list[_DriverProcess] = []

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
            names = [socket.address for socket in self.sockets.values() if socket.mode != "inet"]
            sockets, held = stack.enter_context(socket_folder(max(names, key=len, default="")))
            ipi = self._start_ipi(f"{sockets}/", (*holds, held))
            grace = self.grace
            try:
                for name in self.sockets:
                    for i in range(self.drivers):  # one by one: those that run are ended if another cannot start
                        self._processes.append(_DriverProcess(self, name, f"{name or 'driver'}-{i}", f"{sockets}/"))
                finished = self._watch(ipi, should_stop, on_progress, on_event)
            except KeyboardInterrupt:
                grace = 0.0
                raise
            finally:
                _end(ipi.process, grace)
                for driver in self._processes:
                    _end(driver.process, min(grace, _DRIVER_GRACE))
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
        refuse_double_counting(self.input, self._root)
        schedule = read_schedule(self.input, self._root)
        self.progress.step, self.progress.total_steps, self.progress.timestep = schedule
        if state.step:  # at the first i-PI begins its outputs anew
            cut(state.ends)
        on_event(f"going on from step {state.step} ({state.path.name})")

    def _start_ipi(self, prefix: str, holds: tuple[int, ...]) -> _Ipi:
        command = [*script("i-pi"), "-S", prefix, "-V", "medium", self.input.name]
        return _Ipi(leashed(command), self.directory, self.progress, self.threads, holds)

    def _watch(
        self,
        ipi: _Ipi,
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
                _end(ipi.process, 0.0)
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
        if ipi.process.returncode != 0:
            raise RunError(
                f"i-PI ended with code {ipi.process.returncode}: {ipi.last_words()} (whole log: {ipi.log})"
            )
        if ipi.ending == "a problem":
            raise RunError(f"i-PI reports a problem: {ipi.why} (whole log: {ipi.log})")
        # i-PI also ends well on an EXIT file or its time limit: what it left tells how far it came
        if (left := self.directory / "RESTART").is_file():
            self.progress.step = read_schedule(left, read_input(left)).step
        if stopping_since is not None:
            ipi.why = ""
            return False
        if self.progress.step >= self.progress.total_steps:
            return True
        return ipi.ending == "success" and bool(ipi.why)  # an optimisation that converged, a phonon calculation


def script(name: str) -> list[str]:
    """A console script of this environment. (`python -m` would look for modules in the run's folder first.)"""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise InputError(f"{name} is not installed here: pip install 'delta-server[ipi]'")
    return [sys.executable, path]


class _Ipi:
    """The i-PI process; it writes to a log of its own, so that it outlives its supervisor, and the log tells how far
    it is."""

    def __init__(
        self, command: list[str], directory: Path, progress: RunProgress, threads: int, holds: tuple[int, ...]
    ) -> None:
        self.log = directory / "i-pi.log"
        self.thread_died: str | None = None
        self.ending = ""  # what i-PI reports: "success", "a problem"
        self.why = ""  # and in which words, but for "exiting cleanly", which it also says when it was told to
        self._progress = progress
        self._tail: list[str] = []
        self._rest = ""
        self._first_seen: tuple[float, int] | None = None
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    command,
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=holds,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(threads)},
                )
            self._reader = self.log.open(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputError(f"{self.log}: {error.strerror}") from None

    def read_log(self) -> None:
        """Take in what was written since the last call."""
        *lines, self._rest = (self._rest + self._reader.read()).split("\n")
        for line in lines:
            if line.strip():
                self._tail = [*self._tail[-19:], line.strip()]
            if line.startswith("Exception in thread poll"):
                self.thread_died = line.strip()
            if (said := _SOFT_EXIT.search(line)) is not None:
                self.ending, self.why = said[2] or "", said[1].strip(" @#.")
                if "Exiting cleanly" in self.why:
                    self.why = ""
            if (step := logged_step(line)) is not None:
                self._progress.step = step
                self._first_seen = self._first_seen or (time.monotonic(), step)
                since, first = self._first_seen
                if step > first:
                    self._progress.rate = (step - first) / (time.monotonic() - since)

    def last_words(self) -> str:
        """The line that most likely says what went wrong."""
        for line in reversed(self._tail):
            if re.match(r"(\w+\.)*\w*(Error|Exception)\b", line) or "ERROR" in line:
                return line
        return self._tail[-1] if self._tail else "its log is empty"

    def close(self) -> None:
        self._reader.close()


class _DriverProcess:
    """One driver, started again when it dies of something that another start may mend."""

    def __init__(self, supervisor: Supervisor, socket: str, name: str, prefix: str) -> None:
        self.log = supervisor.directory / f"{name}.log"
        self.name = name
        part = socket if socket in ("fragments", "binding") else "all"
        self.command = [*script("delta-driver"), str(supervisor.manifest)]
        self.command += ["--input", supervisor.input.name, "--sockets-prefix", prefix, "--part", part]
        self.command += ["--ffsocket", socket] if socket else []
        self.command += ["--threads", str(supervisor.threads)]
        self.directory = supervisor.directory
        self._step_at_start = self._deaths = 0
        self._ended_at: float | None = None
        self.log.unlink(missing_ok=True)  # of an earlier run
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._ended_at = None
        with self.log.open("ab") as log:
            return subprocess.Popen(
                leashed(self.command),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def look_after(self, progress: RunProgress, on_event: Callable[[str], None]) -> None:
        """Start again if it died. Raises RunError when that is of no use."""
        code = self.process.poll()
        if code is None:
            return
        if code in _FATAL:
            raise DriverError(f"driver {self.name} ended, {_FATAL[code]}: {self._last_words()}", code)
        now = time.monotonic()
        self._ended_at = self._ended_at or now
        if code == 0 and now - self._ended_at < _DRIVER_GRACE:
            return  # i-PI sent EXIT and is about to end itself
        self._deaths = self._deaths + 1 if progress.step == self._step_at_start else 0
        if self._deaths == _MAX_DEATHS:
            raise RunError(
                f"driver {self.name} died {_MAX_DEATHS} times and the run did not advance, last with code {code}: "
                f"{self._last_words()}"
            )
        self._step_at_start = progress.step
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        on_event(f"driver {self.name} {how} near step {progress.step}; it is started again")
        self.process = self._start()
        progress.restarted_drivers += 1

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "its log is empty"


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM, and SIGKILL for one that does not listen within `grace` seconds, or when the wait is interrupted."""
    if process.poll() is not None:
        return
    if grace:
        process.terminate()
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(grace)
            return
    process.kill()
    process.wait()
