"""An assembly under i-PI: NVE and NPT with its cell, and a cell that shrinks below what the cut-off allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import warm
from ase.calculators.socketio import SocketIOCalculator
from ase.io import read
from conftest import ROOT
from made_assembly import made_assembly, made_waters
from processes import Driver

from delta_server import DeltaCalculator, load_potential
from delta_server.ipi.tables import read_extras, read_properties

CUBE = np.diag([12.6, 12.6, 12.6])


def command(*arguments: str | Path) -> tuple[int, str]:
    done = warm.run(["delta-sgdml", *map(str, arguments)])
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Waters in a cube, relaxed a little so that nothing flies off; 6 Å of 12.6 Å are seen."""
    from ase.optimize import FIRE

    atoms = made_waters(20, CUBE)
    path = made_assembly(tmp_path / "box", atoms, 6.0)
    atoms.calc = DeltaCalculator(path)
    FIRE(atoms, logfile=None).run(fmax=0.5, steps=20)
    return made_assembly(tmp_path / "box", atoms, 6.0)


def written(box: Path, *options: str) -> Path:
    """An input of 30 steps, its pbc such that i-PI wraps atoms."""
    path = box.parent / "run.xml"
    options = "--time", "0.015", "--temperature", "300", "--stride", "1", *options
    code, said = command("input", box, "-o", path, *options)
    assert code == 0, said
    path.write_text(path.read_text().replace('pbc="False"', 'pbc="True"'))
    return path


def test_nve_with_a_cell(box: Path) -> None:
    path = written(box, "--ensemble", "nve")
    code, said = command("run", path, box, "--dir", box.parent / "nve")
    assert code == 0, said
    out = read_properties(box.parent / "nve/run.out").columns
    assert np.ptp(out["kinetic_md"]) > 0.2
    assert np.ptp(out["conserved"]) < 0.02 * np.ptp(out["kinetic_md"])
    frame = read(box.parent / "nve/run.pos_0.xyz", index=20)
    potential = load_potential(box)
    result = potential.compute(frame.positions, cells=CUBE)
    assert result.energy / (1 + 9.6e-8) == pytest.approx(out["potential"][20], abs=1e-3)
    for name in ("1_water", "2_water_water"):
        recorded = read_extras(box.parent / f"nve/run.energy_{name}_0")
        assert recorded[2][20] == pytest.approx(result.parts.energies[name], abs=1e-3)


def test_a_cell_that_shrinks_too_far_ends_the_run_softly(box: Path) -> None:
    path = written(box, "--ensemble", "npt", "--pressure", "200000")
    code, said = command("run", path, box, "--dir", box.parent / "npt")
    assert code == 6, said
    (line,) = [line for line in said.splitlines() if "the cell is too small" in line]
    assert "2_water_water: the cell is too small" in line
    assert "needs 12.000 Å" in line
    assert (box.parent / "npt/RESTART").exists()
    out = read_properties(box.parent / "npt/run.out").columns
    assert 1 < len(out["step"]) < 31
    assert out["volume"][0] == pytest.approx(12.6**3, rel=1e-6)
    assert 12.0**3 < out["volume"][-1] < out["volume"][0]


def test_pressure_is_for_boxes(box: Path) -> None:
    complex_ = ROOT / "models/h2o_benzene/manifest.yaml"
    for manifest, options, why in (
        (complex_, ("--ensemble", "npt"), "NPT is for assemblies in a cell"),
        (box, ("--pressure", "1"), "with --ensemble npt"),
        (box, ("--flexible",), "--flexible goes with --ensemble npt"),
    ):
        code, said = command("input", manifest, "-o", box.parent / "no.xml", *options)
        assert code == 2
        assert why in said


@pytest.mark.parametrize(("ensemble", "beads"), [("nvt", 8), ("npt", 1)])
def test_both_transports_make_the_same_trajectory(box: Path, ensemble: str, beads: int) -> None:
    path = written(box, "--ensemble", ensemble, "--beads", beads, "--time", "0.003")
    outputs = []
    for transport in ("direct", "socket"):
        folder = box.parent / transport
        code, said = command("run", path, box, "--dir", folder, "--transport", transport)
        assert code == 0, said
        outputs.append({file.name: file.read_bytes() for file in folder.glob("run.[!cj]*") if file.suffix != ".xml"})
    assert outputs[0] == outputs[1]
    assert {"run.energy_2_water_water_0", "run.out", f"run.{'xc' if beads > 1 else 'pos_0'}.xyz"} <= outputs[0].keys()
    volume = read_properties(box.parent / "direct/run.out").columns["volume"]
    assert (np.ptp(volume) > 0) == (ensemble == "npt")


def test_a_flexible_cell_with_two_time_steps(box: Path) -> None:
    """Edges change each for itself; pairs are computed in each outer step alone. The same by both transports."""
    options = "--ensemble", "npt", "--flexible", "--inner", "4", "--timestep", "2", "--time", "0.01"
    path = written(box, *options)
    cells = []
    for transport in ("direct", "socket"):
        folder = box.parent / transport
        code, said = command("run", path, box, "--dir", folder, "--transport", transport)
        assert code == 0, said
        text = (folder / "run.pos_0.xyz").read_text()
        cells.append([line.split("Step")[0].split()[2:] for line in text.splitlines() if "CELL(abcABC)" in line])
    assert cells[0] == cells[1]
    edges = np.array([cell[:3] for cell in cells[0]], dtype=float)
    assert len(edges) == 6
    assert (np.ptp(edges, axis=0) > 0).all()
    assert np.ptp(edges[-1]) > 1e-5


def test_a_ladder_of_an_assembly(box: Path) -> None:
    folder = box.parent / "ladder"
    ladder = "--temperatures", "200,300", "--no-relax", "--stride", "2", "--frames", "2", "--checkpoint", "4"
    code, said = command("sweep", "write", box, "-o", folder, *ladder, "--time", "0.004")
    assert code == 0, said
    code, said = command("sweep", "run", folder)
    assert code == 0, said
    for name in ("200K", "300K"):
        text = (folder / f"{name}/{name}_md.pos_0.xyz").read_text()
        assert text.count("CELL(abcABC):   12.6") == 5
    for kind in (("--kind", "mts"), ("--kind", "pimd", "--contract", "4")):
        code, said = command("sweep", "write", box, "-o", box.parent / "no", *ladder, *kind)
        assert code == 2
        (line,) = said.strip().splitlines()
        assert "ladders of an assembly are of --kind nvt, remd or pimd" in line


def test_ase_as_the_server_with_a_cell(box: Path, socket_folder: Path) -> None:
    atoms = read(box.parent / "box.extxyz")
    direct, name = DeltaCalculator(box), socket_folder.name
    driver = Driver(box, f"unix:{name}", folder=box.parent, log="driver.log")
    try:
        with SocketIOCalculator(unixsocket=name) as server:
            for step in range(2):
                atoms.rattle(0.02, seed=step)
                atoms.set_cell(
                    atoms.cell.array @ np.array([[1.01, 0, 0], [0.02, 1, 0], [0, 0.01, 1]]), scale_atoms=True
                )
                atoms.wrap()
                atoms.calc = server
                energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
                atoms.calc = direct
                assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
                assert forces == pytest.approx(atoms.get_forces(), abs=1e-6)
                assert stress == pytest.approx(atoms.get_stress(), abs=1e-8)
        assert driver.wait() == 0
    finally:
        driver.kill()
