"""Water, the shipped assembly: as near GFN2-xTB on clusters as its page says; the box that runs start from."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import yaml
from conftest import ROOT
from made_assembly import start_of_runs

from delta_server import Potential, load_potential
from delta_server.data.dataset import fingerprint, load_dataset
from delta_server.files.whole import sha256_of
from delta_server.gdml import load_model
from delta_server.gdml.uncertainty import Uncertainty
from delta_server.ipi.records import Output
from delta_server.lookout import Left, Lookout
from delta_server.molecule.structures import write_structure
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


def test_expected_errors_are_of_what_is_known_least() -> None:
    """The molecule, pair or triple with the largest, as far as the switch leaves it in; at any image of the box."""
    potential = load_potential(WATER / "cluster.yaml")
    waters = potential.reference.reshape(-1, 3, 3)
    errors = potential.uncertainty(potential.reference)
    water = Uncertainty(load_model(WATER / "pairs/h2o.npz")).expected_error(waters)
    assert errors["1_water"] == pytest.approx(water.max(), rel=1e-3)  # near a training point s² is rounding
    masses = np.array([15.999, 1.008, 1.008])
    centres = np.einsum("a,kad->kd", masses / masses.sum(), waters)
    known, largest = Uncertainty(load_model(WATER / "pairs/binding.npz")), 0.0
    for i, j in combinations(range(len(waters)), 2):
        t = (np.linalg.norm(centres[i] - centres[j]) - 7.5) / 1.5
        share = 1.0 if t < 0 else 1 - 10 * t**3 + 15 * t**4 - 6 * t**5 if t < 1 else 0.0
        largest = max(largest, share * float(known.expected_error(np.concatenate(waters[[i, j]])[None])[0]))
    assert errors["2_water_water"] == pytest.approx(largest, rel=1e-6)
    assert potential.error_limits["2_water_water"] == known.limits
    squares = [3 * errors["1_water"] ** 2, 6 * errors["2_water_water"] ** 2, 9 * errors["3_water_water_water"] ** 2]
    assert errors["total"] == pytest.approx(np.sqrt(sum(squares) / 72))
    box = load_potential(WATER / "box.yaml")
    moved = box.reference.copy()
    assert box.cell is not None
    moved[:3] += box.cell[1]
    told, there = box.uncertainty(box.reference), box.uncertainty(moved)
    assert list(told) == ["1_water", "binding", "2_water_water", "3_water_water_water", "total"]
    assert all(there[name] == pytest.approx(value, rel=1e-3) for name, value in told.items())


def test_a_box_that_leaves_its_training_is_told_of(tmp_path: Path) -> None:
    """Of frames as i-PI writes them, with molecules that lie across the cell's sides."""
    box = load_potential(WATER / "box.yaml")
    atoms = ase.Atoms(box.numbers, box.reference, cell=box.cell, pbc=True)
    text = ""
    for step in (0, 20):
        if step:  # one water is put where another is, 2.1 Å off
            atoms.positions[3:6] += atoms.positions[0] + [0, 0, 2.1] - atoms.positions[3]
        atoms.wrap()
        write_structure(tmp_path / "frame.xyz", atoms, periodic=True)
        text += (tmp_path / "frame.xyz").read_text().replace(" cell{", f" Step: {step:9d} Bead: 0 cell{{")
    path = tmp_path / "box.pos_0.xyz"
    path.write_text(text)
    lookout = Lookout(box, {"": [Output(path, "xyz", 20)]})
    lookout.start()
    left = list(lookout.finish())
    assert left
    assert all(isinstance(item, Left) and item.step == 20 for item in left), left
    assert "2_water_water" in [item.departure.term for item in left if isinstance(item, Left)]
