"""The wall that keeps a complex together while it is sampled, and the frames that come out."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from delta_server.data.sample import Wall


@pytest.fixture
def pair() -> Atoms:
    """Two diatomics, 9 Å apart."""
    atoms = Atoms("ArNeArKr", [[0, 0, 0], [0, 0, 3.4], [0.3, 9.0, 0], [0, 9.0, 3.6]])
    atoms.calc = LennardJones(sigma=3.2, epsilon=0.01, rc=20.0)
    fragments = [np.array([0, 1]), np.array([2, 3])]
    atoms.set_constraint(Wall(fragments, atoms.get_masses(), np.array([5.0])))
    return atoms


def test_dynamics_feels_the_wall(pair: Atoms) -> None:
    """ase leaves most constraints out of the forces of dynamics."""
    wall = pair.get_forces(md=True) - pair.get_forces(apply_constraint=False)
    assert wall[[0, 1], 1].min() > 0.05
    assert wall[[2, 3], 1].max() < -0.05
    assert np.abs(wall.sum(0)).max() < 1e-12


def test_the_walls_force_is_the_slope_of_its_energy(pair: Atoms) -> None:
    (wall,) = pair.constraints
    expected = pair.get_forces(md=True) - pair.get_forces(apply_constraint=False)
    x, h = pair.positions.copy(), 1e-4
    for i, a in np.ndindex(x.shape):
        energy = []
        for sign in (1, -1):
            pair.positions = x
            pair.positions[i, a] += sign * h
            energy.append(wall.adjust_potential_energy(pair))
        assert -(energy[0] - energy[1]) / (2 * h) == pytest.approx(expected[i, a], abs=1e-8)


def test_within_the_wall_there_is_nothing(pair: Atoms) -> None:
    pair.positions[2:, 1] -= 5.0
    assert np.array_equal(pair.get_forces(md=True), pair.get_forces(apply_constraint=False))
    assert pair.get_potential_energy() == pair.get_potential_energy(apply_constraint=False)
