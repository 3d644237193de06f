"""Short walks with a model within this process: relaxing, and Langevin dynamics of several copies as one batch.

i-PI does what is long and recorded; these tell where a model goes by itself, before it is sent there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ._types import FloatArray
from .errors import GeometryError, InputError, NonFiniteError
from .potential import Potential
from .units import BOLTZMANN

if TYPE_CHECKING:
    from ase import Atoms

_LONGEST = 0.05  # Å that an atom is moved in one step of relaxing


def relax(
    atoms: Atoms,
    potential: Potential,
    steps: int,
    fmax: float = 1e-3,
    go_on: Callable[[int, float], bool] = lambda step, largest: True,
) -> int:
    """Relax in place by ase's LBFGS, at most so many steps; returns how many it took.

    fmax: eV/Å, of the largest force that is left. go_on: is told the step and the largest force, at every geometry;
    false ends it there. The atoms keep a `DeltaCalculator`. Raises as `Potential.compute`.
    """
    from ase.optimize import LBFGS

    from .calculator import DeltaCalculator

    atoms.calc = DeltaCalculator(potential)
    if not steps:
        return 0
    optimizer = LBFGS(atoms, logfile=None, maxstep=_LONGEST)  # type: ignore[arg-type]
    for _ in optimizer.irun(fmax=fmax, steps=steps):
        if not go_on(optimizer.nsteps, float(np.linalg.norm(atoms.get_forces(), axis=1).max())):
            break
    return int(optimizer.nsteps)


class Walkers:
    """Copies of one complex in Langevin dynamics, all in one batch; BAOAB (Leimkuhler & Matthews, Appl. Math. Res.
    Express 2013, 34).

    ================ ========== ==================================================================================
    ``positions``    (B, N, 3)  Å
    ``velocities``   (B, N, 3)  Å/fs
    ``energies``     (B,)       eV, potential
    ``alive``        (B,)       which of them move; set false to stop one
    ================ ========== ==================================================================================

    A copy for which the potential has no number stops by itself, at its last sound geometry. The path of a copy is a
    function of its start, temperature and seed, not of what walks beside it.
    """

    def __init__(
        self,
        potential: Potential,
        positions: npt.ArrayLike,
        temperatures: Sequence[float],
        seeds: Sequence[int | Sequence[int]],
        *,
        timestep: float = 0.5,
        tau: float = 100.0,
        masses: FloatArray | None = None,
    ) -> None:
        """positions: (B, N, 3) Å; temperatures: (B,) K, of the thermostat and of the first velocities; seeds: (B,);
        timestep, tau (of the thermostat): fs; masses: (N,) u, by default those of the elements.

        Raises InputError for numbers that do not fit together, and as `Potential.compute` for a start without forces.
        """
        from ase.data import atomic_masses
        from ase.units import fs

        self._potential, self.timestep = potential, timestep
        self.positions: FloatArray = np.array(positions, dtype=np.float64)
        count = len(self.positions)
        if not count == len(temperatures) == len(seeds):
            raise InputError(f"{count} geometries, {len(temperatures)} temperatures and {len(seeds)} seeds")
        self._noises = [np.random.default_rng(seed) for seed in seeds]
        of_atoms = atomic_masses[potential.numbers] if masses is None else masses
        inertia = np.asarray(of_atoms, dtype=np.float64)[:, None] / fs**2  # eV fs²/Å²
        self._shares = inertia / inertia.sum()
        self._push = 0.5 * timestep / inertia  # half a step of forces
        kept = float(np.exp(-timestep / tau))
        thermal = np.sqrt(BOLTZMANN * np.asarray(temperatures, dtype=np.float64)[:, None, None] / inertia)
        self._kept, self._kick, self._thermal = kept, np.sqrt(1.0 - kept**2) * thermal, thermal
        self.alive: npt.NDArray[np.bool_] = np.ones(count, dtype=bool)
        self.velocities: FloatArray = self._thermal_velocities(np.arange(count))
        result = potential.compute(self.positions, cells=potential.cell)
        self.energies, self._forces = result.energy, result.forces

    def advance(self, steps: int) -> None:
        """So many steps of those that are alive."""
        for _ in range(steps):
            moving = np.flatnonzero(self.alive)
            if not len(moving):
                return
            v = self.velocities[moving] + self._push * self._forces[moving]
            x = self.positions[moving] + 0.5 * self.timestep * v
            v = self._kept * v + self._kick[moving] * self._draw(moving)
            x += 0.5 * self.timestep * v
            sound, energies, forces = self._compute(x)
            self.alive[moving[~sound]] = False
            moving = moving[sound]
            self.positions[moving], self.energies[moving], self._forces[moving] = x[sound], energies, forces
            self.velocities[moving] = v[sound] + self._push * forces

    def place(self, i: int, positions: FloatArray) -> None:
        """Put a copy elsewhere, (N, 3) Å, with new velocities. Raises as `Potential.compute`."""
        which = np.array([i])
        result = self._potential.compute(positions[None], cells=self._potential.cell)
        self.positions[which], self.energies[which], self._forces[which] = positions, result.energy, result.forces
        self.velocities[which] = self._thermal_velocities(which)

    def thermal(self) -> FloatArray:
        """(B,) the temperatures of the velocities, over those of the thermostat."""
        ratio: FloatArray = ((self.velocities / self._thermal) ** 2).mean((1, 2))
        return ratio

    def _thermal_velocities(self, which: npt.NDArray[np.intp]) -> FloatArray:
        """Maxwell's, without motion of the whole, (n, N, 3)."""
        drawn = self._thermal[which] * self._draw(which)
        velocities: FloatArray = drawn - (self._shares * drawn).sum(1, keepdims=True)
        return velocities

    def _draw(self, which: npt.NDArray[np.intp]) -> FloatArray:
        """Normal random numbers (n, N, 3), each copy's its own."""
        return np.stack([self._noises[i].standard_normal(self.positions.shape[1:]) for i in which])

    def _compute(self, x: FloatArray) -> tuple[npt.NDArray[np.bool_], FloatArray, FloatArray]:
        """Which of the geometries have energies and forces, and these."""
        try:
            result = self._potential.compute(x, cells=self._potential.cell)
            return np.ones(len(x), dtype=bool), result.energy, result.forces
        except (GeometryError, NonFiniteError):
            if len(x) == 1:
                return np.zeros(1, dtype=bool), np.empty(0), np.empty((0, *x.shape[1:]))
        each = [self._compute(x[i : i + 1]) for i in range(len(x))]
        sound, energies, forces = (np.concatenate(parts) for parts in zip(*each, strict=True))
        return sound, energies, forces
