"""i-PI's output files as records that carry their step: followed while they grow, cut back to a checkpoint's step.

A crash leaves rows beyond the last checkpoint, and a last row that is not whole. Both are removed before i-PI goes
on, so that outputs end contiguous. Files are read from their end: a trajectory may be larger than memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element

import numpy as np

from .._types import FloatArray
from ..errors import InputError
from .input import hills_of
from .simulation import COLUMNS

OutputKind = Literal["properties", "xyz", "pdb", "extras"]

_HEADS = {  # where a record begins, and its step
    "properties": re.compile(rb"^[ \t]*(\d[\d.eE+]*)[ \t]", re.M),
    "xyz": re.compile(rb"^[ \t]*\d+[ \t]*\n[^\n]*Step:\s*(\d+)", re.M),
    "pdb": re.compile(rb"^TITLE [^\n]*Step:\s*(\d+)", re.M),
    "extras": re.compile(rb"^ #EXTRAS[^\n]*Step:\s*(\d+)", re.M),
}
_NAMES = {"properties": "out", "trajectory": "traj"}  # i-PI's defaults, which its checkpoints leave out
_FORMATS: dict[str, tuple[str, OutputKind]] = {"xyz": ("xyz", "xyz"), "ase": ("extxyz", "xyz"), "pdb": ("pdb", "pdb")}
_OF_ONE_BEAD = {  # a file for each bead; everything else is of the ring polymer
    "positions", "velocities", "momenta", "forces", "forces_sc", "forces_spring", "Eforces", "becx", "becy", "becz",
    "extras", "extras_bias",
}  # fmt: skip
_BLOCK = 2**18
_MOST = 2**24  # bytes taken in at once from a file that is followed


@dataclass(frozen=True)
class Output:
    """One output file; stride: steps between its records, 0 where they come irregularly; lag: steps after which they
    may come to the disk; from_step: a record's number is that of the state before it, not of the one after it."""

    path: Path
    kind: OutputKind
    stride: int
    lag: int = 0
    from_step: bool = False


@dataclass(frozen=True)
class Place:
    """Where the records up to a step end: in bytes; `step` is that of the last of them (-1: there is none)."""

    offset: int
    step: int


def outputs_of(root: Element, folder: Path) -> dict[str, list[Output]]:
    """The outputs of each system of an i-PI input or checkpoint, by the system's prefix; under ``""`` those of the
    run as a whole. Hills of metadynamics are with the first system that they act on. Left out are those whose records
    do not tell their step: binary trajectories, and tables without a column of steps in front. Raises InputError."""
    outputs: dict[str, list[Output]] = {}
    block = root.find("output")
    if block is None:
        raise InputError("i-PI's input has no <output>")
    stem = block.get("prefix", "i-pi").strip()
    stem += "." * bool(stem)
    beads = root.find(".//beads")
    nbeads = int(beads.get("nbeads", "1")) if beads is not None else _beads(root)
    for system in root.iter("system"):
        prefix = system.get("prefix", "").strip()
        files = outputs.setdefault(prefix, [])
        for element in block:
            name = f"{prefix}{'_' * bool(prefix)}{stem}{element.get('filename', _NAMES.get(element.tag, '')).strip()}"
            stride = round(float(element.get("stride", "1")))
            lag = stride * int(element.get("flush", "1"))
            if element.tag == "properties" and re.match(r"[\[\s]*step\b", element.text or "step"):
                files.append(Output(folder / name, "properties", stride, lag))
            elif element.tag == "trajectory":
                files.extend(Output(folder / n, kind, stride, lag) for n, kind in _files(element, name, nbeads))
    for hills in hills_of(root).values():
        outputs[hills.prefixes[0]].append(Output(folder / hills.path, "properties", 0))
    smotion = root.find("smotion")
    if smotion is not None and smotion.get("mode", "").strip() != "metad":
        swaps = (root.findtext("smotion/remd/swapfile") or "remd_idx").strip()
        outputs.setdefault("", []).append(Output(folder / f"{stem}{swaps}", "properties", 0, from_step=True))
    return outputs


