"""Short walks: copies that do not know of each other, at the temperature they are given, and stop where they must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from delta_server.dynamics import Walkers, relax
from delta_server.errors import InputError
from delta_server.loading import load_potential
from delta_server.molecule.structures import read_structure


def test_a_path_is_its_own_in_any_batch(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    several = Walkers(potential, [potential.reference] * 3, [100.0, 300.0, 300.0], [1, [2, 5], 3])
    several.advance(5)
    several.alive[0] = False
    before = several.positions[0].copy()
    several.advance(5)
    alone = Walkers(potential, potential.reference[None], [300.0], [[2, 5]])
    alone.advance(10)
    assert np.array_equal(alone.positions[0], several.positions[1])
    assert np.array_equal(several.positions[0], before)
    assert not np.array_equal(several.positions[1], several.positions[2])
    with pytest.raises(InputError, match="2 temperatures"):
        Walkers(potential, potential.reference[None], [1.0, 2.0], [1])


def test_they_have_their_temperature(h2o_benzene: Path) -> None:
    from ase.data import atomic_masses
    from ase.units import fs, kB

    potential = load_potential(h2o_benzene)
    masses = atomic_masses[potential.numbers][:, None] / fs**2
    walkers = Walkers(potential, [potential.reference] * 16, [300.0] * 16, range(16), tau=20.0)
    kelvins = []
    for _ in range(20):
        walkers.advance(10)
        kelvins.append((masses * walkers.velocities**2).sum((1, 2)).mean() / (3 * potential.n_atoms * kB))
    assert abs(np.mean(kelvins[10:]) - 300.0) < 20.0
    assert np.abs(walkers.energies - potential.compute(walkers.positions).energy).max() == 0.0


def test_one_that_explodes_stops_alone(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    walkers = Walkers(potential, [potential.reference] * 2, [300.0, 300.0], [1, 2])
    walkers.velocities[0, 0] = 1e9  # Å/fs
    last = walkers.positions[0].copy()
    walkers.advance(3)
    assert walkers.alive.tolist() == [False, True]
    assert np.array_equal(walkers.positions[0], last)
    assert np.isfinite(walkers.positions).all()


def test_relaxing_ends_where_it_is_told_to(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    atoms = read_structure(h2o_benzene.parent / "geometry.xyz")
    seen: list[tuple[int, float]] = []

    def go_on(step: int, largest: float) -> bool:
        seen.append((step, largest))
        return step < 3

    assert relax(atoms, potential, 10, fmax=1e-6, go_on=go_on) == 3
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert relax(atoms, potential, 0) == 0
