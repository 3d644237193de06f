"""Fewer points in a model than labels that it is fitted to: a basis of M points, N configurations.

The coefficients c minimise Σ_i (K_nm c − y)²_i / d_i + λ cᵀ K_mm c (subset of regressors; Rasmussen & Williams, 2006,
Sec. 8.3.1), with the doubt d_i in each label: where M is N this is (K + λ d) c = y. In the basis that the Cholesky
factor of K_mm = L Lᵀ whitens, c = L⁻ᵀ z and A = K_nm L⁻ᵀ,

    (Aᵀ d⁻¹ A + λ) z = Aᵀ d⁻¹ y,

which no eigenvalue of K_mm makes worse. A is made some configurations at a time, and never kept.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..._types import FloatArray
from .cholesky import NotPositiveDefiniteError
from .kernel import Report, matrix_bytes
from .kernels import Kernel

_ROWS = 1024  # of A, about, that are made at once
_JITTERS = (1.0, 100.0, 1e4)  # of rounding, that are added to the diagonal of K_mm one after the other


class LeastSquares:
    """The whitened basis of M points of a kernel, and what is fitted to it."""

    def __init__(
        self, basis: Kernel, positions: FloatArray, sigma: float, energies: bool, report: Report | None = None
    ) -> None:
        """basis: of the M points; positions: (N, atoms, 3) Å of the labels. Raises NotPositiveDefiniteError."""
        self._basis, self._positions, self._sigma, self._energies = basis, positions, sigma, energies
        self._report = report
        for jitter in _JITTERS:
            self._factor = basis.matrix(sigma, energies, report)
            diagonal = self._factor.diagonal()
            points = self._factor.n // (positions[0].size + energies)
            self.variance = float(diagonal[points * energies :].mean())
            # six motions of the whole to a point have no variance
            self._factor.add_diagonal(jitter * self._factor.n * np.finfo(np.float64).eps * diagonal)
            try:
                self._factor.factor(self._progress("factorisation"))
                break
            except NotPositiveDefiniteError:
                if jitter == _JITTERS[-1]:
                    raise

    def solve(self, y: FloatArray, lam: float, doubt: FloatArray) -> FloatArray:
        """c, energies first (M,), where they are in the fit, then forces (3·atoms·M,).

        y, doubt: (n,) labels in the same order, of all N configurations. lam: absolute.
        """
        basis, normal = self._basis, self._basis.zeros(self._energies)
        right = basis.numbers(np.zeros(normal.n))
        n, atoms = self._positions.shape[:2]
        labels, weights = (_by_point(v, n, int(self._energies)) for v in (y, 1.0 / np.sqrt(doubt)))
        step, progress = max(1, _ROWS // (3 * atoms + self._energies)), self._progress("least squares")
        for start in range(0, n, step):
            part = slice(start, start + step)
            columns = basis.columns(self._positions[part], self._sigma, self._energies)
            w = weights[part].ravel()
            a = self._factor.forward(columns) * basis.numbers(w)
            normal.add_product(a)
            right += a @ basis.numbers(w * labels[part].ravel())
            if progress:
                progress(min(1.0, (start + step) / n))
        normal.add_diagonal(lam)
        normal.factor()
        return self._factor.backward(normal.solve(right))

    def _progress(self, stage: str) -> Callable[[float], None] | None:
        report = self._report
        return None if report is None else lambda done: report(stage, done)


def least_squares_bytes(n_basis: int, n_atoms: int, energies: bool, device: str = "cpu") -> int:
    """Memory of a fit with a basis of so many points, whatever number of configurations it is fitted to."""
    rows = 3 * n_atoms + energies
    if device != "cpu":
        return matrix_bytes(n_basis, n_atoms, energies, device) + 8 * (n_basis * rows) ** 2
    block = max(_ROWS, rows) * (4 * n_basis * rows + 4 * n_atoms * n_atoms)
    return 2 * matrix_bytes(n_basis, n_atoms, energies) + 8 * block


def _by_point(values: FloatArray, n: int, energies: int) -> FloatArray:
    """(n, R) what belongs to each configuration, of values with all energies first."""
    forces = values[energies * n :].reshape(n, -1)
    return np.concatenate([values[:n, None], forces], axis=1) if energies else forces
