"""Charges fitted below the binding: found again from labels that they made, and left to the models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import bound

from delta_server import load_potential
from delta_server.data.apart import place
from delta_server.data.dataset import Dataset
from delta_server.errors import InputError
from delta_server.terms.base import Frames
from delta_server.terms.electrostatics import ElectrostaticsTerm
from delta_server.training.baselines.cutoff import centre_distances
from delta_server.training.baselines.electrostatics import fit_charges
from delta_server.training.baselines.remainder import labels_less
from delta_server.training.databases import Complex
from delta_server.training.evaluation.evaluate import evaluate
from delta_server.training.tasks import Recipe
from delta_server.training.trainer import train
from delta_server.units import KCAL_MOL

TRUE = {
    "h2o_benzene": [np.array([-0.68, 0.34, 0.34]), np.repeat([-0.12, 0.12], 6)],
    "na_benzene": [np.array([1.0]), np.repeat([-0.12, 0.12], 6)],
    "methane_dimer": [np.array([-0.44, *[0.11] * 4])] * 2,
}


def charged(system: str, n: int = 60) -> tuple[Dataset, ElectrostaticsTerm]:
    """Placed configurations of a shipped system, in which nothing but point charges binds."""
    data = bound(system).take(np.arange(0, 2000, 40))
    atoms = [data.atoms_of(k) for k in range(2)]
    x = np.concatenate([data.positions, place(data.numbers, atoms, data.positions, n)])
    order = np.concatenate(atoms)
    term = ElectrostaticsTerm("q", order[None], tuple(TRUE[system]))
    told = term.evaluate(Frames(x))
    forces = np.zeros_like(x)
    forces[:, order] = told.forces[:, 0] / KCAL_MOL
    zeros = np.zeros((len(x), 2))
    return replace(
        data, positions=x, energies=told.energies[:, 0] / KCAL_MOL, forces=forces, fragment_energies=zeros,
        fragment_forces=0 * x, run=np.concatenate([np.zeros(len(data), dtype=np.intp), 1 + np.arange(n)]),
        index=None, split=None,
    ), term  # fmt: skip


@pytest.mark.parametrize("system", list(TRUE))
def test_charges_are_found_again(system: str) -> None:
    data, term = charged(system)
    complex_ = Complex.of(data)
    found = fit_charges(complex_, np.arange(len(data)))
    one, two = found.charges.values()
    assert np.outer(one, two) == pytest.approx(np.outer(*term.charges), abs=1e-4)
    if system != "h2o_benzene":  # of two neutral molecules only the product is known
        assert one == pytest.approx(term.charges[0], abs=1e-3)
    numbers, first = data.numbers, data.atoms_of(1)
    assert (np.array(two)[numbers[first] == 1] > 0).all()
    assert found.left < 1e-4 * found.of
    assert found.n < len(data)
    assert complex_.less([found.term(complex_)], np.arange(len(data))).binding_labels(np.arange(9)).forces == (
        pytest.approx(0, abs=0.1)
    )


def test_what_the_model_leaves_alone_is_what_they_are_fitted_to() -> None:
    """Nearer by, where more than charges binds, the model knows better."""
    data, term = charged("methane_dimer", 200)
    distance = centre_distances(Complex.of(data), np.arange(len(data)))
    near = np.where(distance < 12.0, 0.8, 1.0)
    complex_ = Complex.of(replace(data, energies=near * data.energies))
    every = np.arange(len(data))
    all_, far, too_far = (fit_charges(complex_, every, beyond) for beyond in (0.0, 12.0, 40.0))
    assert far.n == np.sum(distance >= 12.0) < all_.n
    assert far.charges["methane_1"] == pytest.approx(term.charges[0], abs=1e-3)
    assert abs(all_.charges["methane_1"][0] - term.charges[0][0]) > 0.01
    assert too_far == all_, "too few are as far"
    assert "centres 12 Å apart" in str(far)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 6, 7, 8, 9, 5], [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]])
def test_equal_fragments_in_other_orders(order: list[int], tmp_path: Path) -> None:
    """Charges are told in the order of the manifest's atoms, whatever the data set's."""
    data, _ = charged("methane_dimer")
    assert data.fragment is not None
    other = replace(
        data, numbers=data.numbers[order], positions=data.positions[:, order], forces=data.forces[:, order],
        fragment=data.fragment[order],
    )  # fmt: skip
    recipe = Recipe(
        12, n_validation=10, choose_group=False, sigmas=(10.0,), lams=(1e-8,), robust=False, electrostatics=True
    )
    potential = load_potential(train(other, tmp_path / "above", recipe))
    told = potential.compute(other.positions).parts.energies["electrostatics"] / KCAL_MOL
    assert told == pytest.approx(other.binding_energies(), abs=1e-3)


def test_labels_from_elsewhere_lose_what_lies_below(tmp_path: Path) -> None:
    """As in a round of learning, where placed configurations are not of the data set's training."""
    data, term = charged("methane_dimer")
    labels = Complex.of(data).binding_labels(np.arange(40, 60))
    left = labels_less(labels, np.arange(10), [term], 10)
    assert abs(labels.energies).max() > 0.01
    assert left.energies == pytest.approx(0, abs=1e-9)
    assert left.forces == pytest.approx(0, abs=1e-9)


