"""The calibration of expected errors on configurations that were not trained on."""

from __future__ import annotations

import numpy as np

from ..._types import FloatArray
from ...errors import InputError
from ...gdml.cpu_predictor import CpuPredictor
from ...gdml.descriptor.descriptor import Descriptor
from ...gdml.model import Model
from ...gdml.uncertainty import Calibration, EnergyKernel, _inverse_root, _some, novelty

MIN_CALIBRATION = 10
"""Configurations that `calibrate` needs."""


_LENGTHS = (0.125, 0.25, 0.5, 1.0, 2.0)  # 1/Å; neighbours in a training set are 0.01 to 0.3 apart


_ALIKE = 0.02  # correlations this near to the best are as good: with the longest ℓ of them, s is last to end at 1


_STEPS = 50


def calibrate(model: Model, positions: FloatArray, forces: FloatArray) -> Calibration:
    """ℓ, a and b from configurations that were not trained on, (n, N, 3) Å, and their forces, (n, N, 3) eV/Å.

    ℓ: of a grid, the one with the best rank correlation of s and force RMSE e. b: by Poisson regression of e on log s
    (McCullagh & Nelder, 1989), whose residuals e − a s^b have the mean 0 and do not go with log s; unlike a fit of
    log e to log s it is not led by the smallest errors, unlike one of e² not by single outliers. a: such that the
    root mean squares of predicted and true errors are the same. b is not negative.

    Raises InputError for fewer than 10 configurations and for forces that the model has without any error.
    """
    if len(positions) < MIN_CALIBRATION:
        raise InputError(
            f"{model.name or 'model'}: {len(positions)} configurations, expected errors need {MIN_CALIBRATION} or "
            "more to be calibrated on"
        )
    errors = force_rmse(model, positions, forces)
    if not errors.max() > 0:
        raise InputError(f"{model.name or 'model'}: the forces have no errors, nothing can be calibrated on them")
    kernel = EnergyKernel(model.metric, model.permutations)
    points = kernel.points(_some(model))
    query = Descriptor.of(positions, model.metric).x
    own = kernel.diagonal(query, _LENGTHS)
    trained, asked = kernel.among(points, _LENGTHS), kernel.cross(query, points, _LENGTHS)
    tried = []
    for i, length in enumerate(_LENGTHS):
        s = novelty(1.0 - ((asked[i] @ _inverse_root(trained[i]).T) ** 2).sum(1) / own[i])
        tried.append((rank_correlation(s, errors), length, s))
    best = max(rho for rho, _, _ in tried)
    _, length, s = max((t for t in tried if t[0] >= best - _ALIKE), key=lambda t: t[1])
    a, b = _fit(s, errors)
    unit = model.electronvolt / model.angstrom
    return Calibration(length * model.angstrom, a / unit, b)


def force_rmse(model: Model, positions: FloatArray, forces: FloatArray) -> FloatArray:
    """(n,) eV/Å: RMSE over the components of each configuration's forces, (n, N, 3) Å and eV/Å."""
    wrong = CpuPredictor(model).predict(positions).forces - forces
    rmse: FloatArray = np.sqrt((wrong**2).mean((1, 2)))
    return rmse


def rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's ρ; 0 where one of them is constant."""
    centred = [r - r.mean() for r in (_ranks(a), _ranks(b))]
    norm = np.linalg.norm(centred[0]) * np.linalg.norm(centred[1])
    return float(centred[0] @ centred[1] / norm) if norm else 0.0


def _ranks(values: FloatArray) -> FloatArray:
    """Mean rank of those that are equal."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: FloatArray = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def _fit(s: FloatArray, errors: FloatArray) -> tuple[float, float]:
    """a and b: the minimum of Σ m − e log m, m = a s^b, which is convex in log a and b: Newton's steps find it."""
    x = np.log(s) - np.log(s).mean()
    design = np.stack([np.ones_like(x), x], axis=1)
    theta = np.array([np.log(errors.mean()), 0.0])
    for _ in range(_STEPS if np.ptp(x) > 1e-9 else 0):
        mean = np.exp(design @ theta)
        step = np.linalg.solve((design * mean[:, None]).T @ design, design.T @ (errors - mean))
        theta += step / max(1.0, float(np.abs(design @ step).max()))  # no m by more than e at once
        if np.abs(step).max() < 1e-10:
            break
    b = max(0.0, float(theta[1]))
    return float(np.sqrt((errors**2).mean() / (s ** (2 * b)).mean())), b
