"""Which configurations are picked: against the variance by definition, and that a model learns more from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from delta_server import load_potential
from delta_server.active.acquisition import pick
from delta_server.data.dataset import load_dataset
from delta_server.errors import InputError
from delta_server.gdml import CpuPredictor, Model
from delta_server.gdml.uncertainty import Uncertainty
from delta_server.potential import Fragment, Potential
from delta_server.terms.base import Side
from delta_server.terms.sgdml import SgdmlTerm
from delta_server.training.databases import Complex
from delta_server.training.evaluation.expected_errors import calibrate, force_rmse
from delta_server.training.fit import Hyper, fit, maes
from delta_server.training.labels import Labels
from delta_server.units import KCAL_MOL


@pytest.fixture
def potential(trained: Path) -> Potential:
    return load_potential(trained / "manifest.yaml")


@pytest.fixture
def frames() -> np.ndarray:
    return load_dataset(ROOT / "models/h2o_benzene/dataset.npz").positions[1::40]


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("name", ["benzene", "binding"])
def test_each_pick_is_the_one_that_is_wanted(potential: Potential, frames: np.ndarray, name: str, anew: bool) -> None:
    """By definition, once the picks are among the training points, or are all of them: benzene's has the largest s;
    with the binding's the mean of s² over all frames is smallest."""
    picks = pick(potential, frames, 5, name, anew=anew)
    (term,) = (t for t in potential.terms if isinstance(t, SgdmlTerm) and name in t.names)
    judge = term.uncertainty
    assert judge is not None
    frames = frames[:, term.sites[0]]
    x = judge.describe(frames)
    own, known = judge.explained(x)
    covariance = judge.kernel.cross(x, judge.kernel.points(x), (judge.length,))[0]
    if not anew:
        covariance -= known @ known.T
    for turn, found in enumerate(picks):
        before = [p.configuration for p in picks[:turn]]
        left = _left(covariance, before) / own
        if name == "benzene":
            assert left[found.configuration] > left.max() * (1 - 1e-9)
        else:
            means = [
                np.inf if i in before else (_left(covariance, [*before, i]) / own).mean() for i in range(len(frames))
            ]
            assert found.configuration == np.argmin(means)
        s = np.sqrt(left[found.configuration].clip(0, 1))
        assert found.left_error == pytest.approx(judge.error_of(s) / KCAL_MOL, rel=1e-4)
        alone = judge.a if anew else judge.expected_error(frames[[found.configuration]])[0]
        assert found.expected_error == pytest.approx(alone / KCAL_MOL, rel=1e-6)
        assert found.left_error <= found.expected_error * (1 + 1e-6)
    assert picks[0].left_error == pytest.approx(picks[0].expected_error)


def _left(covariance: np.ndarray, known: list[int]) -> np.ndarray:
    """Variances of all, with these known."""
    if not known:
        return np.diagonal(covariance)
    block = covariance[np.ix_(known, known)]
    explained = covariance[:, known] * np.linalg.solve(block, covariance[known]).T
    return np.diagonal(covariance) - explained.sum(1)


def test_all_terms_count_as_in_the_expected_total(potential: Potential, frames: np.ndarray) -> None:
    total = potential.uncertainty(frames)["total"] / KCAL_MOL
    (first,) = pick(potential, frames, 1)
    assert first.configuration == total.argmax()
    assert first.expected_error == pytest.approx(total.max())
    (benzene,) = pick(potential, frames, 1, "benzene")
    assert benzene.expected_error == pytest.approx(potential.uncertainty(frames)["benzene"].max() / KCAL_MOL)


def test_copies_are_not_picked(potential: Potential, frames: np.ndarray) -> None:
    """Turned, moved, with equal atoms exchanged: known as soon as one of them is."""
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    water = np.array([0, 2, 1, *range(3, 15)])
    copies = np.concatenate([frames[:4], frames[:4] @ turn + 3.0, frames[:4, water]])
    picks = pick(potential, copies, 12)
    assert len(picks) == 4
    assert {p.configuration % 4 for p in picks} == {0, 1, 2, 3}
    told: list[int] = []
    assert len(pick(potential, frames, 3, report=told.append)) == 3
    assert told == [1, 2, 3]


def test_a_small_molecule_that_is_well_known_has_more_to_learn_but_not_from_its_own_points() -> None:
    """Of what its 200 points leave of methane's variance the jitter is a part, but not all."""
    potential = load_potential(ROOT / "models/methane_dimer/manifest.yaml")
    (term,) = (t for t in potential.terms if isinstance(t, SgdmlTerm) and "methane_1" in t.names)
    assert term.load is not None
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    frames = load_dataset(ROOT / "models/methane_dimer/dataset.npz").positions[1::31][:40]
    assert len(pick(potential, frames, 40, "methane_1")) > 10
    points = term.load().training_positions
    assert points is not None
    frames[:, :5] = points[::5] @ turn + 1.0
    assert pick(potential, frames, 40, "methane_1") == []


def test_what_cannot_be_picked_from(potential: Potential, frames: np.ndarray) -> None:
    with pytest.raises(InputError, match="no term 'wine' with a model; there are all, binding, water, benzene"):
        pick(potential, frames, 1, "wine")
    with pytest.raises(InputError, match="no configurations"):
        pick(potential, frames[:0], 1)


def as_term(model: Model, name: str) -> Potential:
    """A potential of one model, of a molecule or of the binding."""
    atoms = np.arange(len(model.numbers))
    part: Side = "binding" if name == "binding" else "fragments"
    term = SgdmlTerm((name,), part, atoms[None], CpuPredictor(model), lambda: model)
    return Potential(model.numbers, model.training_positions[0], [Fragment("all", atoms)], [term], name=name)


@pytest.mark.parametrize("name", ["benzene", "binding"])
def test_a_model_learns_more_from_what_is_picked_than_by_chance(name: str) -> None:
    """60 points and 40 more, twice: MAE of energies, RMSE, 95th percentile and largest of the forces' errors on 400
    others."""
    system = Complex.of(load_dataset(ROOT / "models/h2o_benzene/dataset.npz"))
    kind = system.kinds[1]
    group, hyper = (
        (system.products, Hyper(8.0, 1e-8, energies=True)) if name == "binding" else (kind.group, Hyper(8.0, 1e-9))
    )

    def labels(which: np.ndarray) -> Labels:
        return system.binding_labels(which) if name == "binding" else system.fragment_labels(kind, which)

    def trained(which: np.ndarray) -> Model:
        return fit(labels(which), group.permutations, hyper)

    def errors(model: Model) -> list[float]:
        found = force_rmse(model, test.positions, test.forces * KCAL_MOL)
        return [maes(model, test)[1], np.sqrt((found**2).mean()), np.percentile(found, 95), found.max()]

    picked, drawn = [], []
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(2400)
        start, free = order[:60], order[560:]
        validation, test = labels(order[60:160]), labels(order[160:560])
        model = trained(start)
        model = replace(model, calibration=calibrate(model, validation.positions, validation.forces * KCAL_MOL))
        chosen = [p.configuration for p in pick(as_term(model, name), labels(free).positions, 40, name)]
        assert len(set(chosen)) == 40
        picked.append(errors(trained(np.concatenate([start, free[chosen]]))))
        drawn.append(errors(trained(np.concatenate([start, free[:40]]))))
        assert Uncertainty(model).b > 0
    ratio = (np.array(picked) / np.array(drawn)).mean(0)
    assert ratio[0] < (0.9 if name == "binding" else 1.0)
    assert ratio[1] < 0.95
    assert ratio[2] < 0.9
    assert ratio[3] < 0.9
