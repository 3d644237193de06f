"""Reading the numbers that i-PI wrote: property tables and extras.

A crash leaves what no program wrote: NULs, half a row, half a row with a whole one behind it. Such lines are left out
and their numbers told. i-PI's own `read_output` needs i-PI installed; both formats are a few lines to read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .._types import FloatArray
from ..errors import InputError
from .frames import lasting
from .units import factor

# "# column   2     --> time{picosecond} : …", or "# cols.    4-9   --> cell_h : …" for an array
_COLUMN = re.compile(r"#\s*(?:column|cols\.)\s+(\d+)(?:\s*-\s*(\d+))?\s*-->\s*(.+?)\s*(?:\s:.*)?$")
_UNIT = re.compile(r"\{(.*?)\}")
_SELECTION = re.compile(r"\((.*?)\)")
_EXTRAS = re.compile(r"#EXTRAS(?:_BIAS)?\((\w[\w\-]*)\)#\s*Step:\s*(\d+)")
_HEADER = 2**16  # bytes in which a header names its first column

QUANTITIES = {
    "time": "time",
    **dict.fromkeys(("temperature", "ensemble_temperature"), "temperature"),
    **dict.fromkeys(
        (
            "conserved", "potential", "bead_potentials", "pot_component", "pot_component_raw", "ensemble_bias",
            "spring", "kinetic_md", "kinetic_cv", "kinetic_td", "kinetic_tens", "kinetic_ij", "virial_fq",
            "interaction_energy",
        ),
        "energy",
    ),
    **dict.fromkeys(("cell_h", "r_gyration", "atom_x", "atom_x_path"), "length"),
    "volume": "volume",
}  # fmt: skip
"""Of those properties of i-PI's that are converted, by their names."""


@dataclass(frozen=True)
class PropertyTable:
    """A property output. Columns (n,), or (n, k) of arrays, by the names and selections of i-PI's header, as
    ``temperature`` and ``temperature(O)``: in ps, eV, K, Å and Å³ whatever the header's unit; of other quantities
    (pressures, forces, cell_abcABC) as they stand in the file.

    damaged: the lines, from 1 on, that were left out. unusable: columns in a unit that is none, and the complaint.
    """

    path: Path
    columns: dict[str, FloatArray]
    damaged: tuple[int, ...] = ()
    unusable: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> FloatArray:
        column = self.get(name)
        if column is None:
            raise InputError(f"{self.path}: no column {name!r}; there are {', '.join(self.columns)}")
        return column

    def get(self, name: str) -> FloatArray | None:
        """The column, or None. Raises InputError where its unit is none."""
        if name in self.unusable:
            raise InputError(f"{self.path}: column {name}: {self.unusable[name]}")
        return self.columns.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self.columns or name in self.unusable

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, in a line."""
        return damage(self.path, self.damaged)


def damage(path: Path, lines: tuple[int, ...]) -> tuple[str, ...]:
    """A line on the damaged lines of a file, if it has any."""
    if not lines:
        return ()
    some = ", ".join(map(str, lines[:5])) + (" …" if len(lines) > 5 else "")
    if len(lines) == 1:
        return (f"{path.name}: line {some} is damaged and left out",)
    return (f"{path.name}: {len(lines)} damaged lines are left out ({some})",)


@dataclass(frozen=True)
class _Column:
    """Where a property stands in a row."""

    name: str
    unit: str
    first: int
    last: int


def _header(line: str) -> _Column | None:
    match = _COLUMN.match(line)
    if match is None:
        return None
    what = match[3]
    unit, selection = _UNIT.search(what), _SELECTION.search(what)
    name = re.split(r"[({]", what)[0].strip()
    if selection is not None and selection[1].strip():
        name += f"({selection[1].strip()})"
    first = int(match[1]) - 1
    return _Column(name, unit[1] if unit else "", first, int(match[2] or match[1]) - 1)


def is_table(path: Path) -> bool:
    """Whether a file begins as a property output of i-PI's."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER).decode("utf-8", "replace")
    except OSError:
        return False
    lines = (line for line in head.splitlines() if line.startswith("#"))
    return head.startswith("#") and any(_COLUMN.match(line) for line in lines)


def read_properties(path: Path) -> PropertyTable:
    """An i-PI property output. Of a step that a resumed run repeated, the last row counts. A last line that is still
    being written is left out. Raises InputError."""
    places: dict[str, _Column] = {}
    rows: list[list[float]] = []
    numbers: list[int] = []
    damaged: list[int] = []
    for number, line in _lines(path):
        if line.startswith("#"):
            column = _header(line)
            if column is not None and rows and places.get(column.name) != column:
                raise InputError(
                    f"{path}: the header in line {number} is another than the first one; give each part a file"
                )
            if column is not None:
                places.setdefault(column.name, column)
        elif line.endswith("\n") and line.strip():
            try:
                rows.append([float(value) for value in line.split()])
                numbers.append(number)
            except ValueError:
                damaged.append(number)
    if not places or not rows:
        raise InputError(f"{path}: not an i-PI property output with at least one row of numbers")
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if width <= max(column.last for column in places.values()):
        raise InputError(f"{path}: not an i-PI property output: its rows are shorter than its header says")
    damaged += [number for row, number in zip(rows, numbers, strict=True) if len(row) != width]
    table = np.array([row for row in rows if len(row) == width])
    if "step" in places:
        table = table[lasting(table[:, places["step"].first])]
    columns: dict[str, FloatArray] = {}
    unusable: dict[str, str] = {}
    for name, column in places.items():
        values = table[:, column.first : column.last + 1]
        quantity = QUANTITIES.get(re.split(r"\(", name)[0])
        try:
            scale = 1.0 if quantity is None else factor(quantity, column.unit)
        except ValueError as error:
            unusable[name] = str(error)
            continue
        columns[name] = scale * (values[:, 0] if column.first == column.last else values)
    return PropertyTable(path, columns, tuple(sorted(damaged)), unusable)


@dataclass(frozen=True)
class Extras:
    """An output of one number a step: its key, steps (n,) and values (n,); damaged: the lines that were left out."""

    key: str
    steps: FloatArray
    values: FloatArray
    damaged: tuple[int, ...] = ()


def read_extras(path: Path) -> tuple[str, FloatArray, FloatArray]:
    """An extras output of one number a step: its key, the steps, the values. Raises InputError."""
    extras = extras_of(path)
    return extras.key, extras.steps, extras.values


def extras_of(path: Path) -> Extras:
    """As `read_extras`, with what was left out. Raises InputError where not even a tenth of it are numbers."""
    steps: list[int] = []
    values: list[float] = []
    damaged: list[int] = []
    key = ""
    for number, line in _lines(path):
        if match := _EXTRAS.search(line):
            key = match[1]
            del steps[len(values) :]  # a step whose value was never written
            steps.append(int(match[2]))
        elif line.strip() and len(values) < len(steps):
            try:
                values.append(float(line))
            except ValueError:
                damaged.append(number)
                del steps[len(values) :]
    if len(damaged) > 9 * len(values):
        raise InputError(f"{path}: not an i-PI extras output of one number a step")
    if not values:
        raise InputError(f"{path}: holds no extras")
    at, column = np.array(steps[: len(values)], dtype=float), np.array(values)
    last = lasting(at)
    return Extras(key, at[last], column[last], tuple(damaged))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from enumerate(lines, 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
