"""What the commands share: how they end, how they complain, which options mean the same everywhere."""

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
    """One line on stderr, if anybody can still be told."""
    with suppress(OSError):
        name = Path(sys.argv[0]).stem
        print(f"{'delta-driver' if name == 'driver' else name}: {message}", file=sys.stderr, flush=True)


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
