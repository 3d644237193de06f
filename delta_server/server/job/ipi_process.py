"""i-PI itself: its log says how far it is, and what went wrong."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from ...errors import InputError
from ...ipi.states import logged_step
from .processes import RunProgress

_SOFT_EXIT = re.compile(r"with message: '(.*?) (?:I-PI reports (success|a problem)\. )?Restartable as is")
_MODEL_ENDED = re.compile(r" @delta: ended with code (\d+): (.*)")  # `ipi_pes` says so
_ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}  # glibc's heaps of each thread fill up with holes: kilobytes a step and system
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class IpiProcess:
    """The i-PI process; it writes to a log of its own, so that it outlives its supervisor, and the log tells how far
    it is."""

    def __init__(
        self,
        command: list[str],
        directory: Path,
        progress: RunProgress,
        threads: int,
        holds: tuple[int, ...],
        first_line: str,
    ) -> None:
        """threads: of BLAS; holds: open files that it keeps; first_line: of its log."""
        self.log = directory / "i-pi.log"
        self.thread_died: str | None = None
        self.ending = ""  # what i-PI reports: "success", "a problem"
        self.why = ""  # and in which words, but for "exiting cleanly", which it also says when it was told to
        self.model_error: tuple[int, str] | None = None  # exit code and message of the potential in its process
        self._progress = progress
        self._tail: list[str] = []
        self._rest = ""
        self._first_seen: tuple[float, int] | None = None
        try:
            with self.log.open("wb") as log:
                log.write(f"{first_line}\n".encode())
                log.flush()
                self.process = subprocess.Popen(
                    command,
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=holds,
                    env=_ONE_HEAP | os.environ | {"PYTHONUNBUFFERED": "1"} | dict.fromkeys(_THREADS, str(threads)),
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
            if (told := _MODEL_ENDED.match(line)) is not None:
                self.model_error = int(told[1]), told[2]
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
