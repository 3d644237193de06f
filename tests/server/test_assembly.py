"""An assembly under i-PI: NVE and NPT with its cell, and a cell that shrinks below what the cut-off allows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import warm
from ase.io import read
from made_assembly import made_assembly, made_waters

from delta_server import DeltaCalculator, load_potential
from delta_server.ipi.tables import read_extras, read_properties

CUBE = np.diag([12.6, 12.6, 12.6])
NPT = """<dynamics mode="npt">
  <barostat mode="isotropic"> <tau units="femtosecond"> 20 </tau>
    <thermostat mode="langevin"> <tau units="femtosecond"> 20 </tau> </thermostat> </barostat>
  <thermostat mode="langevin"> <tau units="femtosecond"> 50 </tau> </thermostat>
"""
PRESSURE = '<pressure units="gigapascal"> 1 </pressure> </ensemble>'


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
    path = written(box)
    text = re.sub(r'<dynamics mode="nvt".*?>', NPT, path.read_text())
    text = re.sub(r"<thermostat mode=\"langevin\"> <tau units=\"femtosecond\"> 100 </tau> </thermostat>", "", text)
    path.write_text(re.sub("</ensemble>", PRESSURE, text))
    code, said = command("run", path, box, "--dir", box.parent / "npt")
    assert code == 9, said  # of the driver 6, as it says
    assert "2_water_water: the cell is too small" in said
    assert "needs 12.000 Å" in said
    assert (box.parent / "npt/RESTART").exists()
    steps = read_properties(box.parent / "npt/run.out").columns["step"]
    assert 1 < len(steps) < 31
