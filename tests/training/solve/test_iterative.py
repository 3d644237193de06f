"""The iterative solver against the factorised matrix, and the memory that it says it takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from delta_server.data.dataset import Dataset
from delta_server.errors import InputError
from delta_server.gdml import CpuPredictor
from delta_server.gdml.descriptor.metric import Metric
from delta_server.symmetry.bond_graph import complex_group, molecule_group
from delta_server.training.fit import Hyper, model_of, targets
from delta_server.training.labels import Labels
from delta_server.training.solve import iterative
from delta_server.training.solve.cholesky import Panels
from delta_server.training.solve.iterative import MatrixFree, plan_memory, solve, symmetric_product
from delta_server.training.solve.kernel import KernelMatrix
from delta_server.training.solve.nystrom import Nystrom, mean_variance
from delta_server.units import KCAL_MOL

SIGMA = 10.0
PLENTY = 10**9


class Problem:
    """A binding model to be trained: labels, kernel, matrix, and what is to be solved."""

    def __init__(self, data: Dataset, points: int, symmetric: bool, energies: bool) -> None:
        assert data.fragment_forces is not None
        assert data.fragment_energies is not None
        binding = data.energies - data.fragment_energies.sum(1), data.forces - data.fragment_forces
        self.labels = Labels("binding", data.numbers, data.positions, *binding)
        self.train, self.test = self.labels.take(slice(0, points)), self.labels.take(slice(points, None))
        permutations = np.arange(data.n_atoms)[None]
        if symmetric:
            atoms, here = [data.atoms_of(k) for k in range(data.n_fragments)], data.positions[0]
            groups = [molecule_group(data.numbers[a], here[a]) for a in atoms]
            permutations = complex_group(atoms, groups, data.numbers, here).permutations
        self.energies, self.permutations = energies, permutations
        self.kernel = KernelMatrix(self.train.positions, permutations, Metric(len(self.train.numbers)))
        self.y, self.mean, self.scale = targets(self.train, energies)
        self.matrix = self.kernel.matrix(SIGMA, energies)

    def lam(self, relative: float) -> float:
        return relative * float(self.matrix.diagonal()[-self.train.forces.size :].mean())

    def exact(self, lam: float) -> np.ndarray:
        matrix = Panels(tuple(panel.copy() for panel in self.matrix.panels))
        matrix.add_diagonal(lam)
        matrix.factor()
        return matrix.solve(self.y)

    def forces(self, coefficients: np.ndarray, lam: float) -> np.ndarray:
        offset = self.mean if self.energies else None
        model = model_of(self.train, self.permutations, Hyper(SIGMA), lam, self.scale, coefficients, offset)
        return CpuPredictor(model).predict(self.test.positions).forces / KCAL_MOL

    def least(self) -> int:
        """Bytes for a tenth of the points as inducing ones, too few for the matrix."""
        m, n, p = len(self.train), len(self.train.numbers), len(self.permutations)
        return next(
            memory for memory in range(10**6, PLENTY, 10**5) if points_of(m, n, p, self.energies, memory) >= m // 5
        )


def points_of(*arguments: int) -> int:
    try:
        return plan_memory(*arguments).points  # type: ignore[arg-type]
    except InputError:
        return 0


@pytest.fixture(params=[(True, True), (True, False), (False, True)], ids=["both", "symmetric", "energies"])
def problem(request: pytest.FixtureRequest, na_benzene_data: Dataset) -> Problem:
    return Problem(na_benzene_data, 40, *request.param)


def test_the_product_without_the_matrix_is_the_product(problem: Problem) -> None:
    assert problem.lam(1.0) == pytest.approx(mean_variance(problem.kernel, SIGMA))
    v = np.random.default_rng(0).standard_normal((3, problem.matrix.n))
    free = MatrixFree(problem.kernel, SIGMA, problem.energies)
    dense = np.zeros((problem.matrix.n,) * 2)
    for start, panel in zip(problem.matrix.starts, problem.matrix.panels, strict=True):
        dense[start:, start : start + panel.shape[1]] = panel
    dense = np.tril(dense) + np.tril(dense, -1).T
    for each in v:
        scale = np.abs(dense @ each).max()
        assert np.abs(free(each) - dense @ each).max() < 1e-12 * scale
        assert np.abs(symmetric_product(problem.matrix, each) - dense @ each).max() < 1e-13 * scale


@pytest.mark.parametrize("relative", [1e-7, 1e-5])
@pytest.mark.parametrize("stored", [True, False])
def test_it_finds_what_the_factorisation_finds(problem: Problem, relative: float, stored: bool) -> None:
    lam = problem.lam(relative)
    memory = PLENTY if stored else problem.least()
    assert plan_memory(40, 13, len(problem.permutations), problem.energies, memory).stored is stored
    found = solve(problem.kernel, problem.y, SIGMA, lam, problem.energies, memory=memory, tolerance=1e-6)
    assert found.converged
    assert found.residual <= 1e-6
    residual = symmetric_product(problem.matrix, found.coefficients) + lam * found.coefficients - problem.y
    assert np.linalg.norm(residual) / np.linalg.norm(problem.y) == pytest.approx(found.residual, abs=1e-8)
    assert 0 < found.n_inducing < len(problem.y) / 4
    exact = problem.forces(problem.exact(lam), lam)
    assert np.abs(problem.forces(found.coefficients, lam) - exact).max() < 2e-5 * np.abs(exact).max()


def test_the_preconditioner_is_worth_it(na_benzene_data: Dataset) -> None:
    problem = Problem(na_benzene_data, 40, True, True)
    lam = problem.lam(1e-8)
    iterations = []
    for points in (2, 4, 8, 40):
        search = iterative._ConjugateGradients(
            lambda v: symmetric_product(problem.matrix, v),
            Nystrom(problem.kernel, SIGMA, lam, True, points),
            problem.y, lam,
        )  # fmt: skip
        while search.iterations < 1000 and search.step(1e-4):
            pass
        iterations.append(search.iterations)
    assert iterations == sorted(iterations, reverse=True)
    assert iterations[-1] < 10  # all columns: exact but for those left out
    assert iterations[2] < 0.5 * iterations[0]


def test_a_search_that_is_ended_early_says_so(na_benzene_data: Dataset) -> None:
    problem = Problem(na_benzene_data, 40, True, False)
    short = solve(problem.kernel, problem.y, SIGMA, problem.lam(1e-8), False, memory=PLENTY, max_iterations=5)
    assert not short.converged
    assert 1e-4 < short.residual < 1.0
    assert short.iterations == 5


def test_rounding_ends_a_search_for_too_much(na_benzene_data: Dataset) -> None:
    problem = Problem(na_benzene_data, 20, True, False)
    found = solve(problem.kernel, problem.y, SIGMA, problem.lam(1e-9), False, memory=PLENTY, tolerance=1e-16)
    assert not found.converged
    assert 1e-16 < found.residual < 1e-6
    assert found.iterations < 2000


def test_progress_is_told(na_benzene_data: Dataset) -> None:
    problem = Problem(na_benzene_data, 20, True, True)
    seen: dict[str, list[float]] = {}
    solve(
        problem.kernel, problem.y, SIGMA, problem.lam(1e-7), True, memory=PLENTY,
        report=lambda stage, done: seen.setdefault(stage, []).append(done),
    )  # fmt: skip
    assert list(seen) == ["kernel matrix", "preconditioner", "iterative solver"]
    for fractions in seen.values():
        assert fractions == sorted(fractions)
        assert 0 <= fractions[0] <= fractions[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("memory", [15_000_000, 20_000_000, 80_000_000])
def test_memory_is_what_was_planned(na_benzene_data: Dataset, memory: int) -> None:
    problem = Problem(na_benzene_data, 80, True, True)
    lam, expected = problem.lam(1e-6), plan_memory(80, 13, len(problem.permutations), True, memory)
    assert expected.memory <= memory
    solve(problem.kernel, problem.y, SIGMA, lam, True, memory=memory, max_iterations=1)  # compiled from here on
    tracemalloc.start()
    solve(problem.kernel, problem.y, SIGMA, lam, True, memory=memory, max_iterations=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.3 * expected.memory < peak < expected.memory


def test_too_little_memory_is_told() -> None:
    with pytest.raises(InputError, match=r"1000 training points of 24 atoms need .* GB at least, 0.1 GB are given"):
        plan_memory(1000, 24, 288, False, 10**8)
    assert not plan_memory(1000, 24, 288, False, 16 * 10**9).stored
    assert plan_memory(1000, 24, 288, False, 64 * 10**9).stored
