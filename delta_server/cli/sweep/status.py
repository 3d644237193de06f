"""delta-sgdml sweep status: how far a sweep is."""

from __future__ import annotations

from ..options import JsonOption, SweepArg
from ..tables import show
from .states import print_json, table


def status(directory: SweepArg, as_json: JsonOption = False) -> None:
    """Show how far each temperature is.

    May be asked at any time, also of a sweep that runs on a cluster. Of windows (--kind umbrella) also how far
    neighbours overlap, and which window is to be added where that is thin; of metadynamics, where its hills
    are, and how high the newest.

    Example: delta-sgdml sweep status demo/sweep
    """
    from ...sweep.metadynamics import progress_of
    from ...sweep.record import load_sweep
    from ...sweep.state import load_states
    from ...sweep.umbrella import overlaps

    sweep = load_sweep(directory)
    states = load_states(sweep)
    if as_json:
        print_json(states)
        return
    show(table(states))
    for overlap in overlaps(sweep):
        print(overlap.line())
    for progress in progress_of(sweep):
        print(progress.line())
