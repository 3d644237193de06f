"""Reading i-PI's outputs, statistics with known answers, and the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_runs import frame
from matplotlib.text import Text

from delta_server.analysis.energies import analyze_energies
from delta_server.analysis.pictures.canvas import new_figure, save
from delta_server.analysis.pictures.energies import plot_energies
from delta_server.analysis.statistics import correlated_mean, slope
from delta_server.errors import InputError
from delta_server.ipi.outputs import find_frames, find_outputs, systems
from delta_server.ipi.tables import read_extras, read_properties

HEADER = """\
# column   1     --> step : The current simulation time step.
# column   2     --> time{picosecond} : The elapsed simulation time.
# column   3     --> conserved{electronvolt} : The value of the conserved energy quantity per bead.
# column   4     --> temperature{kelvin} : The current temperature.
# column   5     --> potential{electronvolt} : The physical system potential energy.
"""


def write_run(folder: Path, n: int = 50) -> Path:
    rng = np.random.default_rng(0)
    rows = [f"{10 * i} {0.005 * i} {-5 + 1e-4 * i} {300 + rng.normal():.6f} {-6 + 0.01 * (i % 3)}" for i in range(n)]
    (folder / "nvt.out").write_text(HEADER + "\n".join(rows) + "\n")
    extras = "".join(f" #EXTRAS(energy_binding)# Step: {20 * i} \n {-0.1 - 1e-3 * i} \n" for i in range(n // 2))
    (folder / "nvt.energy_binding_0").write_text(extras)
    (folder / "nvt.pos_0.xyz").write_text("not an output of numbers")
    return folder


def test_a_run_is_read_and_summed_up(tmp_path: Path) -> None:
    report = analyze_energies(write_run(tmp_path))
    assert report.drift == pytest.approx(1e3 * 1e-4 / 0.005)  # meV/ps
    assert report.mean_temperature is not None
    assert abs(report.mean_temperature.value - 300) < 4 * report.mean_temperature.error < 2
    assert report.binding is not None
    time, energy = report.binding
    assert time[1] == pytest.approx(0.01)
    assert energy[0] == pytest.approx(-0.1 / 0.0433641, rel=1e-5)
    assert "kcal/mol" in report.line()
    assert report.as_dict()["drift_meV_per_ps"] == report.drift


def test_steps_have_all_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "x_0"
    path.write_text(" #EXTRAS(sigma)# Step:       20000 \n 1.5 \n #EXTRAS(sigma)# Step:       20010 \n")
    key, steps, values = read_extras(path)
    assert (key, steps.tolist(), values.tolist()) == ("sigma", [20000], [1.5])


def test_steps_that_a_restart_repeats_count_once(tmp_path: Path) -> None:
    path = tmp_path / "nvt.out"
    path.write_text(
        HEADER + "0 0 -5 300 -6\n10 0.1 -5 301 -6\n20 0.2 -5 302 -6\n10 0.1 -5 311 -6\n20 0.2 -5 312 -6\n"
    )
    table = read_properties(path)
    assert table["step"].tolist() == [0, 10, 20]
    assert table["temperature"].tolist() == [300, 311, 312]
    extras = tmp_path / "nvt.x_0"
    extras.write_text("".join(f" #EXTRAS(x)# Step: {s} \n {v} \n" for s, v in ((0, 1), (10, 2), (10, 3))))
    assert read_extras(extras)[2].tolist() == [1, 3]


def test_properties_of_several_columns_and_other_extras(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "nvt.out").write_text(
        "# column   1     --> step : .\n# column 2 --> time{picosecond} : .\n# cols.    3-5   --> cell_abc : .\n"
        "# column   6     --> potential{electronvolt} : .\n0 0 1 2 3 -6\n1 0.1 1 2 3 -7\n2 0.2 1 2 3 -8\n"
    )
    (tmp_path / "nvt.dipole_0").write_text(" #EXTRAS(dipole)# Step: 0 \n 1 2 3 \n")
    (tmp_path / "nvt.chk_0").write_text("<simulation/>")
    report = analyze_energies(tmp_path)
    assert report.potential.tolist() == [-6, -7, -8]
    assert report.temperature is None
    assert report.drift is None


def test_numbers_that_are_none_are_null_for_machines(tmp_path: Path) -> None:
    (tmp_path / "x.out").write_text(HEADER + "0 0 -5 nan -6\n1 0 -5 300 -6\n2 0 -5 300 -6\n")
    found = analyze_energies(tmp_path).as_dict()
    assert found["drift_meV_per_ps"] is None
    assert json.dumps(found, allow_nan=False)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    path = write_run(tmp_path) / "nvt.out"
    whole = len(read_properties(path)["step"])
    with path.open("a") as file:
        file.write("  500  0.25  -5.0")
    assert len(read_properties(path)["step"]) == whole


@pytest.mark.parametrize(
    ("content", "match"),
    [("", "not an i-PI property output"), (HEADER, "not an i-PI"), (HEADER + "1 2\n", "not an"), ("a b\n", "not an")],
)
def test_other_files_are_refused(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "x.out"
    path.write_text(content)
    with pytest.raises(InputError, match=match):
        read_properties(path)


def test_folders_without_a_run_or_with_several(tmp_path: Path) -> None:
    (tmp_path / "slurm-1.out").write_text("job starts\n")
    with pytest.raises(InputError, match=r"no property output in it.*slurm-1\.out"):
        find_outputs(tmp_path)
    write_run(tmp_path)
    (tmp_path / "nve.out").write_text((tmp_path / "nvt.out").read_text())
    with pytest.raises(InputError, match="nve, nvt"):
        find_outputs(tmp_path)
    assert find_outputs(tmp_path, "nvt").prefix == "nvt"
    with pytest.raises(InputError, match="no such folder"):
        find_outputs(tmp_path / "missing")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("potential{kilocal/mol}", -6 / 0.04339311964524193),
        ("potential", -6 * 0.036749326),
        ("potential{millielectronvolt}", -6000.0),
        ("potential{kiloj/mol}", -6 / 0.010364268721554241),
        ("potential {ElectronVolt}", -6.0),
    ],
)
def test_energies_in_any_unit_are_converted(tmp_path: Path, column: str, values: float) -> None:
    path = write_run(tmp_path) / "nvt.out"
    expected = analyze_energies(tmp_path)
    head, *rows = path.read_text().split("potential{electronvolt} : The physical system potential energy.")
    scaled = "\n".join(
        " ".join([*row.split()[:4], repr(float(row.split()[4]) / -6 * values)]) for row in rows[0].split("\n")[1:-1]
    )
    path.write_text(f"{head}{column} : .\n{scaled}\n")
    report = analyze_energies(tmp_path)
    assert report.potential == pytest.approx(expected.potential, rel=1e-9)
    path.write_text(f"{head}potential{{hartrees}} : .\n{scaled}\n")
    with pytest.raises(InputError, match="'hartrees' is no unit of energy"):
        analyze_energies(tmp_path)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_picture_is_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run.{ending}"
    plot_energies(analyze_energies(write_run(tmp_path)), path)
    assert path.stat().st_size > 5000
    with pytest.raises(InputError, match="cannot be written"):
        plot_energies(analyze_energies(tmp_path), tmp_path / "missing" / "x.png")


def test_the_start_of_a_run_is_left_out_and_its_fragments_are_told(tmp_path: Path) -> None:
    """A potential that decays into equilibrium over 1 ps, and fragments' energies from the extras."""
    rng, n = np.random.default_rng(3), 1000
    time = 0.01 * np.arange(n)
    potential = -6 + 5 * np.exp(-time / 0.3) + 0.02 * rng.standard_normal(n)
    rows = [
        f"{20 * i} {t:.4f} -5 {300 + rng.normal():.6f} {e:.8f}"
        for i, (t, e) in enumerate(zip(time, potential, strict=True))
    ]
    (tmp_path / "nvt.out").write_text(HEADER + "\n".join(rows) + "\n")
    extras = "".join(f" #EXTRAS(energy_wet)# Step: {20 * i} \n {-3.0 + 0.1 * (t < 1)} \n" for i, t in enumerate(time))
    (tmp_path / "nvt.energy_wet_0").write_text(extras)
    report = analyze_energies(tmp_path)
    assert 1.0 < report.equilibrated < 3.0
    assert abs(report.mean_potential.value + 6) < 4 * report.mean_potential.error < 0.02
    assert report.mean_fragments["wet"].value * 0.0433641039 == pytest.approx(-3.0)
    said = json.loads(json.dumps(report.as_dict()))["fragments_kcal_per_mol"]["wet"]
    assert said["error"] == pytest.approx(0, abs=1e-9)
    plot_energies(report, tmp_path / "run.svg")
    assert "wet" in (tmp_path / "run.svg").read_text()


