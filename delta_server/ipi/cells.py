"""The cells of the frames of i-PI's trajectories, from their comment lines."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..molecule.structures import ipi_cell

_LINE = 4000  # bytes of a comment, at most
_CRYST1 = re.compile(rb"CRYST1(.{9})(.{9})(.{9})(.{7})(.{7})(.{7})")  # of a pdb, behind its title; in Å
_LATTICE = re.compile(rb'Lattice="([^"]*)"')  # of ase's form, in Å


def cells_of(path: Path, begins: IntArray) -> FloatArray:
    """(n, 3, 3) Å, rows are lattice vectors; zeros where neither the comment nor the line behind a pdb's title tells
    one. begins: (n,) where in the file the lines behind the frames' comments begin."""
    from ase.geometry import cellpar_to_cell

    cells = np.zeros((len(begins), 3, 3))
    with path.open("rb") as file:
        for k, begin in enumerate(begins.tolist()):
            start = max(0, begin - _LINE)
            file.seek(start)
            comment = file.read(begin - start).rstrip(b"\n").rpartition(b"\n")[2]
            if crystal := _CRYST1.match(file.read(80)):
                cells[k] = cellpar_to_cell([float(number) for number in crystal.groups()])
            elif (lattice := _LATTICE.search(comment)) is not None:
                cells[k] = np.array(lattice[1].split(), dtype=np.float64).reshape(3, 3)
            elif (cell := ipi_cell(comment.decode("utf-8", "replace"))) is not None:
                cells[k] = cell
    return cells
