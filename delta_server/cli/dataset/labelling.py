"""A labelling at work in a command: its progress, and how it is stopped and goes on."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import TypeVar

import typer

from ..process import Stop, complain
from ..progress import Progress

Outcome = TypeVar("Outcome")


def stopper() -> Stop:
    """The first signal ends the labelling after what is being computed, the second at once."""
    return Stop(lambda number: SystemExit(128 + number), "stopping after the configurations that are being computed")


def run_labelling(work: Callable[..., Outcome], count: int, what: str, processes: int | None, stop: Stop) -> Outcome:
    """Call `work` with the number of its processes, all cores where none is said, with `stop` and with progress."""
    with Progress(count, what) as progress:
        return work(
            processes=min(processes or len(os.sched_getaffinity(0)), count),
            stop=stop,
            progress=lambda done, failed: progress(done + failed, f" ({failed} failed)" if failed else ""),
        )


def stopped(stop: Stop, kept: str) -> typer.Exit:
    """What a command that was stopped ends with, having said what is kept and how to go on."""
    complain(f"stopped; {kept}; go on: {shlex.join(['delta-sgdml', *sys.argv[1:]])}")
    return typer.Exit(stop.exit_code)
