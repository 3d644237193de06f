"""What the sweep's commands share: the table of states, and how they end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from ...sweep.state import MemberState

SweepArg = Annotated[Path, typer.Argument(help="Folder of a sweep.", metavar="DIR", show_default=False)]
DriversOption = Annotated[int, typer.Option(min=1, max=256, help="Drivers for each i-PI.")]
WallTimeOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="Stop softly after this many seconds; the same command goes on.", metavar="SECONDS"),
]
_STYLES = {"unstable": "bold red", "failed": "bold red", "running": "bold", "finished": "green"}


def table(states: Sequence[MemberState]) -> Table:
    """One row for each temperature."""
    from rich.table import Table

    found = Table(box=None, pad_edge=False)
    for name in ("T set", "step", "ps", "ns/day", "T (K)", "E_pot (eV)", "E_bind (eV)", "error (eV/Å)"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_column("state")
    for s in states:
        found.add_row(
            s.name,
            f"{s.step}/{s.total}",
            f"{s.picoseconds:.2f}",
            _text(s.ns_per_day, ".2f"),
            _text(s.temperature, ".0f"),
            _text(s.potential, ".3f"),
            _text(s.binding, ".3f"),
            _text(s.uncertainty, ".3f"),
            describe(s),
            style=_STYLES.get(s.phase, ""),
        )
    return found


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def describe(state: MemberState) -> str:
    if state.phase == "unstable":
        return f"unstable at {state.broken_at or 0.0:.3f} ps: {state.reason}"
    return f"failed: {state.reason}" if state.phase == "failed" else state.phase


def print_json(states: Sequence[MemberState]) -> None:
    print(json.dumps([state.as_dict() for state in states], allow_nan=False))
