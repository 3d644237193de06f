"""Errors of models on labelled configurations, and on which of them: the README's, and those put there by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from conftest import held_out as fifty_of
from made import made_manifest, made_model

from delta_server import Potential, load_potential
from delta_server.data.dataset import Dataset, fingerprint
from delta_server.errors import GeometryError, InputError, NonFiniteError
from delta_server.gdml import load_model
from delta_server.training.evaluation.evaluate import Evaluation, as_potential, evaluate, improvements, same_theory
from delta_server.training.evaluation.heldout import HeldOut, ModelSource, held_out
from delta_server.units import KCAL_MOL

WATER = ROOT / "models/h2o_benzene"


def shipped(system: str) -> tuple[Potential, Dataset]:
    folder = ROOT / "models" / system
    return load_potential(folder / "manifest.yaml"), fifty_of(system)


def errors(system: str) -> dict[str, tuple[float, float]]:
    potential, data = shipped(system)
    found = evaluate(potential, data, np.arange(len(data)))
    return {part.name: (part.energy_mae, part.force_mae) for part in found.parts}


@pytest.fixture
def exact(h2o_benzene: Path) -> tuple[Potential, Dataset]:
    """Twenty configurations whose labels are what the potential predicts."""
    potential, data = shipped("h2o_benzene")
    data = data.take(np.arange(20))
    result = potential.compute(data.positions)
    energies, forces = result.parts.energies, result.forces / KCAL_MOL
    assert result.parts.binding_forces is not None
    labels = replace(
        data,
        energies=result.energy / KCAL_MOL,
        forces=forces,
        fragment_energies=np.stack([energies["water"], energies["benzene"]], axis=1) / KCAL_MOL,
        fragment_forces=forces - result.parts.binding_forces / KCAL_MOL,
    )
    return potential, labels


def every(data: Dataset) -> np.ndarray:
    return np.arange(len(data))


def test_the_errors_are_no_larger_than_the_readmes() -> None:
    """Energy kcal/mol, force kcal/mol/Å; the README's are of all held-out configurations, these are fifty of them."""
    water = errors("h2o_benzene")
    assert list(water) == ["total", "water", "benzene", "binding"]
    for part, (energy, force) in {"total": (0.04, 0.1), "water": (0.001, 0.02), "benzene": (0.01, 0.07)}.items():
        assert water[part][0] < energy
        assert water[part][1] < force
    sodium = errors("na_benzene")
    assert list(sodium) == ["total", "sodium", "benzene", "binding"]
    assert sodium["sodium"] == pytest.approx((0, 0), abs=1e-6)
    for part, (energy, force) in {"total": (0.12, 0.25), "benzene": (0.004, 0.04)}.items():
        assert sodium[part][0] < energy
        assert sodium[part][1] < force


def test_errors_put_into_the_labels_are_found_in_their_part(exact: tuple[Potential, Dataset]) -> None:
    potential, data = exact
    sign = np.where(np.arange(len(data)) % 4 == 0, -3.0, 1.0)  # the mean is 0, the mean size 1.5, its square 3
    assert data.fragment_energies is not None
    assert data.fragment_forces is not None
    forces, isolated = data.forces.copy(), data.fragment_forces.copy()
    forces[:, 3:] += 0.2  # benzene in the complex and alone: nothing of the binding
    isolated[:, 3:] += 0.2
    energies = data.fragment_energies.copy()
    energies[:, 0] += sign  # water alone: all of the binding, nothing of the total
    made = replace(data, forces=forces, fragment_forces=isolated, fragment_energies=energies)
    found = {part.name: part for part in evaluate(potential, made, every(made)).parts}
    assert list(found) == ["total", "water", "benzene", "binding"]
    for name, mae, rmse in (("total", 0, 0), ("water", 1.5, 3**0.5), ("benzene", 0, 0), ("binding", 1.5, 3**0.5)):
        assert found[name].energy_mae == pytest.approx(mae, abs=1e-8)
        assert found[name].energy_rmse == pytest.approx(rmse, abs=1e-8)
        assert found[name].energy_mean_error == pytest.approx(0, abs=1e-8)
    for name, mae, rmse in (
        ("total", 0.16, 0.2 * 0.8**0.5), ("water", 0, 0), ("benzene", 0.2, 0.2), ("binding", 0, 0)
    ):  # fmt: skip
        assert found[name].force_mae == pytest.approx(mae, abs=1e-8)
        assert found[name].force_rmse == pytest.approx(rmse, abs=1e-8)
    benzene = found["benzene"]
    assert benzene.force_relative == pytest.approx(0.2 / np.sqrt((isolated[:, 3:] ** 2).mean()))
    assert benzene.forces.shape == (20, 12, 3)


