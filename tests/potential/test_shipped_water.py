"""Water, the shipped assembly: as near GFN2-xTB on clusters as its page says; the box that runs start from."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from conftest import ROOT
from made_assembly import start_of_runs

from delta_server import Potential, load_potential
from delta_server.data.dataset import fingerprint, load_dataset
from delta_server.files.whole import sha256_of
from delta_server.training.record import load_record
from delta_server.units import KCAL_MOL

WATER = ROOT / "models/water"
CLUSTERS = [atoms for atoms in ase.io.read(WATER / "clusters.extxyz", ":") if len(atoms) in (18, 48)]


def cluster(folder: Path, count: int, orders: int) -> Potential:
    """The shipped cluster's models of so many orders, for another number of molecules."""
    entries = yaml.safe_load((WATER / "cluster.yaml").read_text())
    entries["structure"] = "cluster.extxyz"
    entries["species"]["water"]["count"] = count
    entries["binding"] = entries["binding"][: orders - 1]
    for part in (entries["species"]["water"], *entries["binding"]):
        part["model"] = str(WATER / part["model"])
    ase.io.write(folder / "cluster.extxyz", next(atoms for atoms in CLUSTERS if len(atoms) == 3 * count))
    path = folder / f"{orders}.yaml"
    path.write_text(yaml.safe_dump(entries))
    return load_potential(path)


@pytest.mark.parametrize("count", [6, 16])
def test_clusters_are_as_near_as_the_page_says(tmp_path: Path, count: int) -> None:
    """MAE of energies (kcal/mol a molecule) and of forces (kcal/mol/Å)."""
    frames = [atoms for atoms in CLUSTERS if len(atoms) == 3 * count]
    energies = np.array([atoms.info["REF_energy"] for atoms in frames])
    forces = np.array([atoms.arrays["REF_forces"] for atoms in frames])
    page = (ROOT / "models/README.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {count} | {len(frames)} |")]
    for orders, cell in enumerate(row.split(" | ")[3:], 1):
        result = cluster(tmp_path, count, orders).compute([atoms.positions for atoms in frames])
        energy = np.abs(result.energy - energies).mean() / count / KCAL_MOL
        force = np.abs(result.forces - forces).mean() / KCAL_MOL
        assert [energy, force] == pytest.approx([float(x) for x in cell.strip(" |").split(", ")], abs=0.006)
        assert (energy, force) < (0.1, 0.7) or orders < 3


def test_the_box_is_what_runs_start_from() -> None:
    result = start_of_runs(WATER / "box.yaml", 64)
    assert np.isfinite(result.forces).all()
    assert 0.1 < np.abs(result.forces).mean() < 1.0  # eV/Å: equilibrated at 300 K
    assert np.isfinite(result.virial).all()


@pytest.mark.parametrize(("folder", "bodies"), [("pairs", "h2o_h2o"), ("triples", "h2o_h2o_h2o")])
def test_the_records(folder: str, bodies: str) -> None:
    record = load_record(WATER / folder / "training.json")
    assert record is not None
    assert record.fingerprint == fingerprint(load_dataset(WATER / f"bodies/{bodies}.npz"))
    for entry in record.content["models"].values():
        assert entry["sha256"] == sha256_of(WATER / folder / entry["file"])
