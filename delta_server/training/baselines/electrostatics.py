"""Point charges below the binding, fitted to configurations whose fragments are far apart.

There nothing overlaps: what a baseline such as D4 leaves of the binding energy and its forces is the electrostatics
of two molecules (and induction, which charges do not have). Equivalent atoms, those that the molecule's symmetry
exchanges, have one charge, and the charges of a molecule add up to its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._types import FloatArray, IntArray
from ...data.apart import gaps
from ...errors import InputError
from ...terms.electrostatics import ElectrostaticsTerm, pull
from ...units import COULOMB, KCAL_MOL
from .cutoff import centre_distances

if TYPE_CHECKING:
    from ..databases import Complex

NAME = "electrostatics"  # of the term in a manifest
APART = 5.5  # Å between nearest atoms, where no densities overlap
_FEWEST = 10  # configurations so far apart
_EXPLAINED = 0.95  # of their energies (RMS) may be left
_STARTS = 5  # at random, beside the guess
_HYDROGEN = 0.1  # e, of the guess
_TIE = 1e-5  # kcal/mol/e to the guess: energies of neutral molecules do not tell a sign, nor whose charges are large


@dataclass(frozen=True)
class FittedCharges:
    """charges: e, of the atoms of each fragment by its name, in the manifest's order (`Complex.atoms`). n:
    configurations they were fitted to, from `beyond` Å between centres of mass on; left: RMS of the binding energy
    that they leave there, of: RMS of what there was; kcal/mol."""

    charges: dict[str, list[float]]
    n: int
    beyond: float
    left: float
    of: float

    def __str__(self) -> str:
        each = "; ".join(f"{name} {' '.join(f'{q:+.3f}' for q in values)}" for name, values in self.charges.items())
        return (
            f"electrostatics: charges (e) of {each}; fitted to {self.n} configurations {_far(self.beyond)}, "
            f"{self.left:.2g} of {self.of:.2g} kcal/mol left (RMS)"
        )

    def as_dict(self) -> dict[str, Any]:
        """What the record says."""
        return {
            "charges": self.charges, "configurations": self.n, "beyond_angstrom": self.beyond,
            "rms_left_kcal_per_mol": self.left, "rms_kcal_per_mol": self.of,
        }  # fmt: skip

    def entry(self) -> dict[str, Any]:
        """The term of a manifest."""
        return {"kind": "electrostatics", "name": NAME, "options": {"charges": self.charges}}

    def term(self, system: Complex) -> ElectrostaticsTerm:
        """The term that the entry describes."""
        sites = np.concatenate([system.atoms[k] for k in range(len(system.names))])
        return ElectrostaticsTerm(NAME, sites[None], tuple(np.array(self.charges[name]) for name in system.names))


def fit_charges(system: Complex, which: IntArray, beyond: float = 0.0) -> FittedCharges:
    """Charges of the two fragments of a complex that fit their binding energies best.

    which: configurations; those are taken whose nearest atoms are 5.5 Å apart or more, and weighed by the cube of
    that distance, as energies of dipoles fall: otherwise the nearest would count alone. Forces do not count: those
    of density functionals have a constant error, which is larger here. beyond: Å between centres of mass where the
    binding's model begins to end; where there are enough configurations beyond that, they alone are taken, for nearer
    by the model has what charges lack.

    Raises InputError where there are too few, or other than two fragments, an ion whose charge is not known, or
    energies that no charges explain.
    """
    from scipy.optimize import least_squares

    data = system.data
    if data.n_fragments != 2:
        raise InputError(f"{data.name}: electrostatics is fitted between two fragments, here are {data.n_fragments}")
    first, second = (system.atoms[k] for k in range(2))
    for k, name in enumerate(system.names):
        if len(system.atoms[k]) == 1 and not system.charge(k):
            raise InputError(f"{data.name}: electrostatics: {name} is an atom of charge 0; label it with --charges")
    gap = gaps(data.positions[which], [first, second])
    apart = gap >= APART
    left_alone = apart & (centre_distances(system, which) >= beyond)
    apart, beyond = (left_alone, beyond) if left_alone.sum() >= _FEWEST else (apart, 0.0)
    far, weights = which[apart], (gap[apart] / APART) ** 3
    if len(far) < _FEWEST:
        raise InputError(
            f"{data.name}: electrostatics: {len(far)} training configurations have their fragments {APART:g} Å apart "
            f"or more, {_FEWEST} are needed: `delta-sgdml dataset sample --apart` places some"
        )
    classes, q0, null = _free(system)
    table = _table(data.positions[far][:, first], data.positions[far][:, second], classes)
    energies = system.binding_labels(far).energies

    def left(q: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("nab,a,b->n", table, q, q) - energies)

    def residuals(p: FloatArray) -> FloatArray:
        q = q0 + null @ p
        return np.concatenate([weights * left(q), _TIE * (q - guess)])

    guess, rng = _guess(system, classes), np.random.default_rng(0)
    starts = [guess, *rng.normal(0, 0.3, (_STARTS, len(guess)))]
    best = least_squares(residuals, null.T @ (starts[0] - q0))
    for start in starts[1:]:
        found = least_squares(residuals, null.T @ (start - q0))
        best = found if found.cost < 0.99 * best.cost else best
    q = q0 + null @ best.x
    there, rest = _rms(energies), _rms(left(q))
    if rest > _EXPLAINED * there:
        raise InputError(
            f"{data.name}: electrostatics: charges leave {rest:.2g} of {there:.2g} kcal/mol (RMS of {len(far)} "
            f"configurations {_far(beyond)}): something else binds there; leave --electrostatics out"
        )
    charges = {name: q[classes[k]].round(6).tolist() for k, name in enumerate(system.names)}
    return FittedCharges(charges, len(far), beyond, rest, there)


def _table(a: FloatArray, b: FloatArray, classes: tuple[IntArray, IntArray]) -> FloatArray:
    """(n, c, c) kcal/mol of one elementary charge on the atoms of each class of each molecule, (n, m, 3) and
    (n, k, 3) Å; classes: of each one's atoms."""
    one, two = (np.eye(1 + max(int(k.max()) for k in classes))[c] for c in classes)  # (m, c), (k, c)
    inverse, _ = pull(a, b)
    return np.asarray(COULOMB / KCAL_MOL * np.einsum("nij,ia,jb->nab", inverse, one, two))


