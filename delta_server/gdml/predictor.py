"""Energy, forces and virial from one sGDML model.

With x the query's descriptor, x_m and w_m a training point's descriptor and weights, n = √5 |d| / σ:

    E = c + s Σ_{m,g} 5/(3σ²) (1 + n) e^{−n} d·P_g w_m,        d = x − P_g x_m

(Chmiela et al., Nat. Commun. 9, 3887 (2018), Matérn 5/2 kernel; the sign is that of sGDML's files.)
⟨x, P_g y⟩ = ⟨P_g⁻¹ x, y⟩: the P permutations are applied to the query, so that a batch of B structures is
two matrix products, (BP × D)(D × 2M) and (BP × 2M)(2M × D), in which each training row is read once.
sGDML permutes the training set instead and streams P copies of it through memory.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from .._types import FloatArray, IntArray
from .descriptor import Descriptor, orbits, pair_permutations, virial
from .model import Model

_CHUNK_BYTES = 128 * 2**20


class Prediction(NamedTuple):
    """What a model says of B structures of N atoms."""

    energy: FloatArray  # (B,) eV
    forces: FloatArray  # (B, N, 3) eV/Å
    virial: FloatArray  # (B, 3, 3) eV, Σ r ⊗ F = −∂E/∂ε


class Predictor(Protocol):
    """What every backend offers."""

    @property
    def numbers(self) -> IntArray: ...

    def predict(self, positions: FloatArray) -> Prediction:
        """positions: (B, N, 3) float64 in Å, in the model's order of atoms."""
        ...


class NumpyPredictor:
    """Plain matrix products in NumPy, float64 throughout.

    Weights reach 1e8–1e11 and cancel, so nothing may be single precision, and |x − x_m|² is expanded
    only after both are centred on a mean that the permutations leave alone.
    """

    def __init__(self, model: Model) -> None:
        self.numbers = model.numbers
        n, length = model.n_atoms, model.angstrom
        row, col = np.tril_indices(n, -1)
        self._pairs = row * n + col
        perms = pair_permutations(model.permutations)
        self._n_perms, dim = perms.shape
        # P_g⁻¹ x, and where entry d of the result lies in the stacked, permuted force
        self._inverse = np.argsort(perms, axis=1).reshape(-1)
        self._back = (perms + dim * np.arange(self._n_perms)[:, None]).reshape(-1)

        # From here on Å and eV: x → x/L, σ → σ/L, w → w/L leaves n and the energy as they are.
        descriptors, weights = model.descriptors / length, model.weights / length
        self._sigma = model.sigma / length
        self._scale, self._offset = model.scale * model.electronvolt, model.offset * model.electronvolt
        label = orbits(perms)
        size = np.bincount(label, minlength=dim)
        total = np.bincount(label, weights=descriptors.mean(0), minlength=dim)
        self._centre = (total / np.maximum(size, 1))[label]
        descriptors = descriptors - self._centre
        self._n_train = len(descriptors)
        self._rows = np.concatenate([descriptors, weights])  # (2M, D)
        self._columns = self._rows.T  # a view: BLAS transposes
        self._norms = np.einsum("md,md->m", descriptors, descriptors)
        self._products = np.einsum("md,md->m", descriptors, weights)
        self._energy_weights = None if model.energy_weights is None else model.energy_weights.astype(np.float64)
        per_structure = 8 * self._n_perms * (3 * dim + 6 * self._n_train) + 40 * n * n
        self._chunk = max(1, _CHUNK_BYTES // per_structure)

    def predict(self, positions: FloatArray) -> Prediction:
        """See `Predictor`. Large batches are cut so that temporaries stay below about 128 MB."""
        chunks = [
            self._predict(positions[start : start + self._chunk])
            for start in range(0, max(len(positions), 1), self._chunk)
        ]
        return chunks[0] if len(chunks) == 1 else Prediction(*map(np.concatenate, zip(*chunks, strict=True)))

    def _predict(self, positions: FloatArray) -> Prediction:
        batch, m, p = len(positions), self._n_train, self._n_perms
        descriptor = Descriptor.of(positions, self._pairs)
        x = descriptor.x - self._centre
        norms = np.einsum("bd,bd->b", x, x)
        query = x if p == 1 else x.take(self._inverse, axis=1).reshape(batch * p, x.shape[1])

        products = (query @ self._columns).reshape(batch, p, 2 * m)
        squared = norms[:, None, None] + self._norms - 2.0 * products[:, :, :m]
        n = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
        n *= np.sqrt(5.0) / self._sigma
        slope = products[:, :, m:] - self._products  # d·w
        exponential = np.exp(-n)
        decay = exponential * (5.0 / (3.0 * self._sigma**2))
        bell = (1.0 + n) * decay
        energy = np.einsum("bgm,bgm->b", slope, bell)
        # −∂E/∂x = Σ (5/σ² decay d·w) d − bell w, with d = x − x_m
        pull = slope * decay
        pull *= 5.0 / self._sigma**2
        if self._energy_weights is not None:
            # energy constraints: k = (1 + n + n²/3) e^{−n}, and −∂k/∂x = bell d
            k = (1.0 + n + n * n / 3.0) * exponential
            energy += np.einsum("bgm,m->b", k, self._energy_weights)
            pull += bell * self._energy_weights

        coefficients = np.empty((batch, p, 2 * m))
        np.negative(pull, out=coefficients[:, :, :m])
        np.negative(bell, out=coefficients[:, :, m:])
        force = coefficients.reshape(batch * p, 2 * m) @ self._rows
        if p > 1:
            force = force.reshape(batch, p * x.shape[1]).take(self._back, axis=1).reshape(batch, p, x.shape[1]).sum(1)
        force += pull.sum((1, 2))[:, None] * x
        force *= self._scale

        forces = descriptor.forces(force)
        return Prediction(self._offset + self._scale * energy, forces, virial(descriptor.positions, forces))
