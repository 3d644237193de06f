"""Putting a potential together: structure, models and manifest must tell the same story."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from made import made_manifest, made_model
from warm import run

from delta_server import load_potential
from delta_server.checks import check_manifest
from delta_server.errors import DeltaError, InputError, ManifestError, ModelFileError, NonFiniteError
from delta_server.units import HARTREE, KCAL_MOL

NUMBERS = [8, 1, 1, 7, 1]
POSITIONS = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 3.0]])
WATER: dict[str, Any] = {"name": "water", "atoms": "0:3", "model": "water.npz"}
AMINE: dict[str, Any] = {"name": "amine", "atoms": "3:5", "model": "amine.npz"}
BOTH: dict[str, Any] = {"model": "both.npz"}

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes models of OH₂ and NH and of both, and a manifest over them with entries changed."""
    for name, atoms in (("water", slice(0, 3)), ("amine", slice(3, 5)), ("both", slice(0, 5))):
        numbers = NUMBERS[atoms]
        made_model(tmp_path / f"{name}.npz", numbers, POSITIONS[atoms], [range(len(numbers))], n_train=4, seed=1)

    def to(
        water: Any = None, amine: Any = None, both: Any = None, numbers: Any = NUMBERS, x: Any = POSITIONS
    ) -> Path:
        entries = [{**WATER, **(water or {})}, {**AMINE, **(amine or {})}]
        return made_manifest(tmp_path, numbers, x, entries, {**BOTH, **(both or {})})

    return to


def test_models_of_a_part_that_is_not_served_are_not_read(make: Make) -> None:
    path = make()
    x = POSITIONS + 0.01
    whole = load_potential(path)
    expected = {part: whole.compute(x, part).energy for part in ("fragments", "binding")}
    for part, names in (("fragments", ["both"]), ("binding", ["water", "amine"])):
        hidden = [path.with_name(f"{name}.npz") for name in names]
        for file in hidden:
            file.rename(file.with_suffix(".away"))
        assert load_potential(path, part=part).compute(x, part).energy == expected[part]
        with pytest.raises(ModelFileError):
            load_potential(path)
        for file in hidden:
            file.with_suffix(".away").rename(file)


def rewrite(path: Path, **changes: Any) -> None:
    """Arrays of a model file replaced, or left out where None."""
    with np.load(path) as data:
        arrays = {key: data[key] for key in data.files} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


def refused(path: Path, kind: type[DeltaError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        load_potential(path)
    message = str(caught.value)
    assert message.isprintable()
    for word in words:
        assert word in message


def test_it_loads(make: Make) -> None:
    potential = load_potential(make())
    assert potential.n_atoms == 5
    assert np.isfinite(potential.compute(potential.reference).energy)


def test_the_structure_and_files_are_found_from_anywhere(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make()
    monkeypatch.chdir(path.parent)
    assert load_potential(Path("manifest.yaml")).n_atoms == 5
    monkeypatch.chdir("/")
    assert load_potential(path).n_atoms == 5


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1, 8, 1, 7, 1], ["water", "atoms 0:3", "atom 0 of the term", "O in the model", "H there"]),
        ([8, 1, 1, 1, 7], ["amine", "atoms 3:5", "(3 of the structure)", "N in the model", "H there"]),
        ([8, 1, 9, 7, 1], ["water", "atom 2", "F there"]),
        ([8, 1, 0, 7, 1], ["water", "atom 2", "X there"]),
    ],
)
def test_elements_in_another_order(make: Make, numbers: list[int], words: list[str]) -> None:
    path = make(numbers=numbers)
    refused(path, ManifestError, str(path), *words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"water": {"model": "amine.npz"}}, ["water", "N in the model"]),
        ({"amine": {"model": "both.npz"}}, ["amine", "amine.npz".replace("amine", "both"), "O in the model"]),
        ({"water": {"atoms": [1, 0, 2]}}, ["water", "atoms 1,0,2", "(1 of the structure)"]),
        ({"both": {"model": "water.npz"}}, ["binding", "3 atoms against 5"]),
        ({"both": {"between": ["amine", "water"]}}, ["binding_amine_water", "O in the model, N there"]),
        ({"water": {"atoms": "0:2"}, "amine": {"atoms": "2:5"}}, ["water", "3 atoms against 2"]),
    ],
)
def test_models_of_other_molecules(make: Make, changes: dict[str, Any], words: list[str]) -> None:
    refused(make(**changes), ManifestError, *words)


