"""The binding energy along lines from contact to 30 Å: of a model, and of the method that labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..files.documents import plain
from ..potential import Potential
from ..units import KCAL_MOL

FARTHEST = 30.0  # Å from the place in the structure
INSIDE = 0.3  # Å nearer than the minimum, where a curve begins
TOLERANCE, RELATIVE = 0.03, 0.02  # kcal/mol, or of the reference: an error that does not matter
_NEAREST = 1.2  # Å; atoms that are nearer make no complex
_STEP, _GROWTH = 0.1, 1.12  # Å between points near the structure; growth of the steps further out


@dataclass(frozen=True, eq=False)
class Curve:
    """Binding energies along a line: ``distance`` (n,) Å of the centres, ``positions`` (n, N, 3) Å, ``model`` (n,)
    kcal/mol and ``reference`` (n,) kcal/mol, NaN where it failed, or None where nobody asked."""

    name: str
    distance: FloatArray
    positions: FloatArray
    model: FloatArray
    reference: FloatArray | None = None

    @property
    def errors(self) -> FloatArray:
        """(n,) model − reference, kcal/mol; NaN without."""
        return self.model - (np.nan if self.reference is None else self.reference)

    @property
    def excess(self) -> FloatArray:
        """(n,) errors in units of what does not matter: 0.03 kcal/mol or 2 % of the reference, the larger."""
        size = 0.0 if self.reference is None else np.abs(self.reference)
        return np.asarray(np.abs(self.errors) / np.maximum(TOLERANCE, RELATIVE * size))

    def take(self, which: IntArray) -> Curve:
        """Some of the points."""
        reference = None if self.reference is None else self.reference[which]
        return Curve(self.name, self.distance[which], self.positions[which], self.model[which], reference)

    def as_dict(self) -> dict[str, object]:
        """The curve as JSON has it."""
        values = {"distance": self.distance, "model": self.model, "reference": self.reference, "excess": self.excess}
        return {"name": self.name} | {
            key: None if value is None else [plain(float(v)) for v in value] for key, value in values.items()
        }


def binding_curves(
    potential: Potential,
    fragment: str | None = None,
    reference: Callable[[FloatArray], FloatArray] | None = None,
) -> list[Curve]:
    """One fragment, the last by default, moved from its place in the structure of a manifest.

    ``along`` the line between its centre and that of the others, from 0.3 Å inside the minimum on; ``across``, in
    two directions at right angles to it. reference: binding energies (n,) kcal/mol at the (n, N, 3) Å of all points,
    NaN where there are none. Raises InputError where there is no such fragment, or nothing else.
    """
    curves = list(_lines(potential, fragment))
    if reference is not None:
        energies = reference(np.concatenate([curve.positions for curve in curves]))
        parts = np.split(energies, np.cumsum([len(curve.distance) for curve in curves])[:-1])
        curves = [replace(curve, reference=part) for curve, part in zip(curves, parts, strict=True)]
    along, *across = curves
    return [_from_minimum(along), *across]


def _lines(potential: Potential, fragment: str | None) -> Iterator[Curve]:
    atoms = {f.name: f.atoms for f in potential.fragments}
    fragment = fragment or potential.fragments[-1].name
    if fragment not in atoms or len(atoms) < 2:
        raise InputError(f"{potential.name}: no fragment {fragment!r} to move; there are {', '.join(atoms)}")
    moved = atoms[fragment]
    others = np.setdiff1d(np.arange(potential.n_atoms), moved)
    away = potential.reference[moved].mean(0) - potential.reference[others].mean(0)
    along, *across = _axes(away)
    for name, way, first in (("along", along, -1.0), ("across", across[0], 0.0), ("across, 2nd", across[1], 0.0)):
        shifts = _shifts(first)
        x = np.repeat(potential.reference[None], len(shifts), axis=0)
        x[:, moved] += (shifts[:, None] * way)[:, None]
        nearest = np.linalg.norm(x[:, moved][:, :, None] - x[:, others][:, None], axis=3).min((1, 2))
        x, shifts = x[nearest > _NEAREST], shifts[nearest > _NEAREST]
        model = potential.compute(x, part="binding").parts.energies["binding"] / KCAL_MOL
        yield Curve(name, np.linalg.norm(away + shifts[:, None] * way, axis=1), x, model)


def _from_minimum(curve: Curve) -> Curve:
    """Without what is nearer than 0.3 Å inside the minimum."""
    energy = curve.model if curve.reference is None else curve.reference
    least = curve.distance[int(np.nanargmin(np.where(np.isfinite(energy), energy, np.inf)))]
    return curve.take(np.flatnonzero(curve.distance >= least - INSIDE - 1e-9))


def _shifts(first: float) -> FloatArray:
    """Å: small steps around the structure, larger ones further out."""
    shifts, step = [first], _STEP
    while shifts[-1] < FARTHEST:
        step = step * _GROWTH if shifts[-1] > 1.0 else step
        shifts.append(min(shifts[-1] + step, FARTHEST))
    return np.array(shifts)


def _axes(away: FloatArray) -> FloatArray:
    """(3, 3) rows of length 1 at right angles to each other, the first along a vector."""
    own = away / max(float(np.linalg.norm(away)), 1e-9) if np.linalg.norm(away) > 1e-3 else np.eye(3)[2]
    first = np.cross(own, np.eye(3)[int(np.abs(own).argmin())])
    first /= np.linalg.norm(first)
    return np.array([own, first, np.cross(own, first)])
