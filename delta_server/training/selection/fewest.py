"""The fewest pairs of atoms and the fewest points with which a model is as accurate as with all of them.

A prediction costs as its points times its pairs. Pairs go in the order of `reduction`; points are a basis that is
fitted to the labels of all (`solve.least_squares`). How many may go is found by bisection, for errors grow with what
is left out; each trial is fitted to all labels, and has the same validation configurations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from ..._types import IntArray
from ...errors import InputError
from ...gdml.cpu_predictor import CpuPredictor
from ...gdml.model import Model
from ..fit import Hyper, fit, maes
from ..labels import Labels
from ..solve.cholesky import NotPositiveDefiniteError
from ..solve.kernel import Report
from ..solve.least_squares import least_squares_bytes
from .reduction import FRACTIONS, Trials, reduction_part
from .select import Search

_HOPELESS = 1.2  # by how much it grows on few points where fewer pairs will not do on many
_SHARES = tuple(2 ** (-k / 3) for k in range(1, 13))  # of the points
_LEAST = 4  # points
_SECONDS = 0.05  # for the time of a prediction


@dataclass(frozen=True, eq=False)
class SizeTrial:
    """A model of some pairs and points; errors are MAEs on the validation configurations."""

    hyper: Hyper
    model: Model
    forces: float  # kcal/mol/Å
    energies: float  # kcal/mol
    ms: float  # a structure, alone, on this machine

    @classmethod
    def of(cls, hyper: Hyper, model: Model, validation: Labels) -> SizeTrial:
        """Measure a model."""
        return cls(hyper, model, *maes(model, validation), 1e3 * _seconds(model, validation))

    def as_dict(self) -> dict[str, object]:
        """The trial as it stands in a record."""
        return {
            "pairs": len(self.model.metric.pairs), "points": self.model.n_train, "sigma": self.hyper.sigma,
            "force_mae": self.forces, "energy_mae": self.energies, "ms": round(self.ms, 5),
        }  # fmt: skip

    def __str__(self) -> str:
        return (
            f"{len(self.model.metric.pairs):6d} pairs {self.model.n_train:6d} points  force MAE {self.forces:.4f} "
            f"kcal/mol/Å, energy {self.energies:.4f} kcal/mol, {self.ms:.3f} ms"
        )


def _seconds(model: Model, labels: Labels) -> float:
    """The least that a prediction takes: whoever else computes here makes it longer."""
    predictor, alone = CpuPredictor(model), labels.positions[:1]
    least, end = np.inf, time.perf_counter() + _SECONDS
    while (start := time.perf_counter()) < end:
        predictor.predict(alone)
        least = min(least, time.perf_counter() - start)
    return least


def fewer_pairs(
    labels: Labels,
    validation: Labels,
    permutations: IntArray,
    hyper: Hyper,
    search: Search,
    fragment: IntArray | None = None,
    keep: float | None = None,
    report: Report | None = None,
) -> list[Hyper]:
    """Settings of fewer and fewer pairs, with the σ that goes with them, each the best of so many on few points.

    Tried are the pairs that count most and the shortest ones, and of a binding those between the fragments alone.
    fragment: (N,) that each atom is in, of a binding. keep: of the pairs, at most; None: as many as it takes for the
    error not to grow much.
    """
    fractions = FRACTIONS if keep is None else (*(f for f in FRACTIONS if f > keep), keep)
    worst = _HOPELESS if keep is None else np.inf
    part = reduction_part(labels, len(permutations), search)
    log = (lambda step: report("fewer pairs", 1.0 - step.kept)) if report else None
    trials = Trials(part, validation, permutations, hyper, log=log)
    metric = trials.metric
    first, *steps = trials.eliminate(fractions, worst=worst)
    steps += trials.eliminate(fractions, "shortest", worst=worst)[1:]
    if fragment is not None:
        row, column = np.divmod(metric.pairs, metric.n_atoms)
        between = fragment[row] != fragment[column]
        if between.any() and not between.all():
            with suppress(NotPositiveDefiniteError):
                steps += trials.eliminate(fractions, worst=worst, start=metric.keep(between))
    few = (1.0 if keep is None else keep) * len(metric.pairs)
    best: list[Hyper] = []
    least = worst
    for step in sorted(steps, key=lambda step: (len(step.metric.pairs), step.error)):
        grown = max(step.error / first.error, step.energy / first.energy)
        if grown <= least and len(step.metric.pairs) <= few:
            best.append(replace(hyper, metric=step.metric, sigma=hyper.sigma * step.sigma / first.sigma))
            least = grown
    return best[::-1]


def fewer_points(n_points: int, n_atoms: int, energies: bool, memory: int, device: str = "cpu") -> list[int]:
    """Sizes of smaller and smaller bases, those that are fitted in so many bytes."""
    sizes = sorted({round(share * n_points) for share in _SHARES}, reverse=True)
    return [m for m in sizes if m >= _LEAST and least_squares_bytes(m, n_atoms, energies, device) <= memory]


@dataclass(frozen=True, eq=False)
class SizeSearch:
    """Models of one term with fewer and fewer pairs or points. tolerance: how many times as large as those of the
    first its errors may be; log: called with each that is tried."""

    labels: Labels
    validation: Labels
    permutations: IntArray
    tolerance: float
    log: Callable[[SizeTrial], None]
    report: Report | None = None
    tried: list[SizeTrial] = field(default_factory=list)

    def look(self, hyper: Hyper, model: Model) -> SizeTrial:
        """Measure a model."""
        trial = SizeTrial.of(hyper, model, self.validation)
        self.tried.append(trial)
        self.log(trial)
        return trial

    def last(self, best: SizeTrial, candidates: Sequence[Hyper]) -> SizeTrial:
        """The last of some candidates, ever smaller, that is accurate enough, by bisection; or `best`."""
        forces, energies = self.tolerance * self.tried[0].forces, self.tolerance * self.tried[0].energies
        good, bad = -1, len(candidates)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                model = fit(self.labels, self.permutations, candidates[middle], self.report)
            except InputError:  # too small a λ for so few pairs, or for the iterative solver
                bad = middle
                continue
            trial = self.look(candidates[middle], model)
            if trial.forces <= forces and trial.energies <= energies:
                good, best = middle, trial
            else:
                bad = middle
        return best
