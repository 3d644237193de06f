"""delta-sgdml sweep status: how far a sweep is."""

from __future__ import annotations

import sys

from ..options import JsonOption
from .common import SweepArg, print_json, table

_WIDE = 160  # columns, where nothing says how many there are


def status(directory: SweepArg, as_json: JsonOption = False) -> None:
    """How far each temperature is; may be asked at any time, also of a sweep that runs on a cluster.

    Example: delta-sgdml sweep status demo/sweep
    """
    from ...sweep.record import load_sweep
    from ...sweep.state import load_states

    states = load_states(load_sweep(directory))
    if as_json:
        print_json(states)
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else _WIDE).print(table(states))
