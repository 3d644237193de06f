"""Terms of model files, and the constants of ions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from .._types import IntArray
from ..errors import ManifestError
from ..gdml import Model, load_model, make_predictor
from ..manifest import FragmentEntry, Manifest, ModelEntry
from ..molecule.bonds import symbols
from ..molecule.ranges import format_atoms
from ..terms.base import Side, Term
from ..terms.constant import ConstantTerm
from ..terms.sgdml import SgdmlTerm
from ..units import energy_in_ev


def read_model(manifest: Manifest, entry: ModelEntry) -> Model:
    """The model of an entry, with the units and the hash that the manifest gives. Raises ModelFileError."""
    return load_model(
        manifest.resolve(entry.model),
        length_unit=entry.units.length,
        energy_unit=entry.units.energy,
        sha256=entry.sha256,
    )


def model_terms(
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


def ion_term(entry: FragmentEntry) -> Term:
    assert entry.energy is not None  # the manifest saw to it
    assert entry.energy_unit is not None
    energy = float(entry.energy * energy_in_ev(entry.energy_unit))
    return ConstantTerm((entry.name,), "fragments", np.array([entry.atoms], dtype=np.intp), energy)


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
