"""Frames belong to the state they were made in: the temperature of their step, the time of the time column, beads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import correlated, frame
from scipy.spatial.transform import Rotation

from delta_server.analysis.energies import analyze_energies
from delta_server.analysis.free_energy.run import analyze_free_energy
from delta_server.analysis.free_energy.sampling import samples_by_temperature
from delta_server.analysis.pictures.free_energy import plot_surfaces
from delta_server.analysis.report.collect import Choices, ReportSource, WhileRunning, collect
from delta_server.analysis.report.tables import free_energy_table
from delta_server.analysis.rotation.run import analyze_rotation
from delta_server.analysis.runs import find_runs
from delta_server.analysis.stability import stability
from delta_server.analysis.trajectory import Run, runs_in, spacing
from delta_server.errors import InputError
from delta_server.variables.definition import Variable, Variables

COLUMNS = ("step", "time{picosecond}", "potential{electronvolt}", "temperature{kelvin}", "ensemble_temperature")
KELVIN = 315774.6621905819  # in an atomic unit
R = Variables(variables={"R": Variable(distance=((0,), (1,)))})


def write(folder: Path, rows: Sequence[Sequence[float]], frames: Sequence[tuple[int, np.ndarray]], name: str) -> None:
    folder.mkdir(exist_ok=True)
    head = "".join(f"# column {i:3d}     --> {column} : .\n" for i, column in enumerate(COLUMNS, 1))
    lines = [" ".join(f"{value:.12g}" for value in row) + "\n" for row in rows]
    (folder / f"{name}.out").write_text(head + "".join(lines))
    (folder / f"{name}.pos_0.xyz").write_text("".join(frame(step, x, ("N", "N", "N")) for step, x in frames))


def exchanging(folder: Path, n: int = 400) -> list[Run]:
    """Two replicas at 200 and 400 K that swap every 50 rows; the distance is 1 + T/1000 Å and a little noise, and the
    energy −5 + T/1000 eV. Positions are written at every second row."""
    for k in range(2):
        kelvin = np.where((np.arange(n) // 50 + k) % 2, 400.0, 200.0)
        noise = 0.02 * correlated(n, 2.0, k)
        rows = [(10 * i, 0.005 * i, -5 + t / 1000, t, t / KELVIN) for i, t in enumerate(kelvin)]
        frames = [
            (10 * i, np.array([[0, 0, 0], [1 + kelvin[i] / 1000 + noise[i], 0, 0], [0, 9, 9]]))
            for i in range(0, n, 2)
        ]
        write(folder, rows, frames, f"s{k}_md")
    return runs_in(folder)


def test_replicas_are_sorted_by_the_temperature_of_each_frame(tmp_path: Path) -> None:
    runs = exchanging(tmp_path / "remd")
    assert [run.temperature for run in runs] == [None, None]
    cold, hot = samples_by_temperature(runs, R)
    for samples, kelvin in ((cold, 200), (hot, 400)):
        assert samples.temperature == pytest.approx(kelvin)
        assert samples.name == f"{kelvin} K"
        assert samples.steps.tolist() == list(range(0, 4000, 20))
        assert samples.values["R"] == pytest.approx(1 + kelvin / 1000, abs=0.1)
        assert samples.energies == pytest.approx(-5 + kelvin / 1000)
    low, high = analyze_free_energy(find_runs(tmp_path / "remd"), variables=R, equilibrated=False, bins=20).surfaces
    assert (low.lowest[0], high.lowest[0]) == (pytest.approx(1.2, abs=0.03), pytest.approx(1.4, abs=0.03))


def test_a_report_sorts_replicas_too(tmp_path: Path) -> None:
    """F at each temperature is that of the frames made there, those of each replica up to where it failed."""
    runs = exchanging(tmp_path / "remd")
    sources = [ReportSource("remd", tmp_path, tuple(runs))]
    found = collect(sources, Choices(variables=R, over=("R",), frames=2))
    low, high = found.states
    assert [(state.name, state.temperature) for state in (low, high)] == [
        ("remd", pytest.approx(t)) for t in (200, 400)
    ]
    assert (low.lowest[0], high.lowest[0]) == (pytest.approx(1.2, abs=0.03), pytest.approx(1.4, abs=0.03))
    assert [row[0] for row in free_energy_table(found).rows] == ["200 K", "400 K"]
    assert [part.missing.keys() for part in found.parts] == [{"energies", "rotation"}] * 2
    told = {runs[0].name: WhileRunning("failed", "cut", 2000)}
    half = collect([replace(sources[0], told=told)], Choices(variables=R, over=("R",), frames=2))
    assert [len(piece) for piece in half.parts[0].pieces] == [50, 50]
    assert [len(piece) for piece in half.parts[1].pieces] == [100, 100]


def test_an_annealing_is_of_no_temperature(tmp_path: Path) -> None:
    rows = [(10 * i, 0.005 * i, -5.0, 300.0, (300 - i) / KELVIN) for i in range(50)]
    frames = [(10 * i, np.array([[0, 0, 0], [1 + 0.01 * i, 0, 0], [0, 9, 9]])) for i in range(50)]
    write(tmp_path, rows, frames, "sim")
    runs = runs_in(tmp_path)
    with pytest.raises(InputError, match="50 frames of 50 temperatures, 251 to 300 K: an annealing"):
        samples_by_temperature(runs, R)
    found = collect([ReportSource("ramp", tmp_path, tuple(runs))], Choices(variables=R, over=("R",), frames=2))
    assert "an annealing" in found.notes[-1]


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_a_run_without_a_thermostat_has_no_temperature(tmp_path: Path, value: float) -> None:
    """i-PI records −1 a.u. where <ensemble> names none."""
    rows = [(10 * i, 0.005 * i, -5.0, 300.0, value) for i in range(20)]
    frames = [(10 * i, np.array([[0, 0, 0], [1 + 0.01 * i, 0, 0], [0, 9, 9]])) for i in range(20)]
    write(tmp_path, rows, frames, "nve")
    (run,) = runs_in(tmp_path)
    assert (run.temperature, run.exchanged) == (None, False)
    with pytest.raises(InputError, match="its temperature is not known"):
        samples_by_temperature([run], R)
    assert samples_by_temperature([run], R, 300)[0].temperature == 300
    assert stability(run).examined == ("bonds",)


def test_a_run_that_blew_up_is_analysed_up_to_there(tmp_path: Path) -> None:
    """Rows and positions that are no finite numbers are left out, with a word, and without NumPy's."""
    rows = [(10 * i, 0.005 * i, -5.0 if i < 30 else np.nan, 300.0 if i < 35 else np.inf, 300 / KELVIN)
            for i in range(40)]  # fmt: skip
    turning = [Rotation.from_rotvec([0.1 * i, 0, 0]).apply([[0, 1, 0], [0, 0, 1.5], [2, 0, 0]]) for i in range(40)]
    frames = [(10 * i, x if i < 32 else x * np.nan) for i, x in enumerate(turning)]
    write(tmp_path, rows, frames, "sim")
    (run,) = runs_in(tmp_path)
    energies = analyze_energies(run)
    assert len(energies.time) == 30
    assert energies.notes == ("sim.out: rows that are not finite, and left out: 10, the first of step 300",)
    assert len(samples_by_temperature([run], R)[0]) == 32
    assert analyze_rotation(run, None, "0:3", "lab").rms_angle == pytest.approx(0.1)
    assert any("damaged frames left out: 8, of steps 320" in note for note in run.notes)
    assert stability(run).step == 300


