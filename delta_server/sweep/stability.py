"""Whether a trajectory is still the molecule (`delta_server.limits`): what is looked at while it runs."""

from __future__ import annotations

import math

from .._types import FloatArray
from ..errors import GeometryError, ModelFileError, NonFiniteError
from ..molecule.bonds import BondGraph
from ..molecule.limits import Limits
from ..potential import Potential


class Stability:
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
        self.potential, self.limits = potential, limits
        self._start_energy = start_energy
        self._lowest, self._highest = limits.energies(start_energy, potential.n_atoms, temperature, beads)
        self._hottest = limits.hottest(temperature)
        fragments = [term.atoms for term in potential.fragments]
        self._graph = BondGraph(potential.numbers, start, limits.stretch, fragments)
        try:
            potential.uncertainty(start)
            self.calibrated = True
        except ModelFileError:
            self.calibrated = False

    def of_energies(self, temperature: float, potential: float) -> str | None:
        """What is wrong with a record's instantaneous temperature (K) and potential energy (eV), or None."""
        if not (math.isfinite(temperature) and math.isfinite(potential)):
            return "energies are not finite"
        if not self._lowest <= potential <= self._highest:
            above, low, high = (e - self._start_energy for e in (potential, self._lowest, self._highest))
            side = "above" if above > 0 else "below"
            return f"the potential energy is {abs(above):.2f} eV {side} the start's, beyond {low:+.2f} to {high:+.2f}"
        if temperature > self._hottest:
            return f"the temperature is {temperature:.0f} K"
        return None

    def of_geometry(self, positions: FloatArray) -> tuple[str | None, float | None]:
        """What is wrong with a geometry, (N, 3) in Å, or None; and the expected error of its forces in eV/Å."""
        if change := self._graph.change(positions):
            return change, None
        error = self._error(positions)
        if error is not None and error > self.limits.uncertainty:
            return f"the expected force error is {error:.3g} eV/Å", error
        return None, error

    def _error(self, positions: FloatArray) -> float | None:
        if not self.calibrated:
            return None
        try:
            return float(self.potential.uncertainty(positions)["total"])
        except (GeometryError, NonFiniteError):
            return math.inf
