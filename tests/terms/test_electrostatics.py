"""Point charges between fragments, and a binding that ends at a cut-off: sums by hand, the contract, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write
from ase.units import Bohr, Hartree
from conftest import ROOT
from made import made_dimer, made_manifest

from delta_server import Potential, load_potential
from delta_server.checks import check_manifest, check_term
from delta_server.data.dataset import load_dataset
from delta_server.errors import ManifestError
from delta_server.terms.base import Frames
from delta_server.terms.sgdml import SgdmlTerm

CHARGES = {"second": [-0.7, 0.35, 0.35], "first": [-0.8, 0.3, 0.5]}  # in another order than the fragments


def with_charges(path: Path, charges: Any = CHARGES, **keys: Any) -> Path:
    term = {"kind": "electrostatics", "name": "coulomb", "options": {"charges": charges}, **keys}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"terms": [term]}))
    return path


def moved(potential: Potential, n: int = 3) -> np.ndarray:
    return potential.reference + 0.05 * np.random.default_rng(3).standard_normal((n, potential.n_atoms, 3))


def test_the_sum_by_hand_and_the_contract(tmp_path: Path) -> None:
    potential = load_potential(with_charges(made_dimer(tmp_path)))
    frames = moved(potential)
    told = potential.compute(frames).parts.energies["coulomb"]
    for x, energy in zip(frames, told, strict=True):
        pairs = (
            (CHARGES["first"][i] * CHARGES["second"][j] / np.linalg.norm(x[i] - x[3 + j]))
            for i in range(3)
            for j in range(3)
        )
        assert energy == pytest.approx(Hartree * Bohr * sum(pairs), rel=1e-12)
    term = potential.terms[-1]
    assert all(check.passed for check in check_term(term, Frames(frames))), list(check_term(term, Frames(frames)))
    cells = np.broadcast_to(12.0 * np.eye(3), (3, 3, 3))
    assert np.array_equal(term.evaluate(Frames(frames, cells)).energies, term.evaluate(Frames(frames)).energies)


@pytest.mark.parametrize(("hydrogens", "warned"), [([0.3, 0.5], True), ([0.4, 0.4], False)])
def test_equal_atoms_should_have_equal_charges(tmp_path: Path, hydrogens: list[float], warned: bool) -> None:
    data = load_dataset(ROOT / "models/h2o_benzene/dataset.npz")
    path = tmp_path / "manifest.yaml"
    content = yaml.safe_load((ROOT / "models/h2o_benzene/manifest.yaml").read_text())
    for entry in [*content["fragments"], content["binding"]]:
        entry["model"] = str(ROOT / "models/h2o_benzene" / entry["model"])
    write(tmp_path / content["structure"], Atoms(data.numbers, data.positions[0]))
    path.write_text(yaml.safe_dump(content))
    path = with_charges(path, {"water": [-0.8, *hydrogens], "benzene": [-0.1] * 6 + [0.1] * 6})
    (found,) = [check for check in check_manifest(path, walk=False) if check.name == "charges coulomb"]
    assert (found.passed, found.warning) == (True, warned)
    assert ("equal atoms of water have other charges" in found.found) == warned


def test_three_molecules_are_three_pairs(tmp_path: Path) -> None:
    x = 3.0 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    ions = [{"name": n, "atoms": str(i), "energy": 0.0, "energy_unit": "eV"} for i, n in enumerate(("a", "b", "c"))]
    manifest = made_manifest(tmp_path, [11, 17, 11], x, ions)
    potential = load_potential(with_charges(manifest, {"a": [1.0], "b": [-1.0], "c": [2.0]}))
    result = potential.compute(x)
    assert result.energy == pytest.approx(Hartree * Bohr / 3 * (-1 + 2 - 2 / np.sqrt(2)), rel=1e-12)
    assert result.forces.sum(0) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("charges", "keys", "words"),
    [
        ({"first": [0, 0, 0], "third": [0]}, {}, r"charges of 'third': no such fragment; there are first, second"),
        ({"first": [0, 0], "second": [0, 0, 0]}, {}, r"charges of 'first': 2 for 3 atoms"),
        ({"first": [0, 0, 0]}, {}, r"term 'coulomb': options: charges: .*at least 2"),
        ({"first": [0, 0, float("nan")], "second": [0, 0, 0]}, {}, "charges.first.2.: .*finite"),
        ({"first": [0, 0, "1"], "second": [0, 0, 0]}, {}, "charges.first.2.: "),
        (CHARGES, {"over": ["first", "second"]}, "takes neither `part` nor `over`"),
        (CHARGES, {"part": "fragments"}, "takes neither `part` nor `over`"),
    ],
)
def test_charges_that_do_not_fit(tmp_path: Path, charges: Any, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        load_potential(with_charges(made_dimer(tmp_path), charges, **keys))


def with_cutoff(path: Path, **keys: Any) -> Path:
    content = yaml.safe_load(path.read_text())
    content["binding"] = {**content["binding"], **keys}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def dimer(tmp_path: Path) -> Path:
    """Two methanes whose binding ends between 4.5 and 6 Å."""
    folder = tmp_path / "dimer"
    folder.mkdir()
    for name in ("manifest.yaml", "geometry.xyz", "methane.npz", "binding.npz"):
        (folder / name).write_bytes((ROOT / "models/methane_dimer" / name).read_bytes())
    return with_cutoff(folder / "manifest.yaml", cutoff=6.0, switch=1.5)


def pulled(potential: Potential, distance: float) -> np.ndarray:
    """Centres of mass so far apart, Å."""
    from ase.data import atomic_masses

    x, m = potential.reference.copy(), atomic_masses[potential.numbers[:5]]
    first, second = (np.average(part, axis=0, weights=m) for part in (x[:5], x[5:]))
    x[5:] += first - second + distance * (second - first) / np.linalg.norm(second - first)
    return x


def test_a_binding_that_ends(dimer: Path) -> None:
    potential = load_potential(dimer)
    term = potential.terms[1]
    assert isinstance(term, SgdmlTerm)
    whole = replace(term, switch=None)
    frames = Frames(np.stack([pulled(potential, d) for d in (4.0, 4.9, 5.6, 6.0, 9.0)]))
    share = term.evaluate(frames).energies[:, 0] / whole.evaluate(frames).energies[:, 0]
    t = np.clip((np.array([4.0, 4.9, 5.6, 6.0, 9.0]) - 4.5) / 1.5, 0, 1)
    assert share == pytest.approx(1 - t**3 * (10 - 15 * t + 6 * t**2), abs=1e-12)
    assert np.array_equal(term.evaluate(frames).forces[0], whole.evaluate(frames).forces[0])
    assert (term.evaluate(frames).forces[3:] == 0).all()
    for i in (0, 1, 2):
        checks = list(check_term(term, Frames(frames.positions[i : i + 1])))
        assert all(check.passed for check in checks), checks
    errors, all_errors = term.expected_error(frames), whole.expected_error(frames)
    assert errors is not None
    assert all_errors is not None
    assert errors == pytest.approx(share[:, None] * all_errors)


@pytest.mark.parametrize(("cutoff", "warned"), [(6.0, False), (4.0, True)])
def test_a_structure_beyond_the_cutoff_is_told(dimer: Path, cutoff: float, warned: bool) -> None:
    (check,) = (c for c in check_manifest(with_cutoff(dimer, cutoff=cutoff), walk=False) if c.name == "cut-off")
    assert check.warning is warned
    assert ("100 %" in check.found) is not warned


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cutoff": 6.0}, "binding: expected a `cutoff` and, its last part, a `switch`"),
        ({"switch": 1.0}, "binding: expected a `cutoff` and, its last part, a `switch`"),
        ({"cutoff": 1.0, "switch": 1.5}, "longer than its cutoff"),
        ({"cutoff": 6.0, "switch": 1.0, "between": ["first", "second"]}, "are for two fragments, without `between`"),
    ],
)
def test_cutoffs_that_are_none(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        load_potential(with_cutoff(made_dimer(tmp_path), **keys))
