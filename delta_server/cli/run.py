"""delta-sgdml run: i-PI and its drivers as one job."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ThreadsOption
from .process import Stop, complain, set_threads

ENDED_EARLY = 10  # i-PI ended softly before its last step: an EXIT file, or total_time

if TYPE_CHECKING:
    from ..server.supervisor import RunProgress


def run(
    input_file: Annotated[Path, typer.Argument(help="i-PI input.", metavar="INPUT.xml", show_default=False)],
    manifest: Annotated[Path, typer.Argument(help="Manifest of the Δ-model.", show_default=False)],
    drivers: Annotated[int, typer.Option(min=1, max=256, help="Drivers for each <ffsocket> of the input.")] = 1,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Run there, with a copy of the input and its files (default: beside the input)."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Go on from RESTART in the run's folder.")] = False,
    threads: ThreadsOption = 1,
) -> None:
    """Run i-PI with its drivers, watch both, end softly on Ctrl-C.

    i-PI's output goes to i-pi.log, each driver's to a log of its own. A driver that dies is started again; when
    i-PI ends, so does the rest. Ctrl-C leaves a RESTART for --restart; a second Ctrl-C kills.

    Example: delta-sgdml run inputs/h2o_benzene/nvt.xml models/h2o_benzene/manifest.yaml --dir nvt
    """
    set_threads(threads)
    from ..loading import load_potential
    from ..server.supervisor import Supervisor

    load_potential(manifest)  # bad input is told before anything is started
    job = Supervisor(
        input_file, manifest, drivers=drivers, directory=directory, restart=restart, threads=threads,
        command=shlex.join(["delta-sgdml", *sys.argv[1:]]),
    )  # fmt: skip
    if not restart and (left := job.directory / "RESTART").is_file():
        complain(f"{left} is of an earlier run; this one begins anew, old files become #…# (--restart goes on)")
    stop = Stop(second=lambda number: KeyboardInterrupt(), announce="stopping softly (again to kill)")
    with _display(job.progress) as show:
        outcome = job.run(stop, show, complain)
    p = outcome.progress
    picoseconds = "" if p.picoseconds is None else f" ({p.picoseconds:.3f} ps)"
    speed = "" if p.ns_per_day is None else f", {p.ns_per_day:.2f} ns/day"
    restarts = f", driver restarts: {p.restarted_drivers}" if p.restarted_drivers else ""
    if outcome.finished:
        print(
            f"finished: {p.total_steps} steps{picoseconds} in {outcome.wall:.1f} s{speed}{restarts}; {job.directory}"
        )
        return
    print(
        f"stopped at step {p.step} of {p.total_steps}{picoseconds}{restarts}; go on with --restart; {job.directory}"
    )
    raise SystemExit(stop.exit_code if stop() else ENDED_EARLY)


@contextmanager
def _display(progress: RunProgress) -> Iterator[Callable[[RunProgress], None]]:
    """A progress bar on a terminal, a line each tenth of the way elsewhere."""
    if not sys.stdout.isatty():
        yield _lines(progress)
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("i-PI"),
        BarColumn(),
        TextColumn("{task.fields[where]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns) as bar:
        task = bar.add_task("i-PI", total=progress.total_steps, completed=progress.step, where="starting")
        yield lambda p: bar.update(task, completed=p.step, where=_where(p))


def _where(p: RunProgress) -> str:
    pieces = [f"step {p.step}/{p.total_steps}"]
    if p.picoseconds is not None:
        pieces.append(f"{p.picoseconds:.2f} ps")
    if p.ns_per_day is not None:
        pieces.append(f"{p.ns_per_day:.2f} ns/day")
    if p.restarted_drivers:
        pieces.append(f"driver restarts: {p.restarted_drivers}")
    return "  ".join(pieces)


def _lines(progress: RunProgress) -> Callable[[RunProgress], None]:
    said = progress.step
    began = time.monotonic()

    def show(p: RunProgress) -> None:
        nonlocal said
        if p.step - said >= max(1, p.total_steps // 10):
            said = p.step
            left = "" if not p.rate else f"  {(p.total_steps - p.step) / p.rate:.0f} s left"
            print(f"{_where(p)}  {time.monotonic() - began:.0f} s{left}", flush=True)

    return show
