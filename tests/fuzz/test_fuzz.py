"""A share of what `tests/fuzz/run.py` tries by the hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .files import DataFuzz, ManifestFuzz, ModelFuzz, made_dimer
from .run import campaign
from .wire import WireFuzz


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return made_dimer(tmp_path)


@pytest.fixture
def wire(manifest: Path) -> Iterator[WireFuzz]:
    fuzz = WireFuzz(manifest)
    yield fuzz
    fuzz.close()


def test_servers(wire: WireFuzz) -> None:
    assert campaign("sessions", wire.session, 0, 600) == []
    assert wire.answers > 100
    assert wire.refused > 100


def test_model_files(manifest: Path) -> None:
    fuzz = ModelFuzz(manifest)
    assert campaign("models", fuzz.case, 0, 200) == []
    assert fuzz.right > 2
    assert fuzz.refused > 50


def test_data_files(tmp_path: Path) -> None:
    fuzz = DataFuzz(tmp_path)
    assert campaign("data", fuzz.case, 0, 200) == []
    assert fuzz.read > 10
    assert fuzz.refused > 50


def test_manifests(manifest: Path) -> None:
    fuzz = ManifestFuzz(manifest)
    assert campaign("manifests", fuzz.case, 0, 200) == []
    assert fuzz.right > 2
    assert fuzz.refused > 50
