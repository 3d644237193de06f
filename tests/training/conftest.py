"""Fixtures: labelled configurations of two complexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from delta_server.training.data.dataset import Dataset, load_dataset

DATA = Path(__file__).resolve().parent.parent / "data"


@pytest.fixture
def na_benzene() -> Dataset:
    """100 configurations of Na⁺ on benzene at 300 K, 16 fs apart but for gaps; GFN2-xTB."""
    return load_dataset(DATA / "na_benzene.npz")


@pytest.fixture
def methane_dimer() -> Dataset:
    """40 configurations of the methane dimer at 100 K, 60 fs apart but for gaps; GFN2-xTB."""
    return load_dataset(DATA / "methane_dimer.npz")
