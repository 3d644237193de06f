"""What the commands on data sets share."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .common import check_writable

if TYPE_CHECKING:
    from ..training.data.dataset import Dataset

DatasetArg = Annotated[
    Path,
    typer.Argument(help="Data set (.npz) of `import` or `label`.", metavar="DATASET", show_default=False),
]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Data set to write (.npz).", show_default=False)]
FragmentsOption = Annotated[
    str | None,
    typer.Option(
        metavar="RANGES",
        help="Atoms of the fragments, '0:3,3:15'; with semicolons between fragments commas join ranges, "
        "'0:3,7:9;3:7'. Default: those of the data set, or the molecules of the bond graph.",
    ),
]
CalculatorOption = Annotated[
    str, typer.Option("--calculator", help="gfn2-xtb, a name that ase knows (emt), or package.module:Class.")
]
CalculatorOptions = Annotated[
    list[str],
    typer.Option("--option", metavar="KEY=VALUE", help="Of the calculator; repeatable.", show_default=False),
]
ChargesOption = Annotated[
    str | None, typer.Option(metavar="Q,Q…", help="Net charge of each fragment, in order (default: all 0).")
]
MultiplicityOption = Annotated[
    str | None, typer.Option(metavar="M,M…", help="Spin multiplicity of each fragment, all 1 by default.")
]


def check_output(path: Path) -> None:
    """Whether a data set can be written there, before anything is computed. Raises InputError."""
    if path.suffix != ".npz":
        raise InputError(f"{path}: expected a name that ends in .npz")
    check_writable(path)


def save(path: Path, data: Dataset) -> None:
    """Raises InputError where it cannot be written."""
    from ..training.data.dataset import save_dataset

    try:
        save_dataset(path, data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


class Progress:
    """A line on stderr: rewritten on a terminal, every ten seconds elsewhere."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what
        self._terminal, self._shown = sys.stderr.isatty(), time.monotonic()
        self._start: tuple[float, int] | None = None

    def __call__(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = now, done
        if now - self._shown < (0.2 if self._terminal else 10.0):
            return
        self._shown = now
        since, before = self._start
        left = (self.total - done) * (now - since) / (done - before) if done > before else None
        text = f"{done} of {self.total} {self.what}{note}" + (f", {_time(left)} left" if left is not None else "")
        sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
    )
