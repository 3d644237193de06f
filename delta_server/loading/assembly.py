"""Assemblies: a term for each species, and one for each kind of pairs and triples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import GeometryError, InputError, ManifestError
from ..manifest import BindingEntry, Manifest
from ..molecule.ranges import format_atoms
from ..molecule.structures import read_structure
from ..molecule.whole import Unwrapper
from ..potential import Fragment, Part, Potential
from ..terms.base import Term
from ..terms.constant import ConstantTerm
from ..terms.dispersion import DispersionTerm
from ..terms.many_body import ManyBodyTerm, SpeciesTerm
from ..terms.switch import Switch
from ..units import energy_in_ev
from .kinds import other_term
from .models import model_terms, read_model

if TYPE_CHECKING:
    from ase import Atoms


def load_assembly(manifest: Manifest, threads: int, device: str, part: Part) -> Potential:
    """Of `species`: a term for each of them, and one for each kind of pairs and triples."""
    structure = read_structure(manifest.resolve(manifest.structure))
    numbers = np.asarray(structure.numbers, dtype=np.intp)
    cell = structure.cell.array if manifest.periodic else None
    if manifest.periodic and structure.cell.rank < 3:
        raise ManifestError(
            f"{manifest.path}: periodic, but {manifest.structure} has no cell of three vectors; an extended xyz file "
            'has it as Lattice="…"'
        )
    molecules = _molecules(manifest, numbers)
    positions = _whole_molecules(manifest, molecules, structure)
    terms: list[Term] = [
        SpeciesTerm(_species(manifest, name, molecules[name], numbers, threads, device), f"1_{name}")
        for name in manifest.species
        if part in ("all", "fragments")
    ]
    if computed := [entry.name for entry in manifest.terms if entry.calculator]:
        raise ManifestError(
            f"{manifest.path}: terms: {', '.join(computed)}: a calculator needs fragments, here are species"
        )
    for binding in manifest.binding if part in ("all", "binding") else []:
        term = _many_body(manifest, binding, molecules, numbers, threads, device)
        if cell is not None:
            try:
                term.check_cell(cell)
            except GeometryError as error:
                raise InputError(f"{manifest.resolve(manifest.structure)}: {error}") from None
        terms.append(term)
    everything = tuple(range(len(numbers)))
    for entry in manifest.terms:
        other = other_term(manifest, entry, everything, numbers, molecules)
        if part not in ("all", other.part):
            continue
        if cell is not None and isinstance(other, DispersionTerm):
            other = other.with_tail(positions, cell)
        terms.append(other)
    fragments = [Fragment(f"{name}_{k + 1}", x) for name, copies in molecules.items() for k, x in enumerate(copies)]
    return Potential(numbers, positions, fragments, terms, name=manifest.name, theory=manifest.theory, cell=cell)


def _molecules(manifest: Manifest, numbers: IntArray) -> dict[str, IntArray]:
    """The atoms (M, n) of the molecules of each species. Raises ManifestError unless every atom of the structure,
    whose atomic numbers are given, is in exactly one."""
    models, placed, following = manifest.models(), dict[str, IntArray](), 0
    for name, entry in manifest.species.items():
        n = read_model(manifest, models[f"1_{name}"]).n_atoms if entry.model else 1
        atoms = entry.atoms or tuple(range(following, following + n * (entry.count or 0)))
        if len(atoms) % n:
            raise ManifestError(f"{manifest.path}: species {name!r}: {len(atoms)} atoms are no multiple of its {n}")
        placed[name] = np.array(atoms, dtype=np.intp).reshape(-1, n)
        if n == 1 and max(atoms) < len(numbers) and len(set(numbers[list(atoms)].tolist())) > 1:
            raise ManifestError(f"{manifest.path}: species {name!r}: its atoms are not all of one element")
        following = max(atoms) + 1
    owned = np.concatenate([atoms.reshape(-1) for atoms in placed.values()])
    if not np.array_equal(np.sort(owned), np.arange(len(numbers))):
        counts = ", ".join(f"{len(atoms)} {name} of {atoms.shape[1]}" for name, atoms in placed.items())
        raise ManifestError(
            f"{manifest.path}: {manifest.structure} has {len(numbers)} atoms, the species {len(owned)} ({counts}); "
            "each atom must be in exactly one molecule"
        )
    return placed


def _whole_molecules(manifest: Manifest, molecules: dict[str, IntArray], structure: Atoms) -> FloatArray:
    """Positions (N, 3) of the structure, molecules that its cell cut made whole. Raises ManifestError where one is
    not bonded."""
    numbers, positions, cell = structure.numbers.astype(np.intp), structure.positions.copy(), structure.cell.array
    for name, copies in molecules.items():
        for k, atoms in enumerate(copies):
            unwrapper = Unwrapper.of_frame(numbers[atoms], positions[atoms], cell)
            if unwrapper.n_molecules > 1:
                raise ManifestError(
                    f"{manifest.path}: species {name!r}: atoms {format_atoms(tuple(map(int, atoms)))}, its molecule "
                    f"{k + 1} in {manifest.structure}, are not all bonded; the atoms of a molecule follow each other"
                )
            positions[atoms] = unwrapper(positions[None, atoms], cell[None])[0]
    return np.asarray(positions)


def _species(
    manifest: Manifest, name: str, molecules: IntArray, numbers: IntArray, threads: int, device: str
) -> Term:
    """The term whose copies are the molecules (M, n) of a species."""
    entry, told = manifest.species[name], f"1_{name}"
    if entry.energy is not None and entry.energy_unit is not None:
        energy = float(entry.energy * energy_in_ev(entry.energy_unit))
        return ConstantTerm((told,), "fragments", molecules, energy)
    copies = [(told, manifest.models()[told], tuple(map(int, atoms))) for atoms in molecules]
    (term,) = model_terms(manifest, "fragments", copies, numbers, threads, device)
    return term


def _many_body(
    manifest: Manifest,
    binding: BindingEntry,
    molecules: dict[str, IntArray],
    numbers: IntArray,
    threads: int,
    device: str,
) -> ManyBodyTerm:
    """The term of all pairs or triples of some species."""
    between = binding.between or ()
    taken = dict.fromkeys(between, 0)
    example: list[int] = []
    for name in between:
        if taken[name] == len(molecules[name]):
            raise ManifestError(f"{manifest.path}: {binding.name}: there are only {taken[name]} of species {name!r}")
        example += molecules[name][taken[name]].tolist()
        taken[name] += 1
    (model,) = model_terms(manifest, "binding", [(binding.name, binding, tuple(example))], numbers, threads, device)
    _check_exchange(manifest, binding, [molecules[name].shape[1] for name in between])
    return ManyBodyTerm(
        binding.name,
        tuple(molecules[name] for name in between),
        numbers,
        model.predictor,
        Switch(binding.cutoff or 0.0, binding.switch or 0.0),
        bool(manifest.periodic),
        load=model.load,
    )


def _check_exchange(manifest: Manifest, binding: BindingEntry, sizes: Sequence[int]) -> None:
    """Raise ManifestError where a model does not know that equal molecules, of so many atoms in each of its places,
    can change places: the energy would depend on how the molecules are numbered."""
    between, permutations = binding.between or (), read_model(manifest, binding).permutations
    places = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    for a, b in combinations(range(len(between)), 2):
        if between[a] != between[b]:
            continue
        there = np.sort(permutations[:, places[a]], axis=1) == places[b]
        back = np.sort(permutations[:, places[b]], axis=1) == places[a]
        if not (there.all(1) & back.all(1)).any():
            raise ManifestError(
                f"{manifest.path}: {binding.name}: {binding.model} does not have the exchange of equal molecules "
                "among its permutations; train it with that symmetry (--symmetry graph)"
            )