def test_what_is_of_one_temperature_is_refused_after_exchanges(tmp_path: Path) -> None:
    run = exchanging(tmp_path / "remd")[0]
    with pytest.raises(InputError, match=r"temperature changed while it ran"):
        analyze_rotation(run, None, "0:3", "lab")
    held = stability(run)
    assert (held.failed, held.examined) == (None, ("bonds", "energy", "temperature"))


def test_a_record_is_held_against_its_own_temperature(tmp_path: Path) -> None:
    """800 K is hot at 200 K, which it was set to then, and not at 400 K, which it was set to last."""
    rows = [
        (10 * i, 0.005 * i, -5.0, 800.0 if i == 3 else t, t / KELVIN) for i, t in enumerate([200] * 5 + [400] * 5)
    ]
    still = np.array([[0, 0, 0], [1.1, 0, 0], [0, 9, 9]], dtype=float)
    write(tmp_path, rows, [(10 * i, still) for i in range(10)], "sim")
    held = stability(runs_in(tmp_path)[0])
    assert held.step == 30
    assert held.cause is not None
    assert "temperature 800 K" in held.cause


def test_frames_of_steps_without_a_row_have_no_temperature(tmp_path: Path) -> None:
    rows = [(20 * i, 0.01 * i, -5.0, 1.0, (200 + 200 * (i % 2)) / KELVIN) for i in range(20)]
    frames = [(10 * i, np.array([[0, 0, 0], [1 + 0.01 * i, 0, 0], [0, 9, 9]])) for i in range(40)]
    write(tmp_path, rows, frames, "sim")
    cold, hot = samples_by_temperature(runs_in(tmp_path), R)
    assert cold.steps.tolist() == list(range(0, 400, 40))
    assert hot.steps.tolist() == list(range(20, 400, 40))


