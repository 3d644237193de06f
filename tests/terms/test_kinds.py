"""A kind of term from a package of its own: named in a manifest, added up, checked, and given the cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from made_kinds import CELL, SPRING, with_terms

from delta_server import DeltaCalculator, load_potential
from delta_server.checks import check_manifest, check_term
from delta_server.errors import ManifestError, ModelFileError
from delta_server.terms.base import Frames


def test_the_sum_and_its_parts(springs: Path) -> None:
    whole = load_potential(springs)
    x = whole.reference + 0.02 * np.random.default_rng(0).standard_normal((4, 6, 3))
    parts = whole.compute(x, cells=CELL).parts.energies
    assert list(parts) == ["first", "second", "binding", "cage", "ripple"]
    plain = load_potential(with_terms(springs)).compute(x)
    r = x - x.mean(1, keepdims=True)
    assert parts["cage"] == pytest.approx(0.1 * (r**2).sum((1, 2)))
    phase = 2 * np.pi * ((x[:, 5] - x[:, 0]) @ np.linalg.inv(CELL)) @ np.array([1.0, 2.0, 3.0])
    assert parts["ripple"] == pytest.approx(0.5 * np.cos(phase))
    added = parts["cage"] + parts["ripple"]
    assert whole.compute(x, cells=CELL).energy == pytest.approx(plain.energy + added, abs=1e-12)
    assert parts["binding"] == pytest.approx(plain.parts.energies["binding"] + added, abs=1e-12)
    assert whole.compute(x).parts.energies["ripple"] == pytest.approx(0.0)


def test_the_contract_in_a_cell_and_in_none(springs: Path) -> None:
    potential = load_potential(springs)
    x = potential.reference + 0.02 * np.random.default_rng(1).standard_normal((3, 6, 3))
    cells = CELL + 0.3 * np.random.default_rng(2).standard_normal((3, 3, 3))
    for term in potential.terms:
        for frames in (Frames(x), Frames(x, cells)):
            assert all(check.passed for check in check_term(term, frames)), list(check_term(term, frames))
    contracts = {check.name: check.passed for check in check_manifest(springs) if check.name.startswith("term ")}
    assert contracts == {"term first, second": True, "term binding": True, "term cage": True, "term ripple": True}


def test_a_cell_for_each_frame(springs: Path) -> None:
    potential = load_potential(springs)
    x = np.stack([potential.reference] * 2)
    cells = np.stack([CELL, 1.1 * CELL])
    both = potential.compute(x, cells=cells)
    for i in range(2):
        assert both.energy[i] == potential.compute(x[i], cells=cells[i]).energy
    assert both.energy[0] != both.energy[1]


def test_ase_gives_its_cell(springs: Path) -> None:
    potential = load_potential(springs)
    atoms = Atoms(potential.numbers, potential.reference, cell=CELL, pbc=True, calculator=DeltaCalculator(potential))
    assert atoms.get_potential_energy() == potential.compute(potential.reference, cells=CELL).energy
    atoms.cell = None
    assert atoms.get_potential_energy() == potential.compute(potential.reference).energy


def test_expected_errors_of_a_kind_that_knows_none(springs: Path) -> None:
    potential = load_potential(with_terms(springs, SPRING | {"part": "fragments"}))
    with pytest.raises(ModelFileError, match="no error calibration"):
        potential.uncertainty(potential.reference)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"kind": "sprong"},
            "called 'sprong'; there are bias, calculator, dispersion and electrostatics, and installed packages have "
            "broken, missing, ripple"
        ),
        ({"kind": "broken"}, "'cage' of kind 'broken': KeyError: 'no such table'"),
        ({"kind": "missing"}, "cannot be loaded: ModuleNotFoundError"),
        ({"options": {}}, "KeyError: 'stiffness'"),
        ({"over": ["first", "third"]}, "no such fragment; there are first, second"),
        ({"over": ["first", "first"]}, "each once"),
        ({"over": []}, "expected fragments"),
        ({"name": "first"}, "two would be called 'first'"),
        ({"name": "binding"}, "are taken"),
        ({"part": "all"}, "`part: all` and `periodic` are for the kind `calculator`"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)  # fmt: skip
def test_what_no_term_can_be_made_of(springs: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words) as error:
        load_potential(with_terms(springs, SPRING | change))
    assert len(str(error.value).splitlines()) == 1
