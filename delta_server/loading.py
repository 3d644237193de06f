"""The potential that a manifest describes: every term read, checked, and made by its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from ._types import FloatArray, IntArray
from .errors import DeltaError, GeometryError, InputError, ManifestError, ModelFileError, NonFiniteError
from .gdml import Model, load_model, make_predictor
from .manifest import BindingEntry, FragmentEntry, Manifest, ModelEntry, TermEntry, format_atoms, load_manifest
from .methods import Method
from .molecule.bonds import symbols
from .molecule.structures import read_structure
from .molecule.whole import Unwrapper
from .potential import Fragment, Part, Potential
from .terms.base import Frames, Side, Term, TermRequest
from .terms.bias import BiasTerm, bias_of
from .terms.calculator import CalculatorTerm, Molecule, calculator_terms
from .terms.constant import ConstantTerm
from .terms.many_body import ManyBodyTerm, SpeciesTerm, Switch
from .terms.sgdml import SgdmlTerm
from .units import energy_in_ev

if TYPE_CHECKING:
    from ase import Atoms

KINDS = "delta_server.terms"
"""The group of entry points under which kinds of terms are found; each makes a `Term` of a `TermRequest`."""


def load_potential(
    path: str | Path | Manifest, *, threads: int = 1, device: str = "cpu", part: Part = "all"
) -> Potential:
    """The potential that a manifest describes, every model loaded and checked.

    Molecules with the same model file are copies of one term. threads: of each prediction, where they pay; device:
    see `make_predictor`. part: the only one that will be asked for; models of the others are not read.

    Raises ManifestError, ModelFileError or InputError: one line each.
    """
    manifest = path if isinstance(path, Manifest) else load_manifest(path)
    load = _load_assembly if manifest.species else _load
    try:
        with np.errstate(all="ignore"):  # numbers of any size: what does not come out finite is told
            return load(manifest, threads, device, part)
    except MemoryError as error:
        raise ModelFileError(f"{manifest.path}: its models do not fit into memory: {error}") from None


def _load(manifest: Manifest, threads: int, device: str, part: Part) -> Potential:
    structure = read_structure(manifest.resolve(manifest.structure))
    numbers = np.asarray(structure.numbers, dtype=np.intp)
    if len(numbers) != manifest.n_atoms:
        raise ManifestError(
            f"{manifest.path}: the fragments hold {manifest.n_atoms} atoms, {manifest.structure} has {len(numbers)}; "
            "each atom must be in exactly one fragment"
        )
    fragments = [Fragment(f.name, np.array(f.atoms, dtype=np.intp)) for f in manifest.fragments]
    atoms = {f.name: f.atoms for f in manifest.fragments}
    models = manifest.models()
    alone = manifest.fragments if part in ("all", "fragments") else []
    ions = [_ion(f) for f in alone if f.energy is not None]
    molecules = [(f.name, models[f.name], f.atoms) for f in alone if f.model]
    together = manifest.binding if part in ("all", "binding") else []
    bindings = [(b.name, models[b.name], _over(b.between, atoms)) for b in together]
    modelled = chain(
        _model_terms(manifest, "fragments", molecules, numbers, threads, device),
        _model_terms(manifest, "binding", bindings, numbers, threads, device),
    )
    computed = chain(
        *(_computed_fragment(manifest, f, structure) for f in alone if f.calculator),
        *(_computed_term(manifest, term, structure) for term in manifest.terms if term.calculator),
    )
    others = [
        _term(manifest, entry, _over(entry.over, atoms), numbers)
        for entry in manifest.terms
        if entry.calculator is None
    ]
    terms = [*ions, *modelled, *computed, *others]
    potential = Potential(
        numbers,
        structure.positions,
        fragments,
        [term for term in terms if part in ("all", term.part)],
        name=manifest.name,
        theory=manifest.theory,
    )
    return _checked(manifest, potential)


def _checked(manifest: Manifest, potential: Potential) -> Potential:
    """Raise InputError where the manifest's structure cannot be the molecule that it describes."""
    try:
        potential.check_geometry(potential.reference, str(manifest.resolve(manifest.structure)))
    except GeometryError as error:
        raise InputError(str(error)) from None
    for term in potential.terms:
        if isinstance(term, BiasTerm):
            term.check_groups([fragment.atoms for fragment in potential.fragments], str(manifest.path))
    return potential


