"""How far each temperature is: state.json in its folder, replaced as it runs."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from ..errors import InputError
from ..files.lock import is_locked
from ..files.whole import write_json
from .record import Member, Sweep

Phase = Literal["waiting", "running", "stopped", "finished", "unstable", "failed"]
RunMode = Literal["jobs", "batched"]
STATE, RESULT = "state.json", "result.json"
_MAX_BYTES = 2**16
_FRESH = 600.0  # s


@dataclass
class MemberState:
    """One temperature of a sweep.

    steps and their total; temperature (K, instantaneous), potential and binding energy (eV), expected force error
    (eV/Å) of the newest record; speed in ns/day. `checked`: the last step whose record was looked at. For a
    trajectory that broke, `reason`, and in `broken_step` where. `left`: the terms that left what their models know,
    and in which step's geometry they first had.
    """

    name: str
    set_temperature: float  # K
    total: int
    timestep: float  # fs
    phase: Phase = "waiting"
    mode: RunMode | None = None
    host: str = ""  # where it runs or ran
    step: int = 0
    checked: int = -1
    temperature: float | None = None
    potential: float | None = None
    binding: float | None = None
    uncertainty: float | None = None
    ns_per_day: float | None = None
    reason: str = ""
    broken_step: int | None = None
    left: dict[str, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Nothing is left to run: the end was reached, or the trajectory broke."""
        return self.phase in ("finished", "unstable")

    @property
    def picoseconds(self) -> float:
        """How far it is, in ps."""
        return self.step * self.timestep / 1e3

    @property
    def broken_at(self) -> float | None:
        """Where it broke, in ps."""
        return None if self.broken_step is None else self.broken_step * self.timestep / 1e3

    def as_dict(self) -> dict[str, Any]:
        """Every field, and the times in ps, for machines."""
        return asdict(self) | {"picoseconds": self.picoseconds, "broken_at_ps": self.broken_at}

    def save(self, member: Member) -> None:
        """Write state.json, and when nothing is left to run result.json: the marker that engines wait for."""
        write_json(member.folder / STATE, asdict(self))
        if self.done:
            write_json(member.folder / RESULT, self.as_dict())


def load_state(sweep: Sweep, member: Member) -> MemberState:
    """The state of one temperature as it was left; a run that is gone without a word reads as stopped.

    Raises InputError for a file that is no state.
    """
    record, path = sweep.record, member.folder / STATE
    state = MemberState(member.name, member.temperature, record.steps, record.timestep)
    if path.is_file():
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError
            data = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict) or not set(data) <= {f.name for f in fields(MemberState)}:
                raise ValueError
            state = MemberState(**data)
            if state.phase not in get_args(Phase) or not isinstance(state.step, int):
                raise ValueError
        except (OSError, ValueError, TypeError):
            raise InputError(f"{path}: not the state of a run; delete it to go on from the checkpoint") from None
    if state.phase == "running" and not _runs(state, member):
        state.phase = "stopped"
    return state


def _runs(state: MemberState, member: Member) -> bool:
    """Whether a run that was left running still does. Locks tell, on its own machine; elsewhere, how fresh its state
    is."""
    if state.host == socket.gethostname():
        return is_locked(member.folder)
    return time.time() - (member.folder / STATE).stat().st_mtime < _FRESH


def load_states(sweep: Sweep) -> list[MemberState]:
    """The states of every temperature, in the record's order."""
    return [load_state(sweep, member) for member in sweep.members]
