"""Everything that can be wrong with a potential, as a list of passes and failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ._types import FloatArray, IntArray
from .errors import DeltaError
from .gdml import Model, load_model
from .manifest import Manifest, load_manifest
from .potential import Potential, Term, load_potential

_STEP = 1e-4  # Å, of finite differences
_AMPLITUDE = 0.02  # Å, of the random displacements that start the checks


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, whether it passed, what was found."""

    name: str
    passed: bool
    found: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def check_manifest(path: Path, seed: int = 0) -> Iterator[Check]:
    """Every check of a manifest, in order; ends early where a later check would mean nothing.

    Forces are compared in eV/Å with central differences of the energy (step 1e-4 Å), and likewise the virial with
    a strain; tolerances follow from the step and the rounding of energies of that size.
    """
    try:
        manifest = load_manifest(path)
    except DeltaError as error:
        yield Check("manifest", False, str(error))
        return
    yield Check("manifest", True, f"{len(manifest.fragments)} fragments, {len(manifest.binding)} binding terms")
    models: dict[str, Model] = {}
    yield from _files(manifest, models)
    try:
        potential = load_potential(manifest)
    except DeltaError as error:
        yield Check("elements and units", False, str(error))
        return
    yield Check("elements and units", True, f"{potential.n_atoms} atoms, every model in the structure's order")
    yield from check_potential(potential, seed)
    for term in (*potential.fragments, *potential.bindings):
        if term.name in models:
            yield _permutation(potential, term, models[term.name].permutations, np.random.default_rng(seed))


def _files(manifest: Manifest, models: dict[str, Model]) -> Iterator[Check]:
    """One check a file, and more for each that could be read; those end up in `models`."""
    for name, entry in manifest.models().items():
        units, digest = entry.units, entry.sha256
        try:
            model = load_model(
                manifest.resolve(entry.model), length_unit=units.length, energy_unit=units.energy, sha256=digest
            )
        except DeltaError as error:
            yield Check(f"model {name}", False, str(error))
            continue
        yield Check(
            f"model {name}",
            True,
            f"{model.n_train} training points, {len(model.permutations)} permutations, σ {model.sigma:g}, "
            f"{model.length_unit}, {model.energy_unit}, sha256 {'agrees' if digest else 'not in the manifest'}",
        )
        if manifest.theory and model.theory and manifest.theory != model.theory:
            yield Check(f"theory {name}", False, f"the file says {model.theory!r}, the manifest {manifest.theory!r}")
        models[name] = model
        yield _group(name, model.permutations)


def _group(name: str, permutations: IntArray) -> Check:
    """A set of permutations that is no group makes the energy depend on how equal atoms are numbered."""
    members = {tuple(p) for p in permutations.tolist()}
    closed = all(tuple(a[list(b)].tolist()) in members for a in permutations for b in members)
    identity = tuple(range(permutations.shape[1])) in members
    ok = closed and identity and len(members) == len(permutations)
    found = f"{len(members)} elements, closed" if ok else "not a group: products of its permutations are missing"
    return Check(f"group {name}", ok, found)