def test_what_no_charges_explain() -> None:
    """An attraction that all configurations have alike."""
    data, _ = charged("methane_dimer")
    constant = replace(data, energies=data.energies - 3.0)
    with pytest.raises(InputError, match=r"charges leave 6\.[67] of 3 kcal/mol"):
        fit_charges(Complex.of(constant), np.arange(len(data)))


def test_an_atom_without_a_charge() -> None:
    data, _ = charged("na_benzene")
    with pytest.raises(InputError, match="sodium is an atom of charge 0; label it with --charges"):
        fit_charges(Complex.of(replace(data, charges=None)), np.arange(len(data)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"cutoff": 4.0},
            r"a cut-off of 4 Å, switched from 2 Å: the complex has up to 4\.\d Å .* take 6\.\d Å or more",
        ),
        (
            {"cutoff": 9.0, "electrostatics": False},
            "a cut-off is for models above --baseline, --dispersion or --electr",
        ),
    ],
)
def test_cutoffs_that_take_the_binding_away(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    data, _ = charged("methane_dimer")
    with pytest.raises(InputError, match=words):
        train(data, tmp_path, replace(Recipe(12, n_validation=10, electrostatics=True), **changes))


def test_a_fragment_with_the_name_of_the_term(tmp_path: Path) -> None:
    data, _ = charged("methane_dimer")
    named = replace(data, fragment_names=("electrostatics", "other"))
    with pytest.raises(InputError, match="a fragment is called 'electrostatics'"):
        train(named, tmp_path, Recipe(12, n_validation=10, electrostatics=True))


def test_too_few_are_far_apart() -> None:
    data, _ = charged("methane_dimer", 12)
    with pytest.raises(
        InputError, match=r"electrostatics: \d training configurations .* `delta-sgdml dataset sample"
    ):
        fit_charges(Complex.of(data), np.arange(len(data)))


def test_training_above_charges(tmp_path: Path) -> None:
    """The binding learns nothing more, and ends where it is told to."""
    data, _ = charged("methane_dimer")
    recipe = Recipe(
        12, n_validation=10, symmetry="graph", choose_group=False, sigmas=(10.0,), lams=(1e-8,), robust=False,
        electrostatics=True, cutoff=7.0, switch=2.0,
    )  # fmt: skip
    manifest = train(data, tmp_path / "above", recipe)
    content = yaml.safe_load(manifest.read_text())
    assert {key: content["binding"][key] for key in ("cutoff", "switch")} == {"cutoff": 7.0, "switch": 2.0}
    (entry,) = content["terms"]
    record = json.loads((tmp_path / "above/training.json").read_text())
    assert record["electrostatics"]["charges"] == entry["options"]["charges"]
    assert entry["options"]["charges"]["methane_1"] == pytest.approx([-0.44, *[0.11] * 4], abs=1e-3)
    potential = load_potential(manifest)
    assert list(potential.compute(potential.reference).parts.energies)[-2:] == ["binding", "electrostatics"]
    which = np.flatnonzero(data.run != 0) if data.run is not None else np.arange(len(data))
    (binding,) = [part for part in evaluate(potential, data, which).parts if part.name == "binding"]
    assert binding.energy_mae < 1e-3
    with pytest.raises(InputError, match="global models"):
        train(data, tmp_path / "full", replace(recipe, full=("graph",)))
