"""Leaving pairs out of a descriptor: which do the forces not miss?

Kabylda, Vassilev-Galindo, Chmiela, Poltavsky and Tkatchenko, Nat. Commun. 14, 3562 (2023): a feature counts by how
much the forces of a trained model change when its contribution is set to zero in the query, the training set and the
weights, with the coefficients as they are. Those that count least go, the model is trained again, and so on. Here a
feature is an orbit of pairs, all that the permutations exchange, so that what is left has the same symmetry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from ..._types import FloatArray, IntArray
from ...gdml.descriptor.descriptor import Descriptor
from ...gdml.descriptor.metric import Metric
from ...gdml.model import Model
from ..fit import Hyper, fit, force_mae, maes
from ..labels import Labels
from ..solve.cholesky import NotPositiveDefiniteError
from .select import Search, trial_size

Ranking = Literal["importance", "shortest", "random"]
"""What stays: the pairs that forces miss most, those of the shortest mean distance, or any."""
FRACTIONS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""The fractions of all pairs that are tried one after the other."""

_ROWS = 3000  # of a kernel matrix that is tried on
_CHUNK = 2**23  # numbers in a table of training points, permutations and pairs
_QUERIES = 12  # configurations that importance is seen on
_NARROWER = 2**-0.5  # with fewer pairs points are nearer to each other: σ may follow


@dataclass(frozen=True, eq=False)
class ReductionStep:
    """A descriptor that was tried; its error is the MAE of validation forces, kcal/mol/Å."""

    metric: Metric
    kept: float  # of the pairs that it began with
    sigma: float
    error: float
    test: float  # the same of configurations that chose nothing; NaN where there are none
    energy: float = np.nan  # MAE of validation energies, kcal/mol

    def as_dict(self) -> dict[str, object]:
        """The step as it stands in a record."""
        return {
            "metric": str(self.metric), "pairs": len(self.metric.pairs), "kept": round(self.kept, 4),
            "sigma": self.sigma, "validation": self.error, "test": None if np.isnan(self.test) else self.test,
        }  # fmt: skip


def reduction_part(train: Labels, n_perms: int, search: Search) -> Labels:
    """As many of the points as make a small kernel matrix, to try pairs on."""
    order = np.random.default_rng(0).permutation(len(train))
    return train.take(np.sort(order[: trial_size(train, n_perms, replace(search, rows=_ROWS))]))


