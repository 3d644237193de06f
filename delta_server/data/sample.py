"""A trajectory of a complex to label: Langevin dynamics behind a wall that keeps the fragments together, and what is
made of it with the fragments apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..units import KCAL_MOL
from .apart import place
from .labels import LabelTask

if TYPE_CHECKING:
    from ase import Atoms

_STIFFNESS = 2.0 * KCAL_MOL  # eV/Å² of the wall
_ROOM = 1.5  # Å beyond the distance of the relaxed fragments, by default


class Wall:
    """k/2 (d − d_max)² on the distance d of each fragment's centre of mass from the first's; nothing below d_max.

    One of ase's constraints, so that it moves atoms but is in no label. atoms: of each fragment. distances: (K−1,) Å.
    """

    def __init__(self, fragments: Sequence[IntArray], masses: FloatArray, distances: FloatArray) -> None:
        self.fragments, self.distances = list(fragments), distances
        self.weights = [masses[atoms][:, None] / masses[atoms].sum() for atoms in fragments]

    def apart(self, positions: FloatArray) -> FloatArray:
        """(K−1, 3) from the first centre of mass to the others'."""
        centres = [(w * positions[atoms]).sum(0) for w, atoms in zip(self.weights, self.fragments, strict=True)]
        apart: FloatArray = np.array(centres[1:]) - centres[0]
        return apart

    def adjust_forces(self, atoms: Atoms, forces: FloatArray) -> None:
        for k, apart in enumerate(self.apart(atoms.positions), start=1):
            distance = float(np.linalg.norm(apart))
            pull = _STIFFNESS * max(0.0, distance - self.distances[k - 1]) * apart / max(distance, 1e-9)
            forces[self.fragments[0]] += self.weights[0] * pull
            forces[self.fragments[k]] -= self.weights[k] * pull

    def adjust_potential_energy(self, atoms: Atoms) -> float:
        """eV. Without this method ase leaves the wall out of dynamics."""
        distance = np.linalg.norm(self.apart(atoms.positions), axis=1)
        return float(_STIFFNESS / 2 * (np.maximum(0.0, distance - self.distances) ** 2).sum())

    def adjust_positions(self, atoms: Atoms, new: FloatArray) -> None:
        """Nothing is held in place."""

    def get_removed_dof(self, atoms: Atoms) -> int:
        return 0

    def todict(self) -> dict[str, object]:
        return {"name": "Wall", "kwargs": {}}


@dataclass(frozen=True)
class SamplePlan:
    """temperature: K. every: steps between frames. timestep, equilibration: fs. friction: 1/fs. wall: Å between
    centres of mass, or None for 1.5 Å beyond those of the relaxed complex. fmax: eV/Å, at most, when relaxed; or as
    far as `relaxation` steps come. apart: configurations beside the frames, their fragments placed from contact to
    30 Å (`place`)."""

    temperature: float
    frames: int
    every: int = 20
    timestep: float = 1.0
    equilibration: float = 1000.0
    friction: float = 0.005
    wall: float | None = None
    fmax: float = 0.01
    relaxation: int = 500
    seed: int = 0
    apart: int = 0


def sample(task: LabelTask, plan: SamplePlan, stop: Callable[[], bool] = lambda: False) -> Iterator[Atoms]:
    """Frames of the dynamics of a complex, with energy and forces (eV, eV/Å), then some with the fragments apart.

    The first configuration of the task is relaxed and heated. Fragments are placed as they are in further frames of
    the same dynamics, so that no geometry comes twice; or, where no frames are asked for, as they are in the task's
    configurations. The placed have no labels, and each is a run of its own (``run`` in `Atoms.info`).

    Raises InputError where the calculator fails.
    """
    from ase import Atoms

    structures = task.structures
    frames = dynamics(task, plan, plan.frames + plan.apart, stop) if plan.frames else iter(())
    yield from islice(frames, plan.frames)
    bound = [atoms.positions for atoms in frames] if plan.frames else structures.positions
    if stop() or not plan.apart:
        return
    placed = place(structures.numbers, structures.molecules(), np.array(bound), plan.apart, seed=plan.seed)
    for run, positions in enumerate(placed, start=1):
        yield Atoms(structures.numbers, positions, info={"run": run})


def dynamics(
    task: LabelTask, plan: SamplePlan, frames: int, stop: Callable[[], bool] = lambda: False
) -> Iterator[Atoms]:
    """Relaxes the first configuration of a task and yields frames of its dynamics with their energy and forces
    (eV, eV/Å), in which the wall has no part. Frames over 1 Å behind the wall are left out.

    Raises InputError where the calculator fails.
    """
    from ase import Atoms, units
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.optimize import BFGS

    structures, method = task.structures, task.method
    fragments = structures.molecules()
    atoms = Atoms(structures.numbers, structures.positions[0], calculator=method.make(*task.total))
    rng = np.random.default_rng(plan.seed)
    try:
        for _ in BFGS(atoms, logfile=None, maxstep=0.1).irun(fmax=plan.fmax, steps=plan.relaxation):
            if stop():
                return
        wall = Wall(fragments, atoms.get_masses(), np.zeros(len(fragments) - 1))
        start = np.linalg.norm(wall.apart(atoms.positions), axis=1)
        wall.distances = start + _ROOM if plan.wall is None else np.full(len(start), plan.wall)
        atoms.set_constraint(wall)
        MaxwellBoltzmannDistribution(atoms, temperature_K=plan.temperature, rng=rng)
        dynamics = Langevin(
            atoms,
            plan.timestep * units.fs,
            temperature_K=plan.temperature,
            friction=plan.friction / units.fs,
            fixcm=False,
            rng=rng,
        )
        steps, frames_made = round(plan.equilibration / plan.timestep), 0
        while frames_made < frames:
            for _ in range(steps):
                dynamics.run(1)
                if stop():
                    return
            steps = plan.every
            if (np.linalg.norm(wall.apart(atoms.positions), axis=1) > wall.distances + 1.0).any():
                continue
            frame = Atoms(atoms.numbers, atoms.positions - atoms.positions.mean(0))
            energy = atoms.get_potential_energy(apply_constraint=False)
            forces = atoms.get_forces(apply_constraint=False)
            if not (np.isfinite(energy) and np.isfinite(forces).all()):
                raise InputError(f"frame {frames_made}: energy or forces are not finite; a shorter --timestep")
            frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
            frames_made += 1
            yield frame
    except InputError:
        raise
    except Exception as error:  # calculators raise whatever they like
        raise InputError(
            f"{method.name} failed: {error}; check the geometry and --charges, or take a shorter --timestep"
        ) from None
