"""Metadynamics of a pair whose free energy is known by quadrature: walkers that move by Metropolis steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_windows import STATE, T, exact, lennard_jones

from delta_server.analysis.free_energy.binding import StandardState, binding_free_energy, without_sphere
from delta_server.analysis.free_energy.metadynamics import Flooded
from delta_server.analysis.free_energy.sampling import Samples, kt
from delta_server.errors import InputError
from delta_server.sweep.metadynamics import Ground
from delta_server.sweep.record import Metadynamics
from delta_server.terms.hills import Hills
from delta_server.units import KCAL_MOL

WALKERS, PACE, STEPS, WALL = 40, 80, 16_000, 12.5


@pytest.fixture(scope="module")
def flooded() -> Flooded:
    return flood(None)


def flood(until: int | None) -> Flooded:
    """Metropolis walkers over a Lennard-Jones pair's distance; the hills are kept on a grid while they move."""
    told = Metadynamics(
        variables=("r",), definition={"groups": {}, "variables": {"r": {"distance": ["0", "1"]}}}, units=("Å",),
        widths=(0.25,), walls=((None, WALL),), heights=(0.05 * KCAL_MOL,), pace=PACE, bias_factor=6.0,
        walkers=WALKERS, until=until,
    )  # fmt: skip
    ground = Ground(told, T, np.array([18, 18]))
    grid = np.linspace(2.8, 14.0, 1121)
    fixed = lennard_jones(grid) + ground.walls.energy(grid[:, None])[0] / KCAL_MOL - 2 * kt(T) * np.log(grid)
    rng = np.random.default_rng(5)
    raised, where, rows, paths = np.zeros_like(grid), np.full(WALKERS, 100), [], []
    for step in range(1, STEPS + 1):
        to = where + rng.integers(-200, 201, WALKERS)
        to = np.where((to < 0) | (to >= len(grid)), where, to)
        change = (fixed + raised)[to] - (fixed + raised)[where]
        where = np.where(rng.random(WALKERS) < np.exp(-np.clip(change, 0, 50) / kt(T)), to, where)
        if step % PACE == 0:
            paths.append(grid[where])
        if told.puts_hills(step):
            heights = ground.height(raised[where] * KCAL_MOL) / KCAL_MOL
            rows.append((grid[where], heights))
            away = (grid[:, None] - grid[where]) / 0.25
            raised = raised + np.exp(-0.5 * away**2) @ heights
    steps = np.arange(PACE, STEPS + 1, PACE)
    centres, heights = (np.concatenate([row[k] for row in rows]) for k in (0, 1))
    put = np.repeat(steps[: len(rows)], WALKERS)
    hills = replace(ground.flat, steps=put, centres=centres[:, None], heights=heights * KCAL_MOL)
    walkers = [Samples(str(k), T, {"r": r[20:]}, steps=steps[20:]) for k, r in enumerate(np.transpose(paths))]
    return Flooded("pair", tuple(walkers), ground, hills)


def test_the_standard_state_of_a_lennard_jones_pair(flooded: Flooded) -> None:
    """Within 0.05 kcal/mol of quadrature by reweighting, and by the negative bias nearly so."""
    pools = flooded.together()
    found = binding_free_energy(pools, "r", STATE, resamples=10, of_bias=flooded.binding(STATE), growing=True)
    assert found.value == pytest.approx(exact(), abs=0.05)
    assert found.of_bias == pytest.approx(exact(), abs=0.15)
    assert 0.003 < found.error < 0.1
    assert np.array(found.halves) == pytest.approx(exact(), abs=0.15)
    assert "by the negative bias alone" in found.lines()[0]
    assert flooded.binding(StandardState(0.5, 10.0, 12.0)) is None  # no hill reaches there
    with pytest.raises(InputError, match=r"no sample with r below 0\.5"):
        binding_free_energy(pools, "r", StandardState(0.5, 10.0, 12.0), resamples=2)
    with pytest.raises(InputError, match="no variable 'X'; there are r"):
        pools.difference("X", 3.5)
    with pytest.raises(InputError, match="no sample with r on one side of 99"):
        pools.difference("r", 99.0)
    surface = flooded.beside(pools.surface(["r"], (np.linspace(3.3, 12.3, 46),), resamples=3))
    assert surface.of_bias is not None
    curve = without_sphere(surface, STATE)
    off = np.abs(curve.free_energy - lennard_jones(curve.centres[0]))[2:-1]  # beyond are all others
    assert off.max() < 0.25
    assert "kcal/mol off on average" in surface.notes[-1]


def test_once_the_hills_are_held() -> None:
    """After 1/4 of the run, too early for the negative bias: what follows is exact all the same, with its error."""
    flooded = flood(STEPS // 4)
    assert not flooded.growing
    pools = flooded.together()
    assert {int(one.steps[0]) for one in pools.whole.samples} == {STEPS // 4 + PACE}
    found = binding_free_energy(pools, "r", STATE, of_bias=flooded.binding(STATE))
    assert abs(found.value - exact()) < 3 * found.error < 0.3
    assert found.error < abs(found.of_bias - exact())  # type: ignore[operator]
    early = replace(flooded, samples=tuple(one.take(slice(10)) for one in flooded.samples))
    with pytest.raises(InputError, match=f"pair: there are hills up to step {STEPS // 4}, and no samples beyond yet"):
        early.together()


def test_how_much_the_hills_have_lifted(flooded: Flooded) -> None:
    """c(t) rises, is zero before the first hill, and of one hill is what the integrals by hand give."""
    c = flooded.offsets(np.array([0, PACE, PACE + 1, STEPS // 2, STEPS + 1])) / KCAL_MOL
    assert c[:2].tolist() == [0, 0]
    assert (np.diff(c[1:]) > 0).all()
    one = replace(flooded, hills=Hills(np.array([10]), np.array([[5.0]]), np.array([0.1]), *_form(flooded)))
    s = np.linspace(5 - 3 * 0.25, 5 + 3 * 0.25, 4001)
    v = 0.1 / KCAL_MOL / kt(T) * np.exp(-0.5 * ((s - 5) / 0.25) ** 2)
    by_hand = kt(T) * np.log(np.trapezoid(np.exp(1.2 * v), s) / np.trapezoid(np.exp(0.2 * v), s))
    assert one.offsets(np.array([11]))[0] / KCAL_MOL == pytest.approx(by_hand, rel=0.02)


def _form(flooded: Flooded) -> tuple[np.ndarray, np.ndarray]:
    return flooded.hills.widths, flooded.hills.turns