def test_the_worst_configurations_are_called_by_their_place_in_the_data_set(exact: tuple[Potential, Dataset]) -> None:
    potential, data = exact
    forces, energies = data.forces.copy(), data.energies.copy()
    forces[[4, 17, 9]] += np.array([1.0, 3.0, 2.0])[:, None, None]
    energies[17] += 5
    made = replace(data, forces=forces, energies=energies)
    worst = evaluate(potential, made, np.arange(2, 20)).worst()
    assert [w.configuration for w in worst] == [17, 9, 4]
    assert [w.force_rmse for w in worst] == pytest.approx([3, 2, 1])
    assert worst[0].energy_error == pytest.approx(-5)


def test_fragments_are_matched_by_their_atoms_not_their_number(exact: tuple[Potential, Dataset]) -> None:
    potential, data = exact
    assert data.fragment is not None
    assert data.fragment_energies is not None
    turned = replace(data, fragment=1 - data.fragment, fragment_energies=data.fragment_energies[:, ::-1])
    for part in evaluate(potential, turned, every(turned)).parts:
        assert part.energy_mae < 1e-7
        assert part.force_mae < 1e-7


def test_without_labels_of_the_fragments_there_are_totals(exact: tuple[Potential, Dataset]) -> None:
    potential, data = exact
    bare = evaluate(potential, replace(data, fragment_forces=None), every(data))
    assert [part.name for part in bare.parts] == ["total"]
    assert bare.binding is None
    assert "no labels of isolated fragments" in bare.note
    assert data.fragment is not None
    other = evaluate(potential, replace(data, fragment=np.arange(15) // 8), every(data))
    assert [part.name for part in other.parts] == ["total"]
    assert "0:8; 8:15" in other.note


def test_chunks_change_nothing_and_are_reported() -> None:
    potential, data = shipped("h2o_benzene")
    which = np.arange(150) % 50
    told: list[int] = []
    found = evaluate(potential, data, which, told.append)
    assert told == [64, 128, 150]
    assert found.total.n == 150
    once = evaluate(potential, data, which[:50])
    assert np.array_equal(found.total.energy[100:], once.total.energy)
    assert found.total.force_rmse == pytest.approx(once.total.force_rmse, rel=1e-12)


def test_a_single_model_and_how_much_better_the_sum_is() -> None:
    """The binding model alone, taken for the whole: its errors of the total are large, its predictions the same."""
    potential, data = shipped("h2o_benzene")
    whole = evaluate(potential, data, every(data))
    alone = evaluate(as_potential(load_model(WATER / "binding.npz"), data, "alone"), data, every(data))
    assert alone.name == "alone"
    assert [part.name for part in alone.parts] == ["total"]
    assert whole.binding is not None
    assert alone.total.energy == pytest.approx(whole.binding.energy, abs=1e-9)
    assert alone.total.forces == pytest.approx(whole.binding.forces, abs=1e-9)
    (gain,) = improvements(whole, alone)
    assert gain.part == "total"
    assert gain.energy == pytest.approx(1 - whole.total.energy_mae / alone.total.energy_mae)
    assert gain.force == pytest.approx(1 - whole.total.force_mae / alone.total.force_mae)
    assert [g.energy for g in improvements(whole, whole)] == [0, 0, 0, 0]
    with pytest.raises(InputError, match="15 atoms, W has 3"):
        as_potential(load_model(WATER / "water.npz"), data, "W")


def test_energies_of_a_model_of_forces_alone_count_from_the_labels_zero() -> None:
    _, data = shipped("h2o_benzene")
    model = load_model(WATER / "full.npz")
    with_zero = evaluate(as_potential(model, data), data, every(data))
    without = replace(model, offset=0.0, provenance={"use_E": np.array(False)})
    found = evaluate(as_potential(without, data), data, every(data))
    assert found.note == "trained on forces alone; energies are from the zero of the labels"
    assert found.total.energy_mean_error == pytest.approx(0.0, abs=1e-9)
    assert np.ptp(found.total.energy - with_zero.total.energy) < 1e-6
    assert found.total.force_mae == with_zero.total.force_mae


def test_atoms_in_another_order_are_refused() -> None:
    potential, data = shipped("h2o_benzene")

    def ordered(order: np.ndarray) -> Dataset:
        return replace(data, numbers=data.numbers[order], positions=data.positions[:, order])

    with pytest.raises(InputError, match="atom 0 is C, in h2o_benzene it is O: the same atoms in another order"):
        evaluate(potential, ordered(np.r_[3:15, 0:3]), every(data))
    sulphur = replace(data, numbers=np.where(data.numbers == 8, 16, data.numbers))
    with pytest.raises(InputError, match="atom 0 is S, in h2o_benzene it is O: not the same complex"):
        evaluate(potential, sulphur, every(data))
    with pytest.raises(GeometryError, match=r"configuration 5: bond .* another order of atoms"):
        evaluate(potential, ordered(np.r_[0:3, 3, 5, 7, 4, 6, 8, 9:15]), np.array([5, 6]))
    with pytest.raises(InputError, match="no configurations"):
        evaluate(potential, data, np.array([], dtype=np.intp))


def test_a_configuration_that_gives_no_number_is_named() -> None:
    potential, data = shipped("h2o_benzene")
    positions = data.positions.copy()
    positions[31, 1] = positions[31, 0]
    with pytest.raises(NonFiniteError, match=r"configuration 31: .*water"):
        evaluate(potential, replace(data, positions=positions), every(data))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("GFN2-xTB (tblite 0.8.0)", "gfn2-xTB", True),
        ("GFN2-xTB", "GFN2-xTB (tblite 0.8.0)", True),
        ("", "PBE0", True),
        ("unknown", "PBE0", True),
        ("PBE", "PBE0", False),
        ("PBE (def2-SVP)", "PBE (def2-TZVP)", False),
    ],
)
def test_theories(a: str, b: str, same: bool) -> None:
    assert same_theory(a, b) is same


