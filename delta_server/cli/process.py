"""How every command ends, complains, is stopped by a signal, and how many threads it takes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ..errors import DeltaError


def complain(message: str) -> None:
    """One line on stderr, in place of a line of progress, if anybody can still be told."""
    with suppress(OSError):
        name = Path(sys.argv[0]).stem
        start = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{start}{'delta-driver' if name == 'driver' else name}: {message}", file=sys.stderr, flush=True)


def run(app: Callable[[], object]) -> NoReturn:
    """Run a command and exit; errors that are somebody's to mend come out as one line, the rest as a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without σ shows its number
    code: str | int | None
    try:
        try:
            app()
            code = 0
        except SystemExit as ended:  # typer always ends so
            code = ended.code
        sys.stdout.flush()  # a full disk may show only here
    except DeltaError as error:
        complain(str(error))
        code = error.exit_code
    except BrokenPipeError:  # `| head`: the reader has what it wanted
        code = 0
    except OSError as error:
        complain(" ".join(str(part) for part in (error.strerror or error, error.filename) if part))
        code = 2
    except KeyboardInterrupt:
        complain("interrupted")
        code = 130
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # what cannot be written would turn the exit code into 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise SystemExit(code)


class Stop:
    """SIGINT, SIGTERM and SIGHUP: the first asks to finish and leave (calling the object then gives true), the
    second raises what `second` makes of the signal's number."""

    def __init__(self, second: Callable[[int], BaseException], announce: str = "") -> None:
        """announce: said at the first signal."""
        self.number = 0
        self._second, self._announce = second, announce
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise self._second(number)
        self.number = number
        if self._announce:
            complain(self._announce)

    def __call__(self) -> bool:
        return self.number != 0

    @property
    def exit_code(self) -> int:
        return 128 + self.number


def set_threads(n: int) -> None:
    """Threads of BLAS in this process and its children. Call before NumPy is imported.

    One by default: the products of a single structure are too small to share, and several drivers on one
    machine would otherwise fight for its cores.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(n)


def set_training_threads(n: int) -> int:
    """Threads of BLAS and Numba, 0 for all cores, as `set_threads`; how many they are."""
    n = n or len(os.sched_getaffinity(0))
    set_threads(n)
    os.environ["NUMBA_NUM_THREADS"] = str(n)
    return n
