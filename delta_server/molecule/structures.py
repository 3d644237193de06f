"""Structures: reading them from any format, writing them as xyz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..files.whole import write_whole
from ..units import IPI_LENGTHS
from .labels import frames_with_labels

if TYPE_CHECKING:
    from ase import Atoms


def read_structure(path: Path) -> Atoms:
    """First frame of any format that ase reads. Raises InputError."""
    import ase.io
    from ase import Atoms

    try:
        file = _regular(path, "structure")
        labelled = frames_with_labels(file)
        atoms = next(labelled) if labelled else ase.io.read(file, index=0, do_not_split_by_at_sign=True)
    except InputError:
        raise
    except Exception as error:  # ase's readers raise whatever their format makes them trip over
        raise InputError(f"{path}: ase cannot read a structure from it: {_line(error)}") from None
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise InputError(f"{path}: holds no atoms")
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"{path}: holds positions that are not finite")
    return atoms


def write_structure(path: Path, atoms: Atoms) -> None:
    """Elements and positions as xyz that i-PI starts from too: it wants a cell and units in the comment line.

    Raises InputError where it cannot be written.
    """
    lines = [str(len(atoms)), "# CELL(abcABC): 100 100 100 90 90 90 cell{angstrom} positions{angstrom}"]
    for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True):
        lines.append(f"{symbol:2} {x:16.10f} {y:16.10f} {z:16.10f}")
    write_whole(path, "\n".join(lines) + "\n")


def _regular(path: Path, what: str) -> Path:
    """The path, if it is a file's: ase would wait for a pipe, or take ``-`` for the standard input."""
    if not path.is_file():
        raise InputError(f"{path}: {'is no regular file' if path.exists() else f'no such {what}'}")
    return path.absolute()


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def iter_structures(path: Path) -> Iterator[Atoms]:
    """Frames of any trajectory that ase reads, one at a time, in Å. Raises InputError.

    i-PI's own xyz files say their unit in the comment line (``positions{atomic_unit}``), which ase does not know:
    here it counts.
    """
    import ase.io

    file = _regular(path, "file")
    frames = frames_with_labels(file) or ase.io.iread(file, do_not_split_by_at_sign=True)
    number = 0
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            break
        except InputError as error:
            raise InputError(f"{path}: frame {number}: {error}") from None
        except Exception as error:  # as in read_structure
            raise InputError(f"{path}: ase cannot read frame {number}: {_line(error)}") from None
        number += 1
        yield _from_ipi(atoms, path) if "CELL(abcABC):" in atoms.info else atoms
    if not number:
        raise InputError(f"{path}: holds no frames")


def _from_ipi(atoms: Atoms, path: Path) -> Atoms:
    """A frame of i-PI's xyz without the debris of its comment line, scaled to Å."""
    quantities = ("positions", "x_centroid")
    labels = [key for key in atoms.info if key.startswith(quantities)]
    unit = labels[0].removeprefix("positions").removeprefix("x_centroid") if labels else "angstrom"
    if unit not in IPI_LENGTHS:
        raise InputError(f"{path}: positions in {unit!r}; expected one of {', '.join(IPI_LENGTHS)}")
    clean: Atoms = atoms.copy()
    clean.info = {}
    clean.positions *= IPI_LENGTHS[unit]
    return clean
