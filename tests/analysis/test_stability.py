"""When a trajectory stops being the molecule: failures made at a known frame, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from made_runs import write_run

from delta_server.analysis.stability import Stability, stability, survival
from delta_server.analysis.trajectory import Run, find_runs
from delta_server.errors import InputError
from delta_server.molecule.bonds import BondGraph
from delta_server.molecule.limits import Limits
from delta_server.molecule.structures import read_structure

STRIDE, N = 20, 200
WATER = read_structure(ROOT / "models/h2o_benzene/geometry.xyz")


def vibrating(n: int = N, seed: int = 0) -> np.ndarray:
    """Water on benzene with every atom 0.05 Å about its place, tumbling and drifting apart."""
    rng = np.random.default_rng(seed)
    positions = WATER.positions + 0.05 * rng.standard_normal((n, 15, 3))
    positions[:, :3] += np.linspace(0, 5, n)[:, None, None] * [0, 0, 1]
    return positions


def write(folder: Path, positions: np.ndarray, **series: np.ndarray) -> Run:
    extras = {"error_total": series.pop("error")} if "error" in series else {}
    return find_runs(write_run(folder, positions, WATER.symbols, stride=STRIDE, extras=extras, **series))[0]


def test_a_molecule_that_stays_one(tmp_path: Path) -> None:
    """Vibrating, and with its parts far from each other: that breaks nothing."""
    found = stability(write(tmp_path, vibrating(), error=np.full(N, 0.1)))
    assert found.failed is None
    assert found.examined == ("bonds", "energy", "temperature", "uncertainty")
    assert found.survived == found.length == pytest.approx((N - 1) * STRIDE * 5e-4)
    assert "stable for 1.99 ps" in found.line()


@pytest.mark.parametrize("at", [0, 1, 63, 64, 137, N - 1])
def test_a_bond_that_breaks_at_a_known_frame(tmp_path: Path, at: int) -> None:
    positions = vibrating()
    i, j = 3, int(np.argmin(np.linalg.norm(WATER.positions - WATER.positions[3], axis=1) + 9 * (np.arange(15) == 3)))
    positions[at:, j] += 2.0 * (WATER.positions[j] - WATER.positions[i])
    found = stability(write(tmp_path, positions), start=WATER.positions)
    assert found.step == at * STRIDE
    assert found.failed == pytest.approx(at * STRIDE * 5e-4)
    assert found.cause is not None
    assert "broke" in found.cause
    assert f"{WATER.symbols[j]}{j}" in found.cause


def test_a_bond_that_forms(tmp_path: Path) -> None:
    positions = vibrating()
    above = positions[90, 3] + np.array([0, 0, 1.2])
    positions[90:, :3] += above - positions[90, 0]
    found = stability(write(tmp_path, positions))
    assert found.step == 90 * STRIDE
    assert found.cause is not None
    assert "formed" in found.cause
    assert "C3" in found.cause


def test_a_coordinate_that_is_no_number(tmp_path: Path) -> None:
    positions = vibrating()
    positions[33, 7, 1] = np.nan
    found = stability(write(tmp_path, positions))
    assert (found.step, found.cause) == (33 * STRIDE, "positions are not finite")


@pytest.mark.parametrize(
    ("column", "value", "cause"),
    [
        ("potential", -571.5, "energy -571.500 eV, beyond -571.000 to -567.837"),
        ("potential", -566.0, "energy -566.000 eV"),
        ("potential", np.nan, "energy nan eV"),
        ("temperature", 1200.0, "temperature 1200 K"),
        ("error", 2.5, "uncertainty 2.5 eV/Å"),
    ],
)
def test_records_out_of_range(tmp_path: Path, column: str, value: float, cause: str) -> None:
    """kT·45 at 300 K is 1.16 eV: the energy may be 1 eV below and 2.16 eV above the start's."""
    quiet = {"potential": -570.0, "temperature": 300.0, "error": 0.1}[column]
    series = np.full(N, quiet)
    series[120] = value
    found = stability(write(tmp_path, vibrating(), **{column: series}))
    assert found.step == 120 * STRIDE
    assert found.cause is not None
    assert found.cause.startswith(cause)
    assert stability(write(tmp_path, vibrating(), **{column: np.full(N, quiet)})).failed is None


def test_a_total_energy_keeps_its_digits(tmp_path: Path) -> None:
    energy = np.full(N, -62345.678)
    energy[120:] += 3.0
    found = stability(write(tmp_path, vibrating(), potential=energy))
    assert found.cause == "energy -62342.678 eV, beyond -62346.678 to -62343.515"


def test_the_first_failure_counts(tmp_path: Path) -> None:
    positions = vibrating()
    positions[150:, 0] += 10
    temperature = np.full(N, 300.0)
    temperature[140:] = 5000
    assert stability(write(tmp_path, positions, temperature=temperature)).step == 140 * STRIDE
    loose = Limits(heat=100.0)
    assert stability(write(tmp_path, positions, temperature=temperature), loose).step == 150 * STRIDE


def test_the_structure_must_be_the_same(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="15 atoms, the structure has 4"):
        stability(write(tmp_path, vibrating(5)), start=np.zeros((4, 3)))


def test_ions_have_no_bonds_to_lose() -> None:
    atoms = read_structure(ROOT / "models/na_benzene/geometry.xyz")
    graph = BondGraph(atoms.numbers, atoms.positions)
    sodium = int(np.flatnonzero(atoms.numbers == 11)[0])
    far, near = atoms.positions.copy(), atoms.positions.copy()
    far[sodium] += 20
    near[sodium] = near[(sodium + 1) % len(near)] + np.array([0, 0, 1.6])
    assert graph.first_change(np.stack([atoms.positions, far, near])) is None


def made(temperature: float, length: float, failed: float | None) -> Stability:
    return Stability("x", temperature, length, failed, None if failed is None else 1, "x", ("bonds",))


def test_survival_by_temperature() -> None:
    """Kaplan and Meier by hand: 4 runs at 400 K, failing at 1 and 3 ps, held to 2 and 4 ps; 2 at 300 K that hold."""
    runs = [made(400, 5, 1.0), made(400, 2, None), made(400, 5, 3.0), made(400, 4, None), *[made(300, 5, None)] * 2]
    cold, hot = survival(runs)
    assert (cold.temperature, cold.runs, cold.failed) == (300, 2, 0)
    assert cold.fraction.min() == 1
    assert (hot.runs, hot.failed) == (4, 2)
    assert dict(zip(hot.times, hot.fraction, strict=True)) == pytest.approx({1: 0.75, 2: 0.75, 3: 0.375, 4: 0.375})


def test_bonds_between_fragments_may_go_where_they_are_known(tmp_path: Path) -> None:
    """A water that starts with its oxygen 1.7 Å from a carbon, as if bonded, and leaves: no break, as it is live."""
    start = WATER.positions.copy()
    start[:3] += start[3] - start[0] + np.array([0.0, 0.0, 1.7])
    positions = np.repeat(start[None], N, axis=0)
    positions[50:, :3] += [0.0, 0.0, 3.0]
    run = write(tmp_path, positions)
    assert stability(run, start=start).step == 50 * STRIDE
    assert stability(run, start=start, fragments=[range(3), range(3, 15)]).failed is None
