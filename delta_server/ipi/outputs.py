"""Which files of a folder are the outputs of one i-PI run, by what is in them, whatever they are called.

i-PI names outputs PREFIX.FILENAME, each as its input asks, with a suffix for beads and formats; several systems in
one process put their own prefix in front. Job logs and the like may lie beside them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from .frames import Head, head_of
from .input import read_input
from .tables import Extras, PropertyTable, damage, extras_of, is_table, read_properties

_ENERGIES = re.compile(r"#EXTRAS\((energy|error)_\w[\w\-]*\)#")  # those that the analysis asks for
_FIRST_BEAD = re.compile(r"_0+$")  # of any number of beads
_WIDE = re.compile(r"_(\d\d+)(\.\w+)?$")  # two digits number the beads from ten on
_ENDINGS = {"xyz": ".xyz", "ase": ".extxyz", "pdb": ".pdb"}
_CORNER = 1e-6  # of the longest time: more than a printed number is rounded by


@dataclass(frozen=True)
class System:
    """The outputs of one i-PI system in a folder. start: what their names begin with; tables: the property outputs,
    the main one first; files: all of that start; trajectories: those of i-PI's among them, of any quantity."""

    name: str
    start: str
    tables: tuple[Path, ...]
    files: tuple[Path, ...]
    trajectories: dict[Path, Head]

    @property
    def folder(self) -> Path:
        return self.tables[0].parent

    @cached_property
    def beads(self) -> int | None:
        """How many beads it has, or the least number that its outputs show; None where centroids show that there are
        several."""
        asked = [beads for path in _files(self.folder) if (beads := _beads_of_input(path, self.start))]
        shown = [head.bead + 1 for head in self.trajectories.values()]
        wide = [match for path in self.trajectories if (match := _WIDE.search(path.name))]
        most = max([1, *asked, *shown, *(10 ** (len(match[1]) - 1) for match in wide)])
        centroids = any(head.quantity == "x_centroid" for head in self.trajectories.values())
        return None if most == 1 and centroids and not asked else most


def _files(folder: Path) -> list[Path]:
    """Those of a folder that are no backups of i-PI's (#x#0#) and of editors (x~)."""
    return sorted(
        path for path in folder.iterdir() if path.name[0] != "#" and path.name[-1] != "~" and path.is_file()
    )


def _beads_of_input(path: Path, start: str) -> int | None:
    """How many beads an input or a state of the outputs' run asks for."""
    if path.suffix != ".xml" and path.name != "RESTART":
        return None
    with suppress(InputError, ValueError):
        root = read_input(path)
        output = root.find("output")
        prefix = "i-pi" if output is None else output.get("prefix", "i-pi").strip()
        if start.removesuffix(".").endswith(prefix):
            asked = [int(e.get("nbeads", "1")) for tag in ("beads", "initialize") for e in root.iter(tag)]
            return max(asked, default=None)
    return None


def is_run(folder: Path) -> bool:
    """Whether a property output lies in a folder."""
    return folder.is_dir() and any(map(is_table, _files(folder)))


def systems(directory: Path) -> dict[str, System]:
    """The i-PI systems whose property outputs lie in a folder, by the prefix of their outputs. Raises InputError if
    there is none."""
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder")
    files = _files(directory)
    tables = [path for path in files if is_table(path)]
    if not tables:
        there = ", ".join(path.name for path in files[:6]) + (" …" if len(files) > 6 else "") or "no file"
        raise InputError(
            f"{directory}: no property output in it; expected the folder of an i-PI run, with a file that begins "
            f"'# column 1 --> …'; there is {there}"
        )
    heads = {path: head for path in files if path not in tables and (head := _head(path)) is not None}
    starts = {table: _start(table.name, [path.name for path in heads]) for table in tables}
    for table, start in starts.items():
        if table.suffix != ".out" and not any(path.name.startswith(start) for path in heads):
            starts[table] = min((s for s in starts.values() if s and start.startswith(s)), key=len, default=start)
    found = {}
    for start in set(starts.values()):
        some = [table for table in tables if starts[table] == start]
        some.sort(key=lambda path: (path.suffix != ".out", path.suffix != ".md", path.name))
        mine = tuple(path for path in files if _longest(path.name, starts.values()) == start)
        trajectories = {path: heads[path] for path in mine if path in heads}
        name = start.rstrip("._") or some[0].name
        found[name] = System(name, start, tuple(some), mine, trajectories)
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def _head(path: Path) -> Head | None:
    with suppress(InputError):  # what may not be read is nobody's output
        return head_of(path)
    return None


