"""An sGDML model, of one molecule or of several equal ones: all copies in all frames are one prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .._types import FloatArray, IntArray
from ..gdml.model import Model
from ..gdml.predictor import Predictor
from ..gdml.sums.compiled_sum import CompiledPredictor
from ..gdml.uncertainty import ErrorLimits, Uncertainty
from .base import Contribution, Frames, Side
from .switch import SwitchOfTwo


@dataclass(frozen=True, eq=False)
class SgdmlTerm:
    """A predictor over the atoms of its sites; isolated: a cell changes nothing.

    load: reads the model once more, for what a prediction does not need. switch: of a single copy, which is then
    switched off as two fragments part; expected errors are, too.
    """

    names: tuple[str, ...]
    part: Side
    sites: IntArray
    predictor: Predictor
    load: Callable[[], Model] | None = field(default=None, repr=False)
    switch: SwitchOfTwo | None = None

    @cached_property
    def _where(self) -> IntArray | slice:
        """The atoms of a single copy as a slice where they are contiguous, which spares a copy of the positions."""
        return as_slice(self.sites[0]) if len(self.sites) == 1 else self.sites.reshape(-1)

    def _structures(self, frames: Frames) -> FloatArray:
        """(F·K, n, 3) Å: each copy of each frame."""
        return frames.positions[:, self._where].reshape(-1, self.sites.shape[1], 3)

    def evaluate(self, frames: Frames) -> Contribution:
        """See `Term`."""
        energies, forces, virials = self.predictor.predict(self._structures(frames))
        f, (k, n) = len(frames.positions), self.sites.shape
        told = Contribution(energies.reshape(f, k), forces.reshape(f, k, n, 3), virials.reshape(f, k, 3, 3))
        return told if self.switch is None else self.switch.apply(frames.positions[:, self._where], told)

    @cached_property
    def _compiled(self) -> CompiledPredictor | None:
        return None if self.switch else getattr(self.predictor, "compiled", None)

    def add(self, frames: Frames, forces: FloatArray, virials: FloatArray) -> FloatArray | None:
        """`evaluate` without what Python spends between terms: energies (F, K), and forces and virials added to those
        of all atoms, (F, N, 3) and (F, 3, 3). None where compiled code does not do it."""
        if self._compiled is None:
            return None
        return self._compiled.add(frames.positions, self.sites, forces, virials)

    @cached_property
    def uncertainty(self) -> Uncertainty | None:
        """What tells expected errors; None where the model has no calibration."""
        return uncertainty_of(self.load)

    def expected_error(self, frames: Frames) -> FloatArray | None:
        """See `Term`."""
        if self.uncertainty is None:
            return None
        copies = [self.uncertainty.expected_error(frames.positions[:, as_slice(site)]) for site in self.sites]
        errors = np.stack(copies, axis=1)
        if self.switch is not None:
            errors *= self.switch.of_frames(frames.positions[:, self._where])[0][:, None]
        return errors

    @property
    def error_limits(self) -> ErrorLimits | None:
        """Which expected errors are usual for the model; None where it has no calibration."""
        return None if self.uncertainty is None else self.uncertainty.limits


def uncertainty_of(load: Callable[[], Model] | None) -> Uncertainty | None:
    """What tells the expected errors of a model that is read once more; None where it has no calibration."""
    model = load() if load else None
    return None if model is None or model.calibration is None else Uncertainty(model)


def as_slice(atoms: IntArray) -> IntArray | slice:
    """Atoms (n,) as a slice where they are contiguous: indexing then makes no copy."""
    first, n = int(atoms[0]), len(atoms)
    return slice(first, first + n) if (atoms[1:] - atoms[:-1] == 1).all() else atoms
