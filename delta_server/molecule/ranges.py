"""Atoms as half-open ranges, as manifests and options have them: "0:3,7:9"."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from ..files.documents import short

MAX_ATOMS = 100_000


def parse_atoms(value: Any) -> tuple[int, ...]:
    """Atoms from half-open ranges, ``"0:3,7:9"`` → 0 1 2 7 8, or from a list; order is kept.

    Raises ValueError on anything else, on an empty set and on an atom named twice.
    """
    said = f"atoms {short(value)}"
    if isinstance(value, str):
        atoms: list[int] = []
        for piece in value.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?::\s*([0-9]{1,9})\s*)?", piece)
            if match is None:
                raise ValueError(f'{said}: expected ranges like "0:3,7:9", found {short(piece.strip())}')
            first = int(match[1])
            last = int(match[2]) if match[2] else first + 1
            if last <= first:
                raise ValueError(f"{said}: range {piece.strip()!r} is empty: its end is not included")
            if last + len(atoms) > MAX_ATOMS:
                raise ValueError(f"{said}: more than {MAX_ATOMS} atoms")
            atoms.extend(range(first, last))
    elif isinstance(value, int) and not isinstance(value, bool):
        atoms = [value]
    elif isinstance(value, list | tuple) and all(isinstance(a, int) and not isinstance(a, bool) for a in value):
        atoms = list(value)
    else:
        raise ValueError(f'atoms: expected ranges like "0:3,7:9" or a list of integers, found {short(value)}')
    if not atoms or min(atoms) < 0:
        raise ValueError(f"{said}: expected at least one atom, counted from 0")
    if max(atoms) >= MAX_ATOMS:
        raise ValueError(f"{said}: more than {MAX_ATOMS} atoms")
    if len(set(atoms)) < len(atoms):
        twice = next(atom for atom, times in Counter(atoms).items() if times > 1)
        raise ValueError(f"{said}: atom {twice} appears twice")
    return tuple(atoms)


def format_atoms(atoms: tuple[int, ...]) -> str:
    """The inverse of `parse_atoms`: (0, 1, 2, 7) → "0:3,7"."""
    pieces: list[list[int]] = []
    for atom in atoms:
        if pieces and atom == pieces[-1][1]:
            pieces[-1][1] = atom + 1
        else:
            pieces.append([atom, atom + 1])
    return ",".join(f"{a}:{b}" if b > a + 1 else str(a) for a, b in pieces)
