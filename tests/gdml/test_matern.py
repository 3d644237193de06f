"""The reference kernel against its own derivatives, and every fast form against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from delta_server.gdml.descriptor.descriptor import Descriptor
from delta_server.gdml.descriptor.metric import Metric
from delta_server.gdml.descriptor.pairs import pair_permutations
from delta_server.gdml.model import Model
from delta_server.gdml.sums.backends import backends
from delta_server.gdml.sums.expansion import Expansion
from delta_server.gdml.sums.matern import hessian, matern, plain_sum
from delta_server.gdml.sums.torch_sum import TorchSum
from delta_server.gdml.uncertainty import EnergyKernel
from delta_server.training.selection.reduction import _factors
from delta_server.training.solve.kernel import KernelMatrix

SIGMA = 1.7
N = 4
GROUP = np.array([[0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]])
METRIC = Metric(N)
PERMS = pair_permutations(GROUP)


def geometries(count: int, seed: int = 0) -> np.ndarray:
    """(count, N, 3) Å, atoms about 1.5 Å apart."""
    corners = np.array([[0, 0, 0], [1.5, 0, 0], [0, 1.4, 0], [0, 0, 1.6]])
    return corners + np.random.default_rng(seed).normal(0, 0.15, (count, N, 3))


def copies(values: np.ndarray) -> np.ndarray:
    """(M P, D) what the permutations make of (M, D), point by point."""
    return values[:, PERMS].reshape(-1, values.shape[1])


X = Descriptor.of(geometries(5, 1), METRIC).x
Y = Descriptor.of(geometries(7, 2), METRIC).x
W, ALPHAS = np.random.default_rng(3).standard_normal((7, Y.shape[1])), np.random.default_rng(4).standard_normal(7)
constrained = pytest.mark.parametrize("alphas", [None, ALPHAS], ids=["forces", "with energies"])


def expected_sum(alphas: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    return plain_sum(X, copies(Y), copies(W), SIGMA, None if alphas is None else np.repeat(alphas, len(GROUP)))


def test_derivatives_are_those_of_the_value() -> None:
    """By a complex step, which has no difference to round."""
    squared, h = np.geomspace(1e-4, 1e2, 20), 1e-20
    value, first, second = matern(squared, SIGMA)
    stepped = matern(squared + 1j * h, SIGMA)
    assert first == pytest.approx(-2 * stepped.value.imag / h, rel=1e-12)
    assert second == pytest.approx(-2 * stepped.first.imag / h, rel=1e-10)
    assert (np.diff(value) < 0).all()


def test_where_two_descriptors_are_the_same() -> None:
    assert [float(part) for part in matern(np.zeros(()), SIGMA)] == pytest.approx(
        [1, 5 / (3 * SIGMA**2), 25 / (3 * SIGMA**4)]
    )
    assert hessian(np.zeros(3), SIGMA) == pytest.approx(5 / (3 * SIGMA**2) * np.eye(3))


def test_the_hessian_is_that_of_the_value() -> None:
    d, h = np.array([0.3, -0.7, 1.1]), 1e-20
    for k, row in enumerate(hessian(d, SIGMA)):
        moved = d + 1j * h * np.eye(3)[k]
        minus_gradient = matern((moved * moved).sum(), SIGMA).first * moved  # −∂k/∂x, and ∂d/∂y = −1
        assert row == pytest.approx(minus_gradient.imag / h, rel=1e-12)


@constrained
def test_the_sum_is_the_gradient_of_its_energy(alphas: np.ndarray | None) -> None:
    h, (_, minus_gradient) = 1e-4, plain_sum(X, Y, W, SIGMA, alphas)
    for k, step in enumerate(h * np.eye(X.shape[1])):
        far, near = (
            plain_sum(X + c * step, Y, W, SIGMA, alphas)[0] - plain_sum(X - c * step, Y, W, SIGMA, alphas)[0]
            for c in (2, 1)
        )
        assert minus_gradient[:, k] == pytest.approx(-(8 * near - far) / (12 * h), abs=1e-10)


@constrained
@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("method", ["plain", "fourier"])
def test_numpy_and_compiled_code(alphas: np.ndarray | None, backend: str, method: str) -> None:
    expansion = Expansion(Y, METRIC, GROUP, SIGMA, method=method, backend=backend)  # type: ignore[arg-type]
    expansion.set_weights(W, alphas)
    for part, expected in zip(expansion(X), expected_sum(alphas), strict=True):
        assert part == pytest.approx(expected, rel=1e-12, abs=1e-12)


@constrained
@pytest.mark.parametrize("method", ["plain", "fourier"])
def test_torch(alphas: np.ndarray | None, method: str) -> None:
    torch = pytest.importorskip("torch")
    model = Model(np.full(N, 6), Y, W, GROUP, SIGMA, 1.0, 0.0, alphas, "Ang", "eV", METRIC)
    energy, gradient = TorchSum(model, torch.device("cpu"), method)(torch.tensor(X.T))  # type: ignore[arg-type]
    for part, expected in zip((energy.numpy(), gradient.numpy().T), expected_sum(alphas), strict=True):
        assert part == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_the_kernel_matrix_of_a_fit() -> None:
    """Energies, then forces point by point: J_mᵀ (Σ_g ∂²k/∂x∂y P_g) J_n, and J_mᵀ (−∂k/∂x) between the two."""
    positions = geometries(3, 5)
    described, m, rows = Descriptor.of(positions, METRIC), len(positions), 3 * N
    unit = np.eye(rows).reshape(rows, N, 3)
    jacobian = np.stack([described.take(np.full(rows, i)).jvp(unit).T for i in range(m)])  # (M, D, 3N)
    expected = np.zeros((m + m * rows, m + m * rows))
    for a in range(m):
        for b in range(m):
            forces, energies = (slice(m + rows * i, m + rows * (i + 1)) for i in (a, b))
            for perm in PERMS:
                d = described.x[a] - described.x[b][perm]
                value, first, _ = matern((d * d).sum(), SIGMA)
                left, right = jacobian[a], jacobian[b][perm]
                expected[forces, energies] += left.T @ hessian(d, SIGMA) @ right
                expected[forces, b] += first * d @ left
                expected[a, energies] -= first * d @ right
                expected[a, b] += value
    panels, start = KernelMatrix(positions, GROUP, METRIC).matrix(SIGMA, True).panels, 0
    for panel in panels:  # each from its diagonal down
        width = panel.shape[1]
        below = np.tril(np.ones(panel.shape, dtype=bool))
        assert panel[below] == pytest.approx(expected[start:, start : start + width][below], rel=1e-11, abs=1e-12)
        start += width
    assert start == len(expected)


def test_the_factors_of_a_reduction() -> None:
    squared, slope = np.geomspace(1e-3, 10, 30), np.random.default_rng(6).standard_normal(30)
    alphas = np.random.default_rng(7).standard_normal(30)
    _, first, second = matern(squared, SIGMA)
    of_d, of_w = _factors(squared, slope, alphas, SIGMA)
    assert of_d == pytest.approx(second * slope + alphas * first, rel=1e-12)
    assert of_w == pytest.approx(first, rel=1e-12)


def test_the_kernel_of_an_expected_error() -> None:
    kernel, lengths = EnergyKernel(METRIC, GROUP), (0.4, SIGMA)

    def expected(x: np.ndarray, y: np.ndarray, length: float) -> np.ndarray:
        d = x[:, None] - copies(y)
        return matern((d * d).sum(-1), length).value.reshape(len(x), len(y), -1).sum(-1)

    across, alone = kernel.cross(X, kernel.points(Y), lengths), kernel.diagonal(X, lengths)
    for i, length in enumerate(lengths):
        assert across[i] == pytest.approx(expected(X, Y, length), rel=1e-10)
        assert alone[i] == pytest.approx(expected(X, X, length).diagonal(), rel=1e-6)  # |x − P_g x|² rounds at 0
