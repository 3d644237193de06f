"""When a trajectory counts as broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.units import kB

from delta_server.loading import load_potential
from delta_server.molecule.limits import Limits
from delta_server.potential import Potential
from delta_server.sweep.stability import LiveStability


@pytest.fixture(scope="module")
def potential() -> Potential:
    """Water on benzene."""
    return load_potential(Path(__file__).parents[2] / "models/h2o_benzene/manifest.yaml")


@pytest.fixture
def stability(potential: Potential) -> LiveStability:
    return LiveStability(potential, potential.reference, 0.0, 300.0, Limits(uncertainty=1e9))


def test_a_bond_that_breaks(stability: LiveStability, potential: Potential) -> None:
    x = potential.reference.copy()
    assert stability.of_geometry(x).reason is None
    bond = x[1] - x[0]
    x[1] = x[0] + 1.44 * bond
    assert stability.of_geometry(x).reason is None
    x[1] = x[0] + 1.46 * bond
    reason = stability.of_geometry(x).reason
    assert reason is not None
    assert reason.startswith(f"bond O0–H1 broke: {1.46 * np.linalg.norm(bond):.2f} Å")


def test_a_bond_that_forms(stability: LiveStability, potential: Potential) -> None:
    x = potential.reference.copy()
    x[:3] += x[3] - x[0] + np.array([0.0, 0.0, 1.6])  # the oxygen above a carbon
    reason = stability.of_geometry(x).reason
    assert reason is not None
    assert "a bond O0–C3 formed: 1.60 Å" in reason


def test_molecules_that_part_are_not_broken(stability: LiveStability, potential: Potential) -> None:
    x = potential.reference.copy()
    x[:3] += [0.0, 0.0, 30.0]
    assert stability.of_geometry(x).reason is None


def test_an_expected_error_out_of_range(potential: Potential) -> None:
    error = float(potential.uncertainty(potential.reference)["total"])
    for limit, broken in ((1.01 * error, False), (0.99 * error, True)):
        found = LiveStability(potential, potential.reference, 0.0, 300.0, Limits(uncertainty=limit))
        reason, told, _ = found.of_geometry(potential.reference)
        assert told == pytest.approx(error)
        assert (reason is not None) == broken


def test_positions_that_are_no_numbers(stability: LiveStability, potential: Potential) -> None:
    assert stability.of_geometry(np.full_like(potential.reference, np.nan)).reason == "positions are not finite"


def test_energies_out_of_range(stability: LiveStability, potential: Potential) -> None:
    mean = 1.5 * potential.n_atoms * kB * 300
    assert stability.of_energies(300, mean) is None
    assert stability.of_energies(300, 2 * mean + 0.99) is None
    assert stability.of_energies(300, 2 * mean + 1.01) == "energy 2.173 eV, beyond -1.000 to 2.163"
    assert stability.of_energies(300, -0.99) is None
    assert stability.of_energies(300, -1.01) == "energy -1.010 eV, beyond -1.000 to 2.163"
    assert stability.of_energies(999, 0.0) is None
    assert stability.of_energies(1001, 0.0) == "temperature 1001 K, beyond 0 to 1000"
    assert "energy nan" in (stability.of_energies(300, float("nan")) or "")
    assert "temperature inf" in (stability.of_energies(float("inf"), 0.0) or "")


def test_harmonic_atoms_stay_in_range(potential: Potential, stability: LiveStability) -> None:
    """Potential energies of a thermal harmonic molecule, and its temperatures: χ² of 3N − 6 and 3N − 3 degrees."""
    rng = np.random.default_rng(1)
    n = 3 * potential.n_atoms
    energies = 0.5 * kB * 300 * rng.chisquare(n - 6, 100_000)
    temperatures = 300 * rng.chisquare(n - 3, 100_000) / (n - 3)
    told = [stability.of_energies(t, e) for t, e in zip(temperatures, energies, strict=True)]
    assert told.count(None) == 100_000
