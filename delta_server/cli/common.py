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
from typing import Annotated, NoReturn

import typer

from ..errors import DeltaError, InputError

ManifestArg = Annotated[
    Path, typer.Argument(help="Manifest (YAML) of the Δ-model.", metavar="MANIFEST", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def check_writable(path: Path) -> None:
    """Whether a file can be written there. Raises InputError."""
    if path.is_dir():
        raise InputError(f"{path}: is a directory, expected the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError(f"{path}: cannot be written: permission denied")


def picture(path: Path | None) -> Path | None:
    """An option's value, if a picture can be written there: told before anything is computed. Raises InputError."""
    if path is not None:
        if path.suffix not in (suffixes := (".png", ".svg", ".pdf")):
            raise InputError(f"{path}: expected a name that ends in {', '.join(suffixes)}")
        check_writable(path)
    return path


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


ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of a prediction, used where they pay.")]
StretchOption = Annotated[float, typer.Option(min=1.01, help="Broken: a bond longer than this times its length.")]
EnergyMarginOption = Annotated[float, typer.Option(min=0.0, help="Broken: eV beyond what the temperature explains.")]
MaxUncertaintyOption = Annotated[float, typer.Option(min=0.0, help="Broken: expected force error above this, eV/Å.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda or cuda:N, or auto: a GPU where there is one.", metavar="DEVICE")
]
