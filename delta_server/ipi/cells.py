"""The cells of the frames of i-PI's trajectories, from their comment lines."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..units import IPI_LENGTHS

_LINE = 4000  # bytes of a comment, at most
_CELL = re.compile(rb"CELL\(abcABC\):((?:\s+[-+.\deE]+){6})")
_UNIT = re.compile(rb"cell\{(\w+)\}")


def cells_of(path: Path, begins: IntArray) -> FloatArray:
    """(n, 3, 3) Å, rows are lattice vectors; zeros where the comment tells none. begins: (n,) where in the file the
    lines of the frames' atoms begin, behind the comment."""
    from ase.geometry import cellpar_to_cell

    cells = np.zeros((len(begins), 3, 3))
    known: dict[bytes, FloatArray] = {}
    with path.open("rb") as file:
        for k, begin in enumerate(begins.tolist()):
            start = max(0, begin - _LINE)
            file.seek(start)
            comment = file.read(begin - start).rstrip(b"\n").rpartition(b"\n")[2]
            cell, unit = _CELL.search(comment), _UNIT.search(comment)
            scale = IPI_LENGTHS.get(unit[1].decode()) if unit else None
            if cell is None or scale is None:
                continue
            if cell[1] not in known:
                *lengths, a, b, c = map(float, cell[1].split())
                known = {cell[1]: scale * np.asarray(cellpar_to_cell([*lengths, a, b, c]))}
            cells[k] = known[cell[1]]
    return cells
