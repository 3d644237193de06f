"""When a trajectory counts as broken, while it runs and afterwards: at the first record where

- a covalent bond is longer than `stretch` times its length at the start, or two atoms that were not bonded are closer
  than 1.25 times the sum of their covalent radii (`bonds.BondGraph`);
- the potential energy lies more than `energy` below that of the start (of the relaxed molecule, where a start is
  known to be warm), or more than that above E_start + 3N kT: twice the mean 3N kT/2 of N classical atoms in harmonic
  wells, five standard deviations away for 15 atoms;
- the instantaneous temperature is above `heat` times the set one, and 100 K more;
- the expected error of a force component is above `uncertainty` (models with a calibration);
- any of these is no number.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from ..errors import InputError
from ..units import BOLTZMANN

_WARM = 100.0  # K; a few atoms fluctuate widely
_ABOVE = {"stretch": 1.0, "energy": 0.0, "heat": 1.0, "uncertainty": 0.0}


@dataclass(frozen=True)
class Limits:
    """stretch, heat: factors; energy: eV; uncertainty: eV/Å. Raises InputError for what can be no limit."""

    stretch: float = 1.45
    energy: float = 1.0
    heat: float = 3.0
    uncertainty: float = 1.0

    def __post_init__(self) -> None:
        for name, least in _ABOVE.items():
            value = getattr(self, name)
            if not least < value < inf:
                raise InputError(f"limits of a trajectory: {name} {value:g}, expected a number above {least:g}")

    def energies(
        self, start: float, n_atoms: int, temperature: float, beads: int = 1, relaxed: float = inf
    ) -> tuple[float, float]:
        """The lowest and the highest potential energy, eV; start, relaxed: the energies, eV, of the start and of the
        relaxed molecule; temperature: K. P beads are classical at P·T."""
        return min(start, relaxed) - self.energy, start + 3 * n_atoms * BOLTZMANN * temperature * beads + self.energy

    def hottest(self, temperature: float) -> float:
        """The highest instantaneous temperature, K, for the set one."""
        return self.heat * temperature + _WARM
