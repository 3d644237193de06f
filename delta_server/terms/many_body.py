"""Terms of an assembly: one body of each species, and pairs and triples of molecules within a cut-off.

    E = Σ_i E_1(x_i) + Σ_{i<j} s(R_ij) E_2(x_i, x_j) + Σ_{i<j<k} s(R_ij + R_ik + R_jk) E_3(x_i, x_j, x_k)

R are distances of centres of mass, s goes from 1 to 0 over the last part of the cut-off with two continuous
derivatives, and its own derivative is part of forces and virial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from ..gdml.model import Model
from ..gdml.predictor import Predictor
from ..gdml.uncertainty import ErrorLimits, Uncertainty
from .base import Contribution, Frames, Side, Term
from .many_body_search import Nmers, pairs, triples, wide_enough
from .sgdml import as_slice, uncertainty_of
from .switch import Switch

_TOGETHER = 2**15  # n-mers in one prediction, at most


@dataclass(frozen=True, eq=False)
class SpeciesTerm:
    """All molecules of one species, which are the copies of a term, told as one: ``1_<species>``."""

    molecules: Term
    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def part(self) -> Side:
        return self.molecules.part

    @cached_property
    def sites(self) -> IntArray:
        return self.molecules.sites.reshape(1, -1)

    def evaluate(self, frames: Frames) -> Contribution:
        """See `Term`."""
        energies, forces, virials, _ = self.molecules.evaluate(frames)
        forces = forces.reshape(len(forces), 1, -1, 3)
        return Contribution(energies.sum(1)[:, None], forces, virials.sum(1)[:, None])

    def expected_error(self, frames: Frames) -> FloatArray | None:
        """See `Term`; of the molecule that is known least."""
        errors = self.molecules.expected_error(frames)
        return None if errors is None else errors.max(1, keepdims=True)

    @property
    def n_known(self) -> int:
        """Atoms that an expected error is of: a molecule's."""
        return int(self.molecules.sites.shape[1])

    @property
    def error_limits(self) -> ErrorLimits | None:
        """Which expected errors are usual for the model of a molecule; None where they are not known."""
        return getattr(self.molecules, "error_limits", None)


