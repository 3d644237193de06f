"""Dispersion between the molecules of a complex or of an assembly: that of DFT-D4, with constant coefficients.

terms:
  - kind: dispersion
    name: dispersion
    options:
      kinds: {benzene: [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]}  # of each molecule's atoms, in its order
      c6: [[32.3, 7.50], [7.50, 1.75]]                         # Hartree bohr⁶, between kinds
      c6_neutral: [[29.5, 9.49], [9.49, 3.06]]                 # of the triples, which D4 takes without charges
      r4r2: [3.105, 2.007]                                     # bohr; C8 = 3 C6 r4r2 r4r2
      damping: {s6: 1.0, s8: 2.7, s9: 5.0, a1: 0.52, a2: 5.0}  # a2 in bohr
      cutoff: 20.0                                             # Å, of pairs of atoms
      cutoff_of_triples: 9.0                                   # Å, of each side of a triple

In D4 coefficients follow from coordination numbers and charges at each geometry. Molecules that do not react hardly
change them, and without those derivatives pairs and triples take a thousandth of the time. What lies within one
molecule is the molecule's own. In an assembly with `periodic: true` the sums go over all images, and what lies
beyond the cut-offs is a constant that goes with the density.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from .._types import FloatArray, IntArray
from ..errors import ManifestError
from ..files.documents import Strict, first_error
from ..manifest import Manifest, Name, TermEntry
from ..units import BOHR, HARTREE
from .base import Contribution, Frames, Side
from .dispersion_sums import Coefficients, dispersion_sums

Scale = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Cutoff = Annotated[float, Field(ge=3, le=60, allow_inf_nan=False)]
ShortCutoff = Annotated[float, Field(ge=3, le=15, allow_inf_nan=False)]  # triples grow as its sixth power
Kind = Annotated[int, Field(strict=True, ge=0)]

_FARTHER = 1.5  # cut-offs for the tail
MOST_KINDS = 64  # kinds of atoms


class Damping(Strict):
    """Parameters of DFT-D4's rational damping and its triples, of a functional; a2 in bohr."""

    s6: Scale = 1.0
    s8: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]  # negative for some functionals
    s9: Scale = 1.0
    a1: Scale
    a2: Scale


class DispersionOptions(Strict):
    """The options of a term of the kind ``dispersion``; atomic units, cut-offs in Å."""

    kinds: dict[Name, Annotated[list[Kind], Field(min_length=1)]] = Field(min_length=1)
    c6: list[list[Positive]] = Field(min_length=1, max_length=MOST_KINDS)
    c6_neutral: list[list[Positive]]
    r4r2: list[Positive]
    damping: Damping
    cutoff: Cutoff = 20.0
    cutoff_of_triples: ShortCutoff = 9.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        count = len(self.c6)
        for name in ("c6", "c6_neutral"):
            matrix = getattr(self, name)
            if [len(row) for row in matrix] != [count] * count or not np.allclose(matrix, np.transpose(matrix)):
                raise ValueError(f"{name}: expected a symmetric matrix of {count} kinds")
        if len(self.r4r2) != count:
            raise ValueError(f"r4r2: expected {count} numbers, one of each kind, found {len(self.r4r2)}")
        if (largest := max(map(max, self.kinds.values()))) >= count:
            raise ValueError(f"kinds: kind {largest}, but c6 has those from 0 to {count - 1}")
        return self

    @property
    def coefficients(self) -> Coefficients:
        """In Å and eV, scaled as the damping says."""
        known, c6, neutral = self.damping, np.array(self.c6), np.sqrt(self.c6_neutral)
        ratio = 3 * np.outer(self.r4r2, self.r4r2)
        c9 = neutral[:, :, None] * neutral[:, None, :] * neutral[None, :, :]
        return Coefficients(
            known.s6 * c6 * HARTREE * BOHR**6,
            known.s8 * ratio * c6 * HARTREE * BOHR**8,
            (known.a1 * np.sqrt(ratio) + known.a2) * BOHR,
            known.s9 * c9 * HARTREE * BOHR**9,
        )


class Tail(NamedTuple):
    """What pairs and triples beyond the cut-offs have (eV) in a cell of a volume (Å³)."""

    volume: float
    pairs: float
    triples: float

    def at(self, cell: FloatArray) -> tuple[float, float]:
        """Energy, and each of the virial's diagonal elements (eV), in a cell (3, 3)."""
        denser = self.volume / abs(float(np.linalg.det(cell)))
        pairs, triples = self.pairs * denser, self.triples * denser**2
        return pairs + triples, pairs + 2 * triples


