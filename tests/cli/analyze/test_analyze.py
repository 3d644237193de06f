"""`delta-sgdml analyze`: free energies, rotation and stability of runs on disk, as a user asks for them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import warm
from conftest import ROOT
from made_runs import brownian, correlated, write_run

from delta_server.analysis.free_energy.sampling import kt
from delta_server.data.dataset import load_dataset
from delta_server.molecule.structures import read_structure
from delta_server.server.record import write_run as write_record

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
MANIFEST = ROOT / "models/h2o_benzene/manifest.yaml"
WATER = read_structure(ROOT / "models/h2o_benzene/geometry.xyz")
N, DT, D, WIDTH = 4000, 0.01, 0.6, 0.12


def call(folder: Path, *arguments: object, code: int = 0) -> str:
    command = [SGDML, "analyze", *map(str, arguments)]
    done = warm.run(command, folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def moving(seed: int, distance: float = 4.0) -> np.ndarray:
    """Water that turns freely against benzene with D, in a harmonic well of its distance; all of it turns, too."""
    masses = WATER.get_masses()
    water, ring = (
        WATER.positions[a] - masses[a] @ WATER.positions[a] / masses[a].sum() for a in (range(3), range(3, 15))
    )
    own, whole = brownian((D,) * 3, N, seed, DT), brownian((0.3,) * 3, N, seed + 1, DT)
    up = np.array([0, 0, 1.0]) * (distance + correlated(N, 4.0, seed + 2, WIDTH))[:, None]
    positions = np.concatenate(
        [np.einsum("nij,aj->nai", own, water) + up[:, None], np.broadcast_to(ring, (N, 12, 3))], axis=1
    )
    return np.einsum("nij,naj->nai", whole, positions)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models at 300 K; the second one loses a hydrogen at frame 2500."""
    folder = tmp_path_factory.mktemp("runs")
    energy = -570 + correlated(N, 3.0, 9, 0.1)
    write_run(folder / "delta", moving(1), WATER.symbols, potential=energy, prefix="300K_md")
    broken = moving(4, 4.5)
    broken[2500:, 14] *= 3.0
    write_run(folder / "full", broken, WATER.symbols, potential=energy, prefix="300K_md")
    return folder


def test_free_energy(runs: Path) -> None:
    """Of a harmonic well in a file: curvature kT/σ² within its error, and both models on one grid."""
    command = (
        "free-energy",
        "delta",
        "full",
        "--manifest",
        MANIFEST,
        "--bins",
        25,
        "-o",
        "f.png",
        "--split",
        "R_CM=4.2",
    )
    said = json.loads(call(runs, *command, "--json"))
    delta, full = said["surfaces"]
    assert delta["variables"] == ["R_CM"]
    assert (delta["name"], full["name"]) == ("delta/300K_md", "full/300K_md")
    assert delta["edges"] == full["edges"]
    x = (np.array(delta["edges"][0][1:]) + delta["edges"][0][:-1]) / 2
    free, error = (np.array(delta[k], dtype=float) for k in ("free_energy_kcal_per_mol", "error_kcal_per_mol"))
    near = free < 2 * kt(300)
    fitted, covariance = np.polyfit(x[near], free[near], 2, w=1 / error[near], cov="unscaled")
    assert abs(2 * fitted[0] - kt(300) / WIDTH**2) < 3 * 2 * np.sqrt(covariance[0, 0]) < 0.4 * 2 * fitted[0]
    first, second = said["differences"]
    assert first["kcal_per_mol"] > 0.5
    assert second["kcal_per_mol"] < -0.5
    assert (runs / "f.png").stat().st_size > 5000
    table = call(runs, *command)
    assert "300K_md: F(R_CM > 4.2) − F(R_CM < 4.2)" in table