def test_stretches_of_another_time_step_are_no_lags(tmp_path: Path) -> None:
    """A body that turns by 0.02 rad/fs, at 1 fs a frame for 300 frames and at 4 fs a frame for 280."""
    n, m = 300, 280
    steps = 10 * np.arange(n + m)
    times = np.concatenate([np.arange(n), n - 1 + 4 * np.arange(1, m + 1)]) * 1e-3
    body = np.array([[1.0, 0, 0], [-1, 0.5, 0], [0, -1, 0.7]])
    frames = []
    for step, time in zip(steps, times, strict=True):
        c, s = np.cos(20 * time), np.sin(20 * time)
        frames.append((int(step), body @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])))
    write(tmp_path, [(s, t, -5.0, 1.0, 300 / KELVIN) for s, t in zip(steps, times, strict=True)], frames, "sim")
    (run,) = runs_in(tmp_path)
    assert np.concatenate([block.time for block in run.blocks()]) == pytest.approx(times, abs=1e-9)
    turned = analyze_rotation(run, None, "0:3", "lab")
    assert turned.lags[0] == pytest.approx(1e-3)
    assert turned.msad == pytest.approx((20 * turned.lags) ** 2, rel=1e-3)  # of the one stretch alone
    (note,) = turned.notes
    assert f"{m} of {n + m} frames are not 0.001 ps apart" in note
    assert note in turned.line()


def test_one_frame_has_no_time_between_frames(tmp_path: Path) -> None:
    rows = [(10 * i, 0.005 * i, -5.0, 1.0, 300 / KELVIN) for i in range(9)]
    write(tmp_path, rows, [(0, np.eye(3))], "sim")
    with pytest.raises(InputError, match="one frame has no time between frames"):
        analyze_rotation(runs_in(tmp_path)[0], None, "0:3", "lab")


def test_spacings() -> None:
    assert spacing(np.array([0, 1, 2, 3, 7, 11, 15])) == 1
    assert spacing(np.array([0, 4, 8, 12, 13, 14])) == 4
    assert spacing(np.cumsum([0.3] * 1000)) == pytest.approx(0.3)


@pytest.mark.parametrize("beads", [1, 4])
def test_beads_have_no_classical_energy(tmp_path: Path, beads: int) -> None:
    """Which MBAR would need, and stability would hold against what classical atoms may have."""
    rows = [(10 * i, 0.005 * i, -5.0 + 9 * (i == 7), 3000.0, 300 / KELVIN) for i in range(40)]
    frames = [(10 * i, np.array([[0, 0, 0], [1.1 + 0.01 * (i % 5), 0, 0], [0, 9, 9]])) for i in range(40)]
    write(tmp_path, rows, frames, "sim")
    text = f"<simulation><output prefix='sim'/><system><initialize nbeads='{beads}'/></system></simulation>"
    (tmp_path / "input.xml").write_text(text)
    (run,) = runs_in(tmp_path)
    (samples,) = samples_by_temperature([run], R)
    assert (samples.energies is None) is (beads > 1)
    held = stability(run)
    assert (held.failed is None) is (beads > 1)
    assert ("temperature" in held.examined) is (beads == 1)


def test_one_filled_bin_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    apart = 5 + 0.001 * rng.random(60)
    apart[30] = 9.0
    frames = [(10 * i, np.array([[0, 0, 0], [1.1, 0, 0], [0, x, 0]])) for i, x in enumerate(apart)]
    rows = [(10 * i, 0.005 * i, -5.0, 300.0, 300 / KELVIN) for i in range(60)]
    write(tmp_path, rows, frames, "sim")
    runs, far = runs_in(tmp_path), Variables(variables={"R": Variable(distance=((0,), (2,)))})
    (one,) = analyze_free_energy(runs, variables=far, bins=8, equilibrated=False).surfaces
    assert one.of_one_bin
    assert any("one bin alone of 8 holds 10 samples" in note for note in one.notes)
    plot_surfaces([one], ("Å",), tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 5000
    page = collect([ReportSource("mine", tmp_path, tuple(runs))], Choices(far, ("R",), bins=8))
    shown = page.parts[0].surface
    assert shown is not None
    assert (shown.name, shown.of_one_bin) == ("mine, 300 K", True)
