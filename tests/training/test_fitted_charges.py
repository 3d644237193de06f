"""Charges fitted below the binding: found again from labels that they made, and left to the models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT

from delta_server import load_potential
from delta_server.data.apart import place
from delta_server.data.dataset import Dataset, load_dataset
from delta_server.errors import InputError
from delta_server.terms.base import Frames
from delta_server.terms.electrostatics import ElectrostaticsTerm
from delta_server.training.baselines.electrostatics import fit_charges
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
    data = load_dataset(ROOT / "models" / system / "dataset.npz")
    bound = data.take(np.arange(0, len(data), 40))
    atoms = [data.atoms_of(k) for k in range(2)]
    x = np.concatenate([bound.positions, place(data.numbers, atoms, bound.positions, n)])
    order = np.concatenate(atoms)
    term = ElectrostaticsTerm("q", order[None], tuple(TRUE[system]))
    told = term.evaluate(Frames(x))
    forces = np.zeros_like(x)
    forces[:, order] = told.forces[:, 0] / KCAL_MOL
    zeros = np.zeros((len(x), 2))
    return replace(
        data, positions=x, energies=told.energies[:, 0] / KCAL_MOL, forces=forces, fragment_energies=zeros,
        fragment_forces=0 * x, run=np.concatenate([np.zeros(len(bound), dtype=np.intp), 1 + np.arange(n)]),
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
    assert entry["options"]["charges"]["methane_1"] == pytest.approx([-0.44, *[0.11] * 4], abs=1e-3)
    potential = load_potential(manifest)
    assert list(potential.compute(potential.reference).parts.energies)[-2:] == ["binding", "electrostatics"]
    which = np.flatnonzero(data.run != 0) if data.run is not None else np.arange(len(data))
    (binding,) = [part for part in evaluate(potential, data, which).parts if part.name == "binding"]
    assert binding.energy_mae < 1e-3
    with pytest.raises(InputError, match="global models"):
        train(data, tmp_path / "full", replace(recipe, full=("graph",)))
