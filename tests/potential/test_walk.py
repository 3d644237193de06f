"""A model is held to what it was trained on where it goes by itself: relaxed, walking, tested."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from delta_server.checks.manifest import check_manifest
from delta_server.checks.tested import OWN, OwnErrors, OwnRecord, check_tested, digests_of
from delta_server.checks.walk import check_walk, training_temperature
from delta_server.loading import load_potential
from delta_server.manifest import load_manifest
from delta_server.molecule.structures import read_structure, write_structure


@pytest.fixture
def apart(tmp_path: Path, na_benzene: Path) -> Path:
    """Na⁺ and benzene 4 Å farther apart than the minimum, where no training point is."""
    shutil.copytree(na_benzene.parent, tmp_path / "apart", ignore=shutil.ignore_patterns("full*", "dataset*", OWN))
    geometry = tmp_path / "apart/geometry.xyz"
    atoms = read_structure(geometry)
    ring = atoms.positions[atoms.numbers != 11].mean(0)
    ion = atoms.numbers == 11
    away = atoms.positions[ion] - ring
    atoms.positions[ion] += 4.0 * away / (away**2).sum() ** 0.5
    write_structure(geometry, atoms)
    return tmp_path / "apart/manifest.yaml"


def test_the_shipped_model_stays_where_it_was_trained(na_benzene: Path) -> None:
    potential = load_potential(na_benzene)
    relaxed, walk = check_walk(potential)
    assert (relaxed.passed, relaxed.warning) == (walk.passed, walk.warning) == (True, False)
    assert "binding: expected error" in walk.found
    assert training_temperature(potential, potential.reference) == pytest.approx(300.0, rel=0.15)  # its data are of


def test_one_that_leaves_fails(apart: Path) -> None:
    checks = {check.name: check for check in check_manifest(apart)}
    assert [name for name, check in checks.items() if not check.passed] == ["relaxed"]
    assert "binding: expected error" in checks["relaxed"].found
    assert "delta-sgdml learn" in checks["relaxed"].found
    assert "relaxed" not in {check.name for check in check_manifest(apart, walk=False)}


def test_a_model_without_a_calibration_still_walks(trained: Path) -> None:
    potential = load_potential(trained / "manifest.yaml")
    for term in potential.terms:
        term.__dict__["uncertainty"] = None
    relaxed, walk = check_walk(potential)
    assert relaxed.passed
    assert walk.found.endswith("expected errors are not known")


def test_who_was_never_tested_is_told(apart: Path) -> None:
    manifest = load_manifest(apart)
    assert check_tested(manifest).warning
    row = OwnErrors(
        part="total", temperature=300.0, n=40, energy_mae=0.05, energy_mae_error=0.01, energy_mean=-0.01,
        force_mae=0.1, force_mae_error=0.02,
    )  # fmt: skip
    record = OwnRecord(
        models=digests_of(manifest), run="ladder", theory="GFN2-xTB", sample=40, seed=0, failed=0, own=(row,)
    )
    told = record.model_dump(mode="json")
    (apart.parent / OWN).write_text(json.dumps(told))
    check = check_tested(manifest)
    assert (check.passed, check.warning) == (True, False)
    assert check.found == "40 frames of ladder; energy MAE (kcal/mol) 0.05 at 300 K"
    for spoilt in ({**told, "models": {}}, {**told, "own": []}):
        (apart.parent / OWN).write_text(json.dumps(spoilt))
        assert check_tested(manifest).warning
