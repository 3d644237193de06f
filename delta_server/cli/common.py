"""What the commands share: how they end, how they complain, which options mean the same everywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..errors import DeltaError

ManifestArg = Annotated[
    Path, typer.Argument(help="Manifest (YAML) of the Δ-model.", metavar="MANIFEST", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

INTERNAL_ERROR = 1


def complain(message: str) -> None:
    """One line on stderr, if anybody can still be told."""
    with suppress(OSError):
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)


def fail(error: DeltaError) -> NoReturn:
    """Say what is wrong in one line and end with the error's code."""
    complain(str(error))
    raise SystemExit(error.exit_code)


def run(app: Callable[[], object]) -> None:
    """Run a command; errors that are somebody's to mend come out as one line, the rest as a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without σ shows its number
    try:
        app()
    except DeltaError as error:
        fail(error)
    except BrokenPipeError:  # `| head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        complain(f"{error.strerror or error}{where}")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        complain("interrupted")
        raise SystemExit(130) from None


def set_threads(n: int) -> None:
    """Threads of BLAS in this process and its children. Call before NumPy is imported.

    One by default: the products of a single structure are too small to share, and several drivers on one
    machine would otherwise fight for its cores.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(n)


ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="BLAS threads.")]
