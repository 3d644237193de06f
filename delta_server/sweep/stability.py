"""Whether a trajectory is still the molecule: what is looked at while it runs.

A trajectory is broken at the first record where

- a covalent bond within a fragment is longer than `stretch` times its length at the start, or two atoms that were not
  bonded are closer than 1.25 times the sum of their covalent radii (ions of groups 1 and 2 make no bonds);
- the potential energy lies more than `energy` below that of the start, or more than that above E_start + 3N kT: twice
  the mean 3N kT/2 of N classical atoms in harmonic wells, five standard deviations away for 15 atoms. P beads are
  classical at P·T;
- the instantaneous temperature is above `heat` times the set one, and 100 K more;
- the expected error of a force component is above `uncertainty` (models with a calibration).
"""

from __future__ import annotations

import math

import numpy as np

from .._types import FloatArray
from ..errors import GeometryError, ModelFileError, NonFiniteError
from ..geometry import bonds, symbols
from ..potential import Potential
from .record import Limits

_WARM = 100.0  # K; a few atoms fluctuate widely


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
        from ase.units import kB

        self.potential, self.limits = potential, limits
        self._start, self._energy = start, start_energy
        self._room = 3 * potential.n_atoms * kB * temperature * beads
        self._hottest = limits.heat * temperature + _WARM
        kept = bonds(potential.numbers, start)
        self._known = {(int(i), int(j)) for i, j in kept}
        inside = [set(map(int, term.atoms)) for term in potential.fragments]
        own = [(i, j) for i, j in self._known if any(i in atoms and j in atoms for atoms in inside)]
        self._bonds = np.array(sorted(own), dtype=np.intp).reshape(-1, 2)
        self._lengths = self._distances(start)
        try:
            potential.uncertainty(start)
            self.calibrated = True
        except ModelFileError:
            self.calibrated = False

    def of_energies(self, temperature: float, potential: float) -> str | None:
        """What is wrong with a record's instantaneous temperature (K) and potential energy (eV), or None."""
        if not (math.isfinite(temperature) and math.isfinite(potential)):
            return "energies are not finite"
        above = potential - self._energy
        if above < -self.limits.energy:
            return f"the potential energy is {-above:.2f} eV below the start's"
        if above > self._room + self.limits.energy:
            return f"the potential energy is {above:.2f} eV above the start's, {self._room:.2f} eV is twice its mean"
        if temperature > self._hottest:
            return f"the temperature is {temperature:.0f} K"
        return None

    def of_geometry(self, positions: FloatArray) -> tuple[str | None, float | None]:
        """What is wrong with a geometry, (N, 3) in Å, or None; and the expected error of its forces in eV/Å."""
        if not np.isfinite(positions).all():
            return "positions are not finite", None
        ratio = self._distances(positions) / self._lengths
        if len(ratio) and ratio.max() > self.limits.stretch:
            worst = int(ratio.argmax())
            pair = self._label(*self._bonds[worst])
            return f"bond {pair} broke: {ratio[worst] * self._lengths[worst]:.2f} Å", None
        for i, j in bonds(self.potential.numbers, positions):
            if (int(i), int(j)) not in self._known:
                distance = float(np.linalg.norm(positions[i] - positions[j]))
                return f"a bond {self._label(i, j)} formed: {distance:.2f} Å", None
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

    def _distances(self, positions: FloatArray) -> FloatArray:
        i, j = self._bonds.T
        distances: FloatArray = np.linalg.norm(positions[i] - positions[j], axis=1)
        return distances

    def _label(self, i: int, j: int) -> str:
        symbol = symbols(self.potential.numbers)
        return f"{symbol[i]}{i}–{symbol[j]}{j}"
