"""delta-sgdml sweep run: a ladder of temperatures on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import (
    DriversOption,
    JsonOption,
    StopOutsideOption,
    SweepArg,
    ThreadsOption,
    TransportOption,
    WallTimeOption,
)
from ..process import Stop, complain, set_threads
from ..progress import Line
from .states import describe, line, print_json, table

if TYPE_CHECKING:
    from ...sweep.state import MemberState


def run(
    directory: SweepArg,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="One job for each temperature, N at a time.", show_default="--batched"),
    ] = None,
    batched: Annotated[
        bool, typer.Option("--batched", help="All temperatures in one i-PI process, as one batch.")
    ] = False,
    time_each: Annotated[
        float | None,
        typer.Option(
            "--time",
            help="Make the trajectories longer: ps of each, in all.",
            metavar="PS",
            show_default="as written",
        ),
    ] = None,
    drivers: DriversOption = 1,
    wall_time: WallTimeOption = None,
    threads: ThreadsOption = 1,
    transport: TransportOption = "auto",
    stop_outside: StopOutsideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the temperatures of a sweep, from wherever they are.

    Asked again after a stop or a crash, it goes on. A trajectory that breaks is stopped and marked unstable, with the
    time and the reason; the others go on. Ctrl-C loses nothing but some steps; kill -9 or a power cut at most one
    checkpoint interval. Ends with 0 when all are finished or broken, with 75 when --wall-time stopped it, with 130 or
    143 when a signal did.

    Example: delta-sgdml sweep run demo/sweep
    """
    set_threads(threads)
    from ...errors import InputError
    from ...sweep.jobs import NOT_FINISHED, run_jobs
    from ...sweep.longer import lengthen
    from ...sweep.record import load_sweep
    from ...sweep.session import RunOptions, Session
    from ...sweep.state import load_states

    if jobs and batched:
        raise InputError("give --jobs or --batched, not both")
    sweep = load_sweep(directory)
    if time_each is not None:
        sweep = lengthen(sweep, time_each)
    begun = {state.mode for state in load_states(sweep) if state.mode}
    if not jobs and not batched and begun == {"jobs"}:
        jobs = 1
        complain("this sweep was begun as one job for each temperature, and goes on so (--jobs N: N at a time)")
    stop = Stop(second=lambda number: KeyboardInterrupt(), announce="stopping softly (again to kill)")
    began = time.monotonic()
    with _display(quiet=as_json) as (show, say):
        options = RunOptions(drivers, threads, wall_time, stop_outside, stop, show, say, transport)
        if jobs:
            ending = run_jobs(sweep, sweep.members, jobs, options)
        else:
            ending = Session(sweep, "batched", sweep.members, options).run()
    states = load_states(sweep)
    if as_json:
        print_json(states)
    else:
        for state in states if not sys.stdout.isatty() else ():  # a terminal has the table
            print(f"{state.name}: {state.picoseconds:.3f} ps, {describe(state)}")
        print(f"{ending} after {time.monotonic() - began:.1f} s; {directory}")
    if ending == "stopped":
        raise SystemExit(stop.exit_code if stop() else NOT_FINISHED)


@contextmanager
def _display(quiet: bool) -> Iterator[tuple[Callable[[list[MemberState]], None], Callable[[str], None]]]:
    """A live table on a terminal, a line now and then elsewhere."""
    if quiet:
        yield lambda states: None, complain
        return
    if not sys.stdout.isatty():
        shown = Line(sys.stdout, elsewhere=30.0)
        yield (
            lambda states: shown.update(line(states)),
            complain,
        )
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, refresh_per_second=2) as live:
        yield lambda states: live.update(table(states)), lambda event: live.console.print(event)