def test_another_number_of_atoms(make: Make) -> None:
    refused(make(numbers=NUMBERS[:4], x=POSITIONS[:4]), ManifestError, "5 atoms", "geometry.xyz has 4")
    refused(make(numbers=[*NUMBERS, 2], x=[*POSITIONS, [9, 9, 9]]), ManifestError, "5 atoms", "geometry.xyz has 6")


def test_units_of_the_manifest_for_a_file_without(make: Make) -> None:
    path = make()
    expected = load_potential(path).compute(POSITIONS).parts.energies["water"]
    rewrite(path.parent / "water.npz", r_unit=None, e_unit=None)
    refused(make(), ModelFileError, "water.npz", "length unit", "units: {length: Ang")
    refused(make(water={"units": {"length": "Ang"}}), ModelFileError, "energy unit")
    for unit, factor in (("kcal/mol", 1.0), ("Hartree", HARTREE / KCAL_MOL)):
        potential = load_potential(make(water={"units": {"length": "Ang", "energy": unit}}))
        assert potential.compute(POSITIONS).parts.energies["water"] == pytest.approx(factor * expected, rel=1e-12)


def test_units_that_contradict(make: Make) -> None:
    assert load_potential(make(both={"units": {"length": "Angstrom", "energy": "kcal/mol"}})).n_atoms == 5
    refused(make(both={"units": {"energy": "eV"}}), ModelFileError, "both.npz", "'kcal/mol'", "'eV'")
    refused(make(amine={"units": {"length": "bohr"}}), ModelFileError, "amine.npz", "'Ang'", "'bohr'")


def test_digests(make: Make, tmp_path: Path) -> None:
    digests = {name: sha256((tmp_path / f"{name}.npz").read_bytes()).hexdigest() for name in ("water", "both")}
    assert load_potential(make(water={"sha256": digests["water"]}, both={"sha256": digests["both"].upper()}))
    refused(make(water={"sha256": digests["both"]}), ModelFileError, "water.npz", digests["water"], digests["both"])
    refused(make(both={"sha256": digests["water"]}), ModelFileError, "both.npz", digests["water"])


@pytest.mark.parametrize("name", ["water", "amine", "both"])
def test_a_missing_model(make: Make, name: str) -> None:
    path = make()
    (path.parent / f"{name}.npz").unlink()
    refused(path, ModelFileError, f"{name}.npz: no such model file")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "no such structure"),
        (lambda p: (p.unlink(), p.mkdir()), "no regular file"),
        (lambda p: (p.unlink(), os.mkfifo(p)), "no regular file"),
        (lambda p: p.write_bytes(b""), "cannot read"),
        (lambda p: p.write_bytes(b"\x00\xff\x01" * 99), "cannot read"),
        (lambda p: p.write_text(p.read_text()[:-30]), "cannot read"),
        (lambda p: p.write_text("5\n\nO 0 0 0\nH 0 0\n"), "cannot read"),
        (lambda p: p.write_text(p.read_text().replace("O ", "Qq ")), "cannot read"),
        (lambda p: p.write_text("0\n\n"), ""),
        (lambda p: write(p, Atoms(NUMBERS, np.where(POSITIONS > 2, np.nan, POSITIONS))), "not finite"),
        (lambda p: write(p, Atoms(NUMBERS, 0 * POSITIONS)), "0.000 Å apart"),
        (lambda p: write(p, Atoms(NUMBERS, POSITIONS[[0, 0, 2, 3, 4]])), "atoms O0 and H1 are 0.000 Å apart"),
    ],
    ids=[
        "missing",
        "directory",
        "pipe",
        "empty",
        "binary",
        "cut",
        "short",
        "element",
        "none",
        "nan",
        "collapsed",
        "twice",
    ],
)
def test_structures_that_are_none(make: Make, spoil: Callable[[Path], object], words: str) -> None:
    path = make()
    spoil(path.parent / "geometry.xyz")
    refused(path, InputError, str(path.parent / "geometry.xyz"), words)