def record(folder: Path, data: Dataset, name: str = "training.json", **changes: Any) -> ModelSource:
    """A training's record, as it lies beside the manifest."""
    about = {"name": "x.npz", "sha256": "0" * 64, "fingerprint": fingerprint(data)}
    said = {"dataset": about, "train": [3, 1], "validation": [7]} | changes
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(said))
    return ModelSource(folder.name, folder / "manifest.yaml")


def outside(held: HeldOut, n: int) -> list[int]:
    return np.setdiff1d(np.arange(n), held.which).tolist()


def test_what_the_records_name_is_left_out(tmp_path: Path, methane_dimer_data: Dataset) -> None:
    data = methane_dimer_data
    delta, full = record(tmp_path / "delta", data), record(tmp_path / "full", data, train=[3, 39])
    assert outside(held_out(data, [delta]), len(data)) == [1, 3, 7]
    both = held_out(data, [delta, full])
    assert outside(both, len(data)) == [1, 3, 7, 39]
    assert both.left_out == 4
    assert len(both.notes) == 1
    assert both.notes[0].startswith("delta, full: trained or validated on 3")


def test_without_a_record_the_test_split_counts(tmp_path: Path, methane_dimer_data: Dataset) -> None:
    data = methane_dimer_data
    nothing = ModelSource("nothing", tmp_path / "manifest.yaml")
    plain = held_out(data, [nothing])
    assert plain.left_out == 0
    assert len(plain.which) == len(data)
    assert "no training.json beside it" in plain.notes[0]
    split = replace(data, split=np.arange(len(data)) % 3)
    assert held_out(split, [nothing]).which.tolist() == list(range(2, 40, 3))
    other = record(tmp_path / "other", data.take(np.arange(5)))
    assert held_out(split, [other]).which.tolist() == list(range(2, 40, 3))
    assert "does not tell of this data set" in held_out(data, [other]).notes[0]
    mine = record(tmp_path / "mine", data)
    assert held_out(split, [mine]).left_out == 3
    shipped_one = ModelSource("shipped", WATER / "manifest.yaml")  # its record is of another kind
    assert held_out(data, [shipped_one]).left_out == 0