@dataclass(frozen=True, eq=False)
class DispersionTerm:
    """sites (1, n): the atoms of all molecules; molecule, kind: (n,) of each. cutoffs: Å, of pairs and triples.
    periodic: whether frames' cells repeat them. tail: see `with_tail`."""

    name: str
    sites: IntArray
    molecule: IntArray
    kind: IntArray
    coefficients: Coefficients
    cutoffs: tuple[float, float]
    periodic: bool = False
    tail: Tail | None = None
    part: ClassVar[Side] = "binding"

    @classmethod
    def of(
        cls,
        name: str,
        options: DispersionOptions,
        molecules: Mapping[str, Sequence[IntArray] | IntArray],
        periodic: bool = False,
    ) -> Self:
        """molecules: the atoms of each, by the names that `kinds` has."""
        placed = [(atoms, options.kinds[species]) for species in options.kinds for atoms in molecules[species]]
        sites = np.concatenate([atoms for atoms, _ in placed]).astype(np.intp)
        molecule = np.repeat(np.arange(len(placed)), [len(atoms) for atoms, _ in placed])
        kind = np.concatenate([kinds for _, kinds in placed])
        cutoffs = options.cutoff, options.cutoff_of_triples
        return cls(name, sites[None], molecule, kind, options.coefficients, cutoffs, periodic)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def evaluate(self, frames: Frames) -> Contribution:
        """See `Term`. Molecules are whole, as `Potential` has them."""
        x = frames.positions[:, self.sites[0]]
        energies, forces, virials = np.empty(len(x)), np.empty(x.shape), np.empty((len(x), 3, 3))
        for f, positions in enumerate(x):
            cell = frames.cells[f] if self.periodic and frames.cells is not None and frames.cells[f].any() else None
            energies[f], forces[f], virials[f] = self._sums(positions, cell, self.cutoffs)
            if cell is not None and self.tail is not None:
                energy, virial = self.tail.at(cell)
                energies[f] += energy
                virials[f] += virial * np.eye(3)
        return Contribution(energies[:, None], forces[:, None], virials[:, None])

    def _sums(
        self, x: FloatArray, cell: FloatArray | None, cutoffs: tuple[float, float]
    ) -> tuple[float, FloatArray, FloatArray]:
        return dispersion_sums(x, cell, self.molecule, self.kind, self.coefficients, cutoffs)

    def with_tail(self, x: FloatArray, cell: FloatArray) -> Self:
        """The term with what lies beyond its cut-offs in a structure (N, 3), Å, in its cell: taken for a constant,
        which goes with the density (of triples with its square). It is what half as much again has more; of pairs,
        which go as R⁻³, with what is left beyond that."""
        x = x[self.sites[0]]
        near, (pairs, triples) = self._sums(x, cell, self.cutoffs)[0], self.cutoffs
        pairs_left = (self._sums(x, cell, (_FARTHER * pairs, triples))[0] - near) / (1 - _FARTHER**-3)
        triples_left = self._sums(x, cell, (pairs, _FARTHER * triples))[0] - near
        return replace(self, tail=Tail(abs(float(np.linalg.det(cell))), pairs_left, triples_left))

    def expected_error(self, frames: Frames) -> FloatArray:
        """See `Term`. None is to be expected: models learn what it leaves."""
        return np.zeros((len(frames.positions), 1))


def dispersion_of(
    manifest: Manifest, entry: TermEntry, molecules: Mapping[str, Sequence[IntArray] | IntArray]
) -> DispersionTerm:
    """The term of an entry; molecules: the atoms of each, by fragment or species.

    Raises ManifestError where its kinds are not those of fragments or species.
    """
    where = f"{manifest.path}: term {entry.name!r}"
    if len([other for other in manifest.terms if other.kind == entry.kind]) > 1:
        raise ManifestError(
            f"{where}: there are several terms of dispersion; expected one, it is between all molecules"
        )
    if (entry.part, entry.over) != ("binding", None):
        raise ManifestError(f"{where}: dispersion is between molecules; it takes neither `part` nor `over`")
    try:
        options = DispersionOptions.model_validate(entry.options)
    except ValidationError as error:
        raise ManifestError(f"{where}: options: {first_error(error)}") from None
    if left_out := [name for name in molecules if name not in options.kinds]:
        raise ManifestError(f"{where}: kinds: none for {', '.join(left_out)}; expected those of every molecule")
    for name, kinds in options.kinds.items():
        if name not in molecules:
            raise ManifestError(f"{where}: kinds of {name!r}: there are only {', '.join(molecules)}")
        if len(kinds) != len(molecules[name][0]):
            raise ManifestError(f"{where}: kinds of {name!r}: {len(kinds)} for {len(molecules[name][0])} atoms")
    return DispersionTerm.of(entry.name, options, molecules, bool(manifest.periodic))