def test_free_energy_of_two_variables_and_a_ladder(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text(
        "variables:\n  R: {distance: [water, benzene], centre: mass}\n  h: {height: [water, benzene]}\n"
    )
    for kelvin in (250, 300):
        energies = -570 + 8.617e-5 * kelvin * np.random.default_rng(kelvin).gamma(22.0, size=N // 2)
        write_run(
            tmp_path / f"ladder/{kelvin}K",
            moving(kelvin)[::2],
            WATER.symbols,
            kelvin=kelvin,
            potential=energies,
            prefix=f"{kelvin}K_md",
        )
    command = ("free-energy", "ladder", "--manifest", MANIFEST, "--variables", "v.yaml", "--bins", 8, "--mbar", 275)
    (one,) = json.loads(call(tmp_path, *command, "--json"))["surfaces"]
    assert one["name"] == "ladder (MBAR of 2)"
    assert np.shape(one["free_energy_kcal_per_mol"]) == (8, 8)
    assert (tmp_path / "ladder/free_energy.png").stat().st_size > 5000


def test_rotation(runs: Path) -> None:
    """Against benzene the D that was made; against the laboratory that of both."""
    said = json.loads(call(runs, "rotation", "delta", "--manifest", MANIFEST, "--json"))
    (one,) = said["rotations"]
    assert abs(one["d"]["value"] - D) < 3 * one["d"]["error"] < 0.25
    assert one["notes"] == []
    half, full = one["turns"]
    assert (half["angle"], full["angle"]) == (30, 60)
    for turns in (half, full):
        assert abs(turns["d"]["value"] - D) < 3 * turns["d"]["error"] < 0.2
    assert abs(full["ratio"]["value"] - 1) < 3 * full["ratio"]["error"]
    assert one["temperature"] == 300
    assert (runs / "delta/rotation.png").stat().st_size > 5000
    free = json.loads(call(runs, "rotation", "delta", "--guest", "0:3", "--host", "lab", "--json"))["rotations"][0]
    assert abs(free["d"]["value"] - D - 0.3) < 3 * free["d"]["error"]
    quarter = call(runs, "rotation", "delta", "--manifest", MANIFEST, "--turn", 90, "-o", "r.svg")
    assert "turns of 90°" in quarter
    coarse = call(runs, "rotation", "delta", "--manifest", MANIFEST, "--every", 100, "-o", "r.svg")
    assert "too coarse to sum angles" in coarse
    assert "give --guest" in call(runs, "rotation", "delta", code=2)


def test_a_run_knows_its_manifest(runs: Path, tmp_path: Path) -> None:
    """As `delta-sgdml run` leaves it: the same numbers as with the manifest named; a line if its files changed."""
    run = shutil.copytree(runs / "delta", tmp_path / "run")
    write_record(run, MANIFEST)
    for command in ("free-energy", "rotation", "stability"):
        known = call(tmp_path, command, "run", "--json")
        assert known == call(tmp_path, command, "run", "--manifest", MANIFEST, "--json")
    record = json.loads((run / "run.json").read_text())
    record["sha256"]["water.npz"] = 64 * "0"
    (run / "run.json").write_text(json.dumps(record))
    done = warm.run([SGDML, "analyze", "stability", "run"], tmp_path)
    line = "delta-sgdml: 300K_md: no longer the files that the run was begun with: water.npz\n"
    assert (done.returncode, done.stderr) == (0, line)


def test_stability(runs: Path) -> None:
    said = json.loads(call(runs, "stability", "delta", "full", "--manifest", MANIFEST, "-o", "s.png", "--json"))
    sound, broken = said["runs"]
    assert sound["failed"] is None
    assert broken["step"] == 2500 * 20
    assert broken["failed"] == pytest.approx(25.0)
    assert "H14 broke" in broken["cause"]
    (at_300,) = said["survival"]
    assert (at_300["runs"], at_300["failed"]) == (2, 1)
    assert (runs / "s.png").stat().st_size > 5000


def test_the_binding_from_contact_to_30_angstrom(tmp_path: Path) -> None:
    given = ("curve", ROOT / "models/methane_dimer/manifest.yaml", "-o", "c.png", "--calculator", "emt")
    done = call(tmp_path, *given)
    assert "across, 2nd: " in done
    assert "points within 0.03 kcal/mol or 2 %; the worst " in done
    assert (tmp_path / "c.png").stat().st_size > 10_000
    told = json.loads(call(tmp_path, *given, "--json"))
    assert [c["name"] for c in told["curves"]] == ["along", "across", "across, 2nd"]
    assert "no fragment 'x'" in call(tmp_path, *given, "--fragment", "x", code=2)


SHELL = ("free-energy", "delta", "--manifest", MANIFEST, "--bound", 7, "--bulk", "10:12")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rotation", "delta"), "give --guest"),
        (("rotation", "delta", "--manifest", MANIFEST, "--guest", "C60"), "fragments: water, benzene"),
        (("rotation", "delta", "--guest", "0:99"), "names atom 98"),
        (("rotation", "delta", "--guest", "0:3", "--host", "2:15"), "atom 2 is both"),
        (("free-energy", "delta"), "give --variables"),
        (("free-energy", "delta", "--manifest", MANIFEST, "--over", "R_p"), "expected one or two of R_CM"),
        (
            ("free-energy", "delta", "--manifest", MANIFEST, "--bound", 7, "--bulk", "12:10"),
            "--bound R --bulk LOW:HIGH",
        ),
        (("free-energy", "delta", "--manifest", MANIFEST, "--cone", "axis=145:180"), "--bound R --bulk LOW:HIGH"),
        (
            ("free-energy", "delta", "--manifest", MANIFEST, "--convergence", "c.png"),
            "it goes with --bound and --bulk",
        ),
        ((*SHELL, "--cone", "axis=145"), "--cone axis=145: expected an angle and its range in degrees"),
        ((*SHELL, "--cone", "axis=145:200"), "--cone axis=145:200: expected degrees from 0 to 180"),
        ((*SHELL, "--cone", "R_CM=0:90"), "--cone R_CM: expected an angle of --variables (none)"),
        (("stability", "nothing"), "no such file or folder"),
        (("stability", "delta", "--energy", 0), "energy 0, expected a number above 0"),
    ],
)
def test_what_is_missing_is_said(runs: Path, arguments: tuple[object, ...], message: str) -> None:
    assert message in call(runs, *arguments, code=2)


