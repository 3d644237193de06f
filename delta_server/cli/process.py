"""How every command ends, complains, is stopped by a signal, and how many threads it takes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ..errors import DeltaError


def complain_of(noted: Iterable[tuple[str, str]]) -> None:
    """Names and what is noted of them: each note once, with the first name that it is of."""
    names: dict[str, dict[str, None]] = {}  # in their order, each once
    for name, note in noted:
        names.setdefault(note, {})[name] = None
    for note, of in names.items():
        complain(f"{next(iter(of))}{f' and {len(of) - 1} more' if len(of) > 1 else ''}: {note}")


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
    except MemoryError as error:
        complain(f"does not fit into memory: {error}" if str(error) else "does not fit into memory")
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

    def __init__(
        self, second: Callable[[int], BaseException], announce: str = "", *, within: float | None = None
    ) -> None:
        """announce: said at the first signal. within: s after it until the process ends, whatever it is busy with."""
        self.number = 0
        self.at_once = False  # whether the first signal is as the second: there is nothing to finish
        self._second, self._announce = second, announce
        if within is not None:
            threading.Thread(target=_end_after_signal, args=(_wakeup(), within), daemon=True).start()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.number or self.at_once:
            raise self._second(number)
        self.number = number
        if self._announce:
            complain(self._announce)

    def __call__(self) -> bool:
        return self.number != 0

    @property
    def exit_code(self) -> int:
        return 128 + self.number


def _wakeup() -> int:
    """A pipe from which each signal's number can be read at once, whatever the main thread is busy with."""
    end, start = os.pipe()
    os.set_blocking(start, False)
    signal.set_wakeup_fd(start, warn_on_full_buffer=False)
    return end


def _end_after_signal(wakeup: int, within: float) -> None:
    number = os.read(wakeup, 1)[0]
    time.sleep(within)
    complain(f"not done {within:g} s after {signal.Signals(number).name}: ended")
    os._exit(128 + number)


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
