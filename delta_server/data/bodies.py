"""Pairs and triples of an assembly's molecules to train a many-body expansion on: which to take, and their labels.

They are taken from frames of an assembly, in a cell or a cluster of any size, evenly over the sums of distances of
centres of mass that a cut-off is held against (`terms.many_body_search`), and some beyond it, where the model has to
go to zero. What a model of n bodies learns is the remainder that fewer bodies leave:

    E_2 = E(ij) − E(i) − E(j),    E_3 = E(ijk) − Σ_{pairs} E_2 − Σ E(i)

with all parts labelled at the same geometry, so that it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import GeometryError, InputError
from ..methods import Method
from ..molecule.bonds import bonds_within
from ..molecule.lattice import Lattice
from ..molecule.structures import iter_structures
from ..molecule.whole import Unwrapper
from ..symmetry.bond_graph import equal_fragments
from ..terms.many_body_search import Nmers, pairs, triples, wide_enough
from .dataset import Dataset
from .fragments import find_fragments, formula, fragment_names, fragment_of
from .labelling.workfile import Failure
from .labels import LabelTask, label, working_file
from .structures import Structures, same_atoms

BEYOND = 1.25  # times the cut-off, to where n-mers are taken
_BINS = 20  # of distance, from which equally many are drawn
_MOST = 100_000  # n-mers of a kind that are kept to draw from


@dataclass(frozen=True, eq=False)
class Assembly:
    """Frames of an assembly, (F, N, 3) Å with its molecules whole, and their cells (F, 3, 3), zeros for none.

    molecules: atoms of each, in the order of the first of its species; species: (M,) which it is; names: of the
    species, their formulas.
    """

    numbers: IntArray
    positions: FloatArray
    cells: FloatArray
    molecules: list[IntArray]
    species: IntArray
    names: tuple[str, ...]


class LabelledBodies(NamedTuple):
    """n-mers with all their labels, None where labelling was stopped; the sums of their distances (n,), Å; what
    failed."""

    data: Dataset | None
    lengths: FloatArray
    failures: list[Failure]


@dataclass(frozen=True, eq=False)
class Bodies:
    """n-mers of the same species: structures, with the species of each molecule, and the sums of distances of their
    centres of mass (n,), Å."""

    species: tuple[str, ...]
    structures: Structures
    lengths: FloatArray

    @property
    def name(self) -> str:
        return "_".join(self.species)

    def take(self, which: IntArray) -> Bodies:
        """Some of them."""
        return Bodies(self.species, self.structures.take(which), self.lengths[which])


def read_assembly(path: Path) -> Assembly:
    """Frames of any file that ase reads, or of i-PI's own, with their cells; molecules are those of the first frame's
    bonds.

    Raises InputError where frames differ in their atoms, or a molecule cannot be made whole.
    """
    numbers, positions, cells = np.zeros(0, dtype=np.intp), list[FloatArray](), list[FloatArray]()
    unwrapper: Unwrapper | None = None
    for frame, atoms in enumerate(iter_structures(path)):
        if unwrapper is None:
            numbers = atoms.numbers.astype(np.intp)
        same_atoms(path, frame, numbers, atoms.numbers)
        if not np.isfinite(atoms.positions).all():
            raise InputError(f"{path}, frame {frame}: positions are not finite")
        cell = atoms.cell.array * atoms.pbc[:, None]
        unwrapper = unwrapper or Unwrapper.of_frame(numbers, atoms.positions, cell, together=False)
        try:
            (whole,) = unwrapper(
                atoms.positions[None], cell[None], name=f"{path}, frame {frame}, structure {{}}".format
            )
        except GeometryError as error:
            raise InputError(str(error)) from None
        positions.append(whole)
        cells.append(cell)
    return Assembly(numbers, np.array(positions), np.array(cells), *molecules_of(numbers, positions[0]))


def molecules_of(numbers: IntArray, positions: FloatArray) -> tuple[list[IntArray], IntArray, tuple[str, ...]]:
    """What the bonds of a geometry (N, 3) Å, whose molecules are whole, make of its atoms: molecules, species and
    names, as in `Assembly`."""
    molecules = find_fragments(numbers, positions)
    kinds = equal_fragments(molecules, numbers, positions)
    species = np.zeros(len(molecules), dtype=np.intp)
    for kind, members in enumerate(kinds):
        for k, order in members:
            species[k], molecules[k] = kind, molecules[k][order]
    names = [formula(numbers[molecules[members[0][0]]]).lower() for members in kinds]
    names = [f"{name}_{names[:k].count(name) + 1}" if names.count(name) > 1 else name for k, name in enumerate(names)]
    return molecules, species, tuple(names)


def find_bodies(
    assembly: Assembly,
    order: int,
    cutoff: float,
    count: int,
    seed: int | Sequence[int] = 0,
    beyond: float = BEYOND,
) -> list[Bodies]:
    """So many n-mers of each kind of `order` molecules, evenly over the distances up to `beyond` times the cut-off
    (Å).

    Raises InputError where a cell is too small for the cut-off, or there are none.
    """
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, ...], list[tuple[int, Nmers]]] = {}
    share = max(1, _MOST // len(assembly.positions))
    for f in range(len(assembly.positions)):
        nmers = _nmers(assembly, f, order, cutoff, beyond)
        kinds, which = np.unique(np.sort(assembly.species[nmers.members], axis=1), axis=0, return_inverse=True)
        for k, kind in enumerate(kinds.tolist()):
            chosen = np.flatnonzero(which.ravel() == k)
            part = nmers.take(np.sort(rng.permutation(chosen)[:share]))
            found.setdefault(tuple(kind), []).append((f, part))
    if not found:
        raise InputError(f"no {order} molecules have a sum of distances below {beyond * cutoff:g} Å in any frame")
    return [_draw(assembly, kind, parts, count, rng) for kind, parts in sorted(found.items())]


def join(parts: Sequence[Sequence[Bodies]]) -> list[Bodies]:
    """n-mers of several trajectories, each a run of its own, together where they are of the same species.

    Raises InputError where their atoms are in another order, or bonded otherwise.
    """
    kinds: dict[tuple[str, ...], list[tuple[int, Bodies]]] = {}
    for run, each in enumerate(parts):
        for bodies in each:
            kinds.setdefault(bodies.species, []).append((run, bodies))
    joined = []
    for species, found in kinds.items():
        first = found[0][1].structures
        for _, bodies in found[1:]:
            if not _alike(bodies.structures, first):
                raise InputError(
                    f"{'_'.join(species)}: in another trajectory its atoms come in another order, or are bonded "
                    "otherwise; bring all files into one order (`dataset fragments`)"
                )
        several = [b.structures for _, b in found]
        structures = replace(
            first,
            positions=np.concatenate([s.positions for s in several]),
            index=np.concatenate([s.index for s in several]),
            run=np.repeat([run for run, _ in found], [len(s) for s in several]),
        )
        joined.append(Bodies(species, structures, np.concatenate([b.lengths for _, b in found])))
    return joined


def _alike(one: Structures, other: Structures) -> bool:
    """Whether atoms, and the bonds of the first configuration within each molecule, are the same."""
    if not np.array_equal(one.numbers, other.numbers):
        return False
    a, b = (bonds_within(s.numbers, s.positions[0], s.molecules()) for s in (one, other))
    return {tuple(sorted(bond)) for bond in a.tolist()} == {tuple(sorted(bond)) for bond in b.tolist()}


def label_bodies(
    bodies: Bodies,
    method: Method,
    output: Path,
    charges: Mapping[str, int],
    *,
    afresh: bool = False,
    processes: int = 1,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, failed: None,
) -> LabelledBodies:
    """Label n-mers with all their parts: the whole, each molecule, and in triples each pair.

    charges: of species, 0 where not named. afresh: as in `LabelTask`. What is labelled is kept in working files
    beside the output, so that the same call goes on where one was stopped; `clear` removes them. Raises as
    `labels.label`.
    """
    # A place of its own tells each n-mer, whichever of its parts fail.
    s = bodies.structures
    numbered = replace(s, index=np.arange(len(s)), run=np.zeros(len(s), dtype=np.intp))
    charge = [charges.get(name, 0) for name in bodies.species]
    labelled: list[Dataset] = []
    failures: list[Failure] = []
    for members, path in _files(bodies, output):
        charges_here, spins = tuple(charge[k] for k in members), (1,) * len(members)
        task = LabelTask(_part(numbered, members), method, charges_here, spins, afresh=afresh)
        outcome = label(task, path, processes=processes, stop=stop, progress=progress)
        failures += outcome.failures
        if outcome.data is None:
            return LabelledBodies(None, bodies.lengths, failures)
        labelled.append(outcome.data)
    places = [np.arange(len(s)) if data.index is None else data.index for data in labelled]
    there = places[0][np.all([np.isin(places[0], place) for place in places], axis=0)]
    data, *parts = (each.take(np.searchsorted(place, there)) for each, place in zip(labelled, places, strict=True))
    if parts:
        energies, forces = np.zeros(len(data)), np.zeros(data.forces.shape)
        for (pair, _), part in zip(list(_files(bodies, output))[1:], parts, strict=True):
            energies += part.binding_energies()
            forces[:, _atoms_of(s, pair)] += part.binding_forces()
        data = replace(data, lower_energies=energies, lower_forces=forces)
    data = replace(data, index=s.index[there], run=s.run[there], name=bodies.name)
    return LabelledBodies(data, bodies.lengths[there], failures)


def clear(bodies: Bodies, output: Path) -> None:
    """Remove the working files of `label_bodies`."""
    for _, path in _files(bodies, output):
        working_file(path).unlink(missing_ok=True)


def _files(bodies: Bodies, output: Path) -> Iterator[tuple[tuple[int, ...], Path]]:
    """What is labelled, the whole first: which molecules, and the output that it would have."""
    everyone = tuple(range(len(bodies.species)))
    yield everyone, output
    if len(everyone) == 3:
        for pair in combinations(everyone, 2):
            yield pair, output.with_suffix(f".{pair[0]}{pair[1]}.npz")


def _part(structures: Structures, members: tuple[int, ...]) -> Structures:
    """Some of the molecules of n-mers."""
    atoms, owners = _atoms_of(structures, members), structures.fragment
    return replace(
        structures,
        numbers=structures.numbers[atoms],
        positions=structures.positions[:, atoms],
        fragment=None if owners is None else np.searchsorted(members, owners[atoms]),
        names=tuple(structures.names[k] for k in members),
    )


def _atoms_of(structures: Structures, members: tuple[int, ...]) -> IntArray:
    molecules = structures.molecules()
    return np.concatenate([molecules[k] for k in members])


def _nmers(assembly: Assembly, frame: int, order: int, cutoff: float, beyond: float) -> Nmers:
    """All of a frame, up to `beyond` times the cut-off or as far as its cell allows."""
    from ase.data import atomic_masses

    x, cell = assembly.positions[frame], assembly.cells[frame]
    masses = [atomic_masses[assembly.numbers[atoms]] for atoms in assembly.molecules]
    centres = np.array([m @ x[atoms] / m.sum() for m, atoms in zip(masses, assembly.molecules, strict=True)])
    sides = 1 if order == 2 else 2
    try:
        lattice: Lattice | None = wide_enough(cell, cutoff / sides, f"frame {frame}, {order} bodies")
    except GeometryError as error:
        raise InputError(str(error)) from None
    reach = beyond * cutoff if lattice is None else min(beyond * cutoff, sides * lattice.least / 2)
    near = pairs(centres, lattice, reach / sides)
    return near if order == 2 else triples(near, reach)


def _draw(
    assembly: Assembly, kind: tuple[int, ...], parts: list[tuple[int, Nmers]], count: int, rng: np.random.Generator
) -> Bodies:
    """So many of the n-mers of one kind, evenly in distance, in order of time."""
    frames = np.repeat([f for f, _ in parts], [len(part.members) for _, part in parts])
    members, shifts = (np.concatenate([getattr(part, name) for _, part in parts]) for name in ("members", "shifts"))
    lengths = np.concatenate([part.lengths.sum(1) for _, part in parts])
    chosen = np.sort(_evenly(lengths, count, rng))
    # By species, each n-mer in the same order.
    order = np.argsort(assembly.species[members[chosen]], axis=1, kind="stable")
    members = np.take_along_axis(members[chosen], order, axis=1)
    shifts = np.take_along_axis(shifts[chosen], order[..., None], axis=1)
    frames, lengths = frames[chosen], lengths[chosen]
    sizes = [len(assembly.molecules[k]) for k in members[0]]
    atoms = np.array([np.concatenate([assembly.molecules[k] for k in row]) for row in members])
    positions = assembly.positions[frames[:, None], atoms] + np.repeat(shifts, sizes, axis=1)
    species = tuple(assembly.names[k] for k in kind)
    ends = np.cumsum([0, *sizes])
    molecules = [np.arange(a, b) for a, b in pairwise(ends)]
    numbers, run = assembly.numbers[atoms[0]], np.zeros(len(frames), dtype=np.intp)
    fragment, names = fragment_of(molecules), fragment_names(numbers, molecules)
    return Bodies(species, Structures(numbers, positions, frames, run, fragment, names=names), lengths)


def _evenly(lengths: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
    """Which of (n,) lengths to take, `count` of them, as many from each of the `_BINS` as it has to give."""
    edges = np.linspace(lengths.min(), lengths.max() + 1e-9, _BINS + 1)
    which = np.digitize(lengths, edges)
    mixed = rng.permutation(len(lengths))
    turn = np.empty(len(lengths), dtype=np.intp)  # of each within its bin
    for b in np.unique(which):
        mine = mixed[which[mixed] == b]
        turn[mine] = np.arange(len(mine))
    return np.asarray(mixed[np.argsort(turn[mixed], kind="stable")][:count])
