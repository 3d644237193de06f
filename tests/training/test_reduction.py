"""Which pairs forces miss, against taking them away for good."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from delta_server.gdml.cpu_predictor import CpuPredictor
from delta_server.gdml.descriptor.metric import Metric
from delta_server.gdml.descriptor.pairs import pair_permutations
from delta_server.gdml.model import Model
from delta_server.symmetry.elements import orbits
from delta_server.training.fit import Hyper, fit
from delta_server.training.selection.reduction import ReductionStep, Trials, choose, importance

from .test_scales import GROUP, labels

ORBIT = np.unique(orbits(pair_permutations(GROUP)), return_inverse=True)[1]


def without(model: Model, orbit: int) -> Model:
    """Its entries cut out of training set and weights, coefficients as they are."""
    kept = orbit != ORBIT
    return replace(
        model, metric=model.metric.keep(kept), descriptors=model.descriptors[:, kept], weights=model.weights[:, kept],
        alphas=None, training_positions=None,
    )  # fmt: skip


@pytest.mark.parametrize("energies", [False, True])
@pytest.mark.parametrize("metric", [None, Metric(5, power=2.0, scales=np.exp(-0.3 * ORBIT))])
def test_importance_by_definition(energies: bool, metric: Metric | None) -> None:
    model = fit(labels(12), GROUP, Hyper(3.0, 1e-8, energies=energies, metric=metric))
    positions = labels(4, 7).positions
    found = importance(model, ORBIT, positions)
    whole = CpuPredictor(model).predict(positions).forces / model.electronvolt
    for o, value in enumerate(found):
        less = CpuPredictor(without(model, o)).predict(positions).forces / model.electronvolt
        assert value == pytest.approx(np.sqrt(((less - whole) ** 2).mean()), rel=1e-6)


def test_what_says_nothing_goes_first() -> None:
    """The energy is that of the bonds 0–1 and 0–2; atom 4 may go, and the error falls."""
    trials = Trials(labels(30), labels(60, 1), GROUP, Hyper(3.0, 1e-8))
    steps = trials.eliminate((0.8, 0.6, 0.3))
    assert [round(s.kept, 1) for s in steps] == sorted([round(s.kept, 1) for s in steps], reverse=True)
    assert steps[-1].kept <= 0.3
    bonds = {1 * 5 + 0, 2 * 5 + 0}
    assert all(bonds <= set(s.metric.pairs.tolist()) for s in steps)
    assert steps[-1].error < 0.7 * steps[0].error
    for s in steps:
        s.metric.check(GROUP)
    assert trials.eliminate((0.3,), "random", seed=1)[-1].error > steps[-1].error
    only = trials.only(np.isin(Metric(5).pairs, sorted(bonds)))
    assert only.error == pytest.approx(steps[-1].error, rel=0.2)


def test_choice() -> None:
    steps = [
        ReductionStep(Metric(5), k, 1.0, e, np.nan) for k, e in ((1.0, 0.10), (0.8, 0.09), (0.6, 0.104), (0.4, 0.12))
    ]
    assert choose(steps, None, 1.05).kept == 0.6
    assert choose(steps, 0.7, 1.05).kept == 0.6
    assert choose(steps, 0.1, 1.05).kept == 0.4