def _longest(name: str, starts: Iterable[str]) -> str | None:
    return max((start for start in starts if name.startswith(start)), key=len, default=None)


def _start(table: str, trajectories: Iterable[str]) -> str:
    """What the names of a table and of the trajectories beside it have in common: PREFIX with its dot, the longest
    there is; i-PI leaves the dot out where the prefix is empty."""
    dots = [table[: k + 1] for k in range(len(table) - 1, -1, -1) if table[k] == "."]
    starts = dots or [table[: table.rfind("_") + 1], ""]
    shared = (s for s in starts if any(name.startswith(s) and (s or name.count(".") == 1) for name in trajectories))
    return next(shared, starts[0])


def natural(name: str) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them: 10, 50, 100."""
    return [(int(piece), "") if piece.isdigit() else (0, piece) for piece in re.split(r"(\d+)", name)]


def find_system(directory: Path, prefix: str | None = None) -> System:
    """The one in a folder, or the one with a prefix. Raises InputError."""
    there = systems(directory)
    if prefix is None and len(there) > 1:
        raise InputError(f"{directory}: several runs, {', '.join(there)}; choose one with --prefix")
    if prefix is not None and prefix not in there:
        raise InputError(f"{directory}: no outputs {prefix}.*; there is {', '.join(there)}")
    return there[prefix] if prefix is not None else next(iter(there.values()))


@dataclass(frozen=True)
class RunOutputs:
    """What i-PI recorded of one system: properties, extras by key as (steps, values), and notes on damage in them.
    beads: as `System.beads`."""

    prefix: str
    properties: PropertyTable
    extras: dict[str, tuple[FloatArray, FloatArray]]
    beads: int | None = 1
    notes: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def _clock(self) -> tuple[FloatArray, FloatArray]:
        """Steps and times (ps) between which the time step is the same."""
        step, time = self.properties["step"], self.properties["time"]
        known = np.isfinite(step) & np.isfinite(time)
        step, time = step[known], time[known]
        if not len(step):
            raise InputError(f"{self.properties.path}: its times are no numbers")
        which = _corners(step, time, _CORNER * float(np.abs(time).max()))
        return step[which], time[which]

    def time(self, steps: IntArray | FloatArray) -> FloatArray:
        """ps, by the time column; NaN without one, or where a single row tells no time step."""
        if "time" not in self.properties or "step" not in self.properties:
            return np.full(len(steps), math.nan)
        step, time = self._clock
        at = np.asarray(steps, dtype=np.float64)
        if len(step) == 1:
            return np.where(at == step[0], time[0], math.nan)
        k = np.clip(np.searchsorted(step, at, side="right") - 1, 0, len(step) - 2)
        return np.asarray(time[k] + (at - step[k]) * (np.diff(time) / np.diff(step))[k], dtype=np.float64)

    def along(self, key: str) -> tuple[FloatArray, FloatArray] | None:
        """An extra against time: (ps, values), or None where it was not recorded."""
        if key not in self.extras:
            return None
        steps, values = self.extras[key]
        return self.time(steps), values

    def at(self, column: str, steps: IntArray) -> FloatArray | None:
        """A column's values at just these steps, NaN where there is no row; None where there is no such column."""
        values = self.properties.get(column)
        recorded = self.properties.get("step")
        if values is None or recorded is None:
            return None
        place = np.minimum(np.searchsorted(recorded, steps), len(recorded) - 1)
        return np.where(recorded[place] == steps, values[place], math.nan)


