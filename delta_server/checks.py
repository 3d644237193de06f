"""Everything that can be wrong with a potential, as a list of passes and failures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ._types import FloatArray, IntArray
from .errors import DeltaError, ModelFileError
from .gdml import Model
from .loading import load_potential, read_model
from .manifest import Manifest, load_manifest
from .potential import Potential, Term
from .symmetry.bond_graph import is_group

_STEP = 3e-3  # Å, of finite differences
_FEW = 32  # atoms whose forces are all checked; directions that are checked in larger molecules
_FAR_FORCE = 0.005  # eV/Å, between fragments 100 Å apart; or half of what the binding's forces are expected to be off
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

    Forces and the virial are compared with central differences of the energy, to what the rounding of the energy
    (itself measured, and limited) leaves of them.
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
    try:
        yield from check_potential(potential, seed)
    except DeltaError as error:
        yield Check("energies", False, str(error))
        return
    for term in (*potential.fragments, *potential.bindings):
        if term.name in models:
            yield _permutation(potential, term, models[term.name].permutations, np.random.default_rng(seed))


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


def check_potential(potential: Potential, seed: int = 0) -> Iterator[Check]:
    """The checks that need no files: rounding, finite differences and invariances, around the reference structure."""
    rng = np.random.default_rng(seed)
    x = potential.reference + _AMPLITUDE * rng.standard_normal(potential.reference.shape)
    result = potential.compute(x)

    def energies(frames: FloatArray) -> FloatArray:
        return potential.compute(frames).energy

    moved = potential.compute(x + 10.0 * rng.standard_normal((16, 1, 3)))
    noise = float(np.abs(moved.energy - result.energy).max())
    yield Check(
        "rounding", noise < 1e-6, f"energy changes by {noise:.1e} eV when the molecule is moved (at most 1e-06)"
    )
    error = float(np.abs(moved.forces - result.forces).max())
    yield Check("translation", error < 1e-6, f"forces change by {error:.1e} eV/Å (at most 1e-06)")
    turn = _rotation(rng)
    error = float(np.abs(potential.compute(x @ turn.T).forces - result.forces @ turn.T).max())
    yield Check("rotation", error < 1e-6, f"forces turn with the molecule, to {error:.1e} eV/Å (at most 1e-06)")
    total = float(np.abs(result.forces.sum(0)).max())
    yield Check("net force", total < 1e-8, f"{total:.1e} eV/Å (at most 1e-08)")
    torque = float(np.abs(np.cross(x - x.mean(0), result.forces).sum(0)).max())
    yield Check("net torque", torque < 1e-8, f"{torque:.1e} eV (at most 1e-08)")

    tolerance = 1e-4 + 10 * noise / _STEP
    directions = _directions(x, rng)
    expected = np.einsum("kna,na->k", directions, result.forces)
    error = float(np.abs(_derivative(energies, x, directions) + expected).max())
    yield Check(
        "forces = −dE/dr",
        error < tolerance,
        f"differ by {error:.1e} eV/Å of up to {np.abs(result.forces).max():.2f} (at most {tolerance:.0e})",
    )
    size = float(np.ptp(x, axis=0).max())
    strains = np.einsum("kab,nb->kna", np.eye(9).reshape(9, 3, 3), x) / size
    error = float(np.abs(_derivative(energies, x, strains).reshape(3, 3) * size + result.virial).max())
    yield Check(
        "virial = −dE/dε", error < tolerance * size, f"differ by {error:.1e} eV (at most {tolerance * size:.0e})"
    )

    batch = potential.compute(np.stack([x, potential.reference, x]))
    error = float(np.abs(batch.forces[2] - result.forces).max())
    yield Check("batch = single", error < 1e-6, f"forces differ by {error:.1e} eV/Å (at most 1e-06)")
    if len(potential.fragments) > 1 and potential.bindings:
        yield _separated(potential)


def _derivative(energies: Callable[[FloatArray], FloatArray], x: FloatArray, directions: FloatArray) -> FloatArray:
    """dE along each direction (k, N, 3), by central differences of fourth order."""
    h = _STEP
    once = energies(x + h * directions) - energies(x - h * directions)
    twice = energies(x + 2 * h * directions) - energies(x - 2 * h * directions)
    return (8 * once - twice) / (12 * h)


def _directions(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Every coordinate (3N, N, 3); of a large molecule a few directions in which all atoms move, of length one."""
    if x.size <= 3 * _FEW:
        return np.eye(x.size).reshape(-1, *x.shape)
    random = rng.standard_normal((_FEW, *x.shape))
    unit: FloatArray = random / np.linalg.norm(random, axis=(1, 2), keepdims=True)
    return unit


def _rotation(rng: np.random.Generator) -> FloatArray:
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    rotation: FloatArray = q * np.sign(np.linalg.det(q))
    return rotation


def _separated(potential: Potential) -> Check:
    """Far apart, fragments do not feel each other. A kernel model knows that only if it was trained there, and not
    better than it knows the binding anywhere."""
    x = potential.reference.copy()
    for i, term in enumerate(potential.fragments):
        x[term.atoms] += [100.0 * i, 0.0, 0.0]
    result = potential.compute(x, "binding")
    energy, force, limit = abs(float(result.energy)), float(np.abs(result.forces).max()), _FAR_FORCE
    with contextlib.suppress(ModelFileError):  # without a calibration
        limit = max(limit, 0.5 * float(potential.uncertainty(potential.reference, "binding")["binding"]))
    return Check(
        "separated fragments",
        energy < 0.02 and force < limit,
        f"100 Å apart the binding is {energy:.4f} eV (at most 0.02), its force {force:.4f} eV/Å "
        f"(at most {limit:.3f})",
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
