"""A molecule that a calculator of ase computes, beside sGDML models, through real i-PI."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT

from delta_server import load_potential

from .conftest import StartDriver, StartIpi, System


def test_the_sum_done_by_hand(tmp_path: Path, dimer: System, start_ipi: StartIpi, start_driver: StartDriver) -> None:
    plain = load_potential(dimer.manifest)
    content = yaml.safe_load(dimer.manifest.read_text())
    content["fragments"][0] = {"name": "first", "atoms": "0:3", "calculator": "emt"}
    manifest = dimer.manifest.with_name("mixed.yaml")
    manifest.write_text(yaml.safe_dump(content))
    ipi = start_ipi(dimer.numbers, dimer.positions, extras=["energy_first"])
    driver = start_driver(manifest, ipi.address)
    ipi.finished()
    driver.finished()

    frames = np.stack([frame.positions for frame in ase.io.read(ipi.folder / "run.pos_0.xyz", ":", format="extxyz")])
    parts = plain.compute(frames).parts.energies
    emt = [Atoms(dimer.numbers[:3], x[:3], calculator=EMT()).get_potential_energy() for x in frames]
    by_hand = emt + parts["second"] + parts["binding"]
    assert np.loadtxt(ipi.folder / "run.out")[:, 1] == pytest.approx(by_hand, abs=1e-5)
    assert np.loadtxt(ipi.folder / "run.energy_first_0") == pytest.approx(emt, abs=1e-5)