@dataclass(frozen=True, eq=False)
class ManyBodyTerm:
    """A model of pairs or triples of molecules, for all that are within its cut-off. The model has to know that equal
    molecules can be exchanged, for their order in an n-mer is that of their numbers.

    species: for each place in the model, the atoms (M, n) of the molecules that can stand there; the same array for
    equal species. periodic: whether frames' cells repeat them; a frame without a cell is a cluster. load: as in
    `SgdmlTerm`.
    """

    name: str
    species: tuple[IntArray, ...]
    numbers: IntArray
    predictor: Predictor
    switch: Switch
    periodic: bool
    part: Side = "binding"
    load: Callable[[], Model] | None = field(default=None, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @cached_property
    def sites(self) -> IntArray:
        """(1, n) the atoms of all molecules, species after species."""
        return np.concatenate([atoms.reshape(-1) for atoms in self._kinds])[None]

    @cached_property
    def _kinds(self) -> list[IntArray]:
        """The different species, in the order in which they first stand in the model."""
        return [self.species[places[0]] for places in self._places]

    @cached_property
    def _places(self) -> list[list[int]]:
        """The model's places of each of them."""
        different: dict[int, list[int]] = {}
        for place, atoms in enumerate(self.species):
            different.setdefault(id(atoms), []).append(place)
        return list(different.values())

    @cached_property
    def _pattern(self) -> IntArray:
        """(order,) which species the members of an n-mer are of, by their numbers."""
        return np.repeat(np.arange(len(self._kinds)), [len(places) for places in self._places])

    @cached_property
    def _layout(self) -> _Layout:
        return _Layout.of(self._kinds, self.numbers)

    @property
    def reach(self) -> float:
        """Å: the farthest that two molecules of an n-mer can be apart."""
        return self.switch.cutoff / (1 if len(self.species) == 2 else 2)

    def check_cell(self, cell: FloatArray) -> None:
        """Raise GeometryError where a cell (3, 3), Å, is too small for the cut-off, with the size that is needed."""
        if self.periodic:
            wide_enough(cell, self.reach, self.name)

    def evaluate(self, frames: Frames) -> Contribution:
        """See `Term`. Raises GeometryError for a cell that is too small for the cut-off."""
        positions = frames.positions[:, self._where]
        count = len(positions)
        total = _Sums(np.zeros(count), np.zeros(positions.shape), np.zeros((count, 3, 3)))
        for batch in self._batches(positions, frames.cells):
            self._add(positions, batch, total)
        return Contribution(total.energy[:, None], total.forces[:, None], total.virial[:, None])

    def _batches(self, positions: FloatArray, cells: FloatArray | None) -> Iterator[list[tuple[int, Nmers]]]:
        """The n-mers of all frames, with their frames' numbers, as many at once as memory should hold."""
        batch: list[tuple[int, Nmers]] = []
        size = 0
        for f, x in enumerate(positions):
            nmers = self._nmers(x, None if cells is None else cells[f])
            for start in range(0, len(nmers.members), _TOGETHER):
                part = nmers.take(slice(start, start + _TOGETHER))
                batch.append((f, part))
                size += len(part.members)
                if size >= _TOGETHER:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    @cached_property
    def _where(self) -> IntArray | slice:
        return as_slice(self.sites[0])

    def _nmers(self, x: FloatArray, cell: FloatArray | None) -> Nmers:
        """Those of one frame (n, 3), within the cut-off and of the right species."""
        lattice = None if cell is None or not self.periodic else wide_enough(cell, self.reach, self.name)
        kind, pattern = self._layout.kind, self._pattern
        near = pairs(self._layout.centres(x), lattice, self.reach)
        if len(self._kinds) > 1:
            first, second = kind[near.members].T
            right = (first == pattern[0]) & (np.isin(second, pattern[1:]))
            near = near.take(right)
        if len(pattern) == 2:
            return near
        found = triples(near, self.switch.cutoff)
        if len(self._kinds) > 1:
            right = (kind[found.members] == pattern).all(1)
            found = found.take(right)
        return found

    def _add(self, positions: FloatArray, batch: Sequence[tuple[int, Nmers]], total: _Sums) -> None:
        """Add what some n-mers give, all in one prediction; each frame's by themselves, so that no bit depends on the
        others."""
        indices = [self._atoms(part) for _, part in batch]
        energies, forces, virials = self.predictor.predict(self._geometries(positions, batch, indices))
        start = 0
        for (f, part), atoms in zip(batch, indices, strict=True):
            mine = slice(start, start + len(atoms))
            start = mine.stop
            total.add(f, self._layout, self.switch, part, atoms, energies[mine], forces[mine], virials[mine])

    def _geometries(
        self, positions: FloatArray, batch: Sequence[tuple[int, Nmers]], indices: Sequence[IntArray]
    ) -> FloatArray:
        """(B, n, 3) Å of n-mers of frames, with their atoms as `_atoms` has them."""
        return np.concatenate(
            [
                positions[f][atoms] + np.repeat(part.shifts[:, self._order], self._sizes, axis=1)
                for (f, part), atoms in zip(batch, indices, strict=True)
            ]
        )

    @cached_property
    def _sizes(self) -> IntArray:
        """(order,) atoms in each of the model's places."""
        return np.array([atoms.shape[1] for atoms in self.species])

    @cached_property
    def _order(self) -> IntArray:
        """(order,) which member of an n-mer stands in each of the model's places."""
        return np.argsort(list(chain(*self._places)), kind="stable")

    def _atoms(self, nmers: Nmers) -> IntArray:
        """(B, n) the atoms of each n-mer, in the model's order, among those of the term."""
        first = self._layout.first[nmers.members[:, self._order]]
        return np.concatenate(
            [first[:, place, None] + np.arange(size) for place, size in enumerate(self._sizes)], axis=1
        )

    def expected_error(self, frames: Frames) -> FloatArray | None:
        """See `Term`; of the n-mer that is known least, as far as the switch leaves it in."""
        if self.uncertainty is None:
            return None
        positions = frames.positions[:, self._where]
        errors = np.zeros((len(positions), 1))
        for batch in self._batches(positions, frames.cells):
            nmers = self._geometries(positions, batch, [self._atoms(part) for _, part in batch])
            share, _ = self.switch(np.concatenate([part.lengths.sum(1) for _, part in batch]))
            frame = np.repeat([f for f, _ in batch], [len(part.members) for _, part in batch])
            np.maximum.at(errors[:, 0], frame, share * self.uncertainty.expected_error(nmers))
        return errors

    @property
    def n_known(self) -> int:
        """Atoms that an expected error is of: an n-mer's."""
        return int(self._sizes.sum())

    @cached_property
    def uncertainty(self) -> Uncertainty | None:
        """What tells expected errors; None where the model has no calibration."""
        return uncertainty_of(self.load)

    @property
    def error_limits(self) -> ErrorLimits | None:
        """Which expected errors are usual for the model; None where it has no calibration."""
        return None if self.uncertainty is None else self.uncertainty.limits


@dataclass(frozen=True, eq=False)
class _Layout:
    """The molecules of a term, one after the other, and their atoms: kind (M,), first atom (M,); owner (n,) of each
    atom, and its share of the molecule's mass (n,)."""

    kind: IntArray
    first: IntArray
    owner: IntArray
    share: FloatArray

    @classmethod
    def of(cls, kinds: Sequence[IntArray], numbers: IntArray) -> _Layout:
        from ase.data import atomic_masses

        sizes = np.repeat([atoms.shape[1] for atoms in kinds], [len(atoms) for atoms in kinds])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        masses = atomic_masses[numbers[np.concatenate([atoms.reshape(-1) for atoms in kinds])]]
        share = masses / np.bincount(owner, masses)[owner]
        kind = np.repeat(np.arange(len(kinds)), [len(atoms) for atoms in kinds])
        return cls(kind, np.cumsum(sizes) - sizes, owner, share)

    def centres(self, x: FloatArray) -> FloatArray:
        """(M, 3) centres of mass of atoms (n, 3)."""
        return _gather(self.owner, self.share[:, None] * x, len(self.first))


class _Sums(NamedTuple):
    """What n-mers add up to."""

    energy: FloatArray  # (F,) eV
    forces: FloatArray  # (F, n, 3) eV/Å
    virial: FloatArray  # (F, 3, 3) eV

    def add(
        self, f: int, layout: _Layout, switch: Switch, nmers: Nmers, atoms: IntArray,
        energies: FloatArray, forces: FloatArray, virials: FloatArray,
    ) -> None:  # fmt: skip
        """Take in n-mers of frame f, with their atoms (B, n) and what the model says of them."""
        value, slope = switch(nmers.lengths.sum(1))
        self.energy[f] += (value * energies).sum()
        self.virial[f] += (value[:, None, None] * virials).sum(0)
        weighted = (value[:, None, None] * forces).reshape(-1, 3)
        self.forces[f] += _gather(atoms.reshape(-1), weighted, len(layout.owner))
        # What the switch pulls with, along every edge: −E s' ∂R/∂r, on the centres of mass.
        fading = np.flatnonzero(slope)
        edges, lengths = nmers.edges[fading], nmers.lengths[fading]
        pull = (energies * slope)[fading, None, None] * edges / lengths[..., None]
        self.virial[f] -= np.einsum("bea,bec->ac", pull, edges)
        ends = _EDGES[nmers.members.shape[1]]
        members = nmers.members[fading]
        on_first = _gather(members[:, ends[0]].reshape(-1), pull.reshape(-1, 3), len(layout.first))
        on_second = _gather(members[:, ends[1]].reshape(-1), pull.reshape(-1, 3), len(layout.first))
        self.forces[f] += layout.share[:, None] * (on_first - on_second)[layout.owner]


_EDGES = {2: ([0], [1]), 3: ([0, 0, 1], [1, 2, 2])}  # the members at the ends of `Nmers.edges`


def _gather(owners: IntArray, values: FloatArray, count: int) -> FloatArray:
    """(count, 3): the sum of the values (B, 3) of each owner (B,), in their order."""
    return np.stack([np.bincount(owners, values[:, axis], count) for axis in range(3)], axis=1)