def _load_assembly(manifest: Manifest, threads: int, device: str, part: Part) -> Potential:
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
    others = [_term(manifest, entry, tuple(range(len(numbers))), numbers) for entry in manifest.terms]
    terms += [term for term in others if part in ("all", term.part)]
    fragments = [Fragment(f"{name}_{k + 1}", x) for name, copies in molecules.items() for k, x in enumerate(copies)]
    return _checked(
        manifest,
        Potential(numbers, positions, fragments, terms, name=manifest.name, theory=manifest.theory, cell=cell),
    )


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
    (term,) = _model_terms(manifest, "fragments", copies, numbers, threads, device)
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
    (model,) = _model_terms(manifest, "binding", [(binding.name, binding, tuple(example))], numbers, threads, device)
    _check_exchange(manifest, binding, [molecules[name].shape[1] for name in between])
    return ManyBodyTerm(
        binding.name,
        tuple(molecules[name] for name in between),
        numbers,
        model.predictor,
        Switch(binding.cutoff or 0.0, binding.switch or 0.0),
        bool(manifest.periodic),
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


def read_model(manifest: Manifest, entry: ModelEntry) -> Model:
    """The model of an entry, with the units and the hash that the manifest gives. Raises ModelFileError."""
    return load_model(
        manifest.resolve(entry.model),
        length_unit=entry.units.length,
        energy_unit=entry.units.energy,
        sha256=entry.sha256,
    )


def _over(names: tuple[str, ...] | None, atoms: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The atoms of these fragments, one after the other; of the whole complex, in its order, for None."""
    return tuple(sorted(chain(*atoms.values()))) if names is None else tuple(chain(*(atoms[n] for n in names)))


def _ion(entry: FragmentEntry) -> Term:
    assert entry.energy is not None  # the manifest saw to it
    assert entry.energy_unit is not None
    energy = float(entry.energy * energy_in_ev(entry.energy_unit))
    return ConstantTerm((entry.name,), "fragments", np.array([entry.atoms], dtype=np.intp), energy)


def _model_terms(
    manifest: Manifest,
    part: Side,
    entries: list[tuple[str, ModelEntry, tuple[int, ...]]],
    numbers: IntArray,
    threads: int,
    device: str,
) -> Iterator[SgdmlTerm]:
    """A term for each model file of one part; entries: name, model and atoms of every copy."""
    copies: dict[tuple[object, ...], list[tuple[str, ModelEntry, tuple[int, ...]]]] = {}
    for name, entry, atoms in entries:
        key = manifest.resolve(entry.model).resolve(), entry.units, len(atoms)
        copies.setdefault(key, []).append((name, entry, atoms))
    for group in copies.values():
        hashes = {entry.sha256: entry for _, entry, _ in group}
        *_, model = (read_model(manifest, entry) for entry in hashes.values())
        if not model.has_energies and manifest.n_terms > 1:
            raise ManifestError(
                f"{manifest.path}: {', '.join(name for name, _, _ in group)}: {group[0][1].model} was trained on "
                "forces alone (use_E is False): its energies have no zero and cannot be added to others; train it "
                "again with energies"
            )
        for name, entry, atoms in group:
            _check_elements(manifest, name, entry, atoms, model.numbers, numbers[list(atoms)])
        yield SgdmlTerm(
            tuple(name for name, _, _ in group),
            part,
            np.array([atoms for _, _, atoms in group], dtype=np.intp),
            make_predictor(model, threads, device),
            partial(read_model, manifest, group[0][1]),
        )


def _check_elements(
    manifest: Manifest, name: str, entry: ModelEntry, atoms: tuple[int, ...], found: IntArray, expected: IntArray
) -> None:
    """Raise ManifestError where the atomic numbers of the model, `found`, are not those of its atoms."""
    if np.array_equal(found, expected):
        return
    have, want = symbols(found), symbols(expected)
    at = next((i for i, (a, b) in enumerate(zip(have, want, strict=False)) if a != b), None)
    where = (
        f"{len(have)} atoms against {len(want)}"
        if at is None
        else f"atom {at} of the term ({atoms[at]} of the structure) is {have[at]} in the model, {want[at]} there"
    )
    raise ManifestError(
        f"{manifest.path}: {name}: the elements of {entry.model} do not match {manifest.structure} at atoms "
        f"{format_atoms(atoms)}: {where}"
    )


def _term(manifest: Manifest, entry: TermEntry, atoms: tuple[int, ...], numbers: IntArray) -> Term:
    """The term of an entry under ``terms:``, made by its kind. Raises ManifestError."""
    where = f"{manifest.path}: term {entry.name!r}"
    if entry.kind == "bias":
        return bias_of(manifest, entry, numbers)
    make = _maker(entry.kind, where)
    sites = np.array(atoms, dtype=np.intp)
    part = cast("Side", entry.part)  # `all` is for calculators
    request = TermRequest(entry.name, part, sites, numbers[sites], entry.options, manifest.path.parent)
    try:
        return make(request)
    except DeltaError:
        raise
    except Exception as error:  # whatever another package's code trips over
        raise ManifestError(f"{where} of kind {entry.kind!r}: {type(error).__name__}: {error}") from error


def _computed_fragment(manifest: Manifest, entry: FragmentEntry, structure: Atoms) -> list[CalculatorTerm]:
    """A fragment that a calculator computes. Raises ManifestError."""
    assert entry.calculator is not None
    method, names = Method(entry.calculator, entry.options), {entry.name: entry.name}
    return _computed(manifest, f"fragment {entry.name!r}", names, "fragments", method, [entry], structure)


def _computed_term(manifest: Manifest, entry: TermEntry, structure: Atoms) -> list[CalculatorTerm]:
    """What a term of the kind ``calculator`` adds to each fragment and to the binding. Raises ManifestError."""
    assert entry.calculator is not None
    by_name = {f.name: f for f in manifest.fragments}
    fragments = [by_name[name] for name in (entry.over or by_name)]
    method = Method(entry.calculator, entry.options)
    names = {f.name: f"{entry.name}_{f.name}" for f in fragments} | {"binding": entry.name}
    where = f"term {entry.name!r}"
    return _computed(manifest, where, names, entry.part, method, fragments, structure, entry.periodic)


def _computed(
    manifest: Manifest,
    where: str,
    names: dict[str, str],
    part: Literal["fragments", "binding", "all"],
    method: Method,
    fragments: Sequence[FragmentEntry],
    structure: Atoms,
    periodic: bool = False,
) -> list[CalculatorTerm]:
    """Terms of a calculator, tried on the manifest's structure. Raises ManifestError."""
    molecules = [Molecule(f.name, np.array(f.atoms, dtype=np.intp), f.charge, f.multiplicity) for f in fragments]
    numbers = np.asarray(structure.numbers, dtype=np.intp)
    try:
        terms = list(calculator_terms(names, part, method, molecules, numbers, manifest.path.parent, periodic))
        for term in terms:
            term.evaluate(Frames(np.asarray(structure.positions)[None]))
    except NonFiniteError as error:
        what = str(error).removeprefix("frame 0: ")
        raise ManifestError(f"{manifest.path}: {where}: {what}, at the structure of the manifest") from error
    except DeltaError as error:
        raise ManifestError(f"{manifest.path}: {where}: {error}") from error
    except Exception as error:  # calculators raise whatever they like
        raise ManifestError(f"{manifest.path}: {where}: {type(error).__name__}: {error}") from error
    return terms


def _maker(kind: str, where: str) -> Callable[[TermRequest], Term]:
    from importlib.metadata import entry_points

    there = entry_points(group=KINDS)
    if kind not in there.names:
        known = ", ".join(sorted(there.names)) or "none"
        raise ManifestError(
            f"{where}: no kind of term is called {kind!r}; installed packages have {known} (entry points {KINDS!r})"
        )
    try:
        return cast("Callable[[TermRequest], Term]", there[kind].load())
    except Exception as error:  # whatever an installed package trips over when it is imported
        raise ManifestError(f"{where} of kind {kind!r} cannot be loaded: {type(error).__name__}: {error}") from error
