"""The Matérn kernel of ν = 5/2 and its derivatives: the reference that every fast form is tested against.

Between two descriptors, d = x − y, with the length scale σ and n = √5 |d| / σ,

    k          = (1 + n + n²/3) e^{−n}
    −∂k/∂x     = b d,                        b = 5/(3σ²) (1 + n) e^{−n}
    ∂²k/∂x∂y   = b 1 − s d dᵀ,               s = 25/(3σ⁴) e^{−n}

(Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), Eq. 4.17; the second derivative is sGDML's
kernel, Chmiela et al., Sci. Adv. 3, e1603015 (2017) and Nat. Commun. 9, 3887 (2018)). All of it is smooth at d = 0.

The same arithmetic stands, in the order that is fast there, in `numpy_sum`, `compiled/_loops.h`, `torch_sum`,
`uncertainty`, `training/solve/assembly`, `training/solve/torch_kernel` and `training/selection/reduction`: they
change together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._types import FloatArray


class Matern(NamedTuple):
    """The kernel at some distances, and what its derivatives are made of, in the shape of the distances."""

    value: FloatArray  # k
    first: FloatArray  # b = −2 ∂k/∂|d|²
    second: FloatArray  # s = −2 ∂b/∂|d|²


def matern_value(n: FloatArray) -> FloatArray:
    """k at reduced distances n = √5 |d| / σ of any shape."""
    value = np.exp(-n)
    value *= 1.0 + n + n * n / 3.0
    return value


def matern(squared: FloatArray, sigma: float) -> Matern:
    """k, b and s at squared distances |d|² of any shape, for a length scale σ in the unit of d."""
    n = np.sqrt(5.0 * squared) / sigma
    decay = np.exp(-n)
    return Matern(matern_value(n), 5.0 / (3.0 * sigma**2) * (1.0 + n) * decay, 25.0 / (3.0 * sigma**4) * decay)


def hessian(d: FloatArray, sigma: float) -> FloatArray:
    """∂²k/∂x∂y (…, D, D) of differences d = x − y (…, D)."""
    _, first, second = matern((d * d).sum(-1), sigma)
    outer = d[..., :, None] * d[..., None, :]
    return np.asarray(first[..., None, None] * np.eye(d.shape[-1]) - second[..., None, None] * outer)


def plain_sum(
    x: FloatArray, points: FloatArray, weights: FloatArray, sigma: float, energy_weights: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """E (B,) and −∂E/∂x (B, D) at queries (B, D), from all M training points (M, D) and their weights w (M, D).

    E = Σ_m b d·w_m + α_m k and so −∂E/∂x = Σ_m [s (d·w_m) + α_m b] d − b w_m, with α (M,) the coefficients of energy
    constraints. Permuted copies count as points of their own, as in sGDML's files. Nothing is saved or rearranged:
    this is what `Expansion` and its backends must give.
    """
    d = x[:, None] - points
    value, first, second = matern((d * d).sum(-1), sigma)
    slope = (d * weights).sum(-1)
    alphas = np.zeros(len(points)) if energy_weights is None else energy_weights
    energy = (first * slope + alphas * value).sum(1)
    gradient = ((second * slope + alphas * first)[..., None] * d - first[..., None] * weights).sum(1)
    return energy, gradient
