"""Whether positions can be those of a given molecule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import GeometryError
from ..units import BOHR
from .bonds import bonds_within, symbols

# A bond of the first geometry may be this much shorter or longer than in the structure. Quantum beads and
# 1000 K stay well inside; a wrong unit (1.89, 0.53) and a wrong order (H O H for O H H: 1.58) do not.
_SHORTEST, _LONGEST = 0.6, 1.45


@dataclass(frozen=True)
class Likeness:
    """Whether positions can be the molecule of a reference structure: no bond far off, no atoms on top of
    each other."""

    numbers: IntArray
    reference: FloatArray  # (N, 3) Å
    bonds: IntArray  # (n, 2)

    @classmethod
    def of(cls, numbers: IntArray, reference: FloatArray, fragments: Sequence[IntArray]) -> Likeness:
        """Bonds are looked for within each fragment: what is between them may come and go."""
        return cls(numbers, reference, bonds_within(numbers, reference, fragments))

    def check(self, positions: FloatArray, source: str) -> None:
        """positions: (N, 3) in Å. Raises GeometryError that names the worst bond and the likely cause."""
        finite = np.isfinite(positions).all(1)
        if not finite.all():
            raise GeometryError(f"{source}: the position of atom {int(finite.argmin())} is not finite")
        label = [f"{s}{i}" for i, s in enumerate(symbols(self.numbers))]
        row, col = np.tril_indices(len(self.numbers), -1)
        distance = np.linalg.norm(positions[row] - positions[col], axis=1)
        if len(distance) and distance.min() < 0.3:
            i, j = col[distance.argmin()], row[distance.argmin()]
            raise GeometryError(
                f"{source}: atoms {label[i]} and {label[j]} are {distance.min():.3f} Å apart; this cannot be the "
                "molecule of the manifest: check the unit and the order of atoms"
            )
        if not len(self.bonds):
            return
        i, j = self.bonds.T
        expected = np.linalg.norm(self.reference[i] - self.reference[j], axis=1)
        lengths = np.linalg.norm(positions[i] - positions[j], axis=1)
        ratio = lengths / expected
        if (ratio > _SHORTEST).all() and (ratio < _LONGEST).all():
            return
        worst = int(np.abs(np.log(ratio)).argmax())
        raise GeometryError(
            f"{source}: bond {label[i[worst]]}–{label[j[worst]]} is {lengths[worst]:.2f} Å, the manifest's structure "
            f"has {expected[worst]:.2f} Å: {_cause(ratio)}"
        )


def _cause(ratio: FloatArray) -> str:
    typical = float(np.median(ratio))
    if abs(typical * BOHR - 1) < 0.1 and ratio.std() < 0.1 * typical:
        return "all bonds are 1.89 times too long: bohr were given where Å were meant"
    if abs(typical / BOHR - 1) < 0.1 and ratio.std() < 0.1 * typical:
        return (
            "all bonds are 0.53 times too short: Å were read as bohr (for i-PI: units='angstrom' in <file>, or "
            "positions{angstrom} in the comment line)"
        )
    off = int(((ratio <= _SHORTEST) | (ratio >= _LONGEST)).sum())
    return (
        f"{off} of {len(ratio)} bonds are off: another order of atoms, another molecule, or a molecule cut by "
        "periodic wrapping (for i-PI: pbc='False' in <ffsocket>)"
    )
