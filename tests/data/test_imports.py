"""Data sets from other people's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from delta_server.data.dataset import Dataset, load_dataset, save_dataset
from delta_server.data.imports import FileUnits, concatenate, import_files, with_isolated
from delta_server.errors import InputError
from delta_server.units import BOHR, KCAL_MOL


def frames(data: Dataset, **drop: Any) -> list[Atoms]:
    """As ase has them, in eV and Å, one atom held fixed, which takes nothing from its force."""
    made = []
    for i in range(len(data)):
        atoms = Atoms(data.numbers, data.positions[i], constraint=FixAtoms([0]))
        results = {"energy": data.energies[i] * KCAL_MOL, "forces": data.forces[i] * KCAL_MOL}
        atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in results.items() if k not in drop})
        made.append(atoms)
    return made


def bare(path: Path, data: Dataset, **changes: Any) -> Path:
    """An npz of MD22's kind: no type, no units, energies in a column."""
    arrays = {"z": data.numbers, "R": data.positions, "E": data.energies[:, None], "F": data.forces} | changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def test_extxyz(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", frames(methane_dimer_data))
    data = import_files([tmp_path / "a.extxyz"])
    assert data.positions == pytest.approx(methane_dimer_data.positions, abs=1e-7)
    assert data.energies == pytest.approx(methane_dimer_data.energies, abs=1e-4)
    assert data.forces == pytest.approx(methane_dimer_data.forces, abs=1e-5)
    assert data.index is not None
    assert data.index.tolist() == list(range(40))


def test_units_of_a_file_that_says_none(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    path = bare(tmp_path / "a.npz", methane_dimer_data)
    data = import_files([path], FileUnits("kcal/mol", "Ang"))
    assert np.array_equal(data.energies, methane_dimer_data.energies)
    data = import_files([path], FileUnits("eV", "bohr"))
    assert data.energies == pytest.approx(methane_dimer_data.energies / KCAL_MOL)
    assert data.positions == pytest.approx(methane_dimer_data.positions * BOHR)
    assert data.forces == pytest.approx(methane_dimer_data.forces / KCAL_MOL / BOHR)
    with pytest.raises(InputError, match="carries no energy unit; say it, --energy-unit kcal/mol"):
        import_files([path])
    with pytest.raises(InputError, match="carries no length unit"):
        import_files([path], FileUnits("kcal/mol"))
    with pytest.raises(InputError, match="unknown energy unit 'cal'"):
        FileUnits("cal")


def test_units_that_contradict(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    path = bare(tmp_path / "a.npz", methane_dimer_data, e_unit="eV", r_unit="Ang")
    assert import_files([path]).energies == pytest.approx(methane_dimer_data.energies / KCAL_MOL)
    assert import_files([path], FileUnits("eV")).energies == pytest.approx(methane_dimer_data.energies / KCAL_MOL)
    with pytest.raises(InputError, match="energy unit is eV, --energy-unit says kcal/mol"):
        import_files([path], FileUnits("kcal/mol"))


def test_several_files_are_several_runs(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    two = replace(methane_dimer_data, run=np.repeat([4, 7], 20))
    save_dataset(tmp_path / "a.npz", two)
    save_dataset(tmp_path / "b.npz", methane_dimer_data.take(np.arange(5)))
    data = import_files([tmp_path / "a.npz", tmp_path / "b.npz"])
    assert len(data) == 45
    assert data.run is not None
    assert data.run.tolist() == [0] * 20 + [1] * 20 + [2] * 5
    assert data.labelled_fragments
    assert np.array_equal(data.isolated()[2][40:], methane_dimer_data.isolated()[2][:5])


def test_extxyz_and_npz_of_one_method_go_together(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", frames(methane_dimer_data))
    path = bare(tmp_path / "b.npz", methane_dimer_data, e_unit="kcal/mol", r_unit="Ang", theory="unknown")
    data = import_files([tmp_path / "a.extxyz", path])
    assert data.energies[:40] == pytest.approx(data.energies[40:], abs=1e-4)


def test_files_that_do_not_go_together(methane_dimer_data: Dataset, na_benzene_data: Dataset, tmp_path: Path) -> None:
    save_dataset(tmp_path / "a.npz", methane_dimer_data)
    charged = replace(methane_dimer_data, charges=np.array([1, -1]))
    unlabelled = replace(methane_dimer_data, fragment_energies=None, fragment_forces=None)
    others = {
        "differ from": na_benzene_data,
        "charges differ": charged,
        "two methods": replace(methane_dimer_data, theory="PBE"),
        "labels of isolated fragments": unlabelled,
        "fragments differ": replace(methane_dimer_data, fragment=methane_dimer_data.fragment[::-1].copy()),  # type: ignore[index]
    }
    for words, other in others.items():
        save_dataset(tmp_path / "b.npz", other)
        with pytest.raises(InputError, match=words):
            import_files([tmp_path / "a.npz", tmp_path / "b.npz"])


@pytest.mark.parametrize("key", ["energy", "forces"])
def test_extxyz_without_labels(methane_dimer_data: Dataset, tmp_path: Path, key: str) -> None:
    made = frames(methane_dimer_data.take(np.arange(3)))
    made[2] = frames(methane_dimer_data.take(np.arange(1)), **{key: None})[0]
    write(tmp_path / "a.extxyz", made)
    with pytest.raises(InputError, match=f"frame 2: no {key}"):
        import_files([tmp_path / "a.extxyz"])


def test_frames_that_differ_or_are_not_finite(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    good = frames(methane_dimer_data.take(np.arange(3)))
    for words, spoil in {
        "frame 1: atom 0 is H, expected C": lambda a: a[[1, 0, *range(2, 10)]],
        "frame 1: 9 atoms": lambda a: a[:9],
    }.items():
        spoilt = spoil(good[1])
        spoilt.calc = SinglePointCalculator(spoilt, energy=0.0, forces=np.zeros((len(spoilt), 3)))
        write(tmp_path / "a.extxyz", [good[0], spoilt])
        with pytest.raises(InputError, match=words):
            import_files([tmp_path / "a.extxyz"])
    good[2].calc.results["forces"][4, 1] = np.nan
    write(tmp_path / "a.extxyz", good)
    with pytest.raises(InputError, match="frame 2: forces not finite"):
        import_files([tmp_path / "a.extxyz"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"F": None}, "no array 'F'"),
        ({"F": np.zeros((40, 10, 2))}, "shape"),
        ({"R": np.zeros((40, 9, 3))}, "shape"),
        ({"E": np.zeros(39)}, "shape"),
        ({"E": np.full(40, np.nan)}, "not finite"),
        ({"type": "m"}, "a trained model"),
    ],
)
def test_npz_that_is_no_data_set(
    methane_dimer_data: Dataset, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        import_files([bare(tmp_path / "a.npz", methane_dimer_data, **changes)], FileUnits("kcal/mol", "Ang"))


def test_what_is_imported_is_read_again(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    save_dataset(
        tmp_path / "a.npz", import_files([bare(tmp_path / "b.npz", methane_dimer_data)], FileUnits("kJ/mol", "nm"))
    )
    data = load_dataset(tmp_path / "a.npz")
    assert data.energies == pytest.approx(methane_dimer_data.energies / 4.184)
    assert data.positions == pytest.approx(methane_dimer_data.positions * 10)


def test_a_frame_says_which_run_it_is_of(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    some = frames(methane_dimer_data.take(np.arange(4)))
    for atoms, run in zip(some, (0, 0, 7, 9), strict=True):
        atoms.info["run"] = run
    write(tmp_path / "a.extxyz", some)
    assert import_files([tmp_path / "a.extxyz"]).run.tolist() == [0, 0, 1, 2]  # type: ignore[union-attr]


def test_what_fewer_bodies_leave_is_of_all_or_of_none(methane_dimer_data: Dataset) -> None:
    data = methane_dimer_data
    triple = replace(data, lower_energies=data.energies, lower_forces=data.forces)
    for parts in ([data, triple], [triple, data]):
        with pytest.raises(InputError, match="has what fewer bodies leave"):
            concatenate(parts, ["a", "b"])


@pytest.mark.parametrize("names", [("../evil", "b"), ("binding", "b"), ("mol", "mol"), ("", "b")])
def test_names_of_fragments_that_are_no_files(
    methane_dimer_data: Dataset, tmp_path: Path, names: tuple[str, str]
) -> None:
    save_dataset(tmp_path / "a.npz", replace(methane_dimer_data, fragment_names=names))
    with pytest.raises(InputError, match=r"fragment_names' has .*expected a letter, then letters, digits"):
        load_dataset(tmp_path / "a.npz")


def test_a_file_that_ends_too_early_says_so(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    write(path, frames(methane_dimer_data.take(np.arange(3))))
    path.write_text("\n".join(path.read_text().splitlines()[:-11]) + "\n")
    with pytest.raises(InputError, match="the file ends within frame 2"):
        import_files([path])


def test_a_theory_that_nobody_said_is_none(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    """sGDML's files call it unknown: labels of it go together, written or not."""
    bare_of_theory = replace(methane_dimer_data, theory="")
    save_dataset(tmp_path / "a.npz", bare_of_theory)
    written = load_dataset(tmp_path / "a.npz")
    assert written.theory == ""
    assert len(concatenate([written, bare_of_theory], ["a", "b"])) == 80


def test_labels_of_isolated_fragments(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    """Frame by frame and atom by atom; shifted, as some codes leave a molecule, but not reordered or short."""
    data = methane_dimer_data.take(np.arange(4))
    bare = replace(data, fragment_energies=None, fragment_forces=None, charges=None)
    fragment, energies, forces = data.isolated()
    paths = [tmp_path / "a.extxyz", tmp_path / "b.extxyz"]
    alone = []
    for k, path in enumerate(paths):
        at = np.flatnonzero(fragment == k)
        labels = energies[:, k], forces[:, at]
        alone.append(Dataset(data.numbers[at], data.positions[:, at] + k, *labels, theory=data.theory))
        write(path, frames(alone[k]))
    whole = with_isolated(bare, [import_files([path]) for path in paths], paths)
    assert whole.isolated()[1] == pytest.approx(energies, abs=1e-4)
    assert whole.isolated()[2] == pytest.approx(forces, abs=1e-5)
    first, second = alone
    for wrong, words in (
        (
            replace(first, numbers=first.numbers[::-1], positions=first.positions[:, ::-1]),
            "atom 0 is H, in fragment 0",
        ),
        (first.take(np.arange(3)), "3 configurations, the complex has 4"),
        (first.take(np.array([0, 1, 3, 2])), "frame 2: atoms are up to"),
        (data, "10 atoms .*the order of the fragments"),
        (replace(first, theory="PBE"), "theory 'PBE'"),
    ):
        with pytest.raises(InputError, match=words):
            with_isolated(bare, [wrong, second], paths)
    ions = [replace(part, charge=q, multiplicity=m) for part, q, m in zip(alone, (None, 1), (3, None), strict=True)]
    stated = with_isolated(bare, ions, paths)
    assert stated.charges.tolist() == [0, 1]  # type: ignore[union-attr]
    assert stated.multiplicities.tolist() == [3, 1]  # type: ignore[union-attr]
    assert stated.multiplicity == 3
    with pytest.raises(InputError, match="charge 1 by the files of fragments, 0 by the complex's"):
        with_isolated(replace(bare, charge=0), ions, paths)
    with pytest.raises(InputError, match="1 files of fragment labels for 2 fragments"):
        with_isolated(bare, [first], paths[:1])
