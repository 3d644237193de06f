"""Training against sGDML's own trainer, invariances, and the labels themselves."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from conftest import ROOT

from delta_server.data.dataset import load_dataset
from delta_server.gdml import CpuPredictor
from delta_server.gdml.descriptor.metric import Metric
from delta_server.gdml.rebuild import compare
from delta_server.training.databases import Complex
from delta_server.training.fit import Hyper, fit, fit_matrix
from delta_server.training.labels import Labels
from delta_server.training.solve.cholesky import Panels
from delta_server.training.solve.kernel import KernelMatrix, matrix_bytes
from delta_server.training.stock import find_permutations, train_stock
from delta_server.units import KCAL_MOL


@pytest.fixture(scope="module")
def system() -> Complex:
    return Complex.of(load_dataset(ROOT / "models/h2o_benzene/dataset.npz"))


@pytest.fixture(scope="module")
def labels(system: Complex) -> Labels:
    return system.binding_labels(np.arange(0, 2400, 100))


@pytest.mark.parametrize("energies", [False, True])
def test_the_same_model_as_sgdml(system: Complex, labels: Labels, energies: bool) -> None:
    """Same points, σ, λ and permutations: every prediction, kcal/mol and kcal/mol/Å."""
    hyper = Hyper(10.0, 1e-8, energies, absolute=True)
    permutations = system.full.permutations
    ours, stock = fit(labels, permutations, hyper), train_stock(labels, permutations, hyper)
    test = system.binding_labels(np.arange(50, 2400, 50)).positions
    a, b = CpuPredictor(ours).predict(test), CpuPredictor(stock).predict(test)
    assert np.abs(a.energy - b.energy).max() / KCAL_MOL < 1e-6
    assert np.abs(a.forces - b.forces).max() / KCAL_MOL < 1e-6
    assert np.ptp(a.energy) / KCAL_MOL > 1
    assert compare(ours, stock).forces < 1e-5  # 0.05 Å off the training geometries


def test_stock_permutations_are_among_the_bond_graphs(system: Complex) -> None:
    water = system.fragment_labels(system.kinds[0], np.arange(40))
    found = find_permutations(water.positions, water.numbers)
    known = {tuple(p) for p in system.kinds[0].group.permutations.tolist()}
    assert {tuple(p) for p in found.tolist()} <= known


@pytest.mark.parametrize("energies", [False, True])
def test_the_kernel_matrix_is_the_covariance_of_what_is_predicted(labels: Labels, energies: bool) -> None:
    """A column of the matrix is what a model with that one coefficient predicts."""
    from delta_server.training.fit import model_of

    few, permutations = labels.take(slice(0, 3)), np.array([np.arange(15), [0, 2, 1, *range(3, 15)]])
    matrix = KernelMatrix(few.positions, permutations, Metric(few.positions.shape[1])).matrix(5.0, energies)
    lower = np.zeros((matrix.n, matrix.n))
    for start, panel in zip(matrix.starts, matrix.panels, strict=True):
        lower[start:, start : start + panel.shape[1]] = panel
    full = np.tril(lower) + np.tril(lower, -1).T
    for column in (0, 1, 2, 3, 50, matrix.n - 1):
        unit = np.zeros(matrix.n)
        unit[column] = 1.0
        model = model_of(few, permutations, Hyper(5.0), 0.0, 1.0, unit, 0.0)
        result = CpuPredictor(model).predict(few.positions)
        expected = result.forces.ravel() / KCAL_MOL
        if energies:
            expected = np.concatenate([result.energy / KCAL_MOL, expected])
        assert np.abs(full[:, column] - expected).max() < 1e-12
    assert np.linalg.eigvalsh(full).min() > -1e-12


def test_labels_come_back_as_lambda_vanishes(system: Complex, labels: Labels) -> None:
    errors = []
    for lam in (1e-4, 1e-7, 1e-10):
        model = fit(labels, system.full.permutations, Hyper(8.0, lam, energies=True))
        result = CpuPredictor(model).predict(labels.positions)
        errors.append(np.abs(result.forces / KCAL_MOL - labels.forces).max())
        assert np.abs(result.energy / KCAL_MOL - labels.energies).max() < max(1.0, 100 * errors[-1])
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3


def test_the_model_does_not_tell_equal_atoms_apart(system: Complex, labels: Labels) -> None:
    permutations = system.full.permutations
    predictor = CpuPredictor(fit(labels, permutations, Hyper(8.0, 1e-8, energies=True)))
    x = labels.positions[0]
    result = predictor.predict(x[permutations])
    assert np.ptp(result.energy) < 5e-8  # rounding, in the basis of the group
    for p, forces in zip(permutations, result.forces, strict=True):
        assert np.abs(forces - result.forces[0][p]).max() < 1e-9


def test_the_constant_is_the_mean_of_what_forces_leave_open(system: Complex, labels: Labels) -> None:
    model = fit(labels, system.full.permutations, Hyper(8.0, 1e-8))
    predicted = CpuPredictor(model).predict(labels.positions).energy / KCAL_MOL
    assert abs((predicted - labels.energies).mean()) < 1e-9


def test_a_matrix_at_hand_serves_several_lambdas(system: Complex, labels: Labels) -> None:
    permutations = system.products.permutations
    matrix = KernelMatrix(labels.positions, permutations, Metric(len(labels.numbers))).matrix(8.0, True)
    hyper = Hyper(8.0, 1e-6, True)
    reused = fit_matrix(labels, permutations, hyper, matrix.copy)
    assert np.array_equal(reused.weights, fit(labels, permutations, hyper).weights)


def test_memory_is_the_matrix_and_little_more(labels: Labels) -> None:
    identity = np.arange(15)[None]
    many = Labels(
        "w", labels.numbers, *(np.repeat(a, 5, 0) for a in (labels.positions, labels.energies, labels.forces))
    )
    many.positions[:] += np.random.default_rng(0).normal(0, 0.02, many.positions.shape)
    fit(labels.take(slice(0, 2)), identity, Hyper(8.0))  # compiled
    expected = matrix_bytes(len(many), 15, False)
    rows = many.forces.size
    assert 4 * rows**2 < expected < 16 * rows**2
    tracemalloc.start()
    fit(many, identity, Hyper(8.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.15 * expected


def test_relabelled_configurations_are_the_same_molecule(system: Complex, labels: Labels) -> None:
    copies = labels.relabelled(system.full.permutations, np.random.default_rng(0))
    assert not np.array_equal(copies.positions, labels.positions)
    assert np.allclose(np.sort(copies.positions.ravel()), np.sort(labels.positions.ravel()))
    predictor = CpuPredictor(fit(labels, system.full.permutations, Hyper(8.0, 1e-9)))
    error = [np.abs(predictor.predict(x.positions).forces / KCAL_MOL - x.forces).max() for x in (labels, copies)]
    assert error[0] == pytest.approx(error[1], rel=1e-3)


def test_panels_hold_whole_points() -> None:
    kernel = KernelMatrix(np.random.default_rng(0).normal(0, 2, (50, 15, 3)), np.arange(15)[None], Metric(15))
    assert kernel.widths(False) == [*[45 * 11] * 4, 45 * 6]
    assert kernel.widths(True) == [50, *[45 * 11] * 4, 45 * 6]
    held = sum(p.nbytes for p in Panels.zeros(kernel.widths(True)).panels)
    assert held < matrix_bytes(50, 15, True)
