"""Fixtures: the shipped systems."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("h2o_benzene", "na_benzene")


@pytest.fixture
def h2o_benzene() -> Path:
    """Manifest of water on benzene."""
    return ROOT / "models/h2o_benzene/manifest.yaml"


@pytest.fixture
def na_benzene() -> Path:
    """Manifest of Na⁺ on benzene."""
    return ROOT / "models/na_benzene/manifest.yaml"


@pytest.fixture
def inputs() -> Path:
    """The shipped i-PI inputs."""
    return ROOT / "inputs"