def test_a_model_file_tells_what_it_was_trained_on(tmp_path: Path, methane_dimer_data: Dataset) -> None:
    """As sGDML writes it."""
    data, md5 = methane_dimer_data, fingerprint(methane_dimer_data).encode()
    numbers, positions = data.numbers, data.positions[0]
    path = made_model(tmp_path / "full.npz", numbers, positions, [range(10)], n_train=3, seed=0)
    with np.load(path) as arrays:
        kept = dict(arrays)
    known = {"idxs_train": [4, 0, 2], "md5_train": md5, "idxs_valid": [9], "md5_valid": md5}
    np.savez(path, **kept, **known)  # type: ignore[arg-type]
    source = ModelSource("full", path, load_model(path).provenance)
    assert outside(held_out(data, [source]), len(data)) == [0, 2, 4, 9]
    np.savez(path, **kept, **known | {"md5_valid": b"another"})  # type: ignore[arg-type]
    source = ModelSource("full", path, load_model(path).provenance)
    assert outside(held_out(data, [source]), len(data)) == [0, 2, 4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": [0, 40]}, "train: holds '40', expected a list of configurations, 0 to 39"),
        ({"train": [-1]}, "train: holds '-1'"),
        ({"validation": [1.5]}, "validation: holds '1.5'"),
        ({"validation": None}, "validation: holds 'None'"),
        ({"train": list(range(40))}, "all 40 configurations were used"),
    ],
)
def test_records_that_cannot_be_true(
    tmp_path: Path, methane_dimer_data: Dataset, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        held_out(methane_dimer_data, [record(tmp_path / "a", methane_dimer_data, **changes)])


@pytest.mark.parametrize("text", ["{", "\xff", "[" * 100_000])
def test_records_that_are_no_json(tmp_path: Path, methane_dimer_data: Dataset, text: str) -> None:
    (tmp_path / "training.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"training\.json: is no JSON"):
        held_out(methane_dimer_data, [ModelSource("a", tmp_path / "manifest.yaml")])


def test_fragments_without_a_binding(tmp_path: Path) -> None:
    """A manifest may hold fragments alone; the binding is then all of the total's error."""
    potential, data = shipped("h2o_benzene")
    fragments = [
        {"name": "water", "atoms": "0:3", "model": str(WATER / "water.npz")},
        {"name": "benzene", "atoms": "3:15", "model": str(WATER / "benzene.npz")},
    ]
    bare = load_potential(made_manifest(tmp_path, potential.numbers, potential.reference, fragments))
    found: Evaluation = evaluate(bare, data, every(data))
    assert [part.name for part in found.parts] == ["total", "water", "benzene"]
    assert 0.01 < found.parts[2].force_mae < 0.08
    assert found.total.energy_mae > 0.3
