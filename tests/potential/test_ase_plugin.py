"""ase finds the calculator by its name."""

from __future__ import annotations

import tomllib
from importlib import import_module

from conftest import ROOT

from delta_server import DeltaCalculator


def test_the_entry_point_leads_to_the_calculator() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["ase.plugins"]
    (plugin,) = import_module(points["delta_sgdml"]).__ase_plugins__
    assert plugin.name == "delta_sgdml"
    assert plugin() is DeltaCalculator
    assert plugin.display().startswith("delta_sgdml")
