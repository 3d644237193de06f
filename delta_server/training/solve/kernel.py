"""The kernel matrix of a fit, and the memory that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..._types import FloatArray, IntArray
from ...gdml.descriptor.descriptor import Descriptor
from ...gdml.descriptor.metric import Metric
from ...gdml.descriptor.pairs import n_pairs
from .cholesky import Panels

TEMPORARIES = 2 * 2**30
"""Bytes that a GPU has for some blocks of a matrix, about."""
_PANEL = 512  # columns, about: wide enough for BLAS, narrow enough to waste little above the diagonal


Report = Callable[[str, float], None]
"""Called with the stage and the fraction of it that is done."""


@dataclass(frozen=True)
class KernelMatrix:
    """Descriptors of the training points and how to make the kernel matrix from them."""

    positions: FloatArray  # (M, N, 3) Å
    permutations: IntArray  # (P, N)
    metric: Metric
    x: FloatArray = field(init=False, repr=False)  # (M, N, N), zero for pairs that are left out
    u: FloatArray = field(init=False, repr=False)  # (M, 3, N, N) ∂x_ik/∂r_i

    def __post_init__(self) -> None:
        described = Descriptor.of(self.positions, self.metric)
        r = described.positions.transpose(0, 2, 1)
        u = r[:, :, :, None] - r[:, :, None]
        u *= -self.metric.to_matrix(described.minus_slope_over_r)[:, None]
        object.__setattr__(self, "x", self.metric.to_matrix(described.x))
        object.__setattr__(self, "u", u)

    def widths(self, energies: bool) -> list[int]:
        """Widths of the panels: the energies' first, then whole points."""
        m, rows = len(self.x), 3 * self.x.shape[1]
        each = max(1, min(m, _PANEL // rows))
        counts = [each] * (m // each) + [m % each] * (m % each > 0)
        return [m] * energies + [rows * c for c in counts]

    def matrix(self, sigma: float, energies: bool, report: Report | None = None) -> Panels:
        """Covariances of the labels (energies first, then forces), without λ."""
        from .assembly import fill_columns

        m, rows = len(self.x), 3 * self.x.shape[1]
        matrix = Panels.zeros(self.widths(energies))
        edges = matrix.panels[0] if energies else np.zeros((matrix.n, 0))
        inverse = np.argsort(self.permutations, axis=1)
        first = 0
        for panel in matrix.panels[energies:]:
            last = first + panel.shape[1] // rows
            fill_columns(self.x, self.u, self.permutations, inverse, float(sigma), first, last, panel, edges)
            first = last
            if report:
                report("kernel matrix", 1.0 - (1.0 - first / m) ** 2)
        return matrix

    def numbers(self, values: FloatArray) -> FloatArray:
        """An array, where the fit is made: here."""
        return values

    def zeros(self, energies: bool) -> Panels:
        """A matrix of this size."""
        return Panels.zeros(self.widths(energies))

    def columns(self, positions: FloatArray, sigma: float, energies: bool) -> FloatArray:
        """Covariances of these points' labels (energies first, then forces) with those of others, (k, N, 3) Å: point
        by point, each with its energy first, where `energies`."""
        block = KernelMatrix(positions, self.permutations, self.metric).block(self, sigma, energies)
        rows, e = 3 * self.x.shape[1] + energies, int(energies)
        order = np.arange(block.shape[1]).reshape(-1, rows)
        found: FloatArray = block.T[np.concatenate([order[:, :e].T.ravel(), order[:, e:].ravel()])]
        return found

    def block(self, others: KernelMatrix, sigma: float, energies: bool) -> FloatArray:
        """(R·M, R·M') covariances of these points' labels with those of others, without λ; R = 3N or 1 + 3N: point
        by point, each with its energy first where `energies`."""
        from .assembly import fill_block

        rows = 3 * self.x.shape[1] + energies
        out = np.empty((rows * len(self.x), rows * len(others.x)))
        inverse = np.argsort(self.permutations, axis=1)
        fill_block(self.x, self.u, others.x, others.u, self.permutations, inverse, float(sigma), energies, out)
        return out

    def take(self, which: IntArray | slice) -> KernelMatrix:
        """Of some of the points."""
        taken = object.__new__(KernelMatrix)
        taken.__dict__.update(self.__dict__, positions=self.positions[which], x=self.x[which], u=self.u[which])
        return taken


def matrix_bytes(n_points: int, n_atoms: int, energies: bool, device: str = "cpu") -> int:
    """Memory that `fit` needs for the matrix and the geometries, on a device other than the CPU for all of a matrix
    and its factor."""
    rows = 3 * n_atoms * n_points + n_points * energies
    if device != "cpu":
        return 16 * rows**2 + TEMPORARIES
    panel = max(_PANEL, 3 * n_atoms)
    return 4 * rows * (rows + panel) + 16 * panel**2 + 8 * n_points * (4 * n_atoms**2 + 4 * n_pairs(n_atoms))
