"""A preconditioner for the kernel system (K + λ) a = y, from the columns of some of the training points.

K ≈ A Aᵀ, the Nyström approximation by inducing points, as in Chmiela et al., Sci. Adv. 9, eadf0873 (2023). Here it
is made as a partial Cholesky factorisation with points drawn in proportion to what is not yet explained of their
variance (Chen, Epperly, Tropp and Webber, Commun. Pure Appl. Math. 78, 995 (2025)): no jitter, and columns that add
nothing (six motions of the whole to a point) are dropped. What it leaves of each point's own block goes into the
diagonal,

    P = A Aᵀ + D,        D = θ blockdiag(K − A Aᵀ) + λ,

which costs little beside A. With D = L Lᵀ and X = L⁻¹ A, P⁻¹ = L⁻ᵀ (1 − X (1 + XᵀX)⁻¹ Xᵀ) L⁻¹ (Woodbury): what is
factorised has no eigenvalue below λ or below 1.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from ..._types import FloatArray, IntArray
from .cholesky import Panels
from .kernel import KernelMatrix, Report

_PANEL = 1024  # columns, about, that are made at once
_DAMPING = (
    0.1  # θ: 1 overrates what is left, which much of is shared between points; 0.01 to 0.1 need fewest iterations
)
_PIVOT = 0.1  # of λ: columns with less left are not worth their memory


class Nystrom:
    """P⁻¹, for vectors of energies (M), where they are in the fit, and forces (3NM)."""

    def __init__(
        self, kernel: KernelMatrix, sigma: float, lam: float, energies: bool, points: int,
        report: Report | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        """points: how many are inducing, at most M; lam: absolute."""
        self._points, self._energies = len(kernel.x), energies
        m, rows = self._points, kernel.x.shape[1] * 3 + energies
        blocks = own_blocks(kernel, sigma, energies)
        noise = m * rows * np.finfo(np.float64).eps * float(blocks.max())
        least = max(_PIVOT * lam, noise)

        rng, taken, self._columns = np.random.default_rng(seed), np.zeros(m, dtype=bool), list[FloatArray]()
        while taken.sum() < points:
            left = np.trace(blocks, axis1=1, axis2=2)
            left[taken | (left < rows * least)] = 0.0
            size = min(max(1, _PANEL // rows), points - int(taken.sum()), np.count_nonzero(left))
            if not size:
                break
            chosen = rng.choice(m, size, replace=False, p=left / left.sum())
            taken[chosen] = True
            columns = kernel.block(kernel.take(chosen), sigma, energies)
            added = _orthogonal(columns, self._columns, (rows * chosen[:, None] + np.arange(rows)).reshape(-1), least)
            self._columns.append(added)
            added = added.reshape(m, rows, -1)
            blocks -= added @ added.transpose(0, 2, 1)
            if report:
                report("preconditioner", 0.5 * float(taken.sum()) / points)

        blocks *= _DAMPING
        blocks[:, range(rows), range(rows)] += max(lam, noise)
        self._root = np.linalg.inv(np.linalg.cholesky(blocks))
        widths = [x.shape[1] for x in self._columns]
        starts = list(accumulate(widths, initial=0))
        self._inner = Panels.zeros(widths)
        for j, x in enumerate(self._columns):
            block = x.reshape(m, rows, -1)
            np.matmul(self._root, block, out=block)
            for i in range(j + 1):
                start = starts[j] - starts[i]
                np.matmul(x.T, self._columns[i], out=self._inner.panels[i][start : start + widths[j]])
            if report:
                report("preconditioner", 0.5 + 0.4 * (j + 1) / len(widths))
        self._inner.add_diagonal(1.0)
        self._inner.factor((lambda done: report("preconditioner", 0.9 + 0.1 * done)) if report else None)

    @property
    def n_inducing(self) -> int:
        """Columns of A."""
        return self._inner.n

    def __call__(self, v: FloatArray) -> FloatArray:
        """P⁻¹ v."""
        m = self._points
        if self._energies:
            v = np.concatenate([v[:m, None], v[m:].reshape(m, -1)], axis=1)
        w: FloatArray = (self._root @ v.reshape(m, -1, 1)).reshape(-1)
        inner = self._inner.solve(np.concatenate([w @ x for x in self._columns]))
        for x, start in zip(self._columns, self._inner.starts, strict=True):
            w -= x @ inner[start : start + x.shape[1]]
        w = (self._root.transpose(0, 2, 1) @ w.reshape(m, -1, 1)).reshape(m, -1)
        return np.concatenate([w[:, 0], w[:, 1:].reshape(-1)]) if self._energies else w.reshape(-1)


def own_blocks(kernel: KernelMatrix, sigma: float, energies: bool) -> FloatArray:
    """(M, R, R) covariances of each point's own labels: its energy, where energies are in the fit, and its forces."""
    rows = kernel.x.shape[1] * 3 + energies
    blocks = np.empty((len(kernel.x), rows, rows))
    for i in range(len(blocks)):
        point = kernel.take(slice(i, i + 1))
        blocks[i] = point.block(point, sigma, energies)
    return blocks


def mean_variance(kernel: KernelMatrix, sigma: float) -> float:
    """Mean diagonal of the kernel matrix of the forces, to which a relative λ refers."""
    return float(own_blocks(kernel, sigma, False).diagonal(axis1=1, axis2=2).mean())


def nystrom_bytes(n_points: int, n_atoms: int, energies: bool, points: int) -> int:
    """Memory of the preconditioner with that many inducing points, while it is made."""
    rows = 3 * n_atoms + energies
    n, k, batch = n_points * rows, points * rows, max(_PANEL, rows)
    return 8 * n * (k + 2 * min(batch, k) + 3 * rows) + 4 * k * (k + batch)


def _orthogonal(columns: FloatArray, before: list[FloatArray], rows: IntArray, least: float) -> FloatArray:
    """What the columns `rows` of K add to the factor A = [before, …], (n, up to len(rows)); they are overwritten.

    least: of a pivot, absolute.
    """
    from scipy.linalg.blas import dgemm, dtrsm
    from scipy.linalg.lapack import dpstrf

    for x in before:  # columns −= x xᵀ, in place, as in cholesky.py
        dgemm(-1.0, x[rows].T, x.T, 1.0, columns.T, trans_a=1, overwrite_c=1)
    factor, pivots, rank, _ = dpstrf(columns[rows], lower=1, tol=least)
    factor = np.asfortranarray(factor[:rank, :rank])
    picked: FloatArray = columns.take(pivots[:rank] - 1, axis=1)
    if not rank:
        return picked
    added: FloatArray = dtrsm(1.0, factor, picked.T, lower=1, overwrite_b=1).T
    return added
