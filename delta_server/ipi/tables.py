"""Reading what i-PI wrote: property tables and extras.

i-PI's own `read_trajectory` keeps only the first digit of a step number, and its `read_output` needs i-PI
installed; both formats are a few lines to read.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError

# "# column   2     --> time{picosecond} : …", or "# cols.    4-9   --> cell_abcABC : …" for a vector
_COLUMN = re.compile(r"#\s*(?:column|cols\.)\s+(\d+)(?:-\d+)?\s*-->\s*([^\s{]+)(?:\{(\w+)\})?")
_EXTRAS = re.compile(r"#EXTRAS\((\w[\w\-]*)\)#\s*Step:\s*(\d+)")
# Extras that the analysis asks for; others need be no numbers.
_NUMBERS = re.compile(r"#EXTRAS\((energy|error)_\w[\w\-]*\)#")
_BEAD = re.compile(r"_0+$")  # the first of any number of beads
_FRAMES = ("xc.xyz", "x_centroid.xyz", "pos_0.xyz", "pos_00.xyz", "pos_000.xyz", "xyz")


@dataclass(frozen=True)
class PropertyTable:
    """A property output: columns by name, with i-PI's unit names."""

    path: Path
    columns: dict[str, FloatArray]
    units: dict[str, str]

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self.columns:
            raise InputError(f"{self.path}: no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    def get(self, name: str) -> FloatArray | None:
        return self.columns.get(name)


def read_properties(path: Path) -> PropertyTable:
    """An i-PI property output (``*.out``). A last line that is still being written is left out. Raises InputError."""
    places: dict[str, int] = {}
    units: dict[str, str] = {}
    rows: list[list[float]] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if match := _COLUMN.match(line):
                    places[match[2]] = int(match[1]) - 1
                    units[match[2]] = match[3] or ""
                elif not line.startswith("#") and line.endswith("\n") and line.strip():
                    rows.append([float(value) for value in line.split()])
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{path}: not an i-PI property output (one number a column expected)") from None
    if not places or not rows or len(set(map(len, rows))) > 1 or len(rows[0]) <= max(places.values()):
        raise InputError(f"{path}: not an i-PI property output with at least one row")
    table = np.array(rows)
    columns = {name: table[:, place] for name, place in places.items()}
    if "step" in columns:  # a run that went on from a checkpoint repeats steps: the last of each counts
        last = _last_of_each(columns["step"])
        columns = {name: column[last] for name, column in columns.items()}
    return PropertyTable(path, columns, units)


def _last_of_each(steps: FloatArray) -> IntArray:
    """Where each step stands for the last time, in order of the steps."""
    _, backwards = np.unique(steps[::-1], return_index=True)
    return np.asarray(len(steps) - 1 - backwards, dtype=np.intp)


def read_extras(path: Path) -> tuple[str, FloatArray, FloatArray]:
    """An extras output of one number a step: its key, the steps, the values. Raises InputError."""
    steps: list[int] = []
    values: list[float] = []
    key = ""
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if match := _EXTRAS.search(line):
                    key = match[1]
                    del steps[len(values) :]  # a step whose value was never written
                    steps.append(int(match[2]))
                elif line.strip() and len(values) < len(steps):
                    values.append(float(line))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{path}: not an i-PI extras output of one number a step") from None
    if not values:
        raise InputError(f"{path}: holds no extras")
    at, column = np.array(steps[: len(values)], dtype=float), np.array(values)
    last = _last_of_each(at)
    return key, at[last], column[last]


def _begins_with(path: Path, pattern: re.Pattern[str]) -> bool:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return pattern.search(lines.readline(1000)) is not None


@dataclass(frozen=True)
class RunOutputs:
    """The outputs of one i-PI system: properties, and extras by key as (steps, values)."""

    prefix: str
    properties: PropertyTable
    extras: dict[str, tuple[FloatArray, FloatArray]]

    @property
    def time_per_step(self) -> float:
        """ps; NaN where the run has a single row."""
        step, time = self.properties["step"], self.properties["time"]
        return float((time[-1] - time[0]) / (step[-1] - step[0])) if len(step) > 1 else math.nan

    def along(self, key: str) -> tuple[FloatArray, FloatArray] | None:
        """An extra against time: (ps, values), or None where it was not recorded."""
        if key not in self.extras:
            return None
        steps, values = self.extras[key]
        step, time = self.properties["step"], self.properties["time"]
        return time[0] + (steps - step[0]) * self.time_per_step, values


def systems(directory: Path) -> dict[str, Path]:
    """The property outputs ``PREFIX.out`` of a run's folder by prefix, which for each of several systems in one i-PI
    process begins with the system's. Raises InputError if there is none."""
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder")
    outputs = {path.stem: path for path in directory.glob("*.out") if path.is_file() and _begins_with(path, _COLUMN)}
    if not outputs:
        raise InputError(f"{directory}: no *.out; expected the property output of an i-PI run")
    return dict(sorted(outputs.items(), key=lambda item: natural(item[0])))


def natural(name: str) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them: 10, 50, 100."""
    return [(int(piece), "") if piece.isdigit() else (0, piece) for piece in re.split(r"(\d+)", name)]


def _property_file(directory: Path, prefix: str | None) -> tuple[str, Path]:
    outputs = systems(directory)
    if prefix is None and len(outputs) > 1:
        raise InputError(f"{directory}: several runs, {', '.join(outputs)}; choose one with --prefix")
    if prefix is not None and prefix not in outputs:
        raise InputError(f"{directory}: no {prefix}.out; there is {', '.join(outputs)}")
    name = prefix or next(iter(outputs))
    return name, outputs[name]


def _beside(properties: Path) -> Iterator[tuple[str, Path]]:
    """The other outputs of the same system: what follows the prefix in their names, and their paths."""
    start = properties.name.removesuffix("out")
    for path in sorted(properties.parent.glob(f"{glob.escape(start)}*")):
        yield path.name.removeprefix(start), path


def find_outputs(directory: Path, prefix: str | None = None) -> RunOutputs:
    """The property output of a run's folder (see `systems`) and the extras ``energy_…`` and ``error_…`` beside it, of
    the first bead.

    Raises InputError if there is none, or several and no prefix.
    """
    name, properties = _property_file(directory, prefix)
    extras = {}
    for rest, path in _beside(properties):
        if _BEAD.search(rest) and _begins_with(path, _NUMBERS):
            key, steps, values = read_extras(path)
            extras[key] = (steps, values)
    return RunOutputs(name, read_properties(properties), extras)


def find_frames(directory: Path, prefix: str | None = None) -> Path:
    """The positions that a run of i-PI wrote: of the centroids, or of the first bead. Raises InputError."""
    name, properties = _property_file(directory, prefix)
    beside = dict(_beside(properties))
    for ending in _FRAMES:
        if ending in beside:
            return beside[ending]
    raise InputError(
        f"{directory}: {name} has no trajectory; expected {properties.name.removesuffix('out')}pos_0.xyz"
    )
