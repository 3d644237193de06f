"""Where a run goes on: the newest state whose outputs are all there, and outputs cut back to it.

What is left after kill -9 or a power cut may be a checkpoint that is half written, or one that is whole beside
outputs that lack its last row (systems write at the same time). Each candidate is held against its outputs, from the
newest on.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ..errors import InputError
from ..files.whole import write_whole
from ..ipi.input import read_input, whole_states
from ..ipi.records import Output, Place, outputs_of, place

INPUT, RESUME = "input.xml", "resume.xml"
_KEPT = 2  # numbered checkpoints beside the newest, which may still be growing


@dataclass(frozen=True)
class Origin:
    """What to start i-PI from, at which step, and the outputs by system."""

    input: Path
    step: int
    outputs: dict[str, list[Output]]


def prepare(folder: Path, prefixes: Collection[str]) -> Origin:
    """Make a run's folder ready to begin or to go on, with the systems of these prefixes alone.

    The others keep their outputs as they are. Raises InputError for an input that cannot be used.
    """
    for step, root in sorted(_states(folder), key=lambda state: -state[0]):
        _keep(root, prefixes)
        outputs = outputs_of(root, folder)
        places = _places(outputs, step)
        if places is not None:
            write_whole(folder / RESUME, ElementTree.tostring(root, encoding="unicode"))
            for path, end in places.items():
                if path.exists() and path.stat().st_size > end.offset:
                    os.truncate(path, end.offset)
            _forget(folder)
            return Origin(folder / RESUME, step, outputs)
    (folder / RESUME).unlink(missing_ok=True)
    _forget(folder)
    root = read_input(folder / INPUT)
    everything = outputs_of(root, folder)
    for prefix in (*prefixes, ""):
        for output in everything.get(prefix, []):
            output.path.unlink(missing_ok=True)
    if any(prefix not in prefixes for prefix in everything if prefix):
        _keep(root, prefixes)
        write_whole(folder / RESUME, ElementTree.tostring(root, encoding="unicode"))
        return Origin(folder / RESUME, 0, outputs_of(root, folder))
    return Origin(folder / INPUT, 0, everything)


def newest_step(folder: Path) -> int:
    """The step that a run would go on from at best; 0 where there is none."""
    return max((step for step, _ in _states(folder)), default=0)


def prune(folder: Path) -> None:
    """Delete the checkpoints that newer ones made useless; the newest that is surely whole is brought to the disk."""
    checkpoints = _checkpoints(folder)
    if len(checkpoints) <= _KEPT + 1:
        return
    with suppress(OSError):
        with checkpoints[-2].open("rb") as file:
            os.fsync(file.fileno())
        for path in checkpoints[: -_KEPT - 1]:
            path.unlink()


def _checkpoints(folder: Path) -> list[Path]:
    """Numbered checkpoints, oldest first."""
    found = [p for p in folder.glob("*.chk_*") if p.name.rpartition("_")[2].isdecimal() and p.name[0] != "#"]
    return sorted(found, key=lambda p: int(p.name.rpartition("_")[2]))


def _states(folder: Path) -> list[tuple[int, ElementTree.Element]]:
    """Every state that is whole, and beyond the first step: at that, i-PI begins anew."""
    found = []
    left = (folder / "RESTART", folder / RESUME, *_checkpoints(folder))
    for _, root in whole_states(path for path in left if path.is_file()):
        with suppress(ValueError):
            step = int(root.findtext("step") or 0)
            if step > 0:
                found.append((step, root))
    return found


def _keep(root: ElementTree.Element, prefixes: Collection[str]) -> None:
    """Drop the other systems, and with them their share of each batch."""
    systems = root.findall("system")
    dropped = [system for system in systems if system.get("prefix", "").strip() not in prefixes]
    if len(dropped) == len(systems):
        raise InputError("i-PI's input has none of the systems that are left to run")
    for system in dropped:
        root.remove(system)
    for batch in root.iter("batch_size") if dropped else ():
        size = int(batch.text or 1)
        if size % len(systems) == 0:  # it held all systems
            batch.text = f" {size // len(systems) * (len(systems) - len(dropped))} "


def _places(outputs: dict[str, list[Output]], step: int) -> dict[Path, Place] | None:
    """Where each output is to be cut; None where a row that belongs to the state is missing."""
    found = {}
    for output in (o for files in outputs.values() for o in files):
        found[output.path] = end = place(output, step)
        if output.stride and end.step != step // output.stride * output.stride:
            return None
    return found


def _forget(folder: Path) -> None:
    """Remove the states that are now behind or beside, and i-PI's backups of them."""
    for path in (folder / "RESTART", folder / "EXIT", *folder.glob("*.chk_*"), *folder.glob("#*#")):
        path.unlink(missing_ok=True)
