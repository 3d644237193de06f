"""A basis of fewer points than labels."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from delta_server.data.dataset import load_dataset
from delta_server.gdml import CpuPredictor
from delta_server.gdml.descriptor.metric import Metric
from delta_server.training.databases import Complex
from delta_server.training.fit import Hyper, fit, force_mae
from delta_server.training.labels import Labels
from delta_server.training.solve.kernel import KernelMatrix
from delta_server.training.solve.least_squares import LeastSquares, least_squares_bytes
from delta_server.units import KCAL_MOL


@pytest.fixture(scope="module")
def system() -> Complex:
    return Complex.of(load_dataset(ROOT / "models/h2o_benzene/dataset.npz"))


@pytest.mark.parametrize("energies", [False, True])
def test_with_all_points_it_is_the_exact_fit(system: Complex, energies: bool) -> None:
    """(K + λ d) c = y, by another road; all that is seen of c is K c."""
    labels = system.binding_labels(np.arange(0, 2400, 300))
    kernel = KernelMatrix(labels.positions, system.products.permutations, Hyper(8.0).metric_of(15))
    rng = np.random.default_rng(1)
    y = rng.standard_normal(len(labels) * (45 + energies))
    doubt = 1.0 + rng.random(len(y))
    squares = LeastSquares(kernel, labels.positions, 8.0, energies)
    lam = 1e-3 * squares.variance
    found = squares.solve(y, lam, doubt)
    matrix = kernel.matrix(8.0, energies)
    full = np.zeros((matrix.n, matrix.n))
    for start, panel in zip(matrix.starts, matrix.panels, strict=True):
        full[start:, start : start + panel.shape[1]] = panel
    full = np.tril(full) + np.tril(full, -1).T
    exact = np.linalg.solve(full + lam * np.diag(doubt), y)
    assert np.abs(full @ (found - exact)).max() < 1e-6 * np.abs(full @ exact).max()


def test_half_the_points_with_the_labels_of_all(system: Complex) -> None:
    water = system.fragment_labels(system.kinds[0], np.arange(0, 2400, 10))
    train, test = water.take(slice(0, None, 2)), water.take(slice(1, None, 2))
    permutations = system.kinds[0].group.permutations
    hyper = Hyper(8.0, 1e-9)
    made = fit(train, permutations, replace(hyper, basis=20))
    assert made.n_train == 20
    exact = [force_mae(fit(part, permutations, hyper), test) for part in (train.take(slice(0, None, 6)), train)]
    assert exact[1] < force_mae(made, test) < 0.8 * exact[0]
    energy = CpuPredictor(made).predict(train.positions).energy / KCAL_MOL
    assert energy.mean() == pytest.approx(train.energies.mean(), abs=1e-6), "the constant is all labels'"
    again = fit(train, permutations, replace(hyper, basis=20))
    assert np.array_equal(CpuPredictor(again).predict(test.positions[:3]).forces,
                          CpuPredictor(made).predict(test.positions[:3]).forces)  # fmt: skip


def test_labels_that_stand_out_count_less(system: Complex) -> None:
    water = system.fragment_labels(system.kinds[0], np.arange(0, 2400, 20))
    train, test = water.take(slice(0, None, 2)), water.take(slice(1, None, 2))
    forces = train.forces.copy()
    forces[::7] += 5.0 * np.random.default_rng(0).standard_normal(forces[::7].shape)
    spoilt = Labels(train.name, train.numbers, train.positions, train.energies, forces)
    hyper = Hyper(8.0, 1e-6, energies=True, basis=20)
    plain, robust = (
        fit(spoilt, system.kinds[0].group.permutations, replace(hyper, robust=robust)) for robust in (False, True)
    )
    assert force_mae(robust, test) < 0.8 * force_mae(plain, test)


def test_memory_does_not_grow_with_the_labels(system: Complex) -> None:
    water = system.fragment_labels(system.kinds[0], np.arange(2400))
    kernel = KernelMatrix(water.positions[::120], system.kinds[0].group.permutations, Metric(3))
    LeastSquares(kernel, water.positions[:2], 8.0, False).solve(np.ones(18), 1.0, np.ones(18))  # compiles
    tracemalloc.start()
    LeastSquares(kernel, water.positions, 8.0, False).solve(water.forces.ravel(), 1.0, np.ones(water.forces.size))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < least_squares_bytes(20, 3, False) < 0.6 * 8 * water.forces.size * 20 * 9
