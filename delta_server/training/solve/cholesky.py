"""Cholesky factorisation of a symmetric matrix kept as panels of its lower triangle, in place.

Half the memory of the square, and block by block: OpenBLAS 0.3.30 crashes in one threaded `potrf` of more than
16,000 rows, its matrix products do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..._types import FloatArray
from ...errors import InputError


class NotPositiveDefiniteError(InputError):
    """A kernel matrix that rounding, or equal configurations, have left without an inverse."""


def not_positive_definite(rows: int) -> NotPositiveDefiniteError:
    """What to raise of a kernel matrix of so many rows."""
    return NotPositiveDefiniteError(
        f"the kernel matrix ({rows} rows) is not positive definite: raise --lambda, take a smaller sigma, or leave "
        "out duplicate configurations"
    )


@dataclass(frozen=True)
class Panels:
    """Lower triangle of an n×n matrix: a panel holds some columns from their diagonal down, (n − start, width)."""

    panels: tuple[FloatArray, ...]

    @classmethod
    def zeros(cls, widths: Sequence[int]) -> Panels:
        n = sum(widths)
        starts = np.concatenate([[0], np.cumsum(widths)])
        return cls(tuple(np.zeros((n - start, width)) for start, width in zip(starts, widths, strict=False)))

    def copy(self) -> Panels:
        return Panels(tuple(p.copy() for p in self.panels))

    @property
    def n(self) -> int:
        return len(self.panels[0])

    @property
    def starts(self) -> list[int]:
        return [self.n - len(p) for p in self.panels]

    def diagonal(self) -> FloatArray:
        """(n,) a copy."""
        return np.concatenate(self._diagonals())

    def add_diagonal(self, values: FloatArray | float) -> None:
        """Add (n,) values, or one to all."""
        values = np.broadcast_to(values, self.n)
        for start, diagonal in zip(self.starts, self._diagonals(), strict=True):
            diagonal += values[start : start + len(diagonal)]

    def _diagonals(self) -> list[FloatArray]:
        """Views, panel by panel."""
        return [p.reshape(-1)[: p.shape[1] * (p.shape[1] + 1) : p.shape[1] + 1] for p in self.panels]

    def factor(self, progress: Callable[[float], None] | None = None) -> None:
        """Replace the matrix A by L with A = L Lᵀ. progress: called with the fraction of the work that is done.

        Raises NotPositiveDefiniteError.
        """
        from scipy.linalg import LinAlgError, cholesky
        from scipy.linalg.blas import dgemm, dsyrk, dtrsm

        starts, panels = self.starts, self.panels
        for j, panel in enumerate(panels):
            width = panel.shape[1]
            try:
                diagonal = np.asfortranarray(cholesky(panel[:width], lower=True, check_finite=False))
            except LinAlgError:
                raise not_positive_definite(self.n) from None
            panel[:width] = diagonal
            if len(panel) > width:  # a C-ordered panel is LAPACK's transposed one: all of this happens in place
                dtrsm(1.0, diagonal, panel[width:].T, lower=1, overwrite_b=1)
            for start, later in zip(starts[j + 1 :], panels[j + 1 :], strict=True):
                n = later.shape[1]
                rows, below = panel[start - starts[j] :][:n].T, panel[start - starts[j] + n :].T
                dsyrk(-1.0, rows, 1.0, later[:n].T, trans=1, overwrite_c=1)
                if below.size:
                    dgemm(-1.0, rows, below, 1.0, later[n:].T, trans_a=1, overwrite_c=1)
            if progress:
                progress(1.0 - (1.0 - (starts[j] + width) / self.n) ** 3)

    def solve(self, y: FloatArray) -> FloatArray:
        """A⁻¹ y after `factor`, y: (n,) or (n, k)."""
        return self.backward(self.forward(y))

    def forward(self, y: FloatArray) -> FloatArray:
        """L⁻¹ y after `factor`, y: (n,) or (n, k)."""
        from scipy.linalg import solve_triangular

        x = y.copy()
        for start, panel in zip(self.starts, self.panels, strict=True):
            width = panel.shape[1]
            x[start : start + width] = solve_triangular(panel[:width], x[start : start + width], lower=True)
            x[start + width :] -= panel[width:] @ x[start : start + width]
        return x

    def backward(self, y: FloatArray) -> FloatArray:
        """L⁻ᵀ y after `factor`, y: (n,) or (n, k)."""
        from scipy.linalg import solve_triangular

        x = y.copy()
        for start, panel in zip(reversed(self.starts), reversed(self.panels), strict=True):
            width = panel.shape[1]
            rest = x[start : start + width] - panel[width:].T @ x[start + width :]
            x[start : start + width] = solve_triangular(panel[:width], rest, lower=True, trans=1)
        return x

    def add_product(self, a: FloatArray) -> None:
        """Add A Aᵀ, A (n, k), before `factor`."""
        for start, panel in zip(self.starts, self.panels, strict=True):
            panel += a[start:] @ a[start : start + panel.shape[1]].T
