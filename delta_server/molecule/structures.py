"""Structures: reading them from any format, writing them as xyz."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from io import BufferedReader
from lzma import LZMAError
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._types import FloatArray
from ..errors import InputError
from ..files.whole import write_whole
from ..units import IPI_LENGTHS
from .labels import frames_with_labels
from .lattice import rank

if TYPE_CHECKING:
    from ase import Atoms

_PACKED = 1000  # bytes in one of a compressed file, at most
_CELL = re.compile(r"CELL\(abcABC\):((?:\s+[-+.\deE]+){6})")
_CELL_UNIT = re.compile(r"cell\{(\w+)\}")
_LINE, _COMMENT = 1000, 2**20  # bytes; a line that counts atoms, or says what a frame is, is shorter


def read_structure(path: Path) -> Atoms:
    """First frame of any format that ase reads. Raises InputError."""
    import ase.io
    from ase import Atoms

    file = _regular(path, "structure")
    _refuse_absurd_counts(path, n_frames=2)  # as far as ase looks
    try:
        labelled = frames_with_labels(file)
        atoms = next(labelled) if labelled else ase.io.read(file, index=0, do_not_split_by_at_sign=True)
    except InputError as error:
        raise InputError(f"{path}: cannot read a structure from it: {error}") from None
    except Exception as error:  # ase's readers raise whatever their format makes them trip over
        raise InputError(f"{path}: ase cannot read a structure from it: {_line(error)}") from None
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise InputError(f"{path}: holds no atoms")
    if _is_ipi(atoms):
        atoms = _from_ipi(atoms, next(_comments(path)), path)
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"{path}: holds positions that are not finite")
    return atoms


def write_structure(path: Path, atoms: Atoms, periodic: bool = False) -> None:
    """Elements and positions as xyz that i-PI starts from too: it wants a cell and units in the comment line.

    periodic: with the atoms' own cell, turned so that its first vector is along x and its second in the plane of xy,
    as i-PI has it; otherwise one of 100 Å. Raises InputError where it cannot be written.
    """
    cell = "100 100 100 90 90 90"
    if periodic:
        if rank(atoms.cell.array) < 3:
            found = atoms.cell.array.tolist()
            raise InputError(f"{path}: expected a cell of three independent vectors, found {found}")
        atoms = atoms.copy()
        cell = " ".join(f"{number:.10f}" for number in atoms.cell.cellpar())
        atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    lines = [str(len(atoms)), f"# CELL(abcABC): {cell} cell{{angstrom}} positions{{angstrom}}"]
    for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True):
        lines.append(f"{symbol:2} {x:16.10f} {y:16.10f} {z:16.10f}")
    write_whole(path, "\n".join(lines) + "\n")


def _regular(path: Path, what: str) -> Path:
    """The path, if it is a file's: ase would wait for a pipe, or take ``-`` for the standard input."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'is no regular file' if path.exists() else f'no such {what}'}")
    except OSError as error:  # a name that is too long
        raise InputError(f"{path}: {error.strerror}") from None
    return path.absolute()


def _refuse_absurd_counts(path: Path, n_frames: float = inf) -> None:
    """Raise InputError where a frame of an xyz file claims more atoms, or columns, than the file has bytes for: ase
    would look for each of them. A file that does not begin with a number is of another format."""
    from ase.io.formats import open_with_compression

    size, frame = path.stat().st_size, 0
    try:
        with open_with_compression(str(path), "rb") as file:
            most = size // 2 * (1 if isinstance(file, BufferedReader) else _PACKED)
            while (count := _whole_number(file.readline(_LINE))) is not None:
                comment = file.readline(_COMMENT)
                columns = [int(n) for n in re.findall(rb":[A-Z]:(\d{1,20})", comment)]
                for claimed, what in ((count, "atoms"), (max(columns, default=0), "columns")):
                    if claimed > most:
                        raise InputError(
                            f"{path}: frame {frame} claims {str(claimed)[:20]} {what}, the file has {size} bytes"
                        )
                frame += 1
                if frame == n_frames or not comment or not all(file.readline() for _ in range(count)):
                    return
    except (OSError, EOFError, zlib.error, LZMAError) as error:
        raise InputError(f"{path}: cannot be read: {_line(error)}") from None


