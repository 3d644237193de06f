"""Files of other codes: their keys, their units, and what they say of a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from delta_server.data.conventions import FileUnits, Keys
from delta_server.data.dataset import Dataset, load_dataset
from delta_server.data.imports import check_lengths, import_files
from delta_server.errors import InputError
from delta_server.units import BOHR, HARTREE, KCAL_MOL

KCAL = FileUnits("kcal/mol", "Ang")
HARTREE_KCAL = HARTREE / KCAL_MOL


def extxyz(
    path: Path, data: Dataset, comment: str, forces: str = "forces", unit: float = KCAL_MOL, columns: bool = True
) -> Path:
    """comment: with {} for the energy. unit: kcal/mol in the file's energies and forces."""
    lines = []
    for x, e, f in zip(data.positions, data.energies * unit, data.forces * unit, strict=True):
        kinds = f" Properties=species:S:1:pos:R:3:{forces}:R:3" if columns else ""
        lines += [str(data.n_atoms), comment.format(repr(float(e))) + kinds]
        for z, r, g in zip(data.numbers, x, f, strict=True):
            lines.append(" ".join(["CH"[int(z == 1)], *(repr(float(v)) for v in (*r, *g))]))
    path.write_text("\n".join(lines) + "\n")
    return path


def npz(path: Path, data: Dataset, **changes: Any) -> Path:
    arrays = {"z": data.numbers, "R": data.positions, "E": data.energies, "F": data.forces} | changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


@pytest.fixture
def few(methane_dimer_data: Dataset) -> Dataset:
    return methane_dimer_data.take(np.arange(3))


def same(found: Dataset, data: Dataset) -> bool:
    close = [np.allclose(a, b, rtol=1e-9) for a, b in (
        (found.energies, data.energies), (found.forces, data.forces), (found.positions, data.positions),
    )]  # fmt: skip
    return all(close)


@pytest.mark.parametrize(
    ("comment", "forces", "keys"),
    [
        ("energy={}", "forces", Keys()),
        ("energy={}", "force", Keys()),
        ("REF_energy={}", "REF_forces", Keys()),
        ("dft_energy={} free_energy=1.0", "dft_forces", Keys()),
        ("energy={} binding_energy=3", "forces", Keys()),
        ("e_tot={}", "pull", Keys("e_tot", "pull")),
        ("energy=0.0 REF_energy={}", "REF_forces", Keys("REF_energy")),
    ],
)
def test_names_of_energies_and_forces(few: Dataset, tmp_path: Path, comment: str, forces: str, keys: Keys) -> None:
    assert same(import_files([extxyz(tmp_path / "a.xyz", few, comment, forces)], keys=keys), few)


def test_several_energies_are_not_chosen_from(few: Dataset, tmp_path: Path) -> None:
    path = extxyz(tmp_path / "a.xyz", few, "a_energy={} b_energy=1", "forces")
    with pytest.raises(InputError, match=r"several kinds of energy.*--energy-key"):
        import_files([path])
    with pytest.raises(InputError, match=r"several kinds of energy.*REF_energy.*--energy-key"):  # energy: a model's
        import_files([extxyz(tmp_path / "a.xyz", few, "energy=0.0 REF_energy={}")])
    assert same(import_files([extxyz(tmp_path / "a.xyz", few, "energy={0} REF_energy={0}")]), few)
    with pytest.raises(InputError, match=r"no energy.*--energy-key"):
        import_files([extxyz(tmp_path / "a.xyz", few, "e_tot={}")])
    with pytest.raises(InputError, match=r"no forces.*--forces-key"):
        import_files([extxyz(tmp_path / "a.xyz", few, "energy={}", "pull")])
    with pytest.raises(InputError, match="gradients are no forces"):
        Keys(forces="gradients")


@pytest.mark.parametrize(("comment", "columns"), [("Energy={}", True), ("{}", False)])
def test_sgdmls_own_xyz_has_the_unit_of_its_data_set(
    few: Dataset, tmp_path: Path, comment: str, columns: bool
) -> None:
    path = extxyz(tmp_path / "a.xyz", few, comment, unit=1.0, columns=columns)
    with pytest.raises(InputError, match="carries no energy unit"):
        import_files([path])
    assert same(import_files([path], FileUnits("kcal/mol")), few)


@pytest.mark.parametrize(
    ("words", "unit"),
    [
        ('units="energy:kcal/mol,length:Angstrom"', 1.0),
        ('units="energy:Hartree,length:Ang"', 1 / HARTREE_KCAL),
        ("energy_unit=kJ/mol", 4.184),
        ("e_unit=hartrees r_unit=angstroms", 1 / HARTREE_KCAL),
    ],
)
def test_units_in_the_comment_line_count(few: Dataset, tmp_path: Path, words: str, unit: float) -> None:
    path = extxyz(tmp_path / "a.xyz", few, "energy={} " + words, unit=unit)
    assert same(import_files([path]), few)
    with pytest.raises(InputError, match="--energy-unit says meV"):
        import_files([path], FileUnits("meV"))


