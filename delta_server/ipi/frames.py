"""Where the frames of i-PI's xyz files lie, and reading them fast.

One pass over the file notes the place of each whole frame (24 bytes a frame), so that frames are read in the order of
their steps, each once, whatever was killed while it wrote, and in bounded memory. i-PI's own reader keeps only the
first digit of a step number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..units import IPI_LENGTHS

_CHUNK = 2**22  # bytes read at a time
_MOST = 100_000  # atoms
_COMMENT = re.compile(rb"#[^\n]*CELL\(abcABC\):[^\n]*Step:\s*(\d+)[^\n]*")
_UNIT = re.compile(rb"(?:positions|x_centroid)\{(\w+)\}")


@dataclass(frozen=True)
class FrameIndex:
    """The whole frames of a file: steps increasing, where each frame's lines of atoms begin, and the next comment."""

    path: Path
    symbols: tuple[str, ...]
    scale: float  # Å in one of the file's lengths
    steps: IntArray
    begins: IntArray
    ends: IntArray
    repeated: int  # frames that a later one of the same step replaces
    broken: int  # frames that were never written to their end

    def read(self, frames: IntArray) -> FloatArray:
        """Positions (len(frames), N, 3) in Å. Raises InputError for a line that is no atom's."""
        n = len(self.symbols)
        result = np.empty((len(frames), n, 3))
        with self.path.open("rb") as file:
            for k, frame in enumerate(frames):
                file.seek(self.begins[frame])
                text = file.read(int(self.ends[frame] - self.begins[frame]))
                try:
                    result[k] = _numbers(text, n)
                except ValueError:
                    raise InputError(
                        f"{self.path}: step {self.steps[frame]} is damaged: expected {n} lines of an atom"
                    ) from None
        result *= self.scale
        return result


def _numbers(text: bytes, n: int) -> FloatArray:
    """(N, 3) numbers from lines ``symbol x y z``."""
    words = text.split()[: 4 * n]  # what follows is of the next frame
    if len(words) != 4 * n:
        raise ValueError
    del words[::4]
    return np.array(list(map(float, words))).reshape(n, 3)


def is_ipi(path: Path) -> bool:
    """Whether a file begins with a frame as i-PI writes it."""
    try:
        with path.open("rb") as file:
            file.readline(100)
            return _COMMENT.match(file.readline(1000)) is not None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def index(path: Path) -> FrameIndex:
    """Look through an i-PI xyz file. Raises InputError where it holds no whole frame, or other units than lengths."""
    first = _first_frame(path)
    n = len(first.symbols)
    steps: list[int] = []
    begins: list[int] = []
    ends: list[int] = []
    broken = 0
    for step, begin, end, lines, last in _between_comments(path):
        # The line that counts the next frame's atoms follows. A line that was broken off has it at its own end.
        if lines > n or (last and lines == n):
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
        first.symbols,
        first.scale,
        order[kept],
        np.array(begins, dtype=np.intp)[kept],
        np.array(ends, dtype=np.intp)[kept],
        len(order) - len(kept),
        broken,
    )


def lasting(steps: IntArray) -> IntArray:
    """Which frames count where a run was killed and went on from a checkpoint: a step that comes again replaces
    itself and all that came after it. Their steps increase."""
    least = np.minimum.accumulate(steps[::-1])[::-1]
    return np.flatnonzero(np.append(steps[:-1] < least[1:], True))


@dataclass(frozen=True)
class _FirstFrame:
    symbols: tuple[str, ...]
    scale: float


def _first_frame(path: Path) -> _FirstFrame:
    with path.open("rb") as file:
        count, comment = file.readline(100), file.readline(1000)
        if not count.strip().isdigit() or not 0 < int(count) < _MOST:
            raise InputError(f"{path}: expected a number of atoms in the first line, found {count!r}")
        unit = _UNIT.search(comment)
        scale = IPI_LENGTHS.get(unit[1].decode()) if unit else None
        if scale is None:
            named = unit[1].decode() if unit else comment[:200].decode(errors="replace")
            raise InputError(f"{path}: expected positions in {', '.join(IPI_LENGTHS)}, found {named}")
        lines = [file.readline(300).split() for _ in range(int(count))]
    if any(len(line) != 4 for line in lines):
        raise InputError(f"{path}: expected {int(count)} lines of an atom in the first frame")
    return _FirstFrame(tuple(line[0].decode(errors="replace") for line in lines), scale)


def _between_comments(path: Path) -> Iterator[tuple[int, int, int, int, bool]]:
    """What follows each comment line up to the next one or to the file's end: step, first byte, last byte, newlines
    in it, whether the file ends there."""
    open_step, open_begin, newlines = -1, 0, 0
    with path.open("rb") as file:
        rest, offset = b"", 0  # offset: of rest in the file
        while True:
            chunk = file.read(_CHUNK)
            text = rest + chunk
            cut = len(text) if not chunk else text.rfind(b"\n") + 1  # whole lines only
            at = 0
            for match in _COMMENT.finditer(text, 0, cut):
                newlines += text.count(b"\n", at, match.start())
                if open_step >= 0:
                    yield open_step, open_begin, offset + match.start(), newlines, False
                at = min(match.end() + 1, cut)
                open_step, open_begin, newlines = int(match[1]), offset + at, 0
            newlines += text.count(b"\n", at, cut)
            rest, offset = text[cut:], offset + cut
            if not chunk:
                if open_step >= 0:
                    yield open_step, open_begin, offset, newlines, True
                return
