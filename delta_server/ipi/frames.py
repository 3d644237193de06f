"""Where the frames of i-PI's trajectories lie, in any format that it writes (xyz, pdb, ase), and reading them fast.

One pass over the file notes the place of each whole frame (24 bytes a frame), so that frames are read in the order of
their steps, each once, whatever was killed while it wrote, and in bounded memory. i-PI's own reader keeps only the
first digit of a step number; ase's reads i-PI's pdb one column off, and takes centroids of extxyz for zeros.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..units import IPI_LENGTHS
from .units import factor

_CHUNK = 2**22  # bytes read at a time
_MOST = 100_000  # atoms
_LINE = 4000  # bytes of a comment
_QUANTITY = re.compile(rb"(\w+)\{([^}]*)\}")
_BEAD = re.compile(rb"Bead:\s*(\d+)")
_PROPERTIES = re.compile(rb"Properties=(\S+)")
Format = Literal["xyz", "ase", "pdb"]
_COMMENTS: dict[Format, re.Pattern[bytes]] = {
    "xyz": re.compile(rb"#[^\n]*CELL\(abcABC\):[^\n]*Step:\s*(\d+)[^\n]*"),
    "ase": re.compile(rb'ipi_comment="[^\n"]*Step:\s*(\d+)[^\n]*'),
    "pdb": re.compile(rb"TITLE [^\n]*Step:\s*(\d+)[^\n]*"),
}
_AROUND: dict[Format, int] = {"xyz": 0, "ase": 0, "pdb": 2}  # lines beside the atoms: CRYST1 and END
_PDB = (slice(31, 39), slice(39, 47), slice(47, 55))  # one column right of the standard's


@dataclass(frozen=True)
class Head:
    """What the comment line of a file's first frame tells; quantity: positions, x_centroid, forces …; column: of the
    quantity's first component in a line of an atom, of so many columns."""

    format: Format
    quantity: str
    unit: str
    bead: int
    columns: int = 4
    column: int = 1


def head_of(path: Path) -> Head | None:
    """How a file begins, if that is with a frame as i-PI writes it. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            lines = [file.readline(_LINE), file.readline(_LINE)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    for form, comment in _COMMENTS.items():
        line = lines[form != "pdb"]
        if not (match := comment.search(line)) or (form != "ase" and match.start()):
            continue
        named = [pair for pair in _QUANTITY.findall(line) if pair[0] != b"cell"]
        quantity, unit = (word.decode(errors="replace") for word in (named or [(b"positions", b"")])[0])
        bead = _BEAD.search(line)
        columns, column = _columns_of(line, quantity) if form == "ase" else (4, 1)
        return Head(form, quantity, unit, int(bead[1]) if bead else 0, columns, column)
    return None


def _columns_of(comment: bytes, quantity: str) -> tuple[int, int]:
    """Of an extxyz file: the columns in a line, and where those of a quantity begin (as i-PI writes it: positions are
    ``pos``, anything else is an array beside them)."""
    match = _PROPERTIES.search(comment)
    fields = (match[1].decode() if match else "species:S:1:pos:R:3").split(":")
    columns, places = 0, {}
    for name, width in zip(fields[::3], fields[2::3], strict=False):
        places[name] = columns
        columns += int(width) if width.isdigit() else 1
    return columns, places.get(quantity, places.get("pos", 1))


@dataclass(frozen=True)
class FrameIndex:
    """The whole frames of a file: steps increasing, where each frame's lines of atoms begin, and the next comment."""

    path: Path
    head: Head
    symbols: tuple[str, ...]
    scale: float  # Å in one of the file's lengths
    steps: IntArray
    begins: IntArray
    ends: IntArray
    repeated: int  # frames that a later one of the same step replaces
    broken: int  # frames that were never written to their end, or hold NULs

    def read(self, frames: IntArray) -> tuple[FloatArray, IntArray]:
        """Positions (n, N, 3) in Å of those of some frames (k,) whose lines are all an atom's, and which these n
        are, as places in `frames`."""
        n = len(self.symbols)
        result = np.empty((len(frames), n, 3))
        sound: list[int] = []
        with self.path.open("rb") as file:
            for k, frame in enumerate(frames):
                file.seek(self.begins[frame])
                text = file.read(int(self.ends[frame] - self.begins[frame]))
                try:
                    result[len(sound)] = _numbers(text, n, self.head)
                except ValueError:
                    continue
                sound.append(k)
        return result[: len(sound)] * self.scale, np.array(sound, dtype=np.intp)


def _numbers(text: bytes, n: int, head: Head) -> FloatArray:
    """(N, 3) numbers from the lines of the atoms."""
    if head.format == "pdb":
        lines = text.split(b"\n")[1 : n + 1]
        return np.array([[float(line[place]) for place in _PDB] for line in lines]).reshape(n, 3)
    words = text.split()[: head.columns * n]  # what follows is of the next frame
    if len(words) != head.columns * n:
        raise ValueError
    if head.columns == 4:
        del words[::4]
        return np.array(list(map(float, words))).reshape(n, 3)
    table = np.array(words).reshape(n, head.columns)
    return table[:, head.column : head.column + 3].astype(np.float64)


