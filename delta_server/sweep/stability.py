"""Whether a trajectory is still the molecule (`molecule.intact`), while it runs: with what its potential expects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .._types import FloatArray
from ..errors import GeometryError, ModelFileError, NonFiniteError
from ..molecule.intact import IntactMolecule
from ..molecule.limits import Limits
from ..potential import Departure, Potential


class Seen(NamedTuple):
    """What is wrong with a geometry, or None; the expected error of its forces, eV/Å, where that is known; the terms
    that have left what their models know."""

    reason: str | None = None
    error: float | None = None
    left: Sequence[Departure] = ()


class LiveStability:
    """The checks of one trajectory. start: (N, 3) Å; start_energy: eV; temperature: the highest set one, K; relaxed:
    eV, the energy of the relaxed molecule where that is not the start."""

    def __init__(
        self,
        potential: Potential,
        start: FloatArray,
        start_energy: float,
        temperature: float,
        limits: Limits,
        beads: int = 1,
        relaxed: float = math.inf,
    ) -> None:
        self._potential = potential
        fragments = [term.atoms for term in potential.fragments]
        self._molecule = IntactMolecule(potential.numbers, start, limits, fragments)
        self._energies = self._molecule.energies(start_energy, temperature, beads, relaxed)
        self._temperatures = self._molecule.temperatures(temperature)
        try:
            potential.uncertainty(start)
            self.calibrated = True
        except ModelFileError:
            self.calibrated = False

    def of_energies(self, temperature: float, potential: float) -> str | None:
        """What is wrong with a record's instantaneous temperature (K) and potential energy (eV), or None."""
        return self._energies.breach(potential) or self._temperatures.breach(temperature)

    def of_geometry(self, positions: FloatArray) -> Seen:
        """What there is to say of a geometry, (N, 3) in Å."""
        if breach := self._molecule.geometry_breach(positions):
            return Seen(breach)
        if not self.calibrated:
            return Seen()
        try:
            errors = self._potential.uncertainty(positions)
        except (GeometryError, NonFiniteError):
            return Seen(self._molecule.expected_error.breach(math.inf), math.inf)
        total = float(errors["total"])
        return Seen(self._molecule.expected_error.breach(total), total, self._potential.departures(errors))
