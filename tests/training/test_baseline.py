"""Models above a calculator: labels less the baseline, the record, the manifest, and rivals that are calculators."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from dftd4.ase import DFTD4

from delta_server import load_potential
from delta_server.data.dataset import Dataset
from delta_server.errors import InputError
from delta_server.methods import Method
from delta_server.training.baselines.calculator import Baseline, calculator_potential
from delta_server.training.baselines.remainder import remainder
from delta_server.training.evaluation.evaluate import aligned, evaluate
from delta_server.training.record import load_record
from delta_server.training.tasks import Recipe
from delta_server.training.trainer import train
from delta_server.units import KCAL_MOL

D4 = Baseline("d4", {"method": "pbe0"})


def dispersion(data: Dataset, i: int, atoms: np.ndarray | slice = slice(None), charge: int = 0) -> Atoms:
    numbers = data.numbers[atoms]
    charges = np.full(len(numbers), charge / len(numbers))
    return Atoms(numbers, data.positions[i][atoms], charges=charges, calculator=DFTD4(method="pbe0"))


@pytest.mark.parametrize("part", ["fragments", "binding", "all"])
def test_labels_less_the_baseline(na_benzene_data: Dataset, part: str) -> None:
    data, which = na_benzene_data.take(np.arange(6)), np.array([1, 4])
    terms = Baseline("d4", {"method": "pbe0"}, part).terms(data)  # type: ignore[arg-type]
    left = remainder(data, terms, which)
    assert data.charges is not None
    charges = data.charges.tolist()
    for i in which:
        whole = dispersion(data, i, charge=sum(charges))
        alone = [dispersion(data, i, data.atoms_of(k), charge) for k, charge in enumerate(charges)]
        energies = np.array([atoms.get_potential_energy() for atoms in alone]) / KCAL_MOL
        binding = whole.get_potential_energy() / KCAL_MOL - energies.sum()
        taken = data.isolated()[1][i] - left.isolated()[1][i]
        assert taken == pytest.approx(energies if part != "binding" else 0 * energies, abs=1e-7)
        bound = data.binding_energies()[i] - left.binding_energies()[i]
        assert bound == pytest.approx(binding if part != "fragments" else 0.0, abs=1e-7)
        if part == "all":
            forces = (data.forces - left.forces)[i] * KCAL_MOL
            assert forces == pytest.approx(whole.get_forces(), abs=1e-9)
    assert np.array_equal(np.delete(left.forces, which, 0), np.delete(data.forces, which, 0))
    ion = int(np.flatnonzero([len(data.atoms_of(k)) == 1 for k in range(2)])[0])
    assert np.ptp(left.isolated()[1][:, ion]) == pytest.approx(np.ptp(data.isolated()[1][:, ion]), abs=1e-9)


def test_training_above_a_baseline(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(
        10, n_validation=10, symmetry="none", sigmas=(10.0,), lams=(1e-10,), robust=False, baseline=D4
    )  # fmt: skip
    above = train(methane_dimer_data, tmp_path / "above", recipe)
    content = yaml.safe_load(above.read_text())
    assert content["terms"] == [
        {"kind": "calculator", "name": "baseline", "calculator": "d4", "options": {"method": "pbe0"}}
        | {"over": "all", "part": "all"}
    ]
    record = json.loads((tmp_path / "above/training.json").read_text())
    assert record["recipe"]["baseline"] == {"calculator": "d4", "options": {"method": "pbe0"}, "part": "all"}
    assert record["baseline"]["theory"].startswith("d4 method=pbe0 (dftd4 ")
    again = load_record(tmp_path / "above/training.json")
    assert again is not None
    assert again.recipe().baseline == D4
    errors = evaluate(load_potential(above), methane_dimer_data, np.array([0, 1, 2, 3]))
    assert [part.name for part in errors.parts] == ["total", "ch4_1", "ch4_2", "binding"]
    for part in errors.parts:  # dispersion is 1 kcal/mol and more: it is taken off and added again
        assert part.energy_mae < 0.05, part.name
        assert part.force_mae < 0.5, part.name


def test_a_baseline_with_global_models(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="global models"):
        train(methane_dimer_data, tmp_path, Recipe(10, baseline=D4, full=("graph",)))


def test_a_configuration_on_which_the_baseline_fails() -> None:
    from toy import waters

    x = np.stack([waters().positions] * 4)
    x[2, :3, 2] += 1.5  # nearer than 2 Å
    zeros = np.zeros(4)
    data = Dataset(
        numbers=waters().numbers, positions=x, energies=zeros, forces=0 * x, fragment=np.array([0, 0, 0, 1, 1, 1]),
        fragment_energies=np.zeros((4, 2)), fragment_forces=0 * x, name="waters",
    )  # fmt: skip
    terms = Baseline("toy:Toy", {"fails": 2.0}, "binding").terms(data)
    with pytest.raises(InputError, match=r"waters: baseline: configuration 2: .*no convergence"):
        remainder(data, terms, np.array([0, 2, 3]))


def test_unpaired_electrons(na_benzene_data: Dataset) -> None:
    """A rival has them as the labels have; a baseline refuses them, wherever the data set says so."""
    data = replace(na_benzene_data.take(np.arange(2)), charges=np.zeros(2, dtype=np.intp), charge=None)
    doublet = replace(data, multiplicities=np.array([2, 1]), multiplicity=None)
    with pytest.raises(InputError, match="unpaired electrons; a baseline is for closed shells"):
        Baseline("gfn2-xtb").terms(doublet)
    with pytest.raises(InputError, match="multiplicity"):
        calculator_potential(Method("gfn2-xtb"), data)
    assert calculator_potential(Method("gfn2-xtb"), doublet).name == "gfn2-xtb"


def test_a_calculator_as_a_rival(na_benzene_data: Dataset) -> None:
    """The method of the labels itself has no errors; of another theory, energies count from the labels' zero."""
    data = na_benzene_data.take(np.arange(0, 100, 40))
    same = evaluate(calculator_potential(Method("gfn2-xtb"), data), data)
    assert [part.name for part in same.parts] == ["total", "na", "c6h6", "binding"]
    assert max(part.energy_mae for part in same.parts) < 1e-4
    assert max(part.force_mae for part in same.parts) < 1e-3
    other = evaluate(calculator_potential(Method("gfn1-xtb"), data), data)
    level = aligned(other)
    assert level.total.energy_mean_error == pytest.approx(level.binding.energy_mean_error, abs=1e-6)  # type: ignore[union-attr]
    assert level.binding.energy_mae == other.binding.energy_mae > 0.01  # type: ignore[union-attr]
