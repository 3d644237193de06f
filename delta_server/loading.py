"""The potential that a manifest describes: every term read, checked, and made by its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np

from ._types import IntArray
from .errors import DeltaError, GeometryError, InputError, ManifestError, ModelFileError
from .gdml import Model, load_model, make_predictor
from .manifest import FragmentEntry, Manifest, ModelEntry, TermEntry, format_atoms, load_manifest
from .molecule.bonds import symbols
from .molecule.structures import read_structure
from .potential import Fragment, Potential
from .terms.base import Side, Term, TermRequest
from .terms.bias import bias_of
from .terms.constant import ConstantTerm
from .terms.sgdml import SgdmlTerm
from .units import energy_in_ev

KINDS = "delta_server.terms"
"""The group of entry points under which kinds of terms are found; each makes a `Term` of a `TermRequest`."""


def load_potential(path: str | Path | Manifest, *, threads: int = 1, device: str = "cpu") -> Potential:
    """The potential that a manifest describes, every model loaded and checked.

    Molecules with the same model file are copies of one term. threads: of each prediction, where they pay; device:
    see `make_predictor`.

    Raises ManifestError, ModelFileError or InputError: one line each.
    """
    manifest = path if isinstance(path, Manifest) else load_manifest(path)
    try:
        with np.errstate(all="ignore"):  # numbers of any size: what does not come out finite is told
            return _load(manifest, threads, device)
    except MemoryError as error:
        raise ModelFileError(f"{manifest.path}: its models do not fit into memory: {error}") from None


def _load(manifest: Manifest, threads: int, device: str) -> Potential:
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
    ions = [_ion(f) for f in manifest.fragments if f.model is None]
    molecules = [(f.name, models[f.name], f.atoms) for f in manifest.fragments if f.model]
    bindings = [(b.name, models[b.name], _over(b.between, atoms)) for b in manifest.binding]
    modelled = chain(
        _model_terms(manifest, "fragments", molecules, numbers, threads, device),
        _model_terms(manifest, "binding", bindings, numbers, threads, device),
    )
    others = [_term(manifest, entry, _over(entry.over, atoms), numbers) for entry in manifest.terms]
    potential = Potential(
        numbers,
        structure.positions,
        fragments,
        [*ions, *modelled, *others],
        name=manifest.name,
        theory=manifest.theory,
    )
    try:
        potential.check_geometry(potential.reference, str(manifest.resolve(manifest.structure)))
    except GeometryError as error:
        raise InputError(str(error)) from None
    return potential


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
) -> Iterator[Term]:
    """A term for each model file of one part; entries: name, model and atoms of every copy."""
    copies: dict[tuple[object, ...], list[tuple[str, ModelEntry, tuple[int, ...]]]] = {}
    for name, entry, atoms in entries:
        key = manifest.resolve(entry.model).resolve(), entry.units, len(atoms)
        copies.setdefault(key, []).append((name, entry, atoms))
    for group in copies.values():
        hashes = {entry.sha256: entry for _, entry, _ in group}
        *_, model = (read_model(manifest, entry) for entry in hashes.values())
        if not model.has_energies and len(manifest.fragments) + len(manifest.binding) + len(manifest.terms) > 1:
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
    request = TermRequest(entry.name, entry.part, sites, numbers[sites], entry.options, manifest.path.parent)
    try:
        return make(request)
    except DeltaError:
        raise
    except Exception as error:  # whatever another package's code trips over
        raise ManifestError(f"{where} of kind {entry.kind!r}: {type(error).__name__}: {error}") from error


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