@pytest.mark.parametrize("name", ["at@1.xyz", "-", "geometry.xyz@0"])
def test_names_of_structures_mean_nothing_to_ase(make: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """``-`` is not the standard input, ``@`` chooses no frame."""
    path = make()
    monkeypatch.chdir(path.parent)
    path.write_text(path.read_text().replace("geometry.xyz", f"'{name}'"))
    refused(Path("manifest.yaml"), InputError, f"{name}: no such structure")
    Path("geometry.xyz").rename(name)
    typed = io.StringIO("5\n\n")
    monkeypatch.setattr("sys.stdin", typed)
    if name == "geometry.xyz@0":  # no format that ase knows
        refused(Path("manifest.yaml"), InputError, f"{name}: ase cannot read")
    else:
        assert load_potential("manifest.yaml").n_atoms == 5
    assert typed.tell() == 0


@pytest.mark.parametrize("frames", [1, 3])
def test_weights_beyond_all_measure_are_told_without_a_warning(make: Make, frames: int) -> None:
    path = make()
    rewrite(path.parent / "both.npz", R_d_desc_alpha=np.full((4, 10), 1e308), std=1e9)
    with pytest.raises(NonFiniteError, match="frame 0: binding"):
        load_potential(path).compute(np.stack([POSITIONS] * frames))


@pytest.mark.parametrize(
    ("spoil", "failed"),
    [
        (lambda p: p.write_text("format: x\n"), "manifest"),
        (lambda p: (p.parent / "water.npz").write_bytes(b"PK"), "model water"),
        (lambda p: rewrite(p.parent / "both.npz", type="d"), "model binding"),
        (lambda p: (p.parent / "geometry.xyz").unlink(), "elements and units"),
        (lambda p: rewrite(p.parent / "both.npz", R_d_desc_alpha=np.full((4, 10), 1e308), std=1e9), "energies"),
    ],
    ids=["manifest", "file", "type", "structure", "weights"],
)
def test_checks_say_what_fails_instead_of_raising(make: Make, spoil: Callable[[Path], object], failed: str) -> None:
    path = make()
    spoil(path)
    checks = list(check_manifest(path))
    assert failed in [check.name for check in checks if not check.passed]
    assert all(check.found.isprintable() for check in checks)


def test_permutations_that_are_no_group_fail_and_the_rest_is_looked_at(make: Make, tmp_path: Path) -> None:
    """Nothing can be said of such a model's errors, which are a part of a term's contract."""
    path = make()
    made_model(tmp_path / "both.npz", NUMBERS, POSITIONS, [range(5), [0, 2, 4, 3, 1]], n_train=4, seed=1)
    rewrite(tmp_path / "both.npz", error_calibration=np.ones(3))
    checks = {check.name: check for check in check_manifest(path, walk=False)}
    assert not checks["group binding"].passed
    assert not checks["term binding"].passed
    assert "no group" in checks["term binding"].found
    assert "own dynamics" in checks


def test_models_that_do_not_fit_into_memory(tmp_path: Path) -> None:
    """One line, of the API and of the command."""
    numbers, x = np.full(60, 18), 4.0 * np.array(list(np.ndindex(4, 4, 4)), dtype=float)[:60]
    turned = [np.roll(np.arange(60), k) for k in range(60)]
    made_model(tmp_path / "argon.npz", numbers, x, turned, n_train=3000, seed=1)
    entry = {"name": "argon", "atoms": "0:60", "model": "argon.npz"}
    manifest = made_manifest(tmp_path, numbers, x, [entry])
    program = (
        "import resource, sys; from delta_server.cli import driver; import numpy, ase.io, delta_server.loading;"
        "limit = int(open('/proc/self/statm').read().split()[0]) * 4096 + 150 * 2**20;"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); driver.main()"
    )
    done = run(
        [sys.executable, "-c", program, str(manifest), "--socket", "unix:nobody", "--retry", "0"], env={**os.environ}
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "memory" in done.stderr
