"""Umbrella windows of a pair whose free energies are known by quadrature."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from delta_server.analysis.free_energy.binding import (
    STANDARD_VOLUME,
    BindingFreeEnergy,
    Cone,
    StandardState,
    binding_free_energy,
    enthalpy_of,
    without_sphere,
)
from delta_server.analysis.free_energy.sampling import Samples, kt
from delta_server.analysis.free_energy.states import _SOLVER, States
from delta_server.analysis.free_energy.surface import common_grid
from delta_server.analysis.free_energy.windows import Window, windows_together
from delta_server.analysis.pictures.free_energy import plot_convergence
from delta_server.analysis.statistics import quiet_pymbar, statistical_inefficiency
from delta_server.errors import InputError
from delta_server.sweep.umbrella import parse_windows
from delta_server.terms.bias import Restraint
from delta_server.units import KCAL_MOL
from delta_server.variables.definition import Variables

DEPTH, SIZE, T = 3.0, 3.4, 300.0  # kcal/mol, Å, K
R = np.linspace(2.5, 14.0, 23001)


def lennard_jones(r: np.ndarray) -> np.ndarray:
    return 4 * DEPTH * ((SIZE / r) ** 12 - (SIZE / r) ** 6)


def window(centre: float, n: int = 400, force_constant: float = 3.0, kelvin: float = T) -> Window:
    """Samples of 4πr² exp(−(U + bias)/kT) by its cumulative sum, one from each n-th of it, in any order."""
    restraint = Restraint(centre, centre, force_constant * KCAL_MOL)
    energy = lennard_jones(R)
    logs = 2 * np.log(R) - (energy + restraint.energy(R)[0] / KCAL_MOL) / kt(kelvin)
    below = np.cumsum(np.exp(logs - logs.max()))
    rng = np.random.default_rng(round(100 * centre))
    drawn = (rng.permutation(n) + rng.random(n)) / n
    r = np.interp(drawn, below / below[-1], R)
    return Window(Samples(f"{centre:g}", kelvin, {"r": r}, KCAL_MOL * lennard_jones(r)), "r", restraint)


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    return [window(centre) for centre in parse_windows("3:12:0.75")]


STATE = StandardState(7.0, 10.5, 12.0)


def exact(kelvin: float = T) -> float:
    """ΔG° by quadrature, with w = U."""
    inside = STATE.bound > R
    density = 4 * math.pi * R**2 * np.exp(-lennard_jones(R) / kt(kelvin))
    return -kt(kelvin) * math.log(np.trapezoid(density[inside], R[inside]) / STANDARD_VOLUME)


def test_the_standard_state_of_a_lennard_jones_pair(windows: list[Window]) -> None:
    found = binding_free_energy(windows_together(windows, T), "r", STATE, resamples=4)
    assert found.value == pytest.approx(exact(), abs=0.05)
    assert 0.01 < found.error < 0.3  # of independent samples
    assert np.array(found.halves) == pytest.approx(exact(), abs=0.1)
    assert found.volume == pytest.approx(-kt(T) * math.log(STATE.shell / 1660.539), abs=1e-5)
    assert found.as_dict()["pmf"] == found.pmf
    assert found.convergence is None
    beyond = windows_together(windows, T).difference("r", STATE.bound, resamples=4)
    weights = R**2 * np.exp(-lennard_jones(R) / kt(T))
    far = (STATE.bound < R) & (R < 14)
    by_hand = -kt(T) * math.log(weights[far].sum() / weights[~far].sum())
    assert beyond.value == pytest.approx(by_hand, abs=0.25)  # few windows reach the end


def test_the_first_and_the_last_parts_of_each_run(windows: list[Window], tmp_path: Path) -> None:
    """Of windows whose first three tenths are those of a colder pair the last seven are right, the first are not."""
    cold = [window(centre, kelvin=0.8 * T) for centre in parse_windows("3:12:0.75")]
    mixed = []
    for late, early in zip(windows, cold, strict=True):
        n = len(late.samples)
        r = np.where(np.arange(n) < 0.3 * n, early.samples.values["r"], late.samples.values["r"])
        mixed.append(replace(late, samples=replace(late.samples, values={"r": r}, energies=None)))
    found = binding_free_energy(windows_together(mixed, T), "r", STATE, resamples=2, convergence=True)
    parts = found.convergence
    assert parts is not None
    assert parts.shares == pytest.approx(np.linspace(0.1, 1, 10))
    assert (parts.forward[-1], parts.backward[-1]) == (found.value, found.value)
    assert (parts.forward[4], parts.backward[4]) == found.halves
    assert parts.backward[1:7] == pytest.approx(exact(), abs=0.15)
    assert (parts.forward[:3] < exact() - 0.3).all()
    assert exact() - 0.3 < found.value < exact()
    assert found.as_dict()["convergence"]["forward"] == pytest.approx(parts.forward)  # type: ignore[index]
    plot_convergence([found, found], tmp_path / "parts.png")
    assert (tmp_path / "parts.png").stat().st_size > 5000
    with pytest.raises(InputError, match="of none of these it is known"):
        plot_convergence([replace(found, convergence=None)], tmp_path / "none.png")


@pytest.mark.parametrize("restrained", [False, True])
def test_the_bulk_within_a_cone(windows: list[Window], restrained: bool) -> None:
    """Of samples in all directions it is the same ΔG°; of such as are always in the cone, that of a well that only a
    share of all directions leads to."""
    cone = Cone("axis", 110.0, 160.0)
    rng = np.random.default_rng(3)
    bounds = np.cos(np.radians([160.0, 110.0])) if restrained else (-1.0, 1.0)

    def turned(one: Window) -> Window:
        axis = np.degrees(np.arccos(rng.uniform(*bounds, len(one.samples))))
        return replace(one, samples=replace(one.samples, values=one.samples.values | {"axis": axis}))

    state = replace(STATE, cone=cone)
    found = binding_free_energy(windows_together([turned(w) for w in windows], T), "r", state, resamples=4)
    share = (math.cos(math.radians(110)) - math.cos(math.radians(160))) / 2
    assert state.shell == pytest.approx(share * STATE.shell)
    assert found.value == pytest.approx(exact() - restrained * kt(T) * math.log(share), abs=0.1)
    assert "10.5 to 12 Å, axis 110 to 160°" in found.lines()[1]


def test_its_potential_of_mean_force(windows: list[Window]) -> None:
    """Without 4πr² it is the pair's energy, to the end; with it, less 2 kT ln r."""
    with_sphere = windows_together(windows, T).surface(
        ["r"], common_grid([w.samples for w in windows], ["r"], 50), resamples=3
    )
    assert with_sphere.notes == ()
    curve = without_sphere(with_sphere, STATE)
    (r,) = curve.centres
    off = curve.free_energy - lennard_jones(r)
    known = (r > 3.7) & (r < 12)
    assert np.abs(off[known]).max() < 0.2
    assert np.abs(off[known]).mean() < 0.06
    assert curve.halves is not None
    assert len(with_sphere.as_dict()["halves_kcal_per_mol"]) == 2  # type: ignore[arg-type]


