"""The states of a sweep as its commands show them: a table, a line, JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import tables

if TYPE_CHECKING:
    from rich.table import Table

    from ...sweep.state import MemberState

_EACH = 12  # that a line names
_STYLES = {"unstable": "bold red", "failed": "bold red", "running": "bold", "finished": "green"}


def table(states: Sequence[MemberState]) -> Table:
    """One row for each temperature."""
    numbers = ("T set", "step", "ps", "ns/day", "T (K)", "E_pot (eV)", "E_bind (eV)", "error (eV/Å)")
    made = tables.table(*numbers, "state", left=("state",))
    for s in states:
        made.add_row(
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
    return made


def line(states: Sequence[MemberState]) -> str:
    """How far each is; of many, how far they all are."""
    if len(states) <= _EACH:
        return "  ".join(f"{s.name} {s.picoseconds:.2f} ps {s.phase}" for s in states)
    times = [s.picoseconds for s in states]
    phases = ", ".join(f"{n} {phase}" for phase, n in Counter(s.phase for s in states).items())
    return f"{min(times):.2f} to {max(times):.2f} ps: {phases}"


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def describe(state: MemberState) -> str:
    if state.phase == "unstable":
        return f"unstable at {state.broken_at or 0.0:.3f} ps: {state.reason}"
    left = ", ".join(f"{term} ({step * state.timestep / 1e3:.3f} ps)" for term, step in state.left.items())
    phase = f"failed: {state.reason}" if state.phase == "failed" else state.phase
    return f"{phase}; left its training: {left}" if left else phase


def print_json(states: Sequence[MemberState]) -> None:
    print(json.dumps([state.as_dict() for state in states], allow_nan=False))
