"""How far i-PI is: what its log tells, and the states that it leaves, RESTART when it ends, checkpoints before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree.ElementTree import Element

from ..errors import InputError
from .input import read_input

_LOGGED_STEP = re.compile(r"MD step\s+(\d+)\. t/step:")


def logged_step(line: str) -> int | None:
    """The step that a line of i-PI's log tells, if it does."""
    match = _LOGGED_STEP.search(line)
    return None if match is None else int(match[1])


def newest_state(folder: Path) -> tuple[Path, Element]:
    """RESTART, or else the newest checkpoint, of those that are whole, with its root. Raises InputError if there is
    none."""
    checkpoints = [path for path in folder.glob("*.chk*") if not path.name.startswith("#")]
    checkpoints.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    paths = [path for path in (folder / "RESTART", *checkpoints) if path.is_file()]
    state = next(_whole(paths), None)
    if state is not None:
        return state
    cut_off = f" ({paths[0].name} is cut off)" if paths else ""
    raise InputError(
        f"{folder}: no RESTART and no checkpoint to go on from{cut_off}; leave out --restart to begin anew"
    )


def numbered_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of which each is a file of its own, oldest first."""
    paths = [p for p in folder.glob("*.chk_*") if p.name.rpartition("_")[2].isdecimal() and p.name[0] != "#"]
    return sorted(paths, key=lambda path: int(path.name.rpartition("_")[2]))


def states_with_steps(folder: Path, *others: Path) -> list[tuple[int, Element]]:
    """Every state that is whole, numbered checkpoints and `others` included, and beyond the first step: at that, i-PI
    begins anew."""
    states = []
    paths = (folder / "RESTART", *others, *numbered_checkpoints(folder))
    for _, root in _whole(path for path in paths if path.is_file()):
        with suppress(ValueError):
            step = int(root.findtext("step") or 0)
            if step > 0:
                states.append((step, root))
    return states


def remove_states(folder: Path) -> None:
    """Delete the states, i-PI's backups of them, and a request to stop."""
    for path in (folder / "RESTART", folder / "EXIT", *folder.glob("*.chk_*"), *folder.glob("#*#")):
        path.unlink(missing_ok=True)


def _whole(paths: Iterable[Path]) -> Iterator[tuple[Path, Element]]:
    """Those states, with their roots, that i-PI was not killed in the middle of writing."""
    for path in paths:
        try:
            root = read_input(path)
        except InputError:
            continue
        yield path, root