def index(path: Path, head: Head) -> FrameIndex:
    """Look through a trajectory of i-PI's. Raises InputError where it holds no whole frame, or other quantities than
    positions."""
    first = _first_frame(path, head)
    n = len(first.symbols)
    steps: list[int] = []
    begins: list[int] = []
    ends: list[int] = []
    broken = 0
    for step, begin, end, lines, last in _between_comments(path, _COMMENTS[head.format]):
        # The line that counts the next frame's atoms follows. A line that was broken off has it at its own end.
        if lines > n + _AROUND[head.format] - (last or head.format == "pdb"):
            steps.append(step)
            begins.append(begin)
            ends.append(end)
        else:
            broken += 1
    if not steps:
        raise InputError(f"{path}: holds no whole frame of {n} atoms")
    order = np.array(steps, dtype=np.intp)
    kept = lasting(order)
    return FrameIndex(
        path,
        head,
        first.symbols,
        first.scale,
        order[kept],
        np.array(begins, dtype=np.intp)[kept],
        np.array(ends, dtype=np.intp)[kept],
        len(order) - len(kept),
        broken,
    )


def lasting(steps: IntArray | FloatArray) -> IntArray:
    """Which frames count where a run was killed and went on from a checkpoint: a step that comes again replaces
    itself and all that came after it. Their steps increase."""
    least = np.minimum.accumulate(steps[::-1])[::-1]
    return np.flatnonzero(np.append(steps[:-1] < least[1:], True))


@dataclass(frozen=True)
class _FirstFrame:
    symbols: tuple[str, ...]
    scale: float


def _first_frame(path: Path, head: Head) -> _FirstFrame:
    if head.quantity not in ("positions", "x_centroid"):
        raise InputError(f"{path}: holds {head.quantity}, expected positions")
    with path.open("rb") as file:
        if head.format == "pdb":
            lines = _pdb_atoms(file.readline(_LINE) for _ in range(_MOST))
        else:
            count = file.readline(100)
            file.readline(_LINE)
            if not count.strip().isdigit() or not 0 < int(count) < _MOST:
                raise InputError(f"{path}: expected a number of atoms in the first line, found {count!r}")
            lines = [file.readline(300).split() for _ in range(int(count))]
    if not lines or any(len(line) != head.columns for line in lines):
        raise InputError(f"{path}: expected {len(lines)} lines of an atom in the first frame")
    return _FirstFrame(tuple(line[0].decode(errors="replace") for line in lines), scale_of(path, head))


def scale_of(path: Path, head: Head) -> float:
    """Å in one of the file's lengths. Raises InputError."""
    if head.format == "ase":  # always in ase's own
        return 1.0
    try:
        return IPI_LENGTHS.get(head.unit) or factor("length", head.unit)
    except ValueError as error:
        raise InputError(f"{path}: positions: {error}") from None


def _pdb_atoms(lines: Iterator[bytes]) -> list[list[bytes]]:
    """Label and coordinates of the atoms up to END."""
    atoms = []
    for line in lines:
        if line.startswith(b"END") or not line:
            break
        if line.startswith(b"ATOM"):
            atoms.append([line[12:16].strip(), *(line[place].strip() for place in _PDB)])
    return atoms


def _between_comments(path: Path, comment: re.Pattern[bytes]) -> Iterator[tuple[int, int, int, int, bool]]:
    """What follows each comment line up to the next one or to the file's end: step, first byte, last byte, newlines
    in it (-1 if NULs are in it), whether the file ends there."""
    open_step, open_begin, newlines, nuls = -1, 0, 0, 0
    with path.open("rb") as file:
        rest, offset = b"", 0  # offset: of rest in the file
        while True:
            chunk = file.read(_CHUNK)
            text = rest + chunk
            cut = len(text) if not chunk else text.rfind(b"\n") + 1  # whole lines only
            at = 0
            for match in comment.finditer(text, 0, cut):
                newlines += text.count(b"\n", at, match.start())
                nuls += text.count(b"\0", at, match.start())
                if open_step >= 0:
                    yield open_step, open_begin, offset + match.start(), -1 if nuls else newlines, False
                at = min(match.end() + 1, cut)
                open_step, open_begin, newlines, nuls = int(match[1]), offset + at, 0, 0
            newlines += text.count(b"\n", at, cut)
            nuls += text.count(b"\0", at, cut)
            rest, offset = text[cut:], offset + cut
            if not chunk:
                if open_step >= 0:
                    yield open_step, open_begin, offset, -1 if nuls else newlines, True
                return
