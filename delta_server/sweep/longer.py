"""A sweep that is to go on for longer than it was written for: its record, inputs and states say so."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..files.lock import locked
from ..files.whole import write_json, write_whole
from ..ipi.states import numbered_checkpoints
from .checkpoint import RESUME
from .record import INPUT, RECORD, Sweep
from .state import RESULT, load_state

_TOTAL = re.compile(r"(<total_steps[^>]*>)[^<]*(</total_steps>)")


def lengthen(sweep: Sweep, picoseconds: float) -> Sweep:
    """The sweep with trajectories of so long; those that were finished go on from where they are, broken ones do not.

    Killed on the way, the same call does the rest. Raises InputError where the sweep is longer already, or runs.
    """
    if not math.isfinite(picoseconds):
        raise InputError(f"--time {picoseconds:g}: expected ps, a finite number")
    record = sweep.record
    steps = round(1e3 * picoseconds / record.timestep)
    if steps < record.steps:
        now = record.steps * record.timestep / 1e3
        raise InputError(f"{sweep.folder}: is of {now:g} ps each, no less can be asked: {picoseconds:g} ps")
    folders = [folder for folder in (sweep.ladder, *(m.folder for m in sweep.members)) if folder.is_dir()]
    with locked(folders):
        for folder in folders:
            for path in (folder / INPUT, folder / RESUME, folder / "RESTART", *numbered_checkpoints(folder)):
                if path.is_file():
                    _set_total(path, steps)
        for member in sweep.members:
            state = load_state(sweep, member)
            state.total = steps
            if state.phase == "finished" and state.step < steps:
                state.phase = "stopped"
                (member.folder / RESULT).unlink(missing_ok=True)
            state.save(member)
        longer = replace(sweep, record=record.model_copy(update={"steps": steps}))
        write_json(sweep.folder / RECORD, longer.record.model_dump(mode="json"))
    return longer


def _set_total(path: Path, steps: int) -> None:
    """In an input of i-PI's or a state that it left. Raises InputError where it tells no number of steps."""
    text, changed = _TOTAL.subn(rf"\g<1> {steps} \g<2>", path.read_text(encoding="utf-8"))
    if not changed and text.strip():  # an empty one is of an i-PI that was killed
        raise InputError(f"{path}: expected <total_steps>, so that it can be lengthened; write the sweep anew")
    write_whole(path, text)
