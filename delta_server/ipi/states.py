"""How far i-PI is: what its log tells, and the states that it leaves, RESTART when it ends, checkpoints before."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from ..errors import InputError
from .input import read_input, read_schedule
from .records import Place, outputs_of, places

_LOGGED_STEP = re.compile(r"MD step\s+(\d+)\. t/step:")


def logged_step(line: str) -> int | None:
    """The step that a line of i-PI's log tells, if it does."""
    match = _LOGGED_STEP.search(line)
    return None if match is None else int(match[1])


def seconds_a_step(log: str) -> list[float]:
    """The time that a step took, of each stretch of steps that i-PI's log tells of; the first is one step alone."""
    return [float(seconds) for seconds in re.findall(r"MD step\s+\d+\. t/step:\s*(\S+)", log)]


class State(NamedTuple):
    """A state that a run can go on from, and where its outputs are to be cut for that."""

    path: Path
    step: int
    root: Element
    ends: dict[Path, Place]


def newest_state(folder: Path, root: Element) -> State:
    """Where a run goes on: the state of the highest step that is whole, and whose outputs have all their records.

    root: of the run's input, which names its checkpoints. Raises InputError if there is none.
    """
    found = [path for path in _left_by(folder, root) if path.is_file()]
    states = []
    for path, state in whole_states(found):
        step = read_schedule(path, state).step
        ends, complete = places((o for files in outputs_of(state, folder).values() for o in files), step)
        ended = path.name == "RESTART"  # the step at which an optimisation converges has no records
        states.append((step > 0 and (complete or ended), step, ended, State(path, step, state, ends)))
    if states:
        return max(states, key=lambda known: known[:3])[3]
    cut_off = f" ({found[0].name} is cut off)" if found else ""
    raise InputError(
        f"{folder}: no RESTART and no checkpoint to go on from{cut_off}; leave out --restart to begin anew"
    )


def set_aside(folder: Path, root: Element) -> None:
    """Give the states of an earlier run the names that i-PI gives to old files (#…#), but for those that the input
    begins from: none is taken for one of the run that begins now. Raises OSError."""
    named = {folder / (element.text or "").strip() for element in root.iter()}
    for path in _left_by(folder, root):
        if path.is_file() and path not in named:
            back_up(path)


def back_up(path: Path) -> None:
    """Rename an old file as i-PI does. Raises OSError."""
    numbers = itertools.count()
    while (backup := path.with_name(f"#{path.name}#{next(numbers)}#")).exists():
        pass
    path.rename(backup)


def _left_by(folder: Path, root: Element) -> list[Path]:
    """RESTART, and the checkpoints of an input, the newest first."""
    output = root.find("output")
    stem = "i-pi" if output is None else output.get("prefix", "i-pi").strip()
    checkpoints = set(folder.glob("*.chk*"))
    for element in root.iter("checkpoint"):
        name = f"{stem}{'.' * bool(stem)}{element.get('filename', 'restart').strip()}"
        checkpoints |= {folder / name, *(folder / name).parent.glob(f"{glob.escape(Path(name).name)}_[0-9]*")}
    left = [path for path in checkpoints if path.is_file() and not path.name.startswith("#")]
    return [folder / "RESTART", *sorted(left, key=lambda path: path.stat().st_mtime, reverse=True)]


def numbered_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of which each is a file of its own, oldest first."""
    paths = [p for p in folder.glob("*.chk_*") if p.name.rpartition("_")[2].isdecimal() and p.name[0] != "#"]
    return sorted(paths, key=lambda path: int(path.name.rpartition("_")[2]))


def states_with_steps(folder: Path, *others: Path) -> list[tuple[int, Element]]:
    """Every state that is whole, numbered checkpoints and `others` included, and beyond the first step: at that, i-PI
    begins anew."""
    states = []
    paths = (folder / "RESTART", *others, *numbered_checkpoints(folder))
    for _, root in whole_states(path for path in paths if path.is_file()):
        with suppress(ValueError):
            step = int(root.findtext("step") or 0)
            if step > 0:
                states.append((step, root))
    return states


def remove_states(folder: Path) -> None:
    """Delete the states, i-PI's backups of them, and a request to stop."""
    for path in (folder / "RESTART", folder / "EXIT", *folder.glob("*.chk_*"), *folder.glob("#*#")):
        path.unlink(missing_ok=True)


def whole_states(paths: Iterable[Path]) -> Iterator[tuple[Path, Element]]:
    """Those states, with their roots, that i-PI was not killed in the middle of writing."""
    for path in paths:
        try:
            root = read_input(path)
        except InputError:
            continue
        yield path, root