def test_a_unit_of_forces_alone_is_not_ignored(few: Dataset, tmp_path: Path) -> None:
    for said in ("eV/Ang", '"eV/Angstrom"'):
        assert same(import_files([extxyz(tmp_path / "a.xyz", few, f"energy={{}} forces_unit={said}")]), few)
    for said in ("Hartree/bohr", "eV/bohr", "eV", "newton"):
        with pytest.raises(InputError, match="says that forces are in"):
            import_files([extxyz(tmp_path / "a.xyz", few, f"energy={{}} force_unit={said}")])


def test_npz_of_rmd17(few: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, nuclear_charges=few.numbers, coords=few.positions, energies=few.energies, forces=few.forces,
             old_energies=few.energies + 1)  # fmt: skip
    assert same(import_files([path], KCAL), few)
    assert not same(import_files([path], KCAL, Keys("old_energies")), few)
    with pytest.raises(InputError, match="no array 'nothing'"):
        import_files([path], KCAL, Keys("nothing"))


@pytest.mark.parametrize(
    "changes",
    [
        lambda d: {"z": d.numbers.astype(float)},
        lambda d: {"z": np.tile(d.numbers, (3, 1))},
        lambda d: {"E": d.energies[None]},
        lambda d: {"E": d.energies[:, None]},
        lambda d: {"name": np.array(None), "theory": np.array(["PBE"], dtype=object)},
        lambda d: {"lattice": np.array(None)},
        lambda d: {"e_unit": "kcal mol-1", "r_unit": "Angstroms"},
    ],
)
def test_npz_of_other_habits(few: Dataset, tmp_path: Path, changes: Any) -> None:
    path = npz(tmp_path / "a.npz", few, **changes(few))
    assert same(import_files([path], KCAL), few)
    assert same(load_dataset(path), few)


def test_au_may_mean_anything(few: Dataset, tmp_path: Path) -> None:
    arrays = {"R": few.positions / BOHR, "E": few.energies / HARTREE_KCAL, "F": few.forces / HARTREE_KCAL * BOHR}
    path = npz(tmp_path / "a.npz", few, **arrays, r_unit="au", e_unit="au")
    for read in (load_dataset, lambda p: import_files([p])):
        with pytest.raises(InputError, match="'au', which may mean anything; say it"):
            read(path)
    assert same(import_files([path], FileUnits("Hartree", "bohr")), few)
    with pytest.raises(InputError, match="is the unit of length another"):
        check_lengths(import_files([path], FileUnits("Hartree", "Ang")))
    check_lengths(few)


@pytest.mark.parametrize("z", [[6.5, 1, 1, 1, 1] * 2, [[6, 1, 1, 1, 1] * 2, [1, 6, 1, 1, 1] * 2]])
def test_numbers_that_are_none(few: Dataset, tmp_path: Path, z: Any) -> None:
    with pytest.raises(InputError, match="array 'z'"):
        load_dataset(npz(tmp_path / "a.npz", few, z=np.array(z)))


@pytest.mark.parametrize(
    "cell", [np.diag([9.0, 9, 9]), np.diag([40.0, 40, 7]), np.array([[12.0, 0, 0], [10, 12, 0], [9, 9, 12]])]
)
def test_labels_of_periodic_systems(few: Dataset, tmp_path: Path, cell: Any) -> None:
    path = npz(tmp_path / "a.npz", few, lattice=cell.T)
    words = " ".join(map(str, cell.ravel()))
    xyz = extxyz(tmp_path / "a.xyz", few, f'energy={{}} Lattice="{words}" pbc="T T T"')
    with pytest.raises(InputError, match="labels of a periodic system"):
        load_dataset(path)
    with pytest.raises(InputError, match="labels of a periodic system"):
        import_files([xyz])
    for file in (path, xyz):
        assert same(import_files([file], FileUnits(length="Ang") if file == xyz else KCAL, isolated=True), few)


def test_a_box_with_vacuum_is_warned_of(few: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    xyz = extxyz(tmp_path / "a.xyz", few, 'energy={} Lattice="60 0 0 0 60 0 0 0 60" pbc="T T T"')
    assert same(import_files([xyz], warn=said.append), few)
    assert "has a periodic cell" in said[0]
    extxyz(xyz, few, 'energy={} Lattice="9 0 0 0 9 0 0 0 9" pbc="F F F"')
    assert same(import_files([xyz], warn=said.append), few)
    assert len(said) == 1
