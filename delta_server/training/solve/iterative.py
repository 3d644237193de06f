"""Coefficients of a model whose kernel matrix is too large to be factorised: preconditioned conjugate gradients.

(K + λ) a = y is solved as in Chmiela et al., Sci. Adv. 9, eadf0873 (2023): K a is what the model with coefficients a
predicts at its own training points, which takes no matrix; inducing points make the preconditioner (`nystrom`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..._types import FloatArray
from ...errors import InputError
from ...gdml.descriptor.descriptor import Descriptor
from ...gdml.descriptor.pairs import n_pairs
from ...gdml.sums.expansion import Expansion
from .cholesky import Panels
from .kernel import KernelMatrix, Report
from .nystrom import Nystrom, nystrom_bytes

_QUERY_BYTES = 128 * 2**20  # temporaries of one matrix-free product, of all its threads
_MOST = 0.2  # of the points are inducing: beyond, the preconditioner takes longer than the iterations that it saves
_TRUE = 50  # iterations between residuals computed anew
_DRIFT = 0.5  # of the residual: as far from what it should be, it is rounding for the most part
_STRIP = 1024  # rows that stay in the cache between the two products they take part in

Product = Callable[[FloatArray], FloatArray]
"""A matrix times a vector (n,)."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the iterations ended: the best of all iterates."""

    coefficients: FloatArray  # energies first (M,), where they are in the fit, then forces (3NM,)
    residual: float  # ‖(K + λ) a − y‖ / ‖y‖
    iterations: int
    n_inducing: int  # columns of the preconditioner
    converged: bool


class MemoryPlan(NamedTuple):
    """How an iterative solution spends its memory."""

    stored: bool  # the kernel matrix is kept, as its lower triangle
    points: int  # inducing ones
    memory: int  # bytes


def plan_memory(n_points: int, n_atoms: int, n_perms: int, energies: bool, memory: int) -> MemoryPlan:
    """The kernel matrix is kept where memory (bytes) holds it and a good preconditioner, otherwise the preconditioner
    gets what there is. Raises InputError where that is less than one point takes."""
    rows, dim = 3 * n_atoms + energies, n_pairs(n_atoms)
    fixed = 8 * n_points * (4 * n_atoms**2 + 16 * rows)
    query = 8 * n_perms * (3 * dim + 6 * n_points)
    free = 8 * (10 * n_points * dim + 3 * n_perms * dim) + min(n_points * query, max(_QUERY_BYTES, query))
    matrix = 4 * n_points * rows * (n_points * rows + max(_STRIP, rows, n_points * energies))
    most = int(np.ceil(_MOST * n_points))

    def needed(stored: bool, points: int) -> int:
        return fixed + (matrix if stored else free) + nystrom_bytes(n_points, n_atoms, energies, points)

    if needed(True, most) <= memory:
        return MemoryPlan(True, most, needed(True, most))
    for points in range(most, 0, -1):
        if needed(False, points) <= memory:
            return MemoryPlan(False, points, needed(False, points))
    raise InputError(
        f"{n_points} training points of {n_atoms} atoms need {needed(False, 1) / 1e9:.3g} GB at least, "
        f"{memory / 1e9:.3g} GB are given: raise --memory, or train on fewer points"
    )


def solve(
    kernel: KernelMatrix,
    y: FloatArray,
    sigma: float,
    lam: float,
    energies: bool,
    *,
    memory: int,
    tolerance: float = 1e-4,
    max_iterations: int = 2000,
    report: Report | None = None,
    seed: int = 0,
    doubt: FloatArray | None = None,
) -> Solution:
    """The coefficients a with (K + λ) a = y, in the order and sign of `Panels.solve`.

    y: (M + 3NM,) with energies first, or (3NM,). lam: absolute. memory: bytes, see `plan_memory`. tolerance: of
    ‖(K + λ) a − y‖ / ‖y‖; where it is not met within max_iterations, or rounding is in the way, the best iterate is
    given back with ``converged`` false. doubt: (n,) factors of λ, label by label.

    Raises InputError where memory is too small.
    """
    m, n_atoms = kernel.positions.shape[:2]
    plan = plan_memory(m, n_atoms, len(kernel.permutations), energies, memory)
    product: Product
    if plan.stored:
        matrix = kernel.matrix(sigma, energies, report)

        def product(v: FloatArray) -> FloatArray:
            return symmetric_product(matrix, v)
    else:
        product = MatrixFree(kernel, sigma, energies)
    precondition = Nystrom(kernel, sigma, lam, energies, plan.points, report, seed)
    search = _ConjugateGradients(product, precondition, y, lam if doubt is None else lam * doubt)
    while search.iterations < max_iterations and search.step(tolerance):
        if report:
            done = float(np.log(search.best_residual) / np.log(tolerance))
            report("iterative solver", min(1.0, max(0.0, done)))
    search.refresh()
    if report:
        report("iterative solver", 1.0)
    return Solution(
        search.best, search.best_residual, search.iterations, precondition.n_inducing,
        search.best_residual <= tolerance,
    )  # fmt: skip


