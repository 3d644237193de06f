"""Whether a trajectory is still the molecule (`molecule.intact`), while it runs: with what its potential expects."""

from __future__ import annotations

import math

from .._types import FloatArray
from ..errors import GeometryError, ModelFileError, NonFiniteError
from ..molecule.intact import IntactMolecule
from ..molecule.limits import Limits
from ..potential import Potential


class LiveStability:
    """The checks of one trajectory. start: (N, 3) Å; start_energy: eV; temperature: the highest set one, K."""

    def __init__(
        self,
        potential: Potential,
        start: FloatArray,
        start_energy: float,
        temperature: float,
        limits: Limits,
        beads: int = 1,
    ) -> None:
        self._potential = potential
        fragments = [term.atoms for term in potential.fragments]
        self._molecule = IntactMolecule(potential.numbers, start, limits, fragments)
        self._energies = self._molecule.energies(start_energy, temperature, beads)
        self._temperatures = self._molecule.temperatures(temperature)
        try:
            potential.uncertainty(start)
            self.calibrated = True
        except ModelFileError:
            self.calibrated = False

    def of_energies(self, temperature: float, potential: float) -> str | None:
        """What is wrong with a record's instantaneous temperature (K) and potential energy (eV), or None."""
        return self._energies.breach(potential) or self._temperatures.breach(temperature)

    def of_geometry(self, positions: FloatArray) -> tuple[str | None, float | None]:
        """What is wrong with a geometry, (N, 3) in Å, or None; and the expected error of its forces in eV/Å."""
        if breach := self._molecule.geometry_breach(positions):
            return breach, None
        if not self.calibrated:
            return None, None
        try:
            error = float(self._potential.uncertainty(positions)["total"])
        except (GeometryError, NonFiniteError):
            error = math.inf
        return self._molecule.expected_error.breach(error), error
