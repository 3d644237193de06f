"""Trajectories of any length in bounded memory: i-PI's xyz with its steps and times, or anything that ase reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..ipi import frames
from ..ipi.cells import cells_of
from ..ipi.tables import RunOutputs, find_frames, find_outputs, natural, systems
from ..molecule.whole import Unwrapper

if TYPE_CHECKING:
    from ase import Atoms

OnFrames = Callable[["Run", int], None]
"""Is told how many frames of a run have been read."""

_BLOCK = 2**19  # coordinates in a block: 4 MiB


@dataclass(frozen=True)
class Block:
    """Some frames: steps (n,), time (n,) in ps (NaN where it is unknown), positions (n, N, 3) in Å."""

    steps: IntArray
    time: FloatArray
    positions: FloatArray


@dataclass(frozen=True)
class Run:
    """A trajectory, and what i-PI recorded beside it, if it was i-PI's.

    ladder: the path under which it was looked for; the runs of one are temperatures of one model.
    """

    name: str
    path: Path
    outputs: RunOutputs | None = None
    timestep: float | None = None  # fs, where there is no property output to take it from
    ladder: Path | None = None
    progress: OnFrames | None = field(default=None, compare=False)
    torn: bool = False  # frames whose molecules are torn, and no cell tells why, are kept and not refused

    @cached_property
    def _index(self) -> frames.FrameIndex | None:
        return frames.index(self.path) if frames.is_ipi(self.path) else None

    @cached_property
    def numbers(self) -> IntArray:
        """Atomic numbers (N,). Raises InputError."""
        from ase.data import atomic_numbers

        if self._index is None:
            first: IntArray = next(self._structures()).numbers
            return first
        unknown = [symbol for symbol in self._index.symbols if symbol not in atomic_numbers]
        if unknown:
            raise InputError(f"{self.path}: {unknown[0]!r} is no element")
        return np.array([atomic_numbers[symbol] for symbol in self._index.symbols], dtype=np.intp)

    @cached_property
    def _marks(self) -> tuple[IntArray, IntArray]:
        """Of a file that ase reads: the frames that count, and their steps."""
        noted = [atoms.info.get("step") for atoms in self._structures()]
        if not all(isinstance(step, int | np.integer) for step in noted):
            return np.arange(len(noted)), np.arange(len(noted))
        steps = np.array(noted, dtype=np.intp)
        kept = frames.lasting(steps)
        return kept, steps[kept]

    @property
    def steps(self) -> IntArray:
        """The step of every frame, increasing: i-PI's, or ``step`` of an extxyz file, or frames counted from 0."""
        return self._marks[1] if self._index is None else self._index.steps

    @property
    def time_per_step(self) -> float:
        """ps; NaN where neither a property output nor `timestep` tells."""
        if self.timestep is not None:
            return 1e-3 * self.timestep
        return np.nan if self.outputs is None else self.outputs.time_per_step

    @property
    def temperature(self) -> float | None:
        """The thermostat's, K, from i-PI's column ensemble_temperature."""
        column = None if self.outputs is None else self.outputs.properties.get("ensemble_temperature")
        if (
            column is None
            or self.outputs is None
            or self.outputs.properties.units["ensemble_temperature"] != "kelvin"
        ):
            return None
        return float(column[-1])

    def time(self, steps: IntArray) -> FloatArray:
        """ps."""
        return np.asarray(steps * self.time_per_step, dtype=np.float64)

    def blocks(self, every: int = 1) -> Iterator[Block]:
        """All frames, or every `every`-th, in order of their steps, a few MiB at a time; of a step that a resumed run
        repeated, the frame that was written last. Raises InputError."""
        size = max(1, _BLOCK // (3 * len(self.numbers)))
        steps = self.steps[::every]
        read = self._read_ipi if self._index is not None else self._read_ase
        begin = 0
        for positions in read(every, size):
            some = steps[begin : begin + len(positions)]
            begin += len(positions)
            if self.progress is not None:
                self.progress(self, begin)
            yield Block(some, self.time(some), positions)

    def _read_ipi(self, every: int, size: int) -> Iterator[FloatArray]:
        assert self._index is not None
        which = np.arange(0, len(self._index.steps), every)
        for start in range(0, len(which), size):
            some = which[start : start + size]
            yield self._made_whole(self._index, some)

    @cached_property
    def _unwrapper(self) -> Unwrapper:
        """From the first frame of an i-PI trajectory."""
        assert self._index is not None
        (first,), (cell,) = self._index.read(np.arange(1)), cells_of(self.path, self._index.begins[:1])
        return Unwrapper.of_frame(self.numbers, first, cell)

    def _made_whole(self, index: frames.FrameIndex, which: IntArray) -> FloatArray:
        """Some frames of an i-PI trajectory. i-PI wraps none, but its files may be rewritten: cut bonds tell."""
        positions = index.read(which)
        if not self._unwrapper.stretched(positions).any():
            return positions
        cells = cells_of(self.path, index.begins[which])
        if self._unwrapper(positions, cells, np.zeros((len(cells), 3), dtype=bool), None) is positions:
            return positions
        return self._unwrapper(positions, cells, None, lambda k: f"{self.path}, step {index.steps[which[k]]}")

    def _read_ase(self, every: int, size: int) -> Iterator[FloatArray]:
        wanted = set(self._marks[0][::every].tolist())
        waiting: list[FloatArray] = []
        for i, atoms in enumerate(self._structures()):
            if i in wanted:
                waiting.append(np.asarray(atoms.positions))
            if len(waiting) == size:
                yield np.stack(waiting)
                waiting = []
        if waiting:
            yield np.stack(waiting)

    def _structures(self) -> Iterator[Atoms]:
        from ..molecule.structures import iter_structures

        numbers: IntArray | None = None
        unwrapper: Unwrapper | None = None
        for i, atoms in enumerate(iter_structures(self.path)):
            numbers = atoms.numbers if numbers is None else numbers
            if not np.array_equal(atoms.numbers, numbers):
                raise InputError(f"{self.path}: frame {i} has other atoms than frame 0")
            unwrapper = unwrapper or Unwrapper.of_frame(numbers, atoms.positions, atoms.cell.array)
            name = None if self.torn else f"{self.path}, frame {i}"
            atoms.positions = unwrapper.of_atoms(atoms, name)
            yield atoms


def segments(steps: IntArray) -> list[slice]:
    """Stretches of at least two frames without a gap: where the difference of steps is the most frequent one."""
    if len(steps) < 2:
        return [slice(0, len(steps))] if len(steps) else []
    differences = np.diff(steps)
    values, counts = np.unique(differences, return_counts=True)
    ends = np.flatnonzero(differences != values[counts.argmax()]) + 1
    bounds = [0, *ends.tolist(), len(steps)]
    return [slice(a, b) for a, b in pairwise(bounds) if b - a > 1]


def runs_in(path: Path, prefix: str | None = None, timestep: float | None = None) -> list[Run]:
    """The trajectories of a file, of a run's folder (one for each system in it), or of a folder of such folders.

    prefix: takes one of several. timestep: fs between steps, for files beside which i-PI recorded no time. Raises
    InputError where there is none.
    """
    if path.is_file():
        return [_run_of_file(path, timestep)]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    folders = [path] if any(path.glob("*.out")) else sorted({out.parent for out in path.glob("*/*.out")})
    runs = [
        Run(name, find_frames(folder, name), find_outputs(folder, name), timestep)
        for folder in folders
        for name in systems(folder)
        if prefix in (None, name)
    ]
    if not runs:
        raise InputError(f"{path}: no {prefix or '*'}.out in it; expected the folder of an i-PI run, or a trajectory")
    return sorted(runs, key=lambda run: natural(run.name))


def _run_of_file(path: Path, timestep: float | None) -> Run:
    if not frames.is_ipi(path):
        return Run(path.stem, path, None, timestep)
    outs = [out for out in path.parent.glob("*.out") if path.name.startswith(f"{out.stem}.")]
    if not outs:
        return Run(path.stem, path, None, timestep)
    name = max((out.stem for out in outs), key=len)
    return Run(name, path, find_outputs(path.parent, name), timestep)
