"""Energy, forces and virial from one sGDML model on the CPU."""

from __future__ import annotations

import numpy as np

from .._types import FloatArray
from .descriptor.descriptor import Descriptor
from .model import Model
from .predictor import Prediction
from .sums.contraction import Work
from .sums.expansion import Expansion

_CHUNK_BYTES = 128 * 2**20


class CpuPredictor:
    """The `Predictor` on the CPU: E = c + s times the sum of `Expansion`.

    compiled: the same in one call of compiled code, None without it.
    """

    def __init__(self, model: Model, threads: int = 1) -> None:
        self.numbers = model.numbers
        self._metric = model.metric
        # From here on Å and eV: x → x/L, σ → σ/L, w → w/L leaves n and the energy as they are.
        length = model.angstrom
        self._scale, self._offset = model.scale * model.electronvolt, model.offset * model.electronvolt
        points, sigma = model.descriptors / length, model.sigma / length
        self._expansion = Expansion(points, model.metric, model.permutations, sigma)
        self._expansion.set_weights(model.weights / length, model.energy_weights)
        self.compiled = self._expansion.predictor(self._scale, self._offset, threads)
        self._chunk = max(1, _CHUNK_BYTES // (self._expansion.bytes_per_query + 40 * model.n_atoms**2))

    @property
    def work(self) -> Work:
        return self._expansion.work

    @property
    def method(self) -> str:
        return f"{self._expansion.method}, {self._expansion.backend}"

    @property
    def fallback(self) -> str | None:
        """See `Expansion`."""
        return self._expansion.fallback

    def predict(self, positions: FloatArray) -> Prediction:
        """See `Predictor`. Large batches are cut so that temporaries stay below about 128 MB."""
        chunks = [
            self._predict(positions[start : start + self._chunk])
            for start in range(0, max(len(positions), 1), self._chunk)
        ]
        return chunks[0] if len(chunks) == 1 else Prediction(*map(np.concatenate, zip(*chunks, strict=True)))

    def _predict(self, positions: FloatArray) -> Prediction:
        if self.compiled:
            return Prediction(*self.compiled.predict(positions))
        descriptor = Descriptor.of(positions, self._metric)
        energy, gradient = self._expansion(descriptor.x)
        gradient *= self._scale
        return Prediction(self._offset + self._scale * energy, *descriptor.pullback(gradient))