class _ConjugateGradients:
    """The iteration, with the best iterate so far."""

    def __init__(self, product: Product, precondition: Product, y: FloatArray, lam: float | FloatArray) -> None:
        self._product, self._precondition, self._y, self._lam = product, precondition, y, lam
        self._norm = float(np.linalg.norm(y)) or 1.0
        self._x, self._r = np.zeros_like(y), y.copy()
        self._p: FloatArray | None = None
        self._rz = 0.0
        self.iterations = 0
        self.best, self.best_residual = self._x.copy(), self._size()

    def step(self, tolerance: float) -> bool:
        """One iteration; False where there is nothing left to do or rounding allows no more."""
        if self._size() <= tolerance:
            return False
        if self._p is None:
            z = self._precondition(self._r)
            self._p, self._rz = z.copy(), float(self._r @ z)
        q = self._product(self._p) + self._lam * self._p
        curvature = float(self._p @ q)
        if not curvature > 0.0:
            return False
        alpha = self._rz / curvature
        before = self._r
        self._x = self._x + alpha * self._p
        self._r = before - alpha * q
        self.iterations += 1
        rounding = False
        if self._size() <= tolerance or self.iterations % _TRUE == 0:  # the recurrence drifts from the residual
            recurred, self._r = self._r, self._residual()
            rounding = float(np.linalg.norm(self._r - recurred)) > _DRIFT * float(np.linalg.norm(self._r))
        size = self._size()
        if size < self.best_residual:
            self.best, self.best_residual = self._x, size
        if size <= tolerance or rounding:
            return False
        z = self._precondition(self._r)
        beta = float(z @ (self._r - before)) / self._rz  # Polak and Ribière's: a residual may be replaced
        self._p, self._rz = z + beta * self._p, float(self._r @ z)
        return True

    def refresh(self) -> None:
        """The residual of the best iterate as it is, not as the recurrence has it."""
        self._x = self.best
        self._r = self._residual()
        self.best_residual = self._size()

    def _residual(self) -> FloatArray:
        return self._y - self._product(self._x) - self._lam * self._x

    def _size(self) -> float:
        return float(np.linalg.norm(self._r)) / self._norm


class MatrixFree:
    """K v, as energies and forces of the model with coefficients v at its own training points."""

    def __init__(self, kernel: KernelMatrix, sigma: float, energies: bool) -> None:
        self._described = Descriptor.of(kernel.positions, kernel.metric)
        self._expansion = Expansion(self._described.x, kernel.metric, kernel.permutations, sigma)
        self._energies = energies

    def __call__(self, v: FloatArray) -> FloatArray:
        """v and the result: (M + 3NM,) or (3NM,)."""
        from threadpoolctl import threadpool_info, threadpool_limits

        x, positions = self._described.x, self._described.positions
        edge = len(x) if self._energies else 0
        weights = self._described.jvp(-v[edge:].reshape(positions.shape))
        self._expansion.set_weights(weights, v[:edge] if self._energies else None)

        cores = max((i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"), default=1)
        room = max(1, _QUERY_BYTES // self._expansion.bytes_per_query)  # queries at a time
        threads = min(cores, room, len(x))
        size = max(1, min(room // threads, -(-len(x) // threads)))
        parts = [slice(i, i + size) for i in range(0, len(x), size)]
        # threads here, not in BLAS: what is between the matrix products is shared among them too
        with threadpool_limits(None if threads < cores else 1, "blas"), ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(lambda part: self._expansion(x[part]), parts))
        energy, gradient = map(np.concatenate, zip(*done, strict=True))
        forces = self._described.forces(gradient).reshape(-1)
        return np.concatenate([energy, forces]) if self._energies else forces


def symmetric_product(matrix: Panels, v: FloatArray) -> FloatArray:
    """K v with K as its lower triangle, of which every entry is read once."""
    from scipy.linalg.blas import dsymv

    result = np.zeros_like(v)
    for start, panel in zip(matrix.starts, matrix.panels, strict=True):
        width = panel.shape[1]
        here = slice(start, start + width)
        result[here] += dsymv(1.0, panel[:width].T, v[here], lower=0)
        for row in range(width, len(panel), _STRIP):
            strip = panel[row : row + _STRIP]
            there = slice(start + row, start + row + len(strip))
            result[there] += strip @ v[here]
            result[here] += v[there] @ strip
    return result
