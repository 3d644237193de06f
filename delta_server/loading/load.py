"""The potential that a manifest describes: every term read, checked, and made by its kind."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from .._types import IntArray
from ..errors import GeometryError, InputError, ManifestError, ModelFileError
from ..manifest import Manifest, load_manifest
from ..molecule.structures import read_structure
from ..potential import Fragment, Part, Potential
from ..terms.bias import BiasTerm
from ..terms.sgdml import SgdmlTerm
from ..terms.switch import Switch, SwitchOfTwo
from .assembly import load_assembly
from .kinds import computed_fragment, computed_terms, other_term
from .models import ion_term, model_terms


def load_potential(
    path: str | Path | Manifest, *, threads: int = 1, device: str = "cpu", part: Part = "all"
) -> Potential:
    """The potential that a manifest describes, every model loaded and checked.

    Molecules with the same model file are copies of one term. threads: of each prediction, where they pay; device:
    see `make_predictor`. part: the only one that will be asked for; models of the others are not read.

    Raises ManifestError, ModelFileError or InputError: one line each.
    """
    manifest = path if isinstance(path, Manifest) else load_manifest(path)
    load = load_assembly if manifest.species else _load_complex
    try:
        with np.errstate(all="ignore"):  # numbers of any size: what does not come out finite is told
            return _checked(manifest, load(manifest, threads, device, part))
    except MemoryError as error:
        raise ModelFileError(f"{manifest.path}: its models do not fit into memory: {error}") from None


def _load_complex(manifest: Manifest, threads: int, device: str, part: Part) -> Potential:
    structure = read_structure(manifest.resolve(manifest.structure))
    numbers = np.asarray(structure.numbers, dtype=np.intp)
    if len(numbers) != manifest.n_atoms:
        raise ManifestError(
            f"{manifest.path}: the fragments hold {manifest.n_atoms} atoms, {manifest.structure} has {len(numbers)}; "
            "each atom must be in exactly one fragment"
        )
    fragments = [Fragment(f.name, np.array(f.atoms, dtype=np.intp)) for f in manifest.fragments]
    atoms = {f.name: f.atoms for f in manifest.fragments}
    each = {fragment.name: [fragment.atoms] for fragment in fragments}
    models = manifest.models()
    alone = manifest.fragments if part in ("all", "fragments") else []
    ions = [ion_term(f) for f in alone if f.energy is not None]
    molecules = [(f.name, models[f.name], f.atoms) for f in alone if f.model]
    together = manifest.binding if part in ("all", "binding") else []
    bindings = [(b.name, models[b.name], atoms_over(b.between, atoms)) for b in together]
    modelled = chain(
        model_terms(manifest, "fragments", molecules, numbers, threads, device),
        (
            _switched(manifest, term, numbers)
            for term in model_terms(manifest, "binding", bindings, numbers, threads, device)
        ),
    )
    computed = chain(
        *(computed_fragment(manifest, f, structure) for f in alone if f.calculator),
        *(computed_terms(manifest, term, structure) for term in manifest.terms if term.calculator),
    )
    others = [
        other_term(manifest, entry, atoms_over(entry.over, atoms), numbers, each)
        for entry in manifest.terms
        if entry.calculator is None
    ]
    terms = [*ions, *modelled, *computed, *others]
    return Potential(
        numbers,
        structure.positions,
        fragments,
        [term for term in terms if part in ("all", term.part)],
        name=manifest.name,
        theory=manifest.theory,
    )


def _switched(manifest: Manifest, term: SgdmlTerm, numbers: IntArray) -> SgdmlTerm:
    """The binding of two fragments with the cut-off of its entry, where that has one."""
    entry = manifest.binding[0]
    if entry.cutoff is None or entry.switch is None:
        return term
    molecules = [np.array(f.atoms, dtype=np.intp) for f in manifest.fragments]
    return replace(term, switch=SwitchOfTwo.of(Switch(entry.cutoff, entry.switch), molecules, numbers))


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


def atoms_over(names: tuple[str, ...] | None, atoms: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The atoms of these fragments, one after the other; of the whole complex, in its order, for None."""
    return tuple(sorted(chain(*atoms.values()))) if names is None else tuple(chain(*(atoms[n] for n in names)))
