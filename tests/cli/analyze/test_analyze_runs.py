"""`delta-sgdml analyze` on other people's runs: outputs in other units, by other names, damaged, of isotopes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import warm
from conftest import ROOT
from made_runs import frame, write_run

from delta_server.molecule.structures import read_structure

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
MANIFEST = ROOT / "models/h2o_benzene/manifest.yaml"
WATER = read_structure(ROOT / "models/h2o_benzene/geometry.xyz")
N = 61


def call(folder: Path, *arguments: object, code: int = 0) -> tuple[str, str]:
    done = warm.run([SGDML, *map(str, arguments)], folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def shaking(n: int = N) -> np.ndarray:
    rng = np.random.default_rng(0)
    positions: np.ndarray = WATER.positions + 0.02 * rng.standard_normal((n, 15, 3))
    return positions


@pytest.mark.parametrize(
    ("time", "scale"),
    [("time{femtosecond}", 1e3), ("time", 41341.373), ("time{second}", 1e-12), ("time{nanosecond}", 1e-3)],
)
def test_a_time_in_any_unit(tmp_path: Path, time: str, scale: float) -> None:
    """120 steps of 0.5 fs are 0.06 ps."""
    path = write_run(tmp_path, shaking(), WATER.symbols, stride=2, prefix="sim") / "sim.out"
    head, *rows = path.read_text().split("ensemble_temperature{kelvin} : .\n")
    lines = [line.split() for line in rows[0].splitlines()]
    again = "".join(f"{s} {float(t) * scale:.9e} {' '.join(rest)}\n" for s, t, *rest in lines)
    path.write_text(head.replace("time{picosecond}", time) + "ensemble_temperature{kelvin} : .\n" + again)
    said = json.loads(call(tmp_path, "analyze", "stability", ".", "--manifest", MANIFEST, "--json")[0])
    assert said["runs"][0]["length"] == pytest.approx(0.06, rel=1e-6)
    assert "sim: 0.06 ps" in call(tmp_path, "analyze", "energies", ".")[0]
    path.write_text(path.read_text().replace(time + " ", "time{hour} "))
    assert "'hour' is no unit of time" in call(tmp_path, "analyze", "energies", ".", code=2)[1]


def test_a_job_log_beside_a_sweep(tmp_path: Path) -> None:
    for kelvin in (100, 300):
        write_run(tmp_path / f"sw/{kelvin}K", shaking(), WATER.symbols, kelvin=kelvin, prefix=f"{kelvin}K_md")
    (tmp_path / "sw/slurm-1234567.out").write_text("job starts on node01\n")
    for command in (("stability",), ("free-energy", "--min-count", "1"), ("rotation",)):
        said = call(tmp_path, "analyze", command[0], "sw", "--manifest", MANIFEST, *command[1:])[0]
        assert "100K_md" in said
        assert "300K_md" in said


def test_a_file_of_ase_s_has_i_pi_s_steps(tmp_path: Path) -> None:
    """Frames of every second step, without a time beside them: 1 fs apart with --timestep 0.5."""
    cell = 'Lattice="99.9 0 0 0 99.9 0 0 0 99.9" Properties=species:S:1:pos:R:3'
    with (tmp_path / "x.extxyz").open("w") as file:
        for step, positions in zip(range(0, 400, 2), shaking(200), strict=True):
            comment = (
                f'{cell} ipi_comment="Step: {step:11d}  Bead:       0 positions{{ase}}  cell{{ase}}" pbc="T T T"'
            )
            rows = [f"{s} {x:.8f} {y:.8f} {z:.8f}\n" for s, (x, y, z) in zip(WATER.symbols, positions, strict=True)]
            file.write(f"15\n{comment}\n{''.join(rows)}")
    command = ("analyze", "rotation", "x.extxyz", "--manifest", MANIFEST, "--timestep", "0.5", "--json")
    (turned,) = json.loads(call(tmp_path, *command)[0])["rotations"]
    assert turned["lags"][0] == pytest.approx(1e-3)


def test_isotopes_and_capitals(tmp_path: Path) -> None:
    """D2O on benzene: the same molecule for its manifest, with the masses of D."""
    labels = ["O", "D", "2H", *WATER.symbols[3:]]
    write_run(tmp_path / "d2o", shaking(), labels, stride=2, prefix="sim")
    command = ("--manifest", MANIFEST, "--json")
    (held,) = json.loads(call(tmp_path, "analyze", "stability", "d2o", *command)[0])["runs"]
    assert held["failed"] is None
    call(tmp_path, "analyze", "rotation", "d2o", *command)
    heavy = json.loads(call(tmp_path, "analyze", "free-energy", "d2o", "--min-count", "1", *command)[0])
    write_run(tmp_path / "h2o", shaking(), WATER.symbols, stride=2, prefix="sim")
    light = json.loads(call(tmp_path, "analyze", "free-energy", "h2o", "--min-count", "1", *command)[0])
    assert heavy["surfaces"][0]["edges"] != light["surfaces"][0]["edges"]  # R_CM is of the centres of mass
    energies = [call(tmp_path, "predict", MANIFEST, f"{run}/sim.pos_0.xyz")[0] for run in ("d2o", "h2o")]
    assert energies[0] == energies[1]
    (tmp_path / "cl.xyz").write_text("".join(frame(s, shaking()[s], ["CL"] * 15) for s in range(3)))
    arguments = ("analyze", "rotation", "cl.xyz", "--guest", "0:3", "--host", "3:15", "--timestep", "0.5")
    assert "3 frames without a gap" in call(tmp_path, *arguments)[0]
    (tmp_path / "q.xyz").write_text("".join(frame(s, shaking()[s], ["QQ"] * 15) for s in range(3)))
    assert "'QQ' is no element" in call(tmp_path, "analyze", "rotation", "q.xyz", *arguments[3:], code=2)[1]


def test_damage_is_left_out_with_a_word(tmp_path: Path) -> None:
    write_run(tmp_path, shaking(), WATER.symbols, stride=2, prefix="sim")
    table, frames = tmp_path / "sim.out", tmp_path / "sim.pos_0.xyz"
    rows = table.read_text().splitlines(keepends=True)
    rows[30] = "\0" * 500 + rows[30]
    table.write_text("".join(rows))
    text = frames.read_text()
    frames.write_text(text.replace(text.splitlines()[40], "       H  1.0  2.0", 1))
    out, err = call(tmp_path, "analyze", "energies", ".")
    assert "sim: 0.06 ps" in out
    assert err == "delta-sgdml: sim: sim.out: line 31 is damaged and left out\n"
    out, err = call(tmp_path, "analyze", "stability", ".", "--manifest", MANIFEST)
    assert "stable for 0.06 ps" in out
    assert "line 31 is damaged" in err
    assert "sim.pos_0.xyz: damaged frames left out: 1, of steps 4" in err
    made = call(tmp_path, "report", ".", "--manifest", MANIFEST)[0]
    assert "line 31 is damaged and left out" in made
    assert "sim.pos_0.xyz: damaged frames left out: 1" in made


def test_one_frame(tmp_path: Path) -> None:
    write_run(tmp_path, shaking(1), WATER.symbols, prefix="sim")
    said = call(tmp_path, "analyze", "rotation", ".", "--manifest", MANIFEST, code=2)[1]
    assert "one frame has no time between frames" in said
