"""The factorisation in panels against NumPy's."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from delta_server.errors import InputError
from delta_server.training.solve.cholesky import Panels


def panels_of(matrix: np.ndarray, widths: list[int]) -> Panels:
    found = Panels.zeros(widths)
    for start, panel in zip(found.starts, found.panels, strict=True):
        panel[:] = matrix[start:, start : start + panel.shape[1]]
    return found


def positive(n: int, seed: int = 0) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, n))
    return a @ a.T + n * np.eye(n)


@pytest.mark.parametrize("widths", [[1], [7], [3, 3, 1], [5, 11, 2, 40], [1] * 9, [64, 64, 3]])
def test_solves(widths: list[int]) -> None:
    n = sum(widths)
    a, y = positive(n), np.random.default_rng(1).standard_normal((n, 2))
    panels = panels_of(a, widths)
    where = [p.ctypes.data for p in panels.panels]
    done: list[float] = []
    panels.factor(done.append)
    assert np.abs(panels.solve(y) - np.linalg.solve(a, y)).max() < 1e-12
    assert np.abs(panels.solve(y[:, 0]) - np.linalg.solve(a, y[:, 0])).max() < 1e-12
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert where == [p.ctypes.data for p in panels.panels]
    lower = np.linalg.cholesky(a)
    for start, panel in zip(panels.starts, panels.panels, strict=True):
        expected = lower[start:, start : start + panel.shape[1]]
        assert np.abs(np.tril(panel) - np.tril(expected)).max() < 1e-12


def test_a_diagonal_that_is_added_to() -> None:
    panels = Panels.zeros([2, 3, 2])
    panels.add_diagonal(np.arange(7.0) ** 2)
    panels.add_diagonal(2.0 * np.arange(7) + 1.0)
    panels.diagonal()[:] = np.nan  # a copy
    panels.factor()
    assert np.array_equal(panels.diagonal(), np.arange(1.0, 8.0))
    assert sum(p.nbytes for p in panels.panels) == 8 * (7 * 2 + 5 * 3 + 2 * 2)


def test_a_matrix_that_is_not_positive_definite_is_refused() -> None:
    a = positive(12)
    a[9, 9] = -1.0
    with pytest.raises(InputError, match=r"12 rows.*not positive definite: raise --lambda"):
        panels_of(a, [5, 5, 2]).factor()


def test_it_happens_in_place() -> None:
    panels = panels_of(positive(1500), [100] * 15)
    size = sum(p.nbytes for p in panels.panels)
    tracemalloc.start()
    panels.factor()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.15 * size