def _corners(x: FloatArray, y: FloatArray, tolerance: float) -> IntArray:
    """The ends of a line through points of increasing x that is straight in pieces, and where it bends (Ramer,
    Comput. Graph. Image Process. 1, 244 (1972))."""
    kept, open_ = {0, len(x) - 1}, [(0, len(x) - 1)]
    while open_:
        a, b = open_.pop()
        if b - a < 2:
            continue
        straight = y[a] + (x[a : b + 1] - x[a]) * ((y[b] - y[a]) / (x[b] - x[a]))
        off = np.abs(y[a : b + 1] - straight)
        middle = a + int(off.argmax())
        if off[middle - a] > tolerance:
            kept.add(middle)
            open_ += [(a, middle), (middle, b)]
    return np.array(sorted(kept), dtype=np.intp)


def find_outputs(directory: Path, prefix: str | None = None) -> RunOutputs:
    """The properties of a run in a folder, and the extras ``energy_…`` and ``error_…`` of the first bead.

    Raises InputError if there is none, or several and no prefix.
    """
    return read_outputs(find_system(directory, prefix))


def read_outputs(system: System) -> RunOutputs:
    """What i-PI recorded of a system; the potential energy is the physical one, without a bias that the forces had.
    Raises InputError."""
    properties = read_properties(system.tables[0])
    notes = list(properties.notes)
    for path in system.tables[1:]:
        properties = _together(properties, read_properties(path))
    extras: dict[str, Extras] = {}
    for path in system.files:
        if _FIRST_BEAD.search(path.name) and _begins_with_energies(path):
            one = extras_of(path)
            extras[one.key] = one
            notes += damage(path, one.damaged)
    series = {key: (one.steps, one.values) for key, one in extras.items()}
    return RunOutputs(system.name, _unbiased(properties, extras), series, system.beads, tuple(notes))


def _unbiased(table: PropertyTable, extras: dict[str, Extras]) -> PropertyTable:
    """The table, its potential less the extra ``energy_bias``; NaN where that was not recorded at the same step."""
    if "energy_bias" not in extras or "potential" not in table.columns or "step" not in table.columns:
        return table
    bias, step = extras["energy_bias"], table.columns["step"]
    place = np.minimum(np.searchsorted(bias.steps, step), len(bias.steps) - 1)
    energies = np.where(bias.steps[place] == step, bias.values[place], math.nan)
    return replace(table, columns=table.columns | {"potential": table.columns["potential"] - energies})


def _together(table: PropertyTable, other: PropertyTable) -> PropertyTable:
    """With the columns of another output of the same system, where it has a row for each of the first one's."""
    if "step" not in table.columns or "step" not in other.columns:
        return table
    step = other.columns["step"]
    place = np.minimum(np.searchsorted(step, table.columns["step"]), len(step) - 1)
    if not np.array_equal(step[place], table.columns["step"]):
        return table
    more = {name: column[place] for name, column in other.columns.items() if name not in table.columns}
    return replace(table, columns=table.columns | more)


def _begins_with_energies(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return _ENERGIES.search(lines.readline(1000)) is not None


def find_frames(directory: Path, prefix: str | None = None) -> Path:
    """The positions that a run of i-PI wrote: of the centroids, or of the first bead. Raises InputError."""
    return frames_of(find_system(directory, prefix))


def frames_of(system: System) -> Path:
    """As `find_frames`, of a system; of several the one called pos, the longest. Raises InputError."""

    def order(path: Path) -> tuple[object, ...]:
        head, rest = system.trajectories[path], path.name.removeprefix(system.start)
        named = rest.startswith(("pos", "x", "_pos"))
        return (
            head.quantity != "x_centroid", head.bead, path.suffix != _ENDINGS[head.format], not named,
            head.format == "pdb", -path.stat().st_size, rest,
        )  # fmt: skip

    paths = [p for p, head in system.trajectories.items() if head.quantity in ("positions", "x_centroid")]
    if paths:
        return min(paths, key=order)
    there = ", ".join(path.name for path in system.files)
    if alike := [path.name for path in system.files if f"{system.start}pos" in path.name]:
        raise InputError(
            f"{system.folder}: {alike[0]} does not begin with a frame as i-PI writes it (a number of atoms, a line "
            "with CELL(abcABC) and Step); mend or cut its first frame"
        )
    raise InputError(
        f"{system.folder}: no positions beside {system.tables[0].name}; expected a trajectory that i-PI wrote (xyz, "
        f"pdb, ase) as {system.start}pos_0.xyz; there is {there}; a trajectory of another name is given by its path"
    )
