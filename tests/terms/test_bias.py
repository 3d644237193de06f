"""Biases: collective variables with their gradients, told apart from the physics."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import made_dimer
from made_kinds import CELL, with_terms

from delta_server import load_potential
from delta_server.checks import check_manifest, check_term
from delta_server.errors import InputError, ManifestError
from delta_server.ipi.simulation import Simulation
from delta_server.server.driver import extras_json
from delta_server.server.supervisor import Supervisor
from delta_server.terms.base import Frames
from delta_server.terms.bias import Restraint

VARIABLES: dict[str, dict[str, Any]] = {
    "far": {"distance": ["first", "second"], "centre": "mass"},
    "tilt": {"angle": ["first", "3", "4:6"]},
    "turn": {"dihedral": ["1", "0", "3", "second"]},
    "up": {"height": ["second", "first"]},
    "contacts": {"coordination": ["first", "second"], "r_0": 2.5},
}
FORMS: dict[str, dict[str, Any]] = {
    "harmonic": {"centre": 2.0, "force_constant": 3.0},
    "flat_bottomed": {"low": 20.0, "high": 30.0, "force_constant": 0.01},
    "linear": {"slope": -0.2},
}


def bias(variable: str, form: str = "harmonic", **options: Any) -> dict[str, Any]:
    more = {"variable": variable, "variables": deepcopy(VARIABLES), form: dict(FORMS[form]), "energy_unit": "eV"}
    return {"kind": "bias", "name": "window", "options": more | options}


def flat_bottomed(variable: str, **ends: float) -> dict[str, Any]:
    return {"options": bias(variable, "flat_bottomed", flat_bottomed={"force_constant": 1.0, **ends})["options"]}


@pytest.mark.parametrize(
    ("variable", "form"), [(v, "harmonic") for v in VARIABLES] + [("up", "flat_bottomed"), ("tilt", "linear")]
)
def test_the_contract(tmp_path: Path, variable: str, form: str) -> None:
    """Forces and virials against finite differences, in a cell and in none; a cell that cuts the dimer too."""
    path = with_terms(made_dimer(tmp_path), bias(variable, form, periodic=True))
    potential = load_potential(path)
    term = potential.terms[-1]
    x = potential.reference + 0.1 * np.random.default_rng(0).standard_normal((2, 6, 3))
    apart = x.copy()
    apart[:, 3:] += CELL[1] - CELL[2]
    for frames in (Frames(x), Frames(x, np.stack([CELL] * 2)), Frames(apart, np.stack([CELL] * 2))):
        assert all(check.passed for check in check_term(term, frames, exact=True)), list(check_term(term, frames))
    inside, cut = (term.evaluate(Frames(frames, np.stack([CELL] * 2))) for frames in (x, apart))
    assert inside.energies == pytest.approx(cut.energies)
    assert np.abs(inside.forces).max() > 1e-3


def test_it_is_told_apart(tmp_path: Path) -> None:
    plain = load_potential(made_dimer(tmp_path))
    path = with_terms(tmp_path / "manifest.yaml", bias("far"), bias("up", "linear") | {"name": "lift"})
    potential = load_potential(path)
    x = potential.reference + 0.02 * np.random.default_rng(0).standard_normal((3, 6, 3))
    result, unbiased = potential.compute(x), plain.compute(x)
    parts = result.parts
    assert list(parts.energies) == ["first", "second", "binding", "bias", "window", "lift"]
    for name, energy in unbiased.parts.energies.items():
        assert np.array_equal(parts.energies[name], energy)
    masses = np.array([15.999, 1.008, 1.008])
    centres = [masses @ x[:, part] / masses.sum() for part in (slice(3), slice(3, 6))]
    far = np.linalg.norm(centres[1] - centres[0], axis=1)
    assert parts.variables["far"] == pytest.approx(far)
    assert parts.energies["window"] == pytest.approx(1.5 * (far - 2.0) ** 2)
    assert parts.energies["bias"] == pytest.approx(parts.energies["window"] - 0.2 * parts.variables["up"])
    assert result.energy == pytest.approx(unbiased.energy + parts.energies["bias"])
    assert np.array_equal(potential.unbiased.compute(x).energy, unbiased.energy)
    alone = potential.compute(x, "bias")
    assert alone.forces == pytest.approx(result.forces - unbiased.forces)
    assert potential.compute(x, "binding").energy == pytest.approx(unbiased.parts.energies["binding"])
    extras = json.loads(extras_json(result, {})[1])
    assert extras["energy_bias"] == parts.energies["bias"][1]
    assert extras["variable_far"] == parts.variables["far"][1]
    assert all(check.passed for check in check_manifest(path) if check.name.startswith("term "))


def test_a_dihedral_goes_the_short_way_round() -> None:
    energies, slopes = Restraint(170.0, 170.0, 2.0, turn=360.0).energy(np.array([-170.0, 160.0]))
    assert energies.tolist() == [400.0, 100.0]
    assert slopes.tolist() == [40.0, -20.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"variable": "far", "linear": {"slope": 1.0}}}, "energy_unit"),
        ({"options": {"variable": "far", "energy_unit": "eV"}}, "just one of harmonic, flat_bottomed and linear"),
        ({"options": bias("near")["options"]}, "no variable 'near'; there are contacts, far"),
        ({"options": bias("far", variables={"far": {"distance": ["first", "c"]}})["options"]}, "no group 'c'"),
        ({"options": bias("far", variables={"far": {"coordination": ["0", "second"]}})["options"]}, "r_0"),
        (flat_bottomed("far", low=8.0, high=2.0), "low < high; found 8 and 2"),
        (flat_bottomed("far"), "expected low or high"),
        (flat_bottomed("far", high=-1.0), "far is never -1, but from 0 to inf"),
        (flat_bottomed("contacts", low=50.0), "contacts is never 50, but from 0 to 9"),
        (flat_bottomed("turn", low=170.0), "turn goes round: expected harmonic, or flat_bottomed with both"),
        ({"options": bias("turn", "linear")["options"]}, "turn goes round"),
        ({"options": bias("far", variables={"far": {"distance": ["0:4", "5"]}}, periodic=True)["options"]},
         "periodic: a group of far has atoms of several molecules"),
        ({"part": "fragments"}, "neither `part` nor `over`"),
        ({"name": "bias"}, "are taken"),
    ],
)  # fmt: skip
def test_what_is_no_bias(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = with_terms(made_dimer(tmp_path), bias("far") | change)
    with pytest.raises((ManifestError, InputError), match=words) as error:
        load_potential(path)
    assert len(str(error.value).splitlines()) == 1


def test_sockets_of_parts_would_lose_it(tmp_path: Path) -> None:
    """An input with two sockets is told, before anything runs, that neither is served the bias."""
    path = with_terms(made_dimer(tmp_path), bias("far"))
    (tmp_path / "init.xyz").write_text("")
    (tmp_path / "input.xml").write_text(Simulation("dimer", ("first", "second"), inner=2).xml())
    with pytest.raises(InputError, match="'fragments'> is served a part of the potential, which leaves out the bias"):
        Supervisor(tmp_path / "input.xml", path)
