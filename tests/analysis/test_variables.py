"""Collective variables of geometries whose values are known, and where they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from conftest import ROOT

from delta_server.analysis.free_energy.sampling import along, samples_of
from delta_server.analysis.trajectory import Block, runs_in
from delta_server.errors import InputError
from delta_server.manifest import load_manifest
from delta_server.molecule.rings import corannulenes
from delta_server.molecule.structures import read_structure
from delta_server.variables.definition import Variable, Variables, default_variables, load_variables

CATCHER = ROOT / "models/c60_buckycatcher/manifest.yaml"


def evaluate(
    variable: Variable, positions: np.ndarray, groups: dict[str, tuple[int, ...]] | None = None
) -> np.ndarray:
    made = Variables(groups=groups or {}, variables={"x": variable})
    return made.evaluate(np.asarray(positions, dtype=float)[None], np.arange(1.0, np.shape(positions)[0] + 1))["x"]


def test_values_that_are_known() -> None:
    line = [[0, 0, 0], [3, 0, 0], [3, 4, 0], [3, 4, 5]]
    assert evaluate(Variable(distance=("0", "2")), line) == pytest.approx([5])
    assert evaluate(Variable(distance=("0", "1:3")), line) == pytest.approx([np.hypot(3, 2)])
    weighted = Variable(distance=("0", "1:3"), centre="mass")  # masses 2 and 3
    assert evaluate(weighted, line) == pytest.approx([np.hypot(3, 4 * 3 / 5)])
    assert evaluate(Variable(angle=("0", "1", "2")), line) == pytest.approx([90])
    assert abs(evaluate(Variable(dihedral=("0", "1", "2", "3")), line)[0]) == pytest.approx(90)
    ring = [[np.cos(a), np.sin(a), 0] for a in np.arange(0, 6) * np.pi / 3]
    above = Variable(height=("6", "ring"))
    assert evaluate(above, [*ring, [0.7, 0.2, -3.4]], {"ring": tuple(range(6))}) == pytest.approx([3.4])


def test_the_sign_of_a_dihedral_is_ase_s() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        positions = rng.standard_normal((4, 3))
        ours = evaluate(Variable(dihedral=("0", "1", "2", "3")), positions)[0]
        assert ours % 360 == pytest.approx(Atoms("C4", positions).get_dihedral(0, 1, 2, 3), abs=1e-6)


def test_nearest_images_are_those_that_a_bias_sees(tmp_path: Path) -> None:
    """Of a run in a cell that shears: across its faces, and of wrapped molecules as if they were whole."""
    known = Variables.model_validate({"variables": {"d": {"distance": ["0:3", "3"]}, "h": {"height": ["3", "0:3"]}}})
    rng = np.random.default_rng(2)
    cells = np.array([[[8.0, 0, 0], [k, 8, 0], [0, 1, 8]] for k in range(3)])
    x = rng.random((3, 4, 3)) + np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 7]])
    masses = np.arange(1.0, 5.0)
    found = known.evaluate(x, masses, cells)
    for name in ("d", "h"):
        assert found[name] == pytest.approx(known.measure(name, masses).gradient(x, cells).values, abs=1e-12)
        assert (found[name] < 3).all()
    assert (known.evaluate(x, masses)["d"] > 5).all()
    frames = [Atoms("OH2Ar", p, cell=c, pbc=True) for p, c in zip(x, cells, strict=True)]
    write(tmp_path / "run.extxyz", frames)
    (run,) = runs_in(tmp_path / "run.extxyz", timestep=1.0)
    sampled = samples_of(run, known, 300.0, periodic=True)
    assert sampled.values["d"] == pytest.approx(known.evaluate(x, run.masses, cells)["d"], abs=1e-6)


def test_values_do_not_see_where_and_how_it_lies() -> None:
    variables = default_variables(load_manifest(CATCHER))
    atoms = read_structure(CATCHER.parent / "geometry.xyz")
    before = variables.evaluate(atoms.positions[None], atoms.get_masses())
    atoms.rotate(40, (1, 2, 3))
    atoms.translate((5, 6, 7))
    after = variables.evaluate(atoms.positions[None], atoms.get_masses())
    for name in ("R_p", "R_CM"):
        assert after[name] == pytest.approx(before[name])


def test_the_bowls_of_the_buckycatcher() -> None:
    atoms = read_structure(CATCHER.parent / "geometry.xyz")
    one, two = corannulenes(atoms.numbers, atoms.positions, np.arange(60, 148))
    assert len(one) == len(two) == 20
    assert not set(one) & set(two)
    assert (atoms.numbers[np.concatenate([one, two])] == 6).all()
    assert len(corannulenes(atoms.numbers, atoms.positions, np.arange(60))) == 12  # every five-ring of C60 is one
    default = default_variables(load_manifest(CATCHER))
    assert list(default.variables) == ["R_p", "R_CM"]
    assert set(default.groups["bowl_1"]) == set(one.tolist())
    values = default.evaluate(atoms.positions[None], atoms.get_masses())
    assert 8 < values["R_p"][0] < 16
    assert 2 < values["R_CM"][0] < 10


def test_the_first_shipped_variables_are_the_default_ones() -> None:
    shipped = load_variables(ROOT / "inputs/c60_buckycatcher/variables.yaml")
    default = default_variables(load_manifest(CATCHER))
    assert {name: shipped.groups[name] for name in default.groups} == default.groups
    assert list(shipped.variables.items())[:2] == list(default.variables.items())
    assert set(shipped.variables) - set(default.variables) == {"axis"}


def test_water_on_benzene_has_a_distance_only(h2o_benzene: Path) -> None:
    assert list(default_variables(load_manifest(h2o_benzene)).variables) == ["R_CM"]
    full = load_manifest(CATCHER.parent / "full.yaml")
    with pytest.raises(InputError, match="give --variables"):
        default_variables(full)


def test_yaml_with_the_manifest_s_fragments(tmp_path: Path, h2o_benzene: Path) -> None:
    path = tmp_path / "v.yaml"
    path.write_text("groups: {o: '0'}\nvariables:\n  h: {height: [o, benzene]}\n  d: {distance: [[0, 2], 3:15]}\n")
    found = load_variables(path, load_manifest(h2o_benzene))
    assert found.groups["benzene"] == tuple(range(3, 15))
    assert found.variables["d"].groups == ((0, 2), tuple(range(3, 15)))  # 3:15 is not 195
    path.write_text(found.text())
    assert load_variables(path) == found
    with pytest.raises(InputError, match="atom 14, but the trajectory has 10"):
        along(found, [Block(np.arange(1), np.zeros(1), np.zeros((1, 10, 3)))], np.ones(10))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("variables: {}", "at least 1"),
        ("variables: {x: {distance: [a, b]}}", "no group 'a'"),
        ("variables: {x: {distance: ['0', '1'], angle: ['0', '1', '2']}}", "found distance, angle"),
        ("variables: {x: {centre: mass}}", "found none"),
        ("variables: {x: {height: ['0', '1:3']}}", "'x': a plane needs three atoms, found 2"),
        ("variables: {x: {distance: ['0', '0']}}", "two of its groups are the same atoms"),
        ("variables: {x: {dihedral: ['0', '1', '2', '0']}}", "two of its groups are the same atoms"),
        ("variables: {x: {coordination: ['0', '0'], r_0: 3}}", "its groups are the same atom"),
        ("variables: {x: {coordination: ['0', '1'], r_0: 1.0e+300}}", "less than or equal to 1000"),
        ("variables: {x: {distance: ['0', '1'], color: red}}", "color"),
        ("variables: {x: {distance: ['0']}}", "distance"),
        ("variables: {x: {distance: ['0', '3:3']}}", "is empty"),
        ("- 1", "expected `groups` and `variables`"),
        ("{", "not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        load_variables(path)