def test_several_systems_in_one_folder(tmp_path: Path) -> None:
    """i-PI puts the prefix of the system in front: SYSTEM_PREFIX.out, SYSTEM_PREFIX.pos_0.xyz."""
    (tmp_path / "one").mkdir()
    write_run(tmp_path / "one")
    for kelvin in (100, 50, 10):
        for name in ("out", "energy_binding_0", "pos_0.xyz"):
            source = tmp_path / "one" / f"nvt.{name}"
            (tmp_path / f"{kelvin}_sw.{name}").write_text(source.read_text())
        (tmp_path / f"{kelvin}_sw.pos_0.xyz").write_text(frame(0, np.zeros((2, 3))))
    assert list(systems(tmp_path)) == ["10_sw", "50_sw", "100_sw"]
    assert list(find_outputs(tmp_path, "50_sw").extras) == ["energy_binding"]
    assert find_frames(tmp_path, "10_sw").name == "10_sw.pos_0.xyz"
    with pytest.raises(InputError, match="10_sw, 50_sw, 100_sw; choose one"):
        find_frames(tmp_path)


def test_the_error_of_a_correlated_mean_is_right() -> None:
    """AR(1) noise: g = (1 + a)/(1 − a), and the means of many series spread by the error that each states."""
    rng, a, n = np.random.default_rng(1), 0.9, 4000
    means, errors, inefficiencies = [], [], []
    for _ in range(60):
        noise = rng.standard_normal(n + 200)
        x = np.zeros(n + 200)
        for i in range(1, n + 200):
            x[i] = a * x[i - 1] + noise[i]
        mean = correlated_mean(x[200:])
        means.append(mean.value)
        errors.append(mean.error)
        inefficiencies.append(mean.inefficiency)
    assert np.mean(inefficiencies) == pytest.approx((1 + a) / (1 - a), rel=0.15)
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.3)


def test_constant_and_white_series() -> None:
    assert correlated_mean(np.full(10, 3.0)) == (3.0, 0.0, 1.0)
    white = correlated_mean(np.random.default_rng(0).standard_normal(10000))
    assert white.inefficiency == pytest.approx(1, abs=0.2)
    assert white.error == pytest.approx(0.01, rel=0.2)


def test_slope() -> None:
    x = np.arange(10.0)
    assert slope(x, 3 * x - 7) == pytest.approx(3)


def test_a_name_is_drawn_as_it_stands(tmp_path: Path) -> None:
    """Neither a formula that cannot be read nor one that can; what cannot be printed is escaped."""
    figure = new_figure(3, 2)
    axis = figure.subplots()
    axis.semilogy([1, 2], [1, 100], label="$x\\over$ \x07")
    axis.set_title("host \\frac{1$ guest$")
    axis.legend()
    save(figure, tmp_path / "names.svg")
    drawn = [text.get_text() for text in figure.findobj(lambda artist: isinstance(artist, Text))]
    assert "$x\\over$ \\x07" in drawn
    assert "host \\frac{1$ guest$" in drawn
    assert any(words.startswith("$\\mathdefault{10^") for words in drawn)