def _free(system: Complex) -> tuple[tuple[IntArray, IntArray], FloatArray, FloatArray]:
    """The class of each atom of both fragments, numbered throughout; charges (c,) that add up as they must, and what
    can be added to them (c, p)."""
    classes = system.equivalent
    count = 1 + max(int(mine.max()) for mine in classes)
    sums = np.stack([np.bincount(mine, minlength=count) for mine in classes]).astype(float)
    q0, *_ = np.linalg.lstsq(sums, np.array([system.charge(k) for k in range(2)], dtype=float))
    _, singular, vectors = np.linalg.svd(sums)
    rank = int((singular > 1e-9).sum())
    return (classes[0], classes[1]), q0, vectors[rank:].T


def _guess(system: Complex, classes: tuple[IntArray, IntArray]) -> FloatArray:
    """Hydrogens a little positive, and the others as much negative."""
    q = np.zeros(1 + max(int(c.max()) for c in classes))
    for k, mine in enumerate(classes):
        hydrogen = system.data.numbers[system.atoms[k]] == 1
        if 0 < hydrogen.sum() < len(hydrogen):
            q[mine[hydrogen]] = _HYDROGEN
            q[mine[~hydrogen]] = -_HYDROGEN * hydrogen.sum() / (~hydrogen).sum()
    return q


def _far(beyond: float) -> str:
    """Which configurations charges are fitted to, as in `FittedCharges`."""
    return f"with centres {beyond:g} Å apart or more" if beyond else f"{APART:g} Å apart or more"


def _rms(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))
