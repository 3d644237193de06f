"""Weights of the pairs of atoms in a descriptor, learned from forces.

A scale s for each orbit of pairs (which the permutations exchange) is found by cross-validation: a model fitted to
half of the configurations predicts the forces of the other half, and the error's gradient with respect to all log s
follows from two solutions with one factorisation. With e the weighed errors, a = (K + λ)⁻¹ y and b = (K + λ)⁻¹ K*ᵀ e,

    dL = eᵀ dK* a − bᵀ dK a,

and both terms are second derivatives of the kernel along two directions, which cost no more than a prediction (the
derivative of a fit with respect to what was given; Bengio, Neural Comput. 12, 1889 (2000)). So the metric, to which
arXiv 2511.01913, Sec. II A, traces the errors of large systems, is made to fit the forces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..._types import FloatArray, IntArray
from ...gdml.descriptor.descriptor import Descriptor
from ...gdml.descriptor.metric import Metric
from ..fit import Hyper, fit, force_mae
from ..labels import Labels
from ..solve.cholesky import NotPositiveDefiniteError
from ..solve.kernel import KernelMatrix

_OUTLYING = 3.0  # times the median error: beyond, an error counts by its size and not by its square
_LARGEST = 3.0  # of |log s|: pairs beyond are as good as left out, or all there is
_MEMORY = 12  # gradients that L-BFGS-B keeps
_IMPROVED = 0.99  # of the validation error: less is no progress
_PATIENCE = 8  # iterations without any
_ROWS = 5000  # of the kernel matrix of half the points
_WORK = 2e10  # operations of an iteration
_ENOUGH = 20  # points of a half


class ScalesIteration(NamedTuple):
    """One iteration: errors of force components, kcal/mol/Å."""

    iteration: int
    held_out: float  # of the halves, as a root mean square in which outliers count less
    validation: float  # MAE
    metric: Metric


@dataclass(frozen=True, eq=False)
class _Half:
    """Some configurations are fitted, the others predicted."""

    labels: Labels  # both, those that are fitted first
    n_fitted: int
    permutations: IntArray
    hyper: Hyper

    def error(self, metric: Metric, width: float | None) -> tuple[FloatArray, FloatArray]:
        """Errors of forces that were held out, and −d Σ loss / d log s of each pair (D,)."""
        from scipy.linalg import cho_factor, cho_solve

        from ..solve.assembly import sensitivity

        kernel = KernelMatrix(self.labels.positions, self.permutations, metric)
        m, rows = self.n_fitted, 3 * metric.n_atoms
        matrix = kernel.block(kernel.take(slice(m)), self.hyper.sigma, False)
        square, cross = matrix[: m * rows].copy(), matrix[m * rows :]
        square[np.diag_indices_from(square)] += self.hyper.lam * square.diagonal().mean()
        try:
            factor = cho_factor(square, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            raise NotPositiveDefiniteError(
                f"the kernel matrix ({len(square)} rows) is not positive definite with the metric {metric}: "
                "raise --lambda"
            ) from None
        y = self.labels.forces.reshape(-1)
        a = cho_solve(factor, y[: m * rows], check_finite=False)
        error = cross @ a - y[m * rows :]
        if width is None:
            return error, np.zeros(0)
        # loss: width² (√(1 + (e/width)²) − 1)
        e = error / np.sqrt(1.0 + (error / width) ** 2)
        b = cho_solve(factor, cross.T @ e, check_finite=False)
        described, perms = Descriptor.of(self.labels.positions, metric), metric.permutations(self.permutations)
        left = np.concatenate([-b, e]).reshape(self.labels.forces.shape)
        along, pulled = described.jvp(left), described.take(slice(m)).jvp(a.reshape(m, -1, 3))
        gradient = np.zeros((m, len(metric.pairs)))
        sensitivity(described.x, along, described.x[:m], pulled, perms, self.hyper.sigma, gradient)
        return error, 2.0 * gradient.sum(0)

    def validated(self, metric: Metric, labels: Labels) -> float:
        """MAE of the fitted configurations' model on others."""
        hyper = Hyper(self.hyper.sigma, self.hyper.lam, metric=metric)
        return force_mae(fit(self.labels.take(slice(self.n_fitted)), self.permutations, hyper), labels)


