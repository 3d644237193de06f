"""Electrostatics between the molecules of a complex: point charges on their atoms.

    E_b(X) = k Σ_{a<b} Σ_{i∈a, j∈b} q_i q_j / r_ij

terms:
  - kind: electrostatics
    name: electrostatics
    options:
      charges: {water: [-0.7, 0.35, 0.35], sodium: [1.0]}   # e, of each fragment, in the order of its atoms

What lies between charges of one molecule is the molecule's own. Molecules are isolated: a cell changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, ValidationError

from .._types import FloatArray, IntArray
from ..errors import ManifestError
from ..files.documents import Strict, first_error
from ..manifest import Manifest, Name, TermEntry
from ..units import COULOMB
from .base import Contribution, Frames, Side

Charge = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-100, le=100)]


class ElectrostaticsOptions(Strict):
    """The options of a term of the kind ``electrostatics``: the charges (e) of the atoms of two fragments or more."""

    charges: dict[Name, list[Charge]] = Field(min_length=2)


@dataclass(frozen=True, eq=False)
class ElectrostaticsTerm:
    """charges: of each molecule; sites (1, n): the atoms of all, one molecule after the other."""

    name: str
    sites: IntArray
    charges: tuple[FloatArray, ...]
    part: ClassVar[Side] = "binding"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @cached_property
    def _blocks(self) -> list[slice]:
        ends = np.cumsum([len(charges) for charges in self.charges]).tolist()
        return [slice(end - len(charges), end) for end, charges in zip(ends, self.charges, strict=True)]

    def evaluate(self, frames: Frames) -> Contribution:
        """See `Term`."""
        x = frames.positions[:, self.sites[0]]
        energies, forces = np.zeros(len(x)), np.zeros(x.shape)
        for a, b in combinations(range(len(self.charges)), 2):
            here, there = self._blocks[a], self._blocks[b]
            e, f = pull(x[:, here], x[:, there])
            q = COULOMB * self.charges[a][:, None] * self.charges[b]
            energies += (q * e).sum((1, 2))
            f *= q[..., None]
            forces[:, here] += f.sum(2)
            forces[:, there] -= f.sum(1)
        virials = np.einsum("fna,fnb->fab", x - x.mean(1, keepdims=True), forces)
        return Contribution(energies[:, None], forces[:, None], virials[:, None])

    def expected_error(self, frames: Frames) -> FloatArray:
        """See `Term`. None is to be expected: models learn what it leaves."""
        return np.zeros((len(frames.positions), 1))


def pull(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """1/r (F, n, m), Å⁻¹, of atoms (F, n, 3) and (F, m, 3), and what it pulls the first with, (F, n, m, 3), Å⁻²."""
    d = a[:, :, None] - b[:, None]
    inverse = 1 / np.sqrt((d**2).sum(-1))
    d *= inverse[..., None] ** 3
    return inverse, d


def electrostatics_of(manifest: Manifest, entry: TermEntry) -> ElectrostaticsTerm:
    """The term of an entry. Raises ManifestError where its charges are not those of fragments."""
    where = f"{manifest.path}: term {entry.name!r}"
    if (entry.part, entry.over) != ("binding", None):
        raise ManifestError(f"{where}: electrostatics is between fragments; it takes neither `part` nor `over`")
    try:
        charges = ElectrostaticsOptions.model_validate(entry.options).charges
    except ValidationError as error:
        raise ManifestError(f"{where}: options: {first_error(error)}") from None
    fragments = {f.name: f.atoms for f in manifest.fragments}
    for name, values in charges.items():
        if name not in fragments:
            there = ", ".join(fragments) or "none, but species"
            raise ManifestError(f"{where}: charges of {name!r}: no such fragment; there are {there}")
        if len(values) != len(fragments[name]):
            raise ManifestError(f"{where}: charges of {name!r}: {len(values)} for {len(fragments[name])} atoms")
    sites = np.concatenate([fragments[name] for name in charges]).astype(np.intp)
    return ElectrostaticsTerm(entry.name, sites[None], tuple(np.array(q, dtype=float) for q in charges.values()))
