"""Geometries as the numbers that a kernel compares, and forces from its gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._types import FloatArray, IntArray
from ..compiled.module import compiled_module
from .metric import Metric


class Descriptor(NamedTuple):
    """Descriptors of a batch, with what turns their gradient into forces."""

    x: FloatArray  # (B, D)
    minus_slope_over_r: FloatArray  # (B, D), −(dx/dr)/r, Å⁻² times the unit of x
    positions: FloatArray  # (B, N, 3), Å, centred
    metric: Metric

    @classmethod
    def of(cls, positions: FloatArray, metric: Metric) -> Descriptor:
        """positions: (B, N, 3) in Å."""
        if compiled := compiled_module():
            positions = np.ascontiguousarray(positions)
            x, centred = np.empty((len(positions), len(metric.pairs))), np.empty(positions.shape)
            minus_slope_over_r = np.empty(x.shape)
            compiled.describe(positions, metric.n_atoms, *metric.compiled, x, minus_slope_over_r, centred)
            return cls(x, minus_slope_over_r, centred, metric)
        centred = positions - positions.mean(axis=1, keepdims=True)
        return cls(*metric.evaluate(_distances(centred, metric.pairs)), centred, metric)

    def take(self, which: slice | IntArray) -> Descriptor:
        """The descriptors of some of the structures."""
        return Descriptor(self.x[which], self.minus_slope_over_r[which], self.positions[which], self.metric)

    def distances(self) -> FloatArray:
        """(B, D), Å."""
        return _distances(self.positions, self.metric.pairs)

    def jvp(self, vectors: FloatArray) -> FloatArray:
        """J v (B, D), with J = ∂x/∂r: how the entries change as the atoms move along `vectors` (B, N, 3)."""
        row, col = np.divmod(self.metric.pairs, self.metric.n_atoms)
        change = np.zeros_like(self.x)
        for axis in range(3):
            q, v = self.positions[:, :, axis], vectors[:, :, axis]
            change -= (q[:, row] - q[:, col]) * (v[:, row] - v[:, col])
        change *= self.minus_slope_over_r
        return change

    def forces(self, minus_gradient: FloatArray) -> FloatArray:
        """Forces (B, N, 3) from −∂E/∂x (B, D): every entry pulls its two atoms along their line."""
        return self.pullback(minus_gradient)[0]

    def pullback(self, minus_gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Forces, and the virial Σ_i r_i ⊗ F_i = −∂E/∂ε, (B, 3, 3): symmetric, for all forces act between pairs."""
        if compiled := compiled_module():
            forces, virial = np.empty(self.positions.shape), np.empty((len(self.positions), 3, 3))
            compiled.forces(
                self.positions, self.metric.n_atoms, self.metric.compiled[0], self.minus_slope_over_r,
                np.ascontiguousarray(minus_gradient), forces, virial,
            )  # fmt: skip
            return forces, virial
        tension = self.metric.to_matrix(minus_gradient * self.minus_slope_over_r)
        # F_i = Σ_j t_ij (r_j − r_i): a pair whose energy falls as x grows is pulled together
        forces = tension @ self.positions
        forces -= tension.sum(2)[:, :, None] * self.positions
        product = self.positions.transpose(0, 2, 1) @ forces
        return forces, (product + product.transpose(0, 2, 1)) / 2


def _distances(positions: FloatArray, pairs: IntArray) -> FloatArray:
    """(B, D) of positions (B, N, 3): differences first, |a|² + |b|² − 2ab would lose the digits that weights need."""
    batch, n = positions.shape[:2]
    squared = np.zeros((batch, n, n))
    for axis in range(3):
        q = positions[:, :, axis]
        difference = q[:, :, None] - q[:, None, :]
        difference *= difference
        squared += difference
    return np.sqrt(np.take(squared.reshape(batch, n * n), pairs, axis=1))