def test_the_errors_cover_what_vibrates() -> None:
    """An underdamped window comes back to its centre at once, but keeps its energy: so few of its samples are
    independent."""
    rng = np.random.default_rng(1)
    size = np.repeat(rng.exponential(size=100), 40) ** 0.5
    swinging = Samples("swing", T, {"r": size * np.cos(2.6 * np.arange(4000))})
    assert statistical_inefficiency(swinging.values["r"]) < 3
    assert swinging.inefficiency() > 10


def test_free_energies_of_states_are_those_of_pymbar(windows: list[Window]) -> None:
    """Also where some samples count several times, and others not at all."""
    pool = windows_together(windows, T).whole
    times = np.random.default_rng(2).integers(0, 4, pool.reduced.shape[1])
    again = States.solved(pool.reduced, pool.numbers).again(np.asarray(times, dtype=np.float64))
    free = np.log(again.likely[:, 0]) + again.logs[0] + pool.reduced[:, 0]
    mbar = quiet_pymbar("mbar").MBAR(
        np.repeat(pool.reduced, times, axis=1), again.numbers.astype(int), solver_protocol=_SOLVER
    )
    assert free - free[0] == pytest.approx(mbar.f_k - mbar.f_k[0], abs=1e-6)
    assert again.weights(pool.target).sum() == pytest.approx(1)


def test_windows_of_another_temperature_add_to_it(windows: list[Window]) -> None:
    both = [*windows[::2], *(window(w.restraint.low, 200, 3.0, 350.0) for w in windows)]
    found = binding_free_energy(windows_together(both, T), "r", STATE, resamples=2)
    assert found.value == pytest.approx(exact(), abs=0.1)


def test_enthalpy_and_entropy_from_the_temperatures() -> None:
    """A line that is known, and errors that are those of the fit."""
    lines = [(t, -5.0 + 0.02 * t) for t in (250.0, 300.0, 350.0)]
    points = [BindingFreeEnergy("a", t, "r", STATE, g - 1.0, 1.0, 0.1, (g, g)) for t, g in lines]
    found = enthalpy_of(points)
    assert found is not None
    assert (found.enthalpy, found.entropy) == pytest.approx((-5.0, -0.02))
    assert found.entropy_error == pytest.approx(0.1 / math.sqrt(2 * 50**2))
    assert found.enthalpy_error == pytest.approx(math.hypot(0.1 / math.sqrt(3), 300 * found.entropy_error))
    assert enthalpy_of(points[:1]) is None


def test_windows_that_do_not_overlap_are_refused(windows: list[Window]) -> None:
    """With those to add; where the overlap is thin, it is told."""
    with pytest.raises(
        InputError, match=r"r 3 and 6 overlap by 0\.00: thin; add windows at 3\.75,4\.5,5\.25; nothing"
    ):
        windows_together([windows[0], *windows[4:]], T)
    thin = windows_together([*windows[:3], *windows[4:]], T)
    assert thin.notes == ("300 K, r 4.5 and 6 overlap by 0.06: thin; add windows at 4.875,5.25,5.625",)


def test_what_is_no_standard_state(windows: list[Window]) -> None:
    with pytest.raises(InputError, match="the bulk beyond"):
        StandardState(7.0, 5.0, 6.0)
    with pytest.raises(InputError, match="axis=20:200: expected degrees"):
        Cone("axis", 20.0, 200.0)
    with pytest.raises(InputError, match="expected an angle of --variables"):
        Cone("r", 0.0, 90.0).check(Variables.model_validate({"variables": {"r": {"distance": ["0", "1"]}}}))
    with pytest.raises(InputError, match="or in 20 to 21 Å"):
        binding_free_energy(windows_together(windows[:3], T), "r", StandardState(7.0, 20.0, 21.0))


@pytest.mark.parametrize("text", ["3:14", "4:3:0.5", "3,3", "a,b", "1:1000:0.1", "3,nan"])
def test_what_are_no_windows(text: str) -> None:
    with pytest.raises(InputError, match="--windows"):
        parse_windows(text)
    assert parse_windows("3:4:0.25") == (3, 3.25, 3.5, 3.75, 4)
