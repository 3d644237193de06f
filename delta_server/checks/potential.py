"""What holds for any potential and any term, whatever it is made of: derivatives, invariances, the contract."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from .._types import FloatArray
from ..errors import ModelFileError
from ..gdml import Prediction
from ..potential import Potential
from ..terms.base import Frames, Term
from .check import Check, rounding

_STEP = 3e-3  # Å, of finite differences
_FEW = 32  # atoms whose forces are all checked; directions that are checked in larger molecules
_FAR_FORCE = 0.005  # eV/Å, between fragments 100 Å apart; or half of what the binding's forces are expected to be off
AMPLITUDE = 0.02  # Å, of the random displacements that start the checks


def check_potential(potential: Potential, seed: int = 0) -> Iterator[Check]:
    """The checks that need no files: rounding, finite differences and invariances, around the reference structure."""
    rng = np.random.default_rng(seed)
    x = potential.reference + AMPLITUDE * rng.standard_normal(potential.reference.shape)

    def compute(frames: Frames) -> Prediction:
        result = potential.compute(frames.positions, cells=frames.cells)
        return Prediction(result.energy, result.forces, result.virial)

    yield from _check_sum(compute, potential.in_cell(x[None]), rng, max(map(_slack, potential.terms)))
    result = potential.compute(x, cells=potential.cell)
    batch = potential.compute(np.stack([x, potential.reference, x]), cells=potential.cell)
    error = float(np.abs(batch.forces[2] - result.forces).max())
    yield Check("batch = single", error < 1e-6, f"forces differ by {error:.1e} eV/Å (at most 1e-06)")
    if len(potential.fragments) > 1 and potential.bindings:
        yield _separated(potential)


def check_term(term: Term, frames: Frames, *, exact: bool = False, seed: int = 0) -> Iterator[Check]:
    """The contract of any `Term`, as a list of passes and failures.

    It leaves what it is given as it is; its arrays have the shapes that `Contribution` says; F frames at once are F
    single ones; equal copies that change places change their numbers with them; what it adds in place is the same;
    forces and virials are the energy's derivatives; nothing depends on where the whole is or how it is turned, with
    its cell where it has one.

    frames: of all atoms of the complex, sane geometries for the term; two or more say more than one. exact: batches
    are the same to the last bit, not up to rounding.
    """
    rng = np.random.default_rng(seed)
    count, (copies, n) = len(frames.positions), term.sites.shape
    given = [array for array in frames if array is not None]
    before = [array.copy() for array in given]
    whole = term.evaluate(frames)[:3]
    same = all(map(np.array_equal, given, before))
    yield Check("inputs not mutated", same, "positions and cells are as they were" if same else "they were changed")
    shapes = [array.shape for array in whole]
    expected = [(count, copies), (count, copies, n, 3), (count, copies, 3, 3)]
    yield Check("shapes", shapes == expected and len(term.names) == copies, f"{shapes}, expected {expected}")
    if shapes != expected:
        return

    singles = [term.evaluate(_take(frames, slice(i, i + 1)))[:3] for i in range(count)]
    error = max(
        float(np.abs(a - np.concatenate(b)).max()) for a, b in zip(whole, zip(*singles, strict=True), strict=True)
    )
    limit = 0.0 if exact else 1e-6 * _slack(term)
    yield Check("batch = single", error <= limit, f"differ by {error:.1e} eV, eV/Å (at most {limit:g})")
    if copies > 1:
        moved = frames.positions.copy()
        moved[:, term.sites] = moved[:, np.roll(term.sites, 1, axis=0)]
        rolled = term.evaluate(frames._replace(positions=moved))[:3]
        error = max(float(np.abs(b - np.roll(a, 1, axis=1)).max()) for a, b in zip(whole, rolled, strict=True))
        yield Check("equal copies", error <= 1e-6, f"exchanged, they differ by {error:.1e} (at most 1e-06)")
    if (errors := term.expected_error(frames)) is not None:
        good = errors.shape == (count, copies) and bool((errors >= 0).all())
        yield Check("expected errors", good, f"{errors.shape}, {errors.min():.2g} to {errors.max():.2g} eV/Å")

    def compute(moved: Frames) -> Prediction:
        energies, forces, virials, _ = term.evaluate(moved)
        total = np.zeros_like(moved.positions)
        for k, site in enumerate(term.sites):
            total[:, site] += forces[:, k]
        return Prediction(energies.sum(1), total, virials.sum(1))

    if (add := getattr(term, "add", None)) is not None:
        yield from _added(add, frames, whole[0], compute(frames))
    yield from _check_sum(compute, _take(frames, slice(0, 1)), rng, _slack(term))


def _added(
    add: Callable[[Frames, FloatArray, FloatArray], FloatArray | None],
    frames: Frames,
    of_copies: FloatArray,
    expected: Prediction,
) -> Iterator[Check]:
    """What `add` puts to forces and virials that are not zero; of_copies: energies (F, K) to be expected."""
    forces, virials = np.ones_like(expected.forces), np.ones_like(expected.virial)
    energies = add(frames, forces, virials)
    if energies is None:
        return
    left = energies - of_copies, forces - 1 - expected.forces, virials - 1 - expected.virial
    error = max(float(np.abs(array).max()) for array in left)
    yield Check("in place", error <= 1e-9, f"differs by {error:.1e} eV, eV/Å (at most 1e-09)")


def _take(frames: Frames, which: slice) -> Frames:
    return Frames(frames.positions[which], None if frames.cells is None else frames.cells[which])


def _slack(term: Term) -> float:
    """By how much more than a formula its numbers may round."""
    return float(getattr(term, "slack", 1.0))


def _check_sum(
    compute: Callable[[Frames], Prediction], frame: Frames, rng: np.random.Generator, slack: float = 1.0
) -> Iterator[Check]:
    """Rounding, invariances, and derivatives by finite differences, of anything with energy, forces and virial.

    frame: a single one, in a cell or in none; the cell is moved, turned and strained with the atoms. slack: by how
    much more than a formula it may round.
    """
    x, cell = frame.positions[0], None if frame.cells is None else frame.cells[0]
    energy, forces, virial = (array[0] for array in compute(frame))

    def moved(frames: FloatArray, by: FloatArray | None = None) -> Prediction:
        """by: (F, 3, 3) what the cell's vectors are multiplied with."""
        if cell is None:
            return compute(Frames(frames))
        return compute(Frames(frames, np.broadcast_to(cell if by is None else cell @ by, (len(frames), 3, 3))))

    rounded = 1e-6 * slack
    kept = rounding(float(energy), slack)
    shifted = moved(x + 10.0 * rng.standard_normal((16, 1, 3)))
    noise = float(np.abs(shifted.energy - energy).max())
    yield Check(
        "rounding",
        noise < kept,
        f"energy changes by {noise:.1e} eV when the molecule is moved (at most {kept:.0e})",
    )
    error = float(np.abs(shifted.forces - forces).max())
    yield Check("translation", error < rounded, f"forces change by {error:.1e} eV/Å (at most {rounded:.0e})")
    turn = _rotation(rng)
    error = float(np.abs(moved((x @ turn.T)[None], turn.T[None]).forces[0] - forces @ turn.T).max())
    yield Check(
        "rotation", error < rounded, f"forces turn with the molecule, to {error:.1e} eV/Å (at most {rounded:.0e})"
    )
    total = float(np.abs(forces.sum(0)).max())
    yield Check("net force", total < 1e-8 * slack, f"{total:.1e} eV/Å (at most {1e-8 * slack:.0e})")
    if cell is None:  # in a cell, what is beyond its edge pulls too
        torque = float(np.abs(np.cross(x - x.mean(0), forces).sum(0)).max())
        yield Check("net torque", torque < 1e-8 * slack, f"{torque:.1e} eV (at most {1e-8 * slack:.0e})")

    tolerance = 1e-4 + 10 * noise / _STEP
    directions = _directions(x, rng)
    slopes = np.einsum("kna,na->k", directions, forces)
    error = float(np.abs(_derivative(lambda d: moved(x + d).energy, directions) + slopes).max())
    yield Check(
        "forces = −dE/dr",
        error < tolerance,
        f"differ by {error:.1e} eV/Å of up to {np.abs(forces).max():.2f} (at most {tolerance:.0e})",
    )
    size = float(np.ptp(x, axis=0).max())
    unit = np.eye(9).reshape(9, 3, 3) / size  # strains that move no atom by more than the step

    def strained(strains: FloatArray) -> FloatArray:
        return moved(x + np.einsum("kab,nb->kna", strains, x), np.eye(3) + strains.transpose(0, 2, 1)).energy

    error = float(np.abs(_derivative(strained, unit).reshape(3, 3) * size + virial).max())
    yield Check(
        "virial = −dE/dε", error < tolerance * size, f"differ by {error:.1e} eV (at most {tolerance * size:.0e})"
    )


def _derivative(energies: Callable[[FloatArray], FloatArray], directions: FloatArray) -> FloatArray:
    """dE along each direction (k, …), by central differences of fourth order; energies: at displacements (k, …)."""
    h = _STEP
    once = energies(h * directions) - energies(-h * directions)
    twice = energies(2 * h * directions) - energies(-2 * h * directions)
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
    for i, fragment in enumerate(potential.fragments):
        x[fragment.atoms] += [100.0 * i, 0.0, 0.0]
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
