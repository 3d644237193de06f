"""The choice of σ, λ and symmetry: it finds what a full scan finds, and says what it tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from delta_server.data.dataset import Dataset, load_dataset
from delta_server.errors import InputError
from delta_server.training.databases import Complex
from delta_server.training.fit import Hyper, fit, force_mae, maes
from delta_server.training.labels import Labels
from delta_server.training.selection.select import LAMBDAS, SIGMAS, Search, Trial, select


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset(ROOT / "models/h2o_benzene/dataset.npz")


@pytest.fixture(scope="module")
def system(data: Dataset) -> Complex:
    return Complex.of(data)


@pytest.fixture(scope="module")
def sides(system: Complex) -> tuple[Labels, Labels]:
    benzene = system.kinds[1]
    return tuple(system.fragment_labels(benzene, np.arange(first, 2400, 80)) for first in (0, 40))


def test_it_is_as_good_as_a_scan_of_everything(system: Complex, sides: tuple[Labels, Labels]) -> None:
    train, validation = sides
    group = system.kinds[1].group.permutations
    search = Search(sigmas=SIGMAS[::2], lams=LAMBDAS[::4], sigma_stride=1, lam_stride=1)
    name, hyper, trials = select(train, validation, {"graph": group}, search)
    scan = []
    for sigma in search.sigmas:
        for lam in search.lams:
            try:
                scan.append(force_mae(fit(train, group, Hyper(sigma, lam)), validation))
            except InputError:
                continue
    assert name == "graph"
    assert force_mae(fit(train, group, hyper), validation) <= 1.02 * min(scan)
    assert len(trials) < len(scan)


def test_each_trial_is_told_and_can_be_repeated(system: Complex, sides: tuple[Labels, Labels]) -> None:
    train, validation = sides
    told: list[Trial] = []
    group = system.kinds[1].group.permutations
    _, _, trials = select(train, validation, {"graph": group}, Search(lams=(1e-8,)), told.append)
    assert told == trials
    for trial in trials[:3]:
        model = fit(train, group, Hyper(trial.sigma, trial.lam))
        assert force_mae(model, validation) == pytest.approx(trial.validation, rel=1e-6)
    again = select(train, validation, {"graph": group}, Search(lams=(1e-8,)))[2]
    assert [replace(t, seconds=0) for t in again] == [replace(t, seconds=0) for t in trials]


def test_energies_that_are_fitted_count_beside_forces(system: Complex) -> None:
    """Forces alone would take a larger λ here."""
    train, validation = system.binding_labels(np.arange(0, 600, 20)), system.binding_labels(np.arange(10, 600, 20))
    group = {"fragments": system.products.permutations}
    search = Search(sigmas=(8.0,), lams=LAMBDAS[::2], lam_stride=1, energies=True)
    _, hyper, trials = select(train, validation, group, search)
    errors = {t.lam: maes(fit(train, group["fragments"], replace(hyper, lam=t.lam)), validation) for t in trials}
    for trial in trials:
        assert (trial.relabelled, trial.energy) == pytest.approx(errors[trial.lam], rel=1e-6)
    merit = {lam: np.cbrt(forces**2 * energy) for lam, (forces, energy) in errors.items()}
    assert merit[hyper.lam] <= 1.01 * min(merit.values())  # of equal ones the largest λ
    assert hyper.lam < min(errors, key=lambda lam: errors[lam][0])


def test_a_symmetry_left_out_shows_on_relabelled_copies(system: Complex, sides: tuple[Labels, Labels]) -> None:
    train, validation = sides
    groups = {"none": np.arange(12)[None], "graph": system.kinds[1].group.permutations}
    chosen, _, trials = select(train, validation, groups, Search(lams=(1e-8,)))
    assert chosen == "graph"
    best = {name: min(t.relabelled for t in trials if t.group == name) for name in groups}
    assert best["graph"] < 0.8 * best["none"]
    for t in trials:
        if t.group == "graph":
            assert t.relabelled == pytest.approx(t.validation, rel=1e-3)


def test_large_tasks_choose_on_fewer_points(system: Complex, sides: tuple[Labels, Labels]) -> None:
    train, validation = sides
    group = {"graph": system.kinds[1].group.permutations}
    _, _, trials = select(train, validation, group, Search(sigmas=(8.0,), lams=(1e-8,), rows=400))
    assert [t.points for t in trials] == [400 // 36, int(400 * 2.2 / 36)]


def test_lambda_too_small_for_every_sigma(system: Complex, sides: tuple[Labels, Labels]) -> None:
    train, validation = sides
    twice = train + train
    with pytest.raises(InputError, match=r"benzene: no kernel matrix was positive definite.*duplicate"):
        select(twice, validation, {"none": np.arange(12)[None]}, Search(lams=(1e-30,)))
