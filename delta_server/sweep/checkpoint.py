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
from xml.etree.ElementTree import Element

from ..errors import InputError
from ..files.whole import write_whole
from ..ipi.input import keep_systems, read_input
from ..ipi.records import Output, cut, outputs_of, places
from ..ipi.states import numbered_checkpoints, remove_states, states_with_steps
from .record import INPUT

RESUME = "resume.xml"
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
    for step, root in sorted(states_with_steps(folder, folder / RESUME), key=lambda state: -state[0]):
        keep_systems(root, prefixes)
        outputs = _outputs(root, folder)
        ends, whole = places((o for files in outputs.values() for o in files), step)
        if whole:
            write_whole(folder / RESUME, ElementTree.tostring(root, encoding="unicode"))
            cut(ends)
            remove_states(folder)
            return Origin(folder / RESUME, step, outputs)
    (folder / RESUME).unlink(missing_ok=True)
    remove_states(folder)
    root = read_input(folder / INPUT)
    everything = _outputs(root, folder)
    for prefix in (*prefixes, ""):
        for output in everything.get(prefix, []):
            output.path.unlink(missing_ok=True)
    if any(prefix not in prefixes for prefix in everything if prefix):
        keep_systems(root, prefixes)
        write_whole(folder / RESUME, ElementTree.tostring(root, encoding="unicode"))
        return Origin(folder / RESUME, 0, _outputs(root, folder))
    return Origin(folder / INPUT, 0, everything)


def prune(folder: Path) -> None:
    """Delete the checkpoints that newer ones made useless; the newest that is surely whole is brought to the disk."""
    checkpoints = numbered_checkpoints(folder)
    if len(checkpoints) <= _KEPT + 1:
        return
    with suppress(OSError):
        with checkpoints[-2].open("rb") as file:
            os.fsync(file.fileno())
        for path in checkpoints[: -_KEPT - 1]:
            path.unlink()


def _outputs(root: Element, folder: Path) -> dict[str, list[Output]]:
    """As `outputs_of`. Raises InputError for outputs outside of the sweep: they will be cut."""
    outputs = outputs_of(root, folder)
    home = folder.resolve().parent
    for output in (o for files in outputs.values() for o in files):
        if not output.path.resolve().is_relative_to(home):
            raise InputError(f"{folder}: i-PI's input has an output outside of the sweep: {output.path}")
    return outputs