def test_files_without_time_ask_for_it(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "lonely.xyz"
    path.write_text((runs / "delta/300K_md.pos_0.xyz").read_text()[:1_000_000])
    assert "give --timestep" in call(tmp_path, "rotation", path, "--guest", "0:3", code=2)
    assert "give --temperature" in call(tmp_path, "free-energy", path, "--manifest", MANIFEST, code=2)
    said = call(tmp_path, "stability", path, "--timestep", 0.5)
    assert "stable for" in said
    assert (tmp_path / "stability.png").is_file()


@pytest.mark.parametrize("command", ["energies", "free-energy", "rotation", "stability"])
def test_every_help_has_an_example(tmp_path: Path, command: str) -> None:
    assert f"Example: delta-sgdml analyze {command}" in call(tmp_path, command, "--help")


STOPS = """
import os, signal
from pathlib import Path
from ase.calculators.lj import LennardJones

ASKED = Path(__file__).with_name("asked")

class Calculator(LennardJones):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        with ASKED.open("a") as asked:
            asked.write(".")
        if ASKED.stat().st_size == 30:
            os.kill(os.getppid(), signal.SIGINT)
"""


def test_a_curve_that_is_stopped_goes_on_and_asks_for_no_label_twice(tmp_path: Path) -> None:
    (tmp_path / "stops.py").write_text(STOPS)
    command = [
        SGDML, "analyze", "curve", ROOT / "models/methane_dimer/manifest.yaml", "-o", "curve.png", "-j", "1",
        "--json", "--calculator", "stops:Calculator", "--option", "epsilon=0.01", "--option", "sigma=3",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    first = warm.run(command, tmp_path, env=environment)
    assert first.returncode == 130
    assert "labels are in curve-" in first.stderr
    assert "go on: delta-sgdml analyze curve" in first.stderr
    assert not (tmp_path / "curve.png").exists()
    second = warm.run(command, tmp_path, env=environment)
    assert second.returncode == 0, second.stderr
    (labels,) = tmp_path.glob("curve-*")
    data = load_dataset(labels)
    asked = (tmp_path / "asked").stat().st_size
    assert (
        2 * len(data) <= asked < 2 * len(data) + 10
    )  # complex and moved fragment; the other is asked for once a process
    along = json.loads(second.stdout)["curves"][0]
    centres = np.linalg.norm(data.positions[:, :5].mean(1) - data.positions[:, 5:].mean(1), axis=1)
    for distance, energy in zip(along["distance"], along["reference"], strict=True):
        assert energy == pytest.approx(data.binding_energies()[np.abs(centres - distance).argmin()], abs=1e-9)
