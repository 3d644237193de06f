"""Learned weights of pairs: their gradient, and what they are good for."""

from __future__ import annotations

import numpy as np
import pytest

from delta_server.errors import InputError
from delta_server.gdml.descriptor.metric import Metric
from delta_server.gdml.descriptor.pairs import n_pairs, pair_permutations
from delta_server.symmetry.elements import orbits
from delta_server.training.fit import Hyper
from delta_server.training.labels import Labels
from delta_server.training.selection.scales import ScalesIteration, _Half, learn_scales

NUMBERS = np.array([6, 1, 1, 8, 7])
GROUP = np.array([[0, 1, 2, 3, 4], [0, 2, 1, 3, 4]])
SHAPE = np.array([[0.0, 0, 0], [1.1, 0.2, 0], [-1.0, 0.4, 0], [0.1, -0.4, 1.4], [0.3, 1.4, 0.9]])


def labels(n: int, seed: int = 0) -> Labels:
    """A molecule whose energy is one of its two hydrogens and the carbon alone: other pairs say nothing."""
    x = SHAPE + 0.25 * np.random.default_rng(seed).standard_normal((n, 5, 3))
    energies, forces = np.zeros(n), np.zeros_like(x)
    for i, j in ((0, 1), (0, 2)):
        d = x[:, i] - x[:, j]
        r = np.linalg.norm(d, axis=1)
        energies += 20 * np.exp(-2 * (r - 1.1)) - 40 * np.exp(-(r - 1.1))
        slope = (-40 * np.exp(-2 * (r - 1.1)) + 40 * np.exp(-(r - 1.1)))[:, None] * d / r[:, None]
        forces[:, i] -= slope
        forces[:, j] += slope
    return Labels("made", NUMBERS, x, energies, forces)


@pytest.mark.parametrize("metric", [Metric(5), Metric(5, power=1.5, decay=0.5)], ids=str)
def test_gradient(metric: Metric) -> None:
    """Against fourth-order differences, pair by pair, of the loss of one half with λ held fixed."""
    half = _Half(labels(9), 5, GROUP, Hyper(3.0, 1e-9))
    width, h = 2.0, 1e-3
    orbit = orbits(pair_permutations(GROUP))

    def loss(k: int, step: float) -> float:
        error, _ = half.error(metric.scaled(np.exp(step * (orbit == k))), width)
        return float((width**2 * (np.sqrt(1 + (error / width) ** 2) - 1)).sum())

    _, gradient = half.error(metric, width)
    assert len(gradient) == n_pairs(5)
    for k in np.unique(orbit):
        slope = (loss(k, -2 * h) - 8 * loss(k, -h) + 8 * loss(k, h) - loss(k, 2 * h)) / (12 * h)
        assert gradient[orbit == k].sum() == pytest.approx(slope, rel=1e-4, abs=1e-6 * np.abs(gradient).max())


def test_pairs_that_matter_are_found() -> None:
    """Those of the two other atoms lose their weight, and the error on other configurations falls several-fold."""
    seen: list[ScalesIteration] = []
    hyper = Hyper(2.0, 1e-6)
    found = learn_scales(labels(30), labels(40, 1), GROUP, GROUP, hyper, iterations=25, log=seen.append)
    assert found.scales is not None
    bonds = np.isin(found.pairs, [1 * 5 + 0, 2 * 5 + 0])
    others = (found.pairs // 5 >= 3) & (found.pairs % 5 > 0)
    assert found.scales[others].max() < 0.5 * found.scales[bonds].min()
    assert np.ptp(found.scales[bonds]) == 0.0  # one orbit
    before = _Half(labels(30), 15, GROUP, hyper).validated(Metric(5), labels(40, 1))
    assert min(p.validation for p in seen) < before / 3
    assert [p.iteration for p in seen] == list(range(1, len(seen) + 1))


def test_a_matrix_that_is_not_positive_definite_is_said() -> None:
    with pytest.raises(InputError, match="not positive definite with the metric 1/r: raise --lambda"):
        learn_scales(labels(40), labels(10, 1), GROUP, GROUP, Hyper(1e4, 1e-20))