def learning_set(train: Labels, groups: Mapping[str, IntArray], seed: int = 0) -> tuple[Labels, IntArray]:
    """Configurations and permutations (P, N) to learn scales with: of `groups`, the largest with which an iteration
    takes some seconds and still has enough points."""
    n, rows = len(train.numbers), train.forces[0].size
    most = max(2, min(len(train) // 2, _ROWS // int(rows)))

    def affordable(permutations: IntArray) -> int:
        return min(most, int((_WORK / (40 * len(permutations) * n**2)) ** 0.5))

    chosen = max(
        (p for p in groups.values() if affordable(p) >= min(_ENOUGH, most)),
        key=len,
        default=min(groups.values(), key=len),
    )
    size = 2 * max(2, affordable(chosen))
    return train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:size])), chosen


def learn_scales(
    train: Labels,
    validation: Labels,
    permutations: IntArray,
    invariant: IntArray,
    hyper: Hyper,
    *,
    iterations: int = 40,
    seed: int = 0,
    log: Callable[[ScalesIteration], None] | None = None,
) -> Metric:
    """The metric of `hyper`, with the scales that predict the validation configurations best.

    train: about twice the points that a fit is to have while learning. permutations: (P, N) of those fits; invariant:
    (P', N), a larger group perhaps, of which every orbit of pairs has one scale. hyper: σ and λ of the fits. It ends
    where the validation error no longer falls, or at a metric for which the kernel matrix is not positive definite.
    Raises NotPositiveDefiniteError where it is not with the metric of `hyper`.
    """
    from scipy.optimize import OptimizeResult, minimize

    metric = hyper.metric_of(len(train.numbers))
    orbit = metric.orbits(invariant)
    order = np.random.default_rng(seed).permutation(len(train))
    cut = len(train) // 2
    halves = [
        _Half(train.take(which), n, permutations, hyper)
        for which, n in ((order, cut), (np.roll(order, -cut), len(train) - cut))
    ]
    first = np.concatenate([half.error(metric, None)[0] for half in halves])
    width = _OUTLYING * float(np.median(np.abs(first))) or 1.0
    best = ScalesIteration(0, float(np.sqrt((first**2).mean())), halves[0].validated(metric, validation), metric)
    state = _State(best, best, best)

    def loss(logs: FloatArray) -> tuple[float, FloatArray]:
        errors = [half.error(metric.scaled(np.exp(logs)[orbit]), width) for half in halves]
        error = np.concatenate([e for e, _ in errors])
        total = float((width**2 * (np.sqrt(1.0 + (error / width) ** 2) - 1.0)).sum())
        return np.log(total), np.bincount(orbit, errors[0][1] + errors[1][1]) / total

    def look(intermediate_result: OptimizeResult) -> None:
        now = metric.scaled(np.exp(intermediate_result.x)[orbit])
        held_out = float(np.sqrt(2.0 * np.exp(intermediate_result.fun) / len(first)))
        state.last = ScalesIteration(state.last.iteration + 1, held_out, halves[0].validated(now, validation), now)
        if log:
            log(state.last)
        if state.last.validation < _IMPROVED * state.mark.validation:
            state.mark = state.last
        if state.last.validation < state.best.validation:
            state.best = state.last
        if state.last.iteration - state.mark.iteration >= _PATIENCE:
            raise StopIteration

    with suppress(NotPositiveDefiniteError):  # scales too far out for λ: the best before them stands
        minimize(
            loss, np.zeros(orbit.max() + 1), jac=True, method="L-BFGS-B", callback=look,
            bounds=[(-_LARGEST, _LARGEST)] * (orbit.max() + 1), options={"maxiter": iterations, "maxcor": _MEMORY},
        )  # fmt: skip
    return state.best.metric


@dataclass
class _State:
    best: ScalesIteration
    mark: ScalesIteration  # of the last progress
    last: ScalesIteration
