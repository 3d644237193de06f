"""delta-sgdml sweep md: one temperature, as an engine calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import DriversOption, StopOutsideOption, ThreadsOption, TransportOption, WallTimeOption
from ..process import Stop, complain, set_threads
from .states import describe


def md(
    directory: Annotated[
        Path, typer.Argument(help="Folder of one temperature of a sweep.", metavar="DIR", show_default=False)
    ],
    drivers: DriversOption = 1,
    wall_time: WallTimeOption = None,
    threads: ThreadsOption = 1,
    transport: TransportOption = "auto",
    stop_outside: StopOutsideOption = False,
) -> None:
    """Run one temperature, as a batch job does.

    From wherever it is; asked again, it goes on, or says that nothing is left. Ends with 0 when the last step was
    reached or the trajectory broke (result.json says which), with 75 when it was stopped before: run it again. It
    locks its folder; SIGTERM, SIGINT and --wall-time end it softly.

    Example: delta-sgdml sweep md demo/sweep/300K --wall-time 3500
    """
    set_threads(threads)
    from ...sweep.jobs import NOT_FINISHED
    from ...sweep.record import load_member
    from ...sweep.session import RunOptions, Session
    from ...sweep.state import load_state

    sweep, member = load_member(directory)
    stop = Stop(second=lambda number: KeyboardInterrupt(), announce="stopping softly (again to kill)")
    options = RunOptions(drivers, threads, wall_time, stop_outside, stop, on_event=complain, transport=transport)
    ending = Session(sweep, "jobs", [member], options).run()
    state = load_state(sweep, member)
    print(f"{member.name}: step {state.step} of {state.total} ({state.picoseconds:.3f} ps): {describe(state)}")
    if ending == "stopped":
        raise SystemExit(NOT_FINISHED)
