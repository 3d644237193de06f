"""Trajectories of any length in bounded memory: i-PI's with their steps and times, or anything that ase reads."""

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
from ..ipi.outputs import RunOutputs, frames_of, is_run, natural, read_outputs, systems
from ..molecule.labels import atom_of
from ..molecule.whole import Unwrapper

if TYPE_CHECKING:
    from ase import Atoms

OnFrames = Callable[["Run", int], None]
"""Is told how many frames of a run have been read."""

_BLOCK = 2**19  # coordinates in a block: 4 MiB
_ALIKE = 1e-3  # relative difference of two spacings that are one
_STEPS = ("step", "i")  # what a comment line calls a step, the latter in CP2K


@dataclass(frozen=True)
class Block:
    """Some frames: steps (n,), time (n,) in ps (NaN where it is unknown), positions (n, N, 3) in Å."""

    steps: IntArray
    time: FloatArray
    positions: FloatArray


@dataclass(frozen=True)
class Run:
    """A trajectory, and what i-PI recorded beside it, if it was i-PI's.

    ladder: the path under which it was looked for; the runs of one are temperatures of one model. unreadable: the
    steps of frames that were met while reading and are no numbers; they are left out of `blocks`.
    """

    name: str
    path: Path
    outputs: RunOutputs | None = None
    timestep: float | None = None  # fs, where there is no property output to take it from
    ladder: Path | None = None
    progress: OnFrames | None = field(default=None, compare=False)
    unreadable: set[int] = field(default_factory=set, compare=False)
    torn: bool = False  # frames whose molecules are torn, and no cell tells why, are kept and not refused

    @cached_property
    def _index(self) -> frames.FrameIndex | None:
        head = frames.head_of(self.path)
        return None if head is None else frames.index(self.path, head)

    @cached_property
    def _atoms(self) -> tuple[IntArray, FloatArray]:
        """Atomic numbers and masses."""
        if self._index is None:
            first = next(self._structures())
            return first.numbers, first.get_masses()
        try:
            atoms = [atom_of(symbol) for symbol in self._index.symbols]
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        return np.array([z for z, _ in atoms], dtype=np.intp), np.array([mass for _, mass in atoms])

    @property
    def numbers(self) -> IntArray:
        """Atomic numbers (N,). Raises InputError."""
        return self._atoms[0]

    @property
    def masses(self) -> FloatArray:
        """(N,) in u, an isotope's where it is labelled as one. Raises InputError."""
        return self._atoms[1]

    @cached_property
    def _marks(self) -> tuple[IntArray, IntArray]:
        """Of a file that ase reads: the frames that count, and their steps."""
        infos = [atoms.info for atoms in self._structures()]
        key = next((key for key in _STEPS if all(_is_step(info.get(key)) for info in infos)), None)
        if key is None:
            return np.arange(len(infos)), np.arange(len(infos))
        steps = np.array([info[key] for info in infos], dtype=np.intp)
        kept = frames.lasting(steps)
        return kept, steps[kept]

    @property
    def steps(self) -> IntArray:
        """The step of every frame, increasing: i-PI's, or ``step`` of an extxyz file (``i`` of CP2K's xyz), or frames
        counted from 0."""
        return self._marks[1] if self._index is None else self._index.steps

    @property
    def classical(self) -> bool:
        """Whether these are the positions of classical atoms: not of a bead, and not of the centroids of several."""
        head = None if self._index is None else self._index.head
        if self.outputs is not None:
            return self.outputs.beads == 1 and (head is None or head.bead == 0)
        return head is None or (head.bead == 0 and head.quantity != "x_centroid")

    @cached_property
    def _temperatures(self) -> FloatArray | None:
        """i-PI's column; None where it is no temperature: −1 or 0 of a run without a thermostat."""
        column = None if self.outputs is None else self.outputs.properties.get("ensemble_temperature")
        return None if column is None or not (column > 0).all() else column

    @property
    def temperature(self) -> float | None:
        """The thermostat's, K, from i-PI's column ensemble_temperature; None where it changed (see `states`)."""
        column = self._temperatures
        return None if column is None or self.exchanged else float(column[-1])

    @property
    def exchanged(self) -> bool:
        """Whether the temperature changed, as where replicas exchange theirs."""
        column = self._temperatures
        return column is not None and float(np.ptp(column)) > 0

    def states(self, steps: IntArray) -> FloatArray | None:
        """The temperature (K) at each of some steps, NaN where none was recorded; None where none ever was."""
        if not self.exchanged:
            return None if self.temperature is None else np.full(len(steps), self.temperature)
        return None if self.outputs is None else self.outputs.at("ensemble_temperature", steps)

    def time(self, steps: IntArray) -> FloatArray:
        """ps, by `timestep` or else i-PI's time column; NaN where nothing tells it."""
        if self.timestep is not None or self.outputs is None:
            return np.asarray(steps * (1e-3 * (self.timestep or np.nan)), dtype=np.float64)
        return self.outputs.time(steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out as damaged, in a line each; of the frames' numbers, as far as they were read."""
        notes = [] if self.outputs is None else list(self.outputs.notes)
        broken = 0 if self._index is None else self._index.broken
        if broken:
            notes.append(f"{self.path.name}: frames cut off or damaged, and left out: {broken}")
        if self.unreadable:
            some = ", ".join(map(str, sorted(self.unreadable)[:5])) + (" …" if len(self.unreadable) > 5 else "")
            notes.append(f"{self.path.name}: damaged frames left out: {len(self.unreadable)}, of steps {some}")
        return tuple(notes)

    def blocks(self, every: int = 1) -> Iterator[Block]:
        """All frames, or every `every`-th, in order of their steps, a few MiB at a time; of a step that a resumed run
        repeated, the frame that was written last. Damaged ones are left out (see `unreadable`). Raises InputError."""
        size = max(1, _BLOCK // (3 * len(self.numbers)))
        read = self._read_ipi if self._index is not None else self._read_ase
        done = 0
        for steps, positions in read(self.steps[::every], every, size):
            done += size
            if self.progress is not None:
                self.progress(self, min(done, len(self.steps[::every])))
            if len(steps):
                yield Block(steps, self.time(steps), positions)

    def finite_blocks(self, every: int = 1) -> Iterator[Block]:
        """As `blocks`, without frames in which a position is no finite number: they are told as damaged."""
        for block in self.blocks(every):
            finite = np.isfinite(block.positions).all((1, 2))
            self.unreadable.update(block.steps[~finite].tolist())
            if finite.any():
                yield Block(block.steps[finite], block.time[finite], block.positions[finite])

    def cells(self, every: int = 1) -> FloatArray:
        """(n, 3, 3) Å, of every `every`-th frame, those that are damaged too; zeros for none."""
        if self._index is not None:
            return cells_of(self.path, self._index.begins[::every])
        wanted = set(self._marks[0][::every].tolist())
        cells = [a.cell.array * a.pbc[:, None] for i, a in enumerate(self._structures()) if i in wanted]
        return np.array(cells)

    def _read_ipi(self, steps: IntArray, every: int, size: int) -> Iterator[tuple[IntArray, FloatArray]]:
        assert self._index is not None
        which = np.arange(0, len(self._index.steps), every)
        read = 0
        for start in range(0, len(which), size):
            positions, sound = self._index.read(which[start : start + size])
            some = steps[start : start + size]
            self.unreadable.update(np.delete(some, sound).tolist())
            read += len(sound)
            yield some[sound], self._made_whole(self._index, positions, which[start : start + size][sound])
        if not read:
            raise InputError(f"{self.path}: no frame whose lines are all an atom's")

    @cached_property
    def _unwrapper(self) -> Unwrapper:
        """From the first sound frame of an i-PI trajectory."""
        assert self._index is not None
        for k in range(len(self._index.steps)):
            first, sound = self._index.read(np.array([k]))
            if len(sound):
                (cell,) = cells_of(self.path, self._index.begins[k : k + 1])
                return Unwrapper.of_frame(self.numbers, first[0], cell)
        raise InputError(f"{self.path}: no frame whose lines are all an atom's")

    def _made_whole(self, index: frames.FrameIndex, positions: FloatArray, which: IntArray) -> FloatArray:
        """Some frames of an i-PI trajectory. i-PI wraps none, but its files may be rewritten: cut bonds tell."""
        if not len(which) or not self._unwrapper.stretched(positions).any():
            return positions
        cells = cells_of(self.path, index.begins[which])
        if self._unwrapper(positions, cells, np.zeros((len(cells), 3), dtype=bool), None) is positions:
            return positions
        return self._unwrapper(positions, cells, None, lambda k: f"{self.path}, step {index.steps[which[k]]}")

    def _read_ase(self, steps: IntArray, every: int, size: int) -> Iterator[tuple[IntArray, FloatArray]]:
        wanted = set(self._marks[0][::every].tolist())
        waiting: list[FloatArray] = []
        begin = 0
        for i, atoms in enumerate(self._structures()):
            if i in wanted:
                waiting.append(np.asarray(atoms.positions))
            if len(waiting) == size:
                yield steps[begin : begin + size], np.stack(waiting)
                begin += size
                waiting = []
        if waiting:
            yield steps[begin:], np.stack(waiting)

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


def _is_step(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and float(value).is_integer()


def segments(marks: IntArray | FloatArray) -> list[slice]:
    """Stretches of at least two frames without a gap: where the difference of their steps or times is the most
    frequent one, within a thousandth."""
    if len(marks) < 2:
        return [slice(0, len(marks))] if len(marks) else []
    differences = np.diff(marks)
    usual = spacing(marks)
    ends = np.flatnonzero(np.abs(differences - usual) > _ALIKE * usual) + 1
    bounds = [0, *ends.tolist(), len(marks)]
    return [slice(a, b) for a, b in pairwise(bounds) if b - a > 1]


def spacing(marks: IntArray | FloatArray) -> float:
    """The most frequent difference of the steps or times of two or more frames."""
    differences = np.sort(np.diff(marks))
    apart = np.flatnonzero(np.diff(differences) > _ALIKE * np.abs(differences[1:])) + 1
    alike = np.split(differences, apart)
    return float(np.median(max(alike, key=len)))


def runs_in(path: Path, prefix: str | None = None, timestep: float | None = None) -> list[Run]:
    """The trajectories of a file, of a run's folder (one for each system in it), or of a folder of such folders.

    prefix: takes one of several. timestep: fs between steps, for files beside which i-PI recorded no time. Raises
    InputError where there is none.
    """
    if path.is_file():
        return [_run_of_file(path, timestep)]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    folders = [path] if is_run(path) else sorted(folder for folder in path.iterdir() if is_run(folder))
    there = [(name, system) for folder in folders or [path] for name, system in systems(folder).items()]
    runs = [
        Run(name, frames_of(system), read_outputs(system), timestep)
        for name, system in there
        if prefix in (None, name)
    ]
    if not runs:
        names = ", ".join(name for name, _ in there)
        raise InputError(f"{path}: no {prefix} in it; expected the folder of an i-PI run, or one of {names}")
    return sorted(runs, key=lambda run: natural(run.name))


def _run_of_file(path: Path, timestep: float | None) -> Run:
    if frames.head_of(path) is not None and is_run(path.parent):
        for name, system in systems(path.parent).items():
            if path in system.trajectories:
                return Run(name, path, read_outputs(system), timestep)
    return Run(path.stem, path, None, timestep)