def _files(trajectory: Element, name: str, nbeads: int) -> list[tuple[str, OutputKind]]:
    """The files of one ``<trajectory>``, as i-PI names them (`TrajectoryOutput.open_stream`)."""
    quantity = re.split(r"[({]", trajectory.text or "")[0].strip()
    kind: OutputKind
    if quantity.startswith("extras"):
        suffix, kind = "", "extras"
    elif (form := trajectory.get("format", "xyz").strip()) in _FORMATS:
        suffix, kind = "." + _FORMATS[form][0], _FORMATS[form][1]
    else:
        return []
    if quantity not in _OF_ONE_BEAD:
        return [(name + suffix, kind)]
    bead = int(trajectory.get("bead", "-1"))
    numbers = [bead] if bead >= 0 else range(0, nbeads, -bead)
    return [(f"{name}_{i:0{len(str(nbeads))}d}{suffix}", kind) for i in numbers]


def _beads(root: Element) -> int:
    initialize = root.find(".//initialize")
    return 1 if initialize is None else int(initialize.get("nbeads", "1"))


def places(outputs: Iterable[Output], step: int) -> tuple[dict[Path, Place], bool]:
    """Where each output is cut for a state of this step, and whether all records that belong to it are whole."""
    ends = {output: place(output, step - output.from_step) for output in outputs}
    whole = all(not o.stride or end.step == step // o.stride * o.stride for o, end in ends.items())
    return {output.path: end for output, end in ends.items()}, whole


def cut(ends: dict[Path, Place]) -> None:
    """Cut outputs back to these places. Raises OSError."""
    for path, end in ends.items():
        if path.exists() and path.stat().st_size > end.offset:
            os.truncate(path, end.offset)


def properties_of(row: str) -> dict[str, float]:
    """A row of the property table that `simulation.Simulation` asks for, by the names of its columns; ps, eV, K.

    Columns that somebody added behind these are left out.
    """
    return dict(zip(COLUMNS, map(float, row.split()), strict=False))


def extra_of(record: str) -> float:
    """The number in a record of an extra."""
    return float(record.split("\n")[1])


def positions_of(frame: str) -> FloatArray:
    """(N, 3) positions of a frame of an xyz file, in its unit."""
    lines = frame.splitlines()[2:]
    return np.array([[float(x) for x in line.split()[1:4]] for line in lines])


def place(output: Output, step: int) -> Place:
    """Where the whole records up to `step` end. A file that is missing has none."""
    try:
        size = output.path.stat().st_size
        block = _BLOCK
        with output.path.open("rb") as file:
            while True:
                begin = max(0, size - block)
                file.seek(begin)
                data = file.read(size - begin)
                skipped = data.find(b"\n") + 1 if begin else 0  # half a line
                heads = list(_HEADS[output.kind].finditer(data, skipped))
                if begin == 0 or (heads and _step(heads[0]) <= step):
                    break
                block *= 4
    except FileNotFoundError:
        return Place(0, -1)
    before = list(takewhile(lambda head: _step(head) <= step, heads))
    if before and (end := _end(data, before[-1], output.kind)) is None:
        end = before.pop().start()  # not whole
    elif not before:
        end = heads[0].start() if heads else len(data)
    assert end is not None
    return Place(begin + end, _step(before[-1]) if before else -1)


def _step(head: re.Match[bytes]) -> int:
    return int(float(head[1]))


def _end(data: bytes, head: re.Match[bytes], kind: OutputKind) -> int | None:
    """Where the record with this head ends; None if the file ends before."""
    if kind == "pdb":
        end = data.find(b"\nEND\n", head.end())
        return None if end < 0 else end + len(b"\nEND\n")
    lines = {"properties": 1, "extras": 2}.get(kind) or int(head[0].split(b"\n")[0]) + 2
    end = head.start()
    for _ in range(lines):
        end = data.find(b"\n", end) + 1
        if not end:
            return None
    return end


class Tail:
    """Follows an output as it grows, from the first record later than `step` on."""

    def __init__(self, output: Output, step: int = -1) -> None:
        self.output, self._offset, self._step = output, place(output, step).offset if step >= 0 else 0, step

    def read(self) -> list[tuple[int, str]]:
        """The records that were written since the last call, whole ones only: (step, text)."""
        try:
            with self.output.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(_MOST)
        except FileNotFoundError:
            return []
        records = []
        behind = 0
        for head in _HEADS[self.output.kind].finditer(data):
            end = _end(data, head, self.output.kind)
            if end is None:
                break
            records.append((_step(head), data[head.start() : end].decode("utf-8", "replace")))
            behind = end
        self._offset += behind
        return [(step, text) for step, text in records if step > self._step]
