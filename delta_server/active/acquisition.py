"""Which configurations are worth labelling: of large expected errors, or telling most about all the others.

Greedy. Of molecules the next pick has the largest expected error a s^b, with s² conditional on the training points
and on the picks before; of the binding it is the one that makes the mean of s² over all configurations smallest
(Cohn, Neural Networks 9, 1071 (1996)). What a new point does to a Gaussian process' variance needs no label, only its
place: each pick is one step of a pivoted Cholesky factorisation of the candidates' covariance (Harbrecht, Peters &
Schneider, 2012). That each is better where it is taken was measured (training/README.md, More data).
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
_OTHERS = 300  # configurations, at most, that a pick is to tell about
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

    Fewer where all others are copies. term: ``all``, ``binding`` or a fragment: whose errors count; of the binding
    alone those that tell most about all, otherwise those of the largest errors. report: called with how many are
    picked. anew: for models that start from these alone, as with labels of another method; what the potential was
    trained on then does not count as known. Memory: n × (600 at most + count) numbers a term.

    Raises InputError where there is no such term, or no configuration; ModelFileError without a calibration.
    """
    if not len(positions):
        raise InputError(f"{potential.name}: no configurations to choose from")
    terms = _terms(potential, term, positions)
    atoms = sum(weight for weight, _, _ in terms) if term not in ("all", "binding") else potential.n_atoms
    telling = term == "binding"
    candidates = [(weight / atoms, _Candidates(uncertainty, x, anew, telling)) for weight, uncertainty, x in terms]
    return _greedy(candidates, count, report, telling)


def pick_for(
    model: Model, positions: FloatArray, count: int, report: Callable[[int], object] | None = None
) -> list[Pick]:
    """As `pick`, for one model and configurations (n, N, 3), Å, of its own atoms. Raises ModelFileError."""
    return _greedy([(1.0, _Candidates(Uncertainty(model), positions))], count, report)


def _greedy(
    candidates: Sequence[tuple[float, _Candidates]],
    count: int,
    report: Callable[[int], object] | None,
    telling: bool = False,
) -> list[Pick]:
    """candidates: of each term, with the weight of its squared errors. telling: what is wanted are the largest gains,
    in place of the largest errors."""

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
        wanted: FloatArray = np.sum([weight * c.gains() for weight, c in candidates], axis=0) if telling else left
        i = int(np.where(free, wanted, -1.0).argmax())
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
    """Variances of one molecule at all configurations, and covariances with some of them, as points are added."""

    def __init__(
        self, uncertainty: Uncertainty, positions: FloatArray, anew: bool = False, telling: bool = False
    ) -> None:
        """anew: none of the training points is known. telling: `gains` will be asked for."""
        self._uncertainty, self._positions = uncertainty, positions
        n = positions.shape[1]
        step = max(1, 2 * _CHUNK // n**2)
        self._parts = [slice(i, i + step) for i in range(0, len(positions), step)]
        self._known: list[FloatArray] = []  # (n, M) of the training points, then (n, 1) for each point more
        u = uncertainty
        if anew:
            own = [u.kernel.diagonal(self._describe(part), (u.length,))[0] for part in self._parts]
            self.own = self.residual = np.concatenate(own)  # (n,)
        else:
            explained = [u.explained(self._describe(part)) for part in self._parts]
            self.own, known = (np.concatenate(each) for each in zip(*explained, strict=True))
            self._known.append(known)
            self.residual = self.own - np.einsum("nm,nm->n", known, known)
        self._others = np.sort(np.random.default_rng(0).permutation(len(positions))[:_OTHERS])
        self._shared = self._covariance(self._others) if telling else None  # (n, others)

    def _describe(self, part: slice | IntArray) -> FloatArray:
        return self._uncertainty.describe(self._positions[part])

    def _covariance(self, which: IntArray) -> FloatArray:
        """(n, k) of all configurations with k of them, given what is known."""
        u = self._uncertainty
        points = u.kernel.points(self._describe(which))
        covariance = np.concatenate([u.kernel.cross(self._describe(p), points, (u.length,))[0] for p in self._parts])
        for known in self._known:
            covariance -= known @ known[which].T
        return np.asarray(covariance)

    def errors(self) -> FloatArray:
        """(n,) eV/Å."""
        return self._uncertainty.error_of(novelty(self.residual / self.own))

    def gains(self) -> FloatArray:
        """(n,) eV²/Å²: by how much the mean of a² s² falls once a configuration is known."""
        assert self._shared is not None
        explained = np.einsum("no,o->n", self._shared**2, 1 / self.own[self._others]) / len(self._others)
        fresh = self.residual > _KNOWN * self.own
        gains = np.divide(explained, self.residual, where=fresh, out=np.zeros_like(explained))
        return np.asarray(self._uncertainty.a**2 * gains)

    def take(self, i: int) -> None:
        """Configuration i is known from here on."""
        if self.residual[i] <= _KNOWN * self.own[i]:
            return
        column = self._covariance(np.array([i])) / np.sqrt(self.residual[i])
        self._known.append(column)
        if self._shared is not None:
            self._shared -= column @ column[self._others].T
        self.residual = self.residual - column[:, 0] ** 2
