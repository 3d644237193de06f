"""What is shipped hangs together: every system has its inputs, passes every check, and starts from its geometry."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from conftest import ROOT, SYSTEMS

from delta_server import load_potential
from delta_server.checks import check_manifest
from delta_server.server.address import address_from_input


def test_the_systems_are_those_of_the_folders() -> None:
    assert tuple(sorted(p.parent.name for p in (ROOT / "models").glob("*/manifest.yaml"))) == SYSTEMS
    assert tuple(sorted(p.name for p in (ROOT / "inputs").iterdir() if p.is_dir())) == SYSTEMS


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_check_passes(system: str) -> None:
    checks = list(check_manifest(ROOT / f"models/{system}/manifest.yaml"))
    assert len(checks) > 15
    assert [c for c in checks if not c.passed] == []


@pytest.mark.parametrize("name", ["demo", "nvt", "nve", "pimd"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_inputs_say_where_they_are_served(system: str, name: str) -> None:
    path = ROOT / f"inputs/{system}/{name}.xml"
    assert address_from_input(path).name == system
    assert f"inputs/{system}/{name}.xml" in path.read_text()


@pytest.mark.parametrize("system", SYSTEMS)
def test_runs_start_from_the_geometry_of_the_model(system: str) -> None:
    potential = load_potential(ROOT / f"models/{system}/manifest.yaml")
    start = ase.io.read(ROOT / f"inputs/{system}/init.xyz")
    assert (start.numbers == potential.numbers).all()
    assert np.abs(start.positions - potential.reference).max() < 1e-6
    potential.check_geometry(start.positions)