def _whole_number(line: bytes) -> int | None:
    try:
        return int(line)
    except ValueError:
        return None


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def iter_structures(path: Path) -> Iterator[Atoms]:
    """Frames of any trajectory that ase reads, one at a time, in Å. Raises InputError.

    i-PI's own xyz files say their units and their cell in the comment line (``positions{atomic_unit}``), which ase
    does not know: here they count. i-PI wraps no positions, so that no direction is said to be periodic.
    """
    import ase.io

    file = _regular(path, "file")
    _refuse_absurd_counts(path)
    frames = frames_with_labels(file) or ase.io.iread(file, do_not_split_by_at_sign=True)
    comments: Iterator[str] | None = None
    number = 0
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            break
        except InputError as error:
            raise InputError(f"{path}: frame {number}: {error}") from None
        except Exception as error:  # as in read_structure
            if isinstance(error.__cause__, StopIteration):  # what a generator makes of lines that end too early
                raise InputError(f"{path}: the file ends within frame {number}") from None
            raise InputError(f"{path}: ase cannot read frame {number}: {_line(error)}") from None
        energy = None if atoms.calc is None else atoms.calc.results.get("energy")
        if isinstance(energy, str):
            raise InputError(f"{path}: frame {number}: energy is {energy[:80]!r}, expected a number")
        if number == 0 and _is_ipi(atoms):
            comments = _comments(path)
        comment = None if comments is None else next(comments, "")
        number += 1
        yield _from_ipi(atoms, comment or "", path) if _is_ipi(atoms) else atoms
    if not number:
        raise InputError(f"{path}: holds no frames")


def ipi_cell(comment: str) -> FloatArray | None:
    """The cell (3, 3) in Å, rows are its vectors, that a comment line of i-PI's tells; None where it tells none."""
    parameters, unit = _CELL.search(comment), _CELL_UNIT.search(comment)
    scale = IPI_LENGTHS.get(unit[1]) if unit else None
    vectors = _cell_vectors(parameters[1]) if parameters and scale else None
    return None if vectors is None or scale is None else scale * vectors


@lru_cache(maxsize=8)
def _cell_vectors(parameters: str) -> FloatArray | None:
    """Of three lengths and three angles, in the unit of the lengths. Most runs have one cell all along."""
    from ase.geometry import cellpar_to_cell

    try:
        with np.errstate(all="ignore"):
            vectors = np.asarray(cellpar_to_cell([float(number) for number in parameters.split()]))
    except (ValueError, AssertionError):  # numbers that are none, angles that no cell has
        return None
    return vectors if np.isfinite(vectors).all() else None


def _is_ipi(atoms: Atoms) -> bool:
    return "CELL(abcABC):" in atoms.info


def _comments(path: Path) -> Iterator[str]:
    """The comment lines of an xyz file."""
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as file:
        while (count := _whole_number(file.readline(_LINE))) is not None:
            yield file.readline(_COMMENT).decode("utf-8", "replace")
            for _ in range(count):
                file.readline()


def _from_ipi(atoms: Atoms, comment: str, path: Path) -> Atoms:
    """A frame of i-PI's xyz without the debris of its comment line, in Å, in the cell that the line tells."""
    quantities = ("positions", "x_centroid")
    labels = [key for key in atoms.info if key.startswith(quantities)]
    unit = labels[0].removeprefix("positions").removeprefix("x_centroid") if labels else "angstrom"
    if unit not in IPI_LENGTHS:
        raise InputError(f"{path}: positions in {unit!r}; expected one of {', '.join(IPI_LENGTHS)}")
    clean: Atoms = atoms.copy()
    clean.info = {}
    clean.positions *= IPI_LENGTHS[unit]
    if (cell := ipi_cell(comment)) is not None:
        clean.cell = cell
    return clean
