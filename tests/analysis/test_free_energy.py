"""Free energies of wells that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_runs import correlated, write_run

from delta_server.analysis import analyze_free_energy, find_runs
from delta_server.analysis.free_energy.mbar import connected, ladder_surface
from delta_server.analysis.free_energy.sampling import (
    Samples,
    alike,
    block_length,
    by_state,
    kt,
    samples_by_temperature,
)
from delta_server.analysis.free_energy.surface import common_grid, difference, surface
from delta_server.errors import InputError
from delta_server.units import KCAL_MOL
from delta_server.variables.definition import Variables

KB = 8.617330337217213e-05  # eV/K, CODATA 2014


def well(n: int = 40000, seed: int = 0, memory: float = 5.0) -> Samples:
    values = {"R_p": 11 + correlated(n, memory, seed, 0.3), "R_CM": 6 + correlated(n, memory, seed + 50, 0.1)}
    return Samples("well", 300.0, values)


def test_kt() -> None:
    assert kt(300) == pytest.approx(0.59616, abs=2e-5)  # kcal/mol
    assert kt(10) == pytest.approx(10 * KB / KCAL_MOL)


def test_a_harmonic_well_has_the_curvature_of_its_width() -> None:
    """F = kT (x − x0)²/2σ² along each variable, and on the surface of both."""
    samples = well()
    for name, width in (("R_p", 0.3), ("R_CM", 0.1)):
        found = surface(samples, [name], common_grid([samples], [name], 40))
        (x,) = found.centres
        near = found.free_energy < 2 * kt(300)
        fitted, covariance = np.polyfit(x[near], found.free_energy[near], 2, w=1 / found.error[near], cov="unscaled")
        curvature, error = 2 * fitted[0], 2 * np.sqrt(covariance[0, 0])
        assert abs(curvature - kt(300) / width**2) < 3 * error < 0.3 * curvature
    both = surface(samples, ["R_p", "R_CM"], common_grid([samples], ["R_p", "R_CM"], 30))
    x, y = np.meshgrid(*both.centres, indexing="ij")
    exact = kt(300) * ((x - 11) ** 2 / 0.3**2 + (y - 6) ** 2 / 0.1**2) / 2
    seen = np.isfinite(both.free_energy)
    off = (both.free_energy - exact)[seen]
    off -= np.average(off, weights=both.error[seen] ** -2.0)  # its zero is the lowest bin
    assert np.mean(np.abs(off) < 2 * both.error[seen]) > 0.85
    assert both.lowest == pytest.approx((11, 6), abs=0.25)


def test_errors_are_the_spread_between_runs() -> None:
    edges = (np.linspace(10, 12, 11),)
    found = [surface(well(4000, seed, memory=8.0), ["R_p"], edges, min_count=1) for seed in range(40)]
    densities = np.stack([f.counts for f in found]) / 4000
    for k in (3, 5, 7):
        spread = kt(300) * densities[:, k].std(ddof=1) / densities[:, k].mean()
        assert np.mean([f.error[k] for f in found]) == pytest.approx(spread, rel=0.3)


def test_two_wells() -> None:
    """A two-state Markov chain with rates whose ratio is exp(−ΔF/kT), and noise in each well."""
    expected, n, rng = 0.8, 60000, np.random.default_rng(3)
    up = 0.02
    down = up * np.exp(expected / kt(300))
    state = np.empty(n, dtype=int)
    now = 0
    for k, r in enumerate(rng.random(n)):
        if r < (down if now else up):
            now = 1 - now
        state[k] = now
    samples = Samples("two", 300.0, {"x": 4 + 2.0 * state + 0.2 * rng.standard_normal(n)})
    found = difference(samples, "x", 5.0)
    assert abs(found.value - expected) < 3 * found.error < 0.15
    assert found.inefficiency > 10
    curve = surface(samples, ["x"], common_grid([samples], ["x"], 60))
    (x,) = curve.centres
    minima = [np.nanmin(curve.free_energy[side]) for side in (x < 5, x > 5)]
    assert minima[1] - minima[0] == pytest.approx(expected, abs=0.15)
    with pytest.raises(InputError, match="no sample with x above 9"):
        difference(samples, "x", 9.0)
    with pytest.raises(InputError, match="no variable 'y'; there are x"):
        difference(samples, "y", 9.0)


def rugged(temperature: float, n: int, seed: int, steep: float | None = None) -> Samples:
    """Independent samples of U(x) = h (x² − 1)² + t x in one dimension, beside a bath of 12 harmonic ones, drawn
    under a bias of so many eV for each x."""
    x = np.linspace(-2, 2, 4001)
    energy, bias = potential(x), (steep or 0.0) * x
    weights = np.exp(-(energy + bias) / (KB * temperature))
    rng = np.random.default_rng(seed)
    which = rng.choice(len(x), n, p=weights / weights.sum())
    bath = KB * temperature * rng.gamma(6.0, size=n)
    return Samples(
        f"{temperature:g} K", temperature, {"x": x[which]}, energy[which] + bath - 5.0,
        bias=None if steep is None else bias[which],
    )  # fmt: skip


def potential(x: np.ndarray) -> np.ndarray:
    """eV: two wells with a barrier of 2.3 kcal/mol."""
    return 0.1 * (x**2 - 1) ** 2 + 0.015 * x


def test_mbar_against_a_direct_run_and_the_exact_curve() -> None:
    temperatures = (150, 200, 250, 300, 400)
    runs = [rugged(t, 2500, seed=t) for t in temperatures]
    edges = (np.linspace(-1.5, 1.5, 31),)
    ladder = ladder_surface(runs, 200, ["x"], edges)
    direct = surface(rugged(200, 2500, seed=200), ["x"], edges)
    fine = np.linspace(-1.5, 1.5, 3001)
    density = np.exp(-potential(fine) / (KB * 200))
    exact = -kt(200) * np.log(np.add.reduceat(density[:-1], np.arange(0, 3000, 100)))
    for found in (ladder, direct):
        seen = np.isfinite(found.free_energy)
        off = (found.free_energy - exact)[seen]
        off -= np.average(off, weights=found.error[seen] ** -2.0)
        assert np.mean(np.abs(off) < 2.5 * found.error[seen]) > 0.9
    assert np.isfinite(ladder.free_energy).sum() > np.isfinite(direct.free_energy).sum()  # the barrier too
    both = np.isfinite(ladder.free_energy) & np.isfinite(direct.free_energy)
    assert np.median(ladder.error[both] / direct.error[both]) < 0.9
    assert ladder.independent > 2500
    assert ladder.notes == ()


@pytest.mark.parametrize("steep", [None, 0.01])
def test_mbar_at_a_temperature_between(steep: float | None) -> None:
    """Of runs under a bias, too, without it."""
    runs = [rugged(t, 2000, t, steep) for t in (250, 350)]
    edges = (np.linspace(-1.5, 1.5, 16),)
    found = ladder_surface(runs, 300, ["x"], edges, resamples=20)
    direct = surface(rugged(300, 8000, seed=1), ["x"], edges)
    both = np.isfinite(found.free_energy) & np.isfinite(direct.free_energy)
    off = (found.free_energy - direct.free_energy)[both]
    error = np.hypot(found.error, direct.error)[both]
    off -= np.average(off, weights=error**-2.0)
    assert (np.abs(off) < 3.5 * error).all()


def test_runs_with_a_bias_and_others_make_no_ladder() -> None:
    runs = [rugged(250, 100, 1, 0.03), rugged(300, 100, 2)]
    with pytest.raises(InputError, match="some of these runs had a bias in their manifest, others none"):
        ladder_surface(runs, 300, ["x"], (np.linspace(-1.5, 1.5, 16),))


def test_a_difference_that_rests_on_one_visit_has_no_error() -> None:
    """Many resamples have none of it."""
    x = np.zeros(4000)
    x[100:120] = 1.0
    found = difference(Samples("one visit", 300.0, {"x": x + 1e-3 * correlated(4000, 5.0, 1, 1.0)}), "x", 0.5)
    assert np.isfinite(found.value)
    assert found.error == np.inf


def test_errors_of_mbar_know_of_correlations() -> None:
    """The same samples, each four times: the same curve, and errors twice those of as many independent ones."""
    edges = (np.linspace(-1.5, 1.5, 9),)
    few = [rugged(t, 500, seed=t) for t in (250, 350)]
    slow = [one.take(np.repeat(np.arange(500), 4)) for one in few]
    many = [rugged(t, 2000, seed=t) for t in (250, 350)]
    a, b, c = (ladder_surface(runs, 300, ["x"], edges, min_count=1) for runs in (few, slow, many))
    assert b.free_energy == pytest.approx(a.free_energy, nan_ok=True)
    assert b.independent == pytest.approx(a.independent, rel=0.25)
    seen = np.isfinite(a.free_energy) & np.isfinite(c.free_energy)
    assert np.median(b.error[seen] / c.error[seen]) == pytest.approx(2, rel=0.3)


def test_temperatures_without_overlap_are_left_out() -> None:
    runs = [rugged(t, 500, seed=t) for t in (2, 250, 300)]
    kept, left = connected(runs, 300)
    assert [s.name for s in kept] == ["250 K", "300 K"]
    assert [s.name for s in left] == ["2 K"]
    found = ladder_surface(runs, 300, ["x"], (np.linspace(-1.5, 1.5, 16),), resamples=5)
    assert found.notes == ("without 2 K, whose energies do not overlap",)


def test_models_are_compared_on_one_grid() -> None:
    one, other = well(2000), Samples("far", 300.0, {"R_p": np.linspace(8, 9, 2000), "R_CM": np.linspace(4, 5, 2000)})
    edges = common_grid([one, other], ["R_p", "R_CM"], 20)
    assert edges[0][0] == 8
    assert edges[0][-1] == one.values["R_p"].max()
    a, b = (surface(s, ["R_p", "R_CM"], edges, min_count=1) for s in (one, other))
    assert a.free_energy.shape == b.free_energy.shape == (20, 20)
    assert a.counts.sum() == b.counts.sum() == 2000
    assert json.loads(json.dumps(a.as_dict(), allow_nan=False))["free_energy_kcal_per_mol"][0][0] is None


def test_bins_with_few_samples_are_not_shown() -> None:
    samples = well(2000)
    edges = common_grid([samples], ["R_p"], 30)
    found = surface(samples, ["R_p"], edges, min_count=20)
    assert np.array_equal(np.isfinite(found.free_energy), found.counts >= 20)
    with pytest.raises(InputError, match="no bin holds 5000"):
        surface(samples, ["R_p"], edges, min_count=5000)
    with pytest.raises(InputError, match="throughout"):
        common_grid([Samples("x", 300.0, {"R_p": np.ones(5)})], ["R_p"], 10)


def test_few_independent_samples_are_told() -> None:
    samples = well(2000, memory=200.0)
    found = surface(samples, ["R_p"], common_grid([samples], ["R_p"], 10))
    assert found.independent < 50
    assert "errors are guesses" in found.notes[0]
    assert block_length(2000, 400.0) == 200


def test_runs_of_the_same_seed_are_found_out() -> None:
    """As Langevin runs that differ in temperature alone: the same noise, scaled."""
    one, other = well(2000, seed=1), well(2000, seed=2)
    scaled = {name: 1.1 * x + 0.02 * correlated(2000, 5.0, 3) for name, x in one.values.items()}
    assert alike([one, other]) == []
    (line,) = alike([one, other, Samples("again", 330.0, scaled)])
    assert line.startswith("well and again move together")
    slow = [well(300, seed=k, memory=10.0) for k in range(10)]
    assert alike(slow) == []


def test_the_start_is_left_out_and_energies_are_asked_for() -> None:
    late = well(3000)
    drift = np.concatenate([np.linspace(20, 11, 300), late.values["R_p"][300:]])
    found = Samples("x", 300.0, {"R_p": drift}).equilibrated()
    assert 2000 < len(found) <= 2750
    with pytest.raises(InputError, match="needs the classical potential energy"):
        ladder_surface([late], 300, ["R_p"], (np.linspace(10, 12, 5),))


def test_frames_whose_bias_is_not_recorded_yet(tmp_path: Path) -> None:
    """Of a run that goes on the last ones are left out; elsewhere none may lack."""
    positions = np.random.default_rng(0).standard_normal((12, 2, 3))
    write_run(tmp_path, positions, extras={"energy_bias": 0.01 * np.arange(12)})
    known = Variables.model_validate({"variables": {"r": {"distance": ["0", "1"]}}})
    recorded = tmp_path / "nvt.energy_bias_0"
    whole = recorded.read_text()
    recorded.write_text(whole[: whole.index(" #EXTRAS(energy_bias)# Step: 200")])
    [run] = find_runs(tmp_path)
    [samples] = by_state(run, known)
    assert samples.bias == pytest.approx(0.01 * np.arange(10))
    recorded.write_text(whole[whole.index(" #EXTRAS(energy_bias)# Step: 40") :])
    [run] = find_runs(tmp_path)
    with pytest.raises(InputError, match="not recorded with every frame"):
        by_state(run, known)


def test_the_start_that_is_skipped(tmp_path: Path) -> None:
    """So many ps of each run; none is left, or its time is not known: told."""
    positions = np.zeros((400, 2, 3))
    positions[:, 1, 0] = 3.0 + 0.2 * np.random.default_rng(1).standard_normal(400)
    positions[:200, 1, 0] += 2.0  # for 2 ps
    write_run(tmp_path / "run", positions)
    known = Variables.model_validate({"variables": {"r": {"distance": ["0", "1"]}}})
    [run] = find_runs(tmp_path / "run")
    [samples] = samples_by_temperature([run], known, skip=2.0)
    assert samples.values["r"] == pytest.approx(positions[200:, 1, 0])
    far = [
        analyze_free_energy([run], variables=known, equilibrated=False, bins=12, skip=skip).surfaces[0].edges[0][-1]
        for skip in (0.0, 2.0)
    ]
    assert far == pytest.approx([positions[:, 1, 0].max(), positions[200:, 1, 0].max()])
    with pytest.raises(InputError, match=r"lasts 3\.99 ps; without its first 4 nothing is left"):
        samples_by_temperature([run], known, skip=4.0)
    (tmp_path / "run/nvt.out").unlink()
    [bare] = find_runs(tmp_path / "run/nvt.pos_0.xyz")
    with pytest.raises(InputError, match="its time is not known, so that nothing tells its first 1 ps"):
        samples_by_temperature([bare], known, 300.0, skip=1.0)
