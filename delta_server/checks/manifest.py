"""Everything that can be wrong with a manifest and its models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import DeltaError
from ..gdml import Model
from ..gdml.sums.backends import backends
from ..loading import load_potential, read_model
from ..manifest import Manifest, load_manifest
from ..potential import Potential
from ..symmetry.bond_graph import is_group
from ..terms.base import Term
from ..terms.electrostatics import ElectrostaticsTerm
from ..terms.sgdml import SgdmlTerm
from .check import Check, rounding
from .potential import AMPLITUDE, check_potential, check_term
from .tested import check_tested
from .walk import check_walk

_SAME_CHARGE = 1e-5  # e, and what is rounded away in a file


def check_manifest(path: Path, seed: int = 0, walk: bool = True) -> Iterator[Check]:
    """Every check of a manifest, in order; ends early where a later check would mean nothing. walk: also relax, and
    walk a little.

    Forces and the virial are compared with central differences of the energy, to what the rounding of the energy
    (itself measured, and limited) leaves of them.
    """
    try:
        manifest = load_manifest(path)
    except DeltaError as error:
        yield Check("manifest", False, str(error))
        return
    bodies = f"{len(manifest.species)} species" if manifest.species else f"{len(manifest.fragments)} fragments"
    yield Check("manifest", True, f"{bodies}, {len(manifest.binding)} binding terms")
    models: dict[str, Model] = {}
    yield from _files(manifest, models)
    try:
        potential = load_potential(manifest)
    except DeltaError as error:
        yield Check("elements and units", False, str(error))
        return
    yield Check("elements and units", True, f"{potential.n_atoms} atoms, every model in the structure's order")
    try:
        yield from check_potential(potential, seed)
    except DeltaError as error:
        yield Check("energies", False, str(error))
        return
    for term in potential.terms:
        yield _contract(potential, term, seed)
        for name, site in zip(term.names, term.sites, strict=True):
            if isinstance(term, SgdmlTerm) and name in models:
                x = potential.reference[site]
                yield _permutation(name, term, x, models[name].permutations, np.random.default_rng(seed))
        if isinstance(term, SgdmlTerm) and term.switch is not None:
            share = float(term.switch.of_frames(potential.reference[None])[0][0])
            found = f"the structure has {100 * share:.0f} % of {term.names[0]} and of its expected errors"
            yield Check("cut-off", True, found, warning=share < 1)
        if isinstance(term, ElectrostaticsTerm):
            yield _charges(term, potential, models)
        if reason := getattr(getattr(term, "predictor", None), "fallback", None):
            yield Check(f"sums {term.names[0]}", True, f"by permuted queries ({reason}), several times slower")
    if backends() == ["numpy"]:
        yield Check(
            "compiled sums", True, "not here: NumPy adds up, several times slower (no C compiler at installation)"
        )
    if walk:
        yield from check_walk(potential, seed)
    yield check_tested(manifest)


def _contract(potential: Potential, term: Term, seed: int) -> Check:
    """All of `check_term` in one line."""
    rng = np.random.default_rng(seed)
    x = potential.reference + AMPLITUDE * rng.standard_normal((2, *potential.reference.shape))
    name = f"term {', '.join(term.names)}"
    try:
        checks = list(check_term(term, potential.in_cell(x), seed=seed))
    except DeltaError as error:
        return Check(name, False, str(error))
    wrong = [f"{check.name}: {check.found}" for check in checks if not check.passed]
    return Check(name, not wrong, "; ".join(wrong) or f"keeps all {len(checks)} of the contract")


def _files(manifest: Manifest, models: dict[str, Model]) -> Iterator[Check]:
    """One check a file, and more for each that could be read; those end up in `models`."""
    for name, entry in manifest.models().items():
        try:
            model = read_model(manifest, entry)
        except DeltaError as error:
            yield Check(f"model {name}", False, str(error))
            continue
        yield Check(
            f"model {name}",
            True,
            f"{model.n_train} training points, {len(model.permutations)} permutations, σ {model.sigma:g}, "
            f"{model.length_unit}, {model.energy_unit}, sha256 {'agrees' if entry.sha256 else 'not in the manifest'}",
        )
        if model.theory and not model.theory.startswith(manifest.theory):
            yield Check(f"theory {name}", False, f"the file says {model.theory!r}, the manifest {manifest.theory!r}")
        models[name] = model
        yield _group(name, model.permutations)


def _group(name: str, permutations: IntArray) -> Check:
    """A set of permutations that is no group makes the energy depend on how equal atoms are numbered."""
    ok = is_group(permutations)
    found = f"{len(permutations)} elements, closed" if ok else "not a group: some of its products are missing"
    return Check(f"group {name}", ok, found)


def _charges(term: ElectrostaticsTerm, potential: Potential, models: dict[str, Model]) -> Check:
    """Atoms that a molecule's own model takes for equal should have one charge."""
    charges = dict(zip(term.sites[0].tolist(), np.concatenate(term.charges), strict=True))
    unequal = []
    for fragment in potential.fragments:
        q = np.array([charges.get(atom, 0.0) for atom in fragment.atoms.tolist()])
        if fragment.name in models and np.abs(q[models[fragment.name].permutations] - q).max() > _SAME_CHARGE:
            unequal.append(fragment.name)
    found = f"equal atoms of {', '.join(unequal)} have other charges: the energy depends on how they are numbered"
    return Check(
        f"charges {term.name}", True, found if unequal else "equal atoms have equal ones", warning=bool(unequal)
    )


def _permutation(
    name: str, term: SgdmlTerm, x: FloatArray, permutations: IntArray, rng: np.random.Generator
) -> Check:
    """Equal atoms exchanged by the model's own permutations leave its energy alone; x: (n, 3) Å."""
    x = x + AMPLITUDE * rng.standard_normal(x.shape)
    chosen = permutations[rng.permutation(len(permutations))[:32]]
    energies = term.predictor.predict(np.concatenate([x[None], x[chosen]])).energy
    error = float(np.abs(energies - energies[0]).max())
    tolerance = rounding(float(energies[0]))
    return Check(
        f"permutations {name}",
        error < tolerance,
        f"energy changes by {error:.1e} eV over {len(chosen)} of {len(permutations)} (tolerance {tolerance:.0e})",
    )
