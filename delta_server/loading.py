"""The potential that a manifest describes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ._types import IntArray
from .errors import GeometryError, InputError, ManifestError
from .gdml import Model, load_model, make_predictor
from .manifest import FragmentEntry, Manifest, ModelEntry, format_atoms, load_manifest
from .molecule.bonds import symbols
from .molecule.structures import read_structure
from .potential import Potential, Term
from .units import energy_in_ev


def load_potential(path: str | Path | Manifest, *, threads: int = 1, device: str = "cpu") -> Potential:
    """The potential that a manifest describes, every model loaded and checked.

    threads: of each prediction, where they pay; device: see `make_predictor`.

    Raises ManifestError, ModelFileError or InputError: one line each.
    """
    manifest = path if isinstance(path, Manifest) else load_manifest(path)
    structure = read_structure(manifest.resolve(manifest.structure))
    numbers = np.asarray(structure.numbers, dtype=np.intp)
    if len(numbers) != manifest.n_atoms:
        raise ManifestError(
            f"{manifest.path}: the fragments hold {manifest.n_atoms} atoms, {manifest.structure} has {len(numbers)}; "
            "each atom must be in exactly one fragment"
        )
    models = manifest.models()

    def term(name: str, entry: ModelEntry, atoms: tuple[int, ...]) -> Term:
        model = _model(manifest, name, entry, atoms, numbers)
        predictor = make_predictor(model, threads, device)
        load = partial(read_model, manifest, entry)
        return Term(name, np.array(atoms, dtype=np.intp), predictor, manifest.resolve(entry.model), load)

    fragments = [
        _ion(entry) if entry.model is None else term(entry.name, models[entry.name], entry.atoms)
        for entry in manifest.fragments
    ]
    atoms = {f.name: f.atoms for f in manifest.fragments}
    bindings = []
    for entry in manifest.binding:
        seen = sum((atoms[f] for f in entry.between), ()) if entry.between else tuple(range(len(numbers)))
        bindings.append(term(entry.name, entry, seen))
    potential = Potential(
        numbers, structure.positions, fragments, bindings, name=manifest.name, theory=manifest.theory
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


def _ion(entry: FragmentEntry) -> Term:
    assert entry.energy is not None  # the manifest saw to it
    assert entry.energy_unit is not None
    return Term(entry.name, np.array(entry.atoms), float(entry.energy * energy_in_ev(entry.energy_unit)))


def _model(manifest: Manifest, name: str, entry: ModelEntry, atoms: tuple[int, ...], numbers: IntArray) -> Model:
    """The model of an entry. Raises ManifestError where it is not one of these atoms."""
    model = read_model(manifest, entry)
    expected = numbers[list(atoms)]
    if not np.array_equal(model.numbers, expected):
        have, want = symbols(model.numbers), symbols(expected)
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
    return model