def importance(model: Model, orbit: IntArray, positions: FloatArray) -> FloatArray:
    """(O,) RMS change of the force components, model's units, at positions (B, N, 3) Å, without one orbit of pairs.

    orbit: (D,) which of 0 to O−1 each pair is in; of all of them in one matrix product for a configuration.
    """
    perms = model.metric.permutations(model.permutations)
    order = np.argsort(orbit, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(orbit[order]) > 0])
    member = np.zeros((len(starts), len(order)), dtype=bool)
    member[orbit[order], np.arange(len(order))] = True
    moved = perms[:, order]
    described = Descriptor.of(positions, model.metric)
    energies = np.zeros(model.n_train) if model.energy_weights is None else model.energy_weights
    step, squared = max(1, _CHUNK // moved.size), 0.0
    for b in range(len(positions)):
        change, whole = np.zeros(member.shape), np.zeros(len(order))
        for start in range(0, model.n_train, step):
            part = slice(start, start + step)
            d = (described.x[b, order] - model.descriptors[part][:, moved]).reshape(-1, len(order))
            w = model.weights[part][:, moved].reshape(-1, len(order))
            distances, slopes = (np.add.reduceat(d * other, starts, axis=1) for other in (d, w))
            alphas = np.repeat(energies[part], len(perms))[:, None]
            with_ = _factors(distances.sum(1)[:, None], slopes.sum(1)[:, None], alphas, model.sigma)
            without = _factors(
                distances.sum(1)[:, None] - distances, slopes.sum(1)[:, None] - slopes, alphas, model.sigma
            )
            whole += with_[0][:, 0] @ d - with_[1][:, 0] @ w
            change += (without[0] - with_[0]).T @ d - (without[1] - with_[1]).T @ w
        change = np.where(member, -whole, change)
        back = np.empty_like(change)
        back[:, order] = change
        here = described.take(np.full(len(starts), b))
        squared = squared + (here.forces(back) ** 2).mean((1, 2))
    return np.asarray(np.sqrt(squared / len(positions)) * model.scale)


def _factors(
    squared: FloatArray, slope: FloatArray, alphas: FloatArray, sigma: float
) -> tuple[FloatArray, FloatArray]:
    """The factors of d and of −w in −∂E/∂x, from |d|² and d·w."""
    n = np.sqrt(5.0 * np.maximum(squared, 0.0)) / sigma
    decay = 5.0 / (3.0 * sigma**2) * np.exp(-n)
    bell = (1.0 + n) * decay
    return 5.0 / sigma**2 * slope * decay + alphas * bell, bell


@dataclass(frozen=True, eq=False)
class Trials:
    """Fits of one model with descriptors of different pairs.

    permutations: (P, N) of the model; hyper: its σ, λ and metric, whose pairs are all that there are. log: called
    with each step.
    """

    train: Labels
    validation: Labels
    permutations: IntArray
    hyper: Hyper
    test: Labels | None = None
    log: Callable[[ReductionStep], None] | None = None
    _fitted: dict[tuple[bytes, float], tuple[Model, ReductionStep]] = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        """The metric with all pairs."""
        return self.hyper.metric_of(len(self.train.numbers))

    def eliminate(
        self,
        fractions: Sequence[float] = FRACTIONS,
        ranking: Ranking = "importance",
        seed: int = 0,
        worst: float = np.inf,
        start: Metric | None = None,
    ) -> list[ReductionStep]:
        """All pairs, or those of `start`; then fewer and fewer, at most `fractions` (falling) of all, each trained
        anew; until the error is more than `worst` times the first, or λ is too small for so few pairs. Raises
        NotPositiveDefiniteError where it is for the first."""
        rng = np.random.default_rng(seed)
        model, step = self._fit(start or self.metric, self.hyper.sigma)
        steps = [step]
        for fraction in fractions:
            orbit = step.metric.orbits(self.permutations)
            kept = _best(self._scores(ranking, model, orbit, rng), orbit, fraction * len(self.metric.pairs))
            if len(kept) < len(step.metric.pairs):
                try:
                    model, step = self._narrower(step.metric.keep(kept), step.sigma)
                except NotPositiveDefiniteError:  # fewer pairs than a molecule has motions
                    break
                steps.append(step)
            if step.error > worst * steps[0].error:
                break
        return steps

    def only(self, which: IntArray) -> ReductionStep:
        """A fit with the pairs of these indices (K,) alone."""
        return self._narrower(self.metric.keep(which), self.hyper.sigma)[1]

    def _narrower(self, metric: Metric, sigma: float) -> tuple[Model, ReductionStep]:
        """A fit with this metric, and with σ or σ/√2, whichever is better. Raises NotPositiveDefiniteError."""
        best = self._fit(metric, sigma * _NARROWER)  # the better conditioned
        with suppress(NotPositiveDefiniteError):
            best = min(self._fit(metric, sigma), best, key=lambda fitted: fitted[1].error)
        if self.log:
            self.log(best[1])
        return best

    def _fit(self, metric: Metric, sigma: float) -> tuple[Model, ReductionStep]:
        key = metric.pairs.tobytes(), sigma
        if key not in self._fitted:
            hyper = replace(self.hyper, metric=metric, sigma=sigma, robust=False, basis=0, memory=None)
            model = fit(self.train, self.permutations, hyper)
            tested = np.nan if self.test is None else force_mae(model, self.test)
            kept = len(metric.pairs) / len(self.metric.pairs)
            error, energy = maes(model, self.validation)
            self._fitted[key] = model, ReductionStep(metric, kept, sigma, error, tested, energy)
        return self._fitted[key]

    def _scores(self, ranking: Ranking, model: Model, orbit: IntArray, rng: np.random.Generator) -> FloatArray:
        """(O,) large for what should stay."""
        size = np.bincount(orbit)
        if ranking == "random":
            return rng.random(len(size))
        if ranking == "shortest":
            distances = Descriptor.of(self.validation.positions, model.metric).distances().mean(0)
            return np.asarray(-np.bincount(orbit, distances) / size)
        some = np.linspace(0, len(self.validation) - 1, min(_QUERIES, len(self.validation))).astype(int)
        return importance(model, orbit, self.validation.positions[some])


def _best(scores: FloatArray, orbit: IntArray, most: float) -> IntArray:
    """Indices of the pairs of the orbits with the highest scores, at most so many pairs, but for the first orbit."""
    order = np.argsort(-scores, kind="stable")
    kept = np.cumsum(np.bincount(orbit)[order]) <= most
    kept[0] = True
    return np.flatnonzero(np.isin(orbit, order[kept]))


def choose(steps: Sequence[ReductionStep], keep: float | None, tolerance: float) -> ReductionStep:
    """The first step with `keep` of the pairs at most, or the smallest with at most `tolerance` times the first's
    error."""
    if keep is not None:
        return next((s for s in steps if s.kept <= keep * (1 + 1e-9)), steps[-1])
    return min((s for s in steps if s.error <= tolerance * steps[0].error), key=lambda s: s.kept)
