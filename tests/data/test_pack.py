"""Molecules put together: the density, and no overlaps, in a box and as a cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import warm
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from made_assembly import WATER

from delta_server.data.pack import pack
from delta_server.errors import InputError

WATERS, SODIUM = [Atoms("OH2", WATER)], [Atoms("Na", [[0.0, 0.0, 0.0]])]


def test_a_box_has_its_density(tmp_path: Path) -> None:
    write(tmp_path / "water.xyz", WATERS)
    done = warm.run(
        [
            "delta-sgdml",
            "dataset",
            "pack",
            f"{tmp_path}/water.xyz=20",
            "-o",
            f"{tmp_path}/box.extxyz",
            "--density",
            "0.9",
        ]
    )
    assert done.returncode == 0, done.stderr
    box = read(tmp_path / "box.extxyz")
    assert box.pbc.all()
    assert box.get_masses().sum() / box.get_volume() * 1.66054 == pytest.approx(0.9, rel=1e-5)
    distances = box.get_all_distances(mic=True)
    molecule = np.arange(60) // 3
    assert distances[molecule[:, None] != molecule].min() > 1.2
    assert distances[0, 1] == pytest.approx(0.96)


def test_a_cluster_of_two_species() -> None:
    cluster = pack([(WATERS, 10), (SODIUM, 2)], 1.0, periodic=False)
    assert cluster.symbols.get_chemical_formula() == "H20Na2O10"
    assert cluster.numbers[-2:].tolist() == [11, 11]
    assert not cluster.pbc.any()
    centre = cluster.get_center_of_mass()
    assert np.linalg.norm(cluster.positions - centre, axis=1).max() < 8.0


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="molecules overlap at 4 g/cm³"):
        pack([(WATERS, 8)], 4.0, periodic=True)
    with pytest.raises(InputError, match="molecules overlap"):  # with their own images
        pack([([molecule("C6H6")], 1)], 5.0, periodic=True)
    done = warm.run(["delta-sgdml", "dataset", "pack", "water.xyz", "-o", f"{tmp_path}/box.extxyz"])
    assert done.returncode == 2
    assert done.stderr.strip().endswith("expected a file and how many of its molecule, as in water.xyz=64")
