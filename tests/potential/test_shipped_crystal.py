"""The benzene crystal, a shipped assembly: as near GFN2-xTB's lattice energy as its page says; where runs begin."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from conftest import ROOT
from made_assembly import start_of_runs

from delta_server import load_potential
from delta_server.data.dataset import fingerprint, load_dataset
from delta_server.dynamics import relax
from delta_server.files.whole import sha256_of
from delta_server.training.record import load_record
from delta_server.units import KCAL_MOL

CRYSTAL = ROOT / "models/benzene_crystal"


def other(folder: Path, atoms: ase.Atoms, **changes: object) -> Path:
    """The shipped manifest with another structure."""
    entries = yaml.safe_load((CRYSTAL / "crystal.yaml").read_text())
    for part in (entries["species"]["benzene"], *entries["binding"]):
        part["model"] = str(CRYSTAL / part["model"])
    entries["structure"], entries["species"]["benzene"]["count"] = "other.extxyz", len(atoms) // 12
    ase.io.write(folder / "other.extxyz", atoms)
    path = folder / "other.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (entries | changes).items() if value is not None}))
    return path


def test_the_lattice_energy_where_gfn2_has_its_minimum(tmp_path: Path) -> None:
    """Within 0.1 kcal/mol a molecule; forces there are small."""
    cells = ase.io.read(CRYSTAL / "lattice.extxyz")
    expected = cells.info.pop("REF_lattice_energy")
    repeat = tuple(np.ceil(17.9 / cells.cell.lengths()).astype(int).tolist())
    crystal = cells * repeat
    potential = load_potential(other(tmp_path, crystal))
    result = potential.compute(crystal.positions, cells=crystal.cell.array)
    alone = cells[:12]
    alone.pbc, alone.cell = False, None
    single = load_potential(other(tmp_path, alone, binding=None, terms=None, periodic=False))
    relax(alone, single, 100, fmax=0.005)
    energy = result.energy / (len(crystal) // 12) - single.compute(alone.positions).energy
    assert energy / KCAL_MOL == pytest.approx(expected, abs=0.1)
    assert np.abs(result.forces).mean() < 0.05


def test_the_crystal_is_what_runs_start_from() -> None:
    result = start_of_runs(CRYSTAL / "crystal.yaml", 72)
    assert result.parts.energies["dispersion"] < 0 < result.parts.energies["2_benzene_benzene"]


def test_the_record() -> None:
    record = load_record(CRYSTAL / "pairs/training.json")
    assert record is not None
    assert record.fingerprint == fingerprint(load_dataset(CRYSTAL / "bodies/c6h6_c6h6.npz"))
    for entry in record.content["models"].values():
        assert entry["sha256"] == sha256_of(CRYSTAL / "pairs" / entry["file"])
    trained = yaml.safe_load((CRYSTAL / "pairs/manifest.yaml").read_text())["terms"][0]["options"]
    served = yaml.safe_load((CRYSTAL / "crystal.yaml").read_text())["terms"][0]["options"]
    same = ("c6", "c6_neutral", "r4r2", "damping")
    assert {key: served[key] for key in same} == {key: trained[key] for key in same}
