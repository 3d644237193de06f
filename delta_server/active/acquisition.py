"""Which configurations are worth labelling: of large expected errors, and unlike each other.

Greedy: the next pick has the largest expected error a s^b, with s² conditional on the training points and on the
picks before. What a new point does to a Gaussian process' variance needs no label, only its place: each pick is one
step of a pivoted Cholesky factorisation of the candidates' covariance (Harbrecht, Peters & Schneider, 2012).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..gdml.model import Model
from ..gdml.uncertainty import Uncertainty, novelty
from ..potential import Potential
from ..terms.base import not_calibrated
from ..terms.sgdml import SgdmlTerm, as_slice
from ..units import KCAL_MOL

_CHUNK = 2**22  # numbers of descriptors that are made at once
_KNOWN = 3e-10  # of its variance; less, of which rounding is most, is left of a copy of what is there


@dataclass(frozen=True)
class Pick:
    """A configuration to be labelled; expected RMSE of its force components, kcal/mol/Å."""

    configuration: int
    expected_error: float  # of the models as they are, or before the first label
    left_error: float  # once the picks before it are trained on


def pick(
    potential: Potential,
    positions: FloatArray,
    count: int,
    term: str = "all",
    report: Callable[[int], object] | None = None,
    anew: bool = False,
) -> list[Pick]:
    """Choose at most `count` of the configurations (n, N, 3), Å, the most wanted first.

    Fewer where all others are copies. term: ``all``, ``binding`` or a fragment: whose errors count. report: called
    with how many are picked. anew: for models that start from these alone, as with labels of another method; what the
    potential was trained on then does not count as known. Memory: n × (training points, 300 at most, + count) numbers
    a term.

    Raises InputError where there is no such term, or no configuration; ModelFileError without a calibration.
    """
    if not len(positions):
        raise InputError(f"{potential.name}: no configurations to choose from")
    terms = _terms(potential, term, positions)
    atoms = sum(weight for weight, _, _ in terms) if term not in ("all", "binding") else potential.n_atoms
    candidates = [(weight / atoms, _Candidates(uncertainty, x, anew)) for weight, uncertainty, x in terms]
    return _greedy(candidates, count, report)


def pick_for(
    model: Model, positions: FloatArray, count: int, report: Callable[[int], object] | None = None
) -> list[Pick]:
    """As `pick`, for one model and configurations (n, N, 3), Å, of its own atoms. Raises ModelFileError."""
    return _greedy([(1.0, _Candidates(Uncertainty(model), positions))], count, report)


def _greedy(
    candidates: Sequence[tuple[float, _Candidates]], count: int, report: Callable[[int], object] | None
) -> list[Pick]:
    """candidates: of each term, with the weight of its squared errors."""

    def errors() -> FloatArray:
        squares: FloatArray = np.sum([weight * c.errors() ** 2 for weight, c in candidates], axis=0)
        return np.asarray(np.sqrt(squares) / KCAL_MOL)

    first = left = errors()
    picks: list[Pick] = []
    free = np.ones(len(first), dtype=bool)
    while len(picks) < count:
        free &= np.any([c.residual > _KNOWN * c.own for _, c in candidates], axis=0)
        if not free.any():
            break
        i = int(np.where(free, left, -1.0).argmax())
        picks.append(Pick(i, float(first[i]), float(left[i])))
        free[i] = False
        for _, c in candidates:
            c.take(i)
        left = errors()
        if report is not None:
            report(len(picks))
    return picks


def _terms(potential: Potential, name: str, positions: FloatArray) -> list[tuple[int, Uncertainty, FloatArray]]:
    """Of each copy of a model that counts: its number of atoms, its expected errors, its atoms' positions."""
    copies = [
        (copy, site, t)
        for t in potential.terms
        if isinstance(t, SgdmlTerm)
        for copy, site in zip(t.names, t.sites, strict=True)
    ]
    groups = {"all": copies, "binding": [c for c in copies if c[2].part == "binding"]}
    groups |= {c[0]: [c] for c in copies if c[0] != "binding"}
    if not groups.get(name):
        there = [n for n, group in groups.items() if group]
        raise InputError(f"{potential.name}: no term {name!r} with a model; there are {', '.join(there)}")
    chosen = []
    for copy, site, term in groups[name]:
        if term.uncertainty is None:
            raise not_calibrated(copy)
        chosen.append((len(site), term.uncertainty, positions[:, as_slice(site)]))
    return chosen


class _Candidates:
    """Variances of one molecule at all configurations, as points are added."""

    def __init__(self, uncertainty: Uncertainty, positions: FloatArray, anew: bool = False) -> None:
        """anew: none of the training points is known."""
        u = self._uncertainty = uncertainty
        self._positions = positions
        n = self._positions.shape[1]
        step = max(1, 2 * _CHUNK // n**2)
        self._parts = [slice(i, i + step) for i in range(0, len(positions), step)]
        self._known: list[FloatArray] = []  # (n, M) of the training points, then (n, 1) for each point more
        if anew:
            own = [u.kernel.diagonal(self._describe(part), (u.length,))[0] for part in self._parts]
            self.own = self.residual = np.concatenate(own)  # (n,)
            return
        explained = [u.explained(self._describe(part)) for part in self._parts]
        self.own, known = (np.concatenate(each) for each in zip(*explained, strict=True))
        self._known.append(known)
        self.residual = self.own - np.einsum("nm,nm->n", known, known)

    def _describe(self, part: slice | IntArray) -> FloatArray:
        return self._uncertainty.describe(self._positions[part])

    def errors(self) -> FloatArray:
        """(n,) eV/Å."""
        return self._uncertainty.error_of(novelty(self.residual / self.own))

    def take(self, i: int) -> None:
        """Configuration i is known from here on."""
        u = self._uncertainty
        if self.residual[i] <= _KNOWN * self.own[i]:
            return
        taken = u.kernel.points(self._describe(slice(i, i + 1)))
        covariance = np.concatenate([u.kernel.cross(self._describe(p), taken, (u.length,))[0] for p in self._parts])
        for known in self._known:
            covariance -= known @ known[i : i + 1].T
        covariance /= np.sqrt(self.residual[i])
        self._known.append(covariance)
        self.residual = self.residual - covariance[:, 0] ** 2