def check_potential(potential: Potential, seed: int = 0) -> Iterator[Check]:
    """The checks that need no files: finite differences and invariances, around the reference structure."""
    rng = np.random.default_rng(seed)
    x = potential.reference + _AMPLITUDE * rng.standard_normal(potential.reference.shape)
    result = potential.compute(x)
    scale = np.abs(result.energy) + sum(np.abs(e) for e in result.parts.energies.values())

    def energies(frames: FloatArray) -> FloatArray:
        return potential.compute(frames).energy

    tolerance = float(max(1e-5, 1e-13 * scale / _STEP, 1e-4 * np.abs(result.forces).max()))
    error = _derivative_error(energies, x, -result.forces)
    yield Check(
        "forces = −dE/dr",
        error < tolerance,
        f"largest difference {error:.1e} eV/Å (tolerance {tolerance:.0e}; largest force "
        f"{np.abs(result.forces).max():.2f})",
    )
    error = _strain_error(energies, x, result.virial)
    tolerance *= float(np.ptp(x, axis=0).max())
    yield Check(
        "virial = −dE/dε", error < tolerance, f"largest difference {error:.1e} eV (tolerance {tolerance:.0e})"
    )

    rounding = float(max(1e-7, 1e-11 * scale))
    moved = potential.compute(x + np.array([11.0, -7.0, 3.0]))
    error = float(abs(moved.energy - result.energy) + np.abs(moved.forces - result.forces).max())
    yield Check(
        "translation", error < rounding, f"energy and forces change by {error:.1e} (tolerance {rounding:.0e})"
    )
    turn = _rotation(rng)
    turned = potential.compute(x @ turn.T)
    error = float(abs(turned.energy - result.energy) + np.abs(turned.forces - result.forces @ turn.T).max())
    yield Check("rotation", error < rounding, f"energy and forces change by {error:.1e} (tolerance {rounding:.0e})")
    total = float(np.abs(result.forces.sum(0)).max())
    yield Check("net force", total < rounding, f"{total:.1e} eV/Å (tolerance {rounding:.0e})")
    torque = float(np.abs(np.cross(x - x.mean(0), result.forces).sum(0)).max())
    yield Check("net torque", torque < 10 * rounding, f"{torque:.1e} eV (tolerance {10 * rounding:.0e})")
    frames = np.stack([x, potential.reference, x])
    batch = potential.compute(frames)
    error = float(np.abs(batch.forces[2] - result.forces).max())
    yield Check("batch = single", error < rounding, f"forces differ by {error:.1e} eV/Å (tolerance {rounding:.0e})")
    if len(potential.fragments) > 1 and potential.bindings:
        yield _separated(potential)


def _derivative_error(energies: Callable[[FloatArray], FloatArray], x: FloatArray, gradient: FloatArray) -> float:
    steps = _STEP * np.eye(x.size).reshape(-1, *x.shape)
    numeric = (energies(x + steps) - energies(x - steps)) / (2 * _STEP)
    return float(np.abs(numeric.reshape(x.shape) - gradient).max())


def _strain_error(energies: Callable[[FloatArray], FloatArray], x: FloatArray, virial: FloatArray) -> float:
    strains = _STEP / 10 * np.eye(9).reshape(9, 3, 3)
    up, down = (np.einsum("kab,nb->kna", np.eye(3) + s * strains, x) for s in (1, -1))
    numeric = (energies(up) - energies(down)) / (2 * _STEP / 10)
    return float(np.abs(-numeric.reshape(3, 3) - virial).max())


def _rotation(rng: np.random.Generator) -> FloatArray:
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    rotation: FloatArray = q * np.sign(np.linalg.det(q))
    return rotation


def _separated(potential: Potential) -> Check:
    """Far apart, fragments should not feel each other. A kernel model cannot know that unless it was trained there,
    so what is checked is that the binding stays finite and below 1 eV, and what is told is how large it is."""
    x = potential.reference.copy()
    centre = x.mean(0)
    for i, term in enumerate(potential.fragments):
        atoms = term.atoms
        away = x[atoms].mean(0) - centre
        norm = np.linalg.norm(away)
        direction = away / norm if norm > 0.1 else np.eye(3)[i % 3]
        x[atoms] += 100.0 * (i + 1) * direction
    result = potential.compute(x)
    energy = float(result.parts.energies["binding"])
    force = float(np.abs(result.parts.binding_forces).max()) if result.parts.binding_forces is not None else 0.0
    return Check(
        "separated fragments",
        abs(energy) < 1.0 and force < 0.05,
        f"100 Å apart the binding is {energy:.4f} eV, its largest force {force:.1e} eV/Å",
    )


def _permutation(potential: Potential, term: Term, permutations: IntArray, rng: np.random.Generator) -> Check:
    """Equal atoms exchanged by the model's own permutations leave its energy alone."""
    assert not isinstance(term.model, float)
    x = potential.reference[term.atoms]
    x = x + _AMPLITUDE * rng.standard_normal(x.shape)
    chosen = permutations[rng.permutation(len(permutations))[:32]]
    energies = term.model.predict(np.concatenate([x[None], x[chosen]])).energy
    error = float(np.abs(energies - energies[0]).max())
    tolerance = float(max(1e-6, 1e-10 * abs(energies[0])))
    return Check(
        f"permutations {term.name}",
        error < tolerance,
        f"energy changes by {error:.1e} eV over {len(chosen)} of {len(permutations)} (tolerance {tolerance:.0e})",
    )
