"""Assemblies: sums over pairs and triples of molecules, against sums by hand and finite differences."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from conftest import ROOT
from made import made_manifest, made_model
from made_assembly import CELL, exchanges, made_assembly, made_waters

from delta_server import DeltaCalculator, Potential, load_potential
from delta_server.checks import check_term
from delta_server.errors import DeltaError, GeometryError, InputError, ManifestError
from delta_server.terms import many_body
from delta_server.terms.base import Frames
from delta_server.terms.many_body import Switch

PAIR, TRIPLE, SWITCH = 6.0, 11.0, 1.0
TURNS = np.array(list(product((-1, 0, 1), repeat=3)))


def single(folder: Path, count: int, model: Path) -> DeltaCalculator:
    """The ASE calculator of one n-mer, from its model alone."""
    folder.mkdir()
    waters = made_waters(count, None)
    atoms = f"0:{3 * count}"
    return DeltaCalculator(
        made_manifest(
            folder, waters.numbers, waters.positions, [{"name": "all", "atoms": atoms, "model": str(model)}]
        )
    )


def by_hand(folder: Path, atoms: Atoms, cell: np.ndarray | None) -> tuple[float, np.ndarray]:
    """Energy and forces: every image of every molecule looked at, every n-mer given to its own calculator."""
    shifts = np.zeros((1, 3)) if cell is None else TURNS @ cell
    masses = atoms.get_masses()[:3] / atoms.get_masses()[:3].sum()
    models = [ROOT / "models/h2o_benzene/water.npz", folder / "ww.npz", folder / "www.npz"]
    energy, forces = 0.0, np.zeros((len(atoms) // 3, 3, 3))
    waters = atoms.positions.reshape(-1, 3, 3)
    for count, model in enumerate(models, 1):
        calculator = single(folder / f"{count}", count, model)
        for members in combinations(range(len(waters)), count):
            images = np.array([[np.zeros(3), *image] for image in product(shifts, repeat=count - 1)])
            centres = np.einsum("a,kad->kd", masses, waters[list(members)]) + images
            ends = list(combinations(range(count), 2))
            lengths = sum(
                (np.linalg.norm(centres[:, i] - centres[:, j], axis=1) for i, j in ends), np.zeros(len(images))
            )
            cutoff = {1: 1.0, 2: PAIR, 3: TRIPLE}[count]
            for which in np.flatnonzero(lengths < cutoff):
                x = waters[list(members)] + images[which][:, None]
                edges = [(i, j, centres[which, i] - centres[which, j]) for i, j in ends]
                t = max(0.0, (lengths[which] - cutoff + SWITCH) / SWITCH) if count > 1 else 0.0
                value, slope = 1 - 10 * t**3 + 15 * t**4 - 6 * t**5, (-30 * t**2 + 60 * t**3 - 30 * t**4) / SWITCH
                nmer = Atoms("OH2" * count, x.reshape(-1, 3), calculator=calculator)
                here = nmer.get_potential_energy()
                energy += value * here
                forces[list(members)] += value * nmer.get_forces().reshape(-1, 3, 3)
                for i, j, r in edges:
                    pull = here * slope * r / np.linalg.norm(r)
                    forces[members[i]] -= masses[:, None] * pull
                    forces[members[j]] += masses[:, None] * pull
    return energy, forces.reshape(-1, 3)


@pytest.mark.parametrize("cell", [CELL, None], ids=["triclinic cell", "cluster"])
def test_the_sum_by_hand(tmp_path: Path, cell: np.ndarray | None) -> None:
    atoms = made_waters(9, cell)
    potential = load_potential(made_assembly(tmp_path, atoms, PAIR, TRIPLE, SWITCH))
    result = potential.compute(potential.reference, cells=cell)
    energy, forces = by_hand(tmp_path, Atoms(atoms.numbers, potential.reference), cell)
    assert list(result.parts.energies) == ["1_water", "binding", "2_water_water", "3_water_water_water"]
    assert min(abs(float(e)) for e in result.parts.energies.values()) > 0.05
    assert result.energy == pytest.approx(energy, rel=1e-9)
    assert np.abs(result.forces - forces).max() < 1e-9 * np.abs(forces).max()


@pytest.fixture
def box(tmp_path: Path) -> Potential:
    """27 waters in a triclinic cell, with pairs and triples."""
    return load_potential(made_assembly(tmp_path / "box", made_waters(27), PAIR, TRIPLE, SWITCH))


def test_forces_and_virial_are_derivatives(box: Potential) -> None:
    rng = np.random.default_rng(3)
    x = box.reference + CELL[0] + 0.3 * CELL[1]  # across the boundary
    result = box.compute(x, "binding", cells=CELL)
    h = 3e-4
    steps = np.array([-2, -1, 1, 2]) * h
    weights = np.array([1, -8, 8, -1]) / (12 * h)
    for _ in range(3):
        direction = rng.standard_normal(x.shape)
        slope = weights @ box.compute(x + steps[:, None, None] * direction, "binding", cells=CELL).energy
        assert slope == pytest.approx(-np.vdot(direction, result.forces), rel=1e-6, abs=1e-6)
        strain = 0.05 * rng.standard_normal((3, 3))
        strains = np.eye(3) + steps[:, None, None] * strain
        slope = weights @ box.compute(x @ strains, "binding", cells=CELL @ strains).energy
        assert slope == pytest.approx(-np.vdot(strain.T, result.virial), rel=1e-6, abs=1e-6)


def test_the_contract_to_the_last_bit(box: Potential, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.stack(
        [box.reference, box.reference + 0.05 * np.random.default_rng(1).standard_normal(box.reference.shape)]
    )
    frames = Frames(x, np.stack([CELL, 1.02 * CELL]))
    for term in box.terms:
        checks = list(check_term(term, frames, exact=True))
        assert all(check.passed for check in checks), checks
    whole = box.compute(x, cells=frames.cells)
    monkeypatch.setattr(many_body, "_TOGETHER", 50)  # n-mers in parts, which ends of frames cut once more
    apart = box.compute(x, cells=frames.cells)
    assert apart.energy == pytest.approx(whole.energy, rel=1e-13)
    assert apart.energy[1] == box.compute(x[1], cells=frames.cells[1]).energy


def test_two_waters_through_the_switch_and_the_boundary(tmp_path: Path) -> None:
    """Energy and force stay smooth on the way from contact to nothing, and the image is as good as the molecule."""
    cell = np.diag([14.0, 12.5, 13.0])
    pair = load_potential(made_assembly(tmp_path, made_waters(2, cell), PAIR, 0.0, SWITCH))
    water = pair.reference[:3] - pair.reference[0]
    h = 1e-3
    middle = np.linspace(2.5, 6.3, 60)
    distances = (middle[:, None] + h * np.array([-2, -1, 0, 1, 2])).reshape(-1)
    x = np.stack([np.concatenate([water, water[[0, 2, 1]] + [14.0 + d, 0.5, 0.3]]) for d in distances])
    result = pair.compute(x, "binding", cells=cell)
    energies = result.energy.reshape(60, 5)
    slopes = energies @ np.array([1, -8, 0, 8, -1]) / (12 * h)
    forces = result.forces[2::5, 3:, 0].sum(1)
    assert np.abs(slopes + forces).max() < 1e-6 * np.abs(forces).max()
    assert energies[0, 2]
    assert not energies[-1].any()
    assert (np.abs(np.diff(forces)) < 0.2 * np.ptp(forces)).all()
    shifted = x.copy()
    shifted[:, 3:] -= 2 * cell[0] - cell[2]
    assert pair.compute(shifted, "binding", cells=cell).energy == pytest.approx(result.energy, abs=1e-12)


def test_exchange_of_molecules_changes_nothing(box: Potential) -> None:
    order = np.random.default_rng(0).permutation(27)
    atoms = (3 * order[:, None] + [0, 2, 1]).reshape(-1)
    first, second = box.compute(box.reference, cells=CELL), box.compute(box.reference[atoms], cells=CELL)
    assert second.energy == pytest.approx(first.energy, rel=1e-12)
    assert np.abs(second.forces - first.forces[atoms]).max() < 1e-9


def test_ase_with_stress_and_wrapped_molecules(box: Potential) -> None:
    from ase.calculators.fd import calculate_numerical_stress

    atoms = Atoms(box.numbers, box.reference, cell=CELL, pbc=True, calculator=DeltaCalculator(box))
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    atoms.wrap()
    cut = np.linalg.norm(atoms.positions[1::3] - atoms.positions[::3], axis=1) > 2
    assert cut.any()
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)
    assert np.abs(atoms.get_forces() - forces).max() < 1e-6
    atoms.calc = DeltaCalculator(box, part="binding")  # without the large energies of the molecules
    difference = calculate_numerical_stress(atoms, eps=1e-5) - atoms.get_stress()
    assert np.abs(difference).max() < 1e-6 * np.abs(stress).max()
    atoms.pbc = False
    with pytest.raises(GeometryError, match="periodic along each"):
        atoms.get_potential_energy()


def test_several_species_and_ions(tmp_path: Path) -> None:
    """Sodium among waters; in the models' own orders of species, whatever that of the structure."""
    atoms = made_waters(5, None)
    atoms += Atoms("Na2", [[1.5, 1.5, 1.6], [4.7, 4.6, 1.4]])
    z, x = atoms.numbers, atoms.positions
    swap = np.array([[0, 1, 2, 3], [0, 1, 3, 2]])
    made_model(tmp_path / "sw.npz", z[[15, 0, 1, 2]], x[[15, 0, 1, 2]], swap, 6, seed=1, size=3.0)
    triple = np.array([0, 1, 2, 15, 3, 4, 5])
    rows = [[*a, 3, *b] for a in ([0, 1, 2], [0, 2, 1]) for b in ([4, 5, 6], [4, 6, 5])]
    rows += [[*row[4:], 3, *row[:3]] for row in rows]
    made_model(tmp_path / "wsw.npz", z[triple], x[triple], rows, 6, seed=2, size=3.0)
    water = {"model": str(ROOT / "models/h2o_benzene/water.npz"), "count": 5}
    sodium = {"energy": -4.0, "energy_unit": "eV", "count": 2}
    pair = {"cutoff": 7.0, "switch": 1.0}
    bindings = [
        {"between": ["water", "water"], "model": "ww.npz", **pair},
        {"between": ["sodium", "water"], "model": "sw.npz", **pair},
        {"between": ["water", "sodium", "water"], "model": "wsw.npz", "cutoff": 60.0, "switch": 1.0},
    ]
    path = made_assembly(tmp_path, atoms, species={"water": water, "sodium": sodium}, binding=bindings)
    made_model(tmp_path / "ww.npz", z[:6], x[:6], exchanges(2), 6, seed=3)
    potential = load_potential(path)
    parts = potential.compute(x).parts.energies
    assert list(parts) == [
        "1_water",
        "1_sodium",
        "binding",
        "2_water_water",
        "2_sodium_water",
        "3_water_sodium_water",
    ]
    assert parts["1_sodium"] == pytest.approx(-8.0)
    calculator = DeltaCalculator(
        made_manifest(tmp_path, z[triple], x[triple], [{"name": "all", "atoms": "0:7", "model": "wsw.npz"}])
    )
    total = 0.0
    for first, second in combinations(range(5), 2):
        for ion in (15, 16):
            those = [3 * first, 3 * first + 1, 3 * first + 2, ion, 3 * second, 3 * second + 1, 3 * second + 2]
            total += calculator.potential.compute(x[those]).energy
    assert parts["3_water_sodium_water"] == pytest.approx(total, rel=1e-12)
    for term in potential.terms:
        assert all(check.passed for check in check_term(term, Frames(potential.reference[None])))


def test_the_switch_has_its_own_slope() -> None:
    switch, r = Switch(6.0, 1.5), np.linspace(4.0, 6.5, 5001)
    value, slope = switch(r)
    assert value[0] == 1
    assert value[-1] == 0
    assert np.abs(np.gradient(value, r)[1:-1] - slope[1:-1]).max() < 1e-5


@pytest.mark.parametrize(
    ("pair", "triple", "needed"), [(6.5, 0.0, "13.000 Å"), (6.0, 12.6, "12.600 Å")], ids=["pairs", "triples"]
)
def test_a_cell_too_small_for_the_cutoff(tmp_path: Path, pair: float, triple: float, needed: str) -> None:
    with pytest.raises(InputError, match=needed):
        load_potential(made_assembly(tmp_path, made_waters(8), pair, triple))


def test_a_cell_that_shrinks(box: Potential) -> None:
    box.compute(box.reference, cells=CELL)
    with pytest.raises(GeometryError, match=r"2_water_water: the cell is too small: 11\.\d+ Å .* needs 12\.000 Å"):
        box.compute(0.95 * box.reference, cells=0.95 * CELL)
    with pytest.raises(GeometryError, match="three independent vectors"):
        box.compute(box.reference, cells=np.diag([20.0, 20.0, 0.0]))


def test_a_torn_molecule(box: Potential) -> None:
    x = box.reference.copy()
    x[1] += [3.5, 3.5, 3.5]
    with pytest.raises(GeometryError, match=r"O0–H1 .* broken long before"):
        box.whole(Frames(x[None], CELL[None]))
    with pytest.raises(GeometryError, match="expected a cell"):
        box.whole(Frames(box.reference[None]))


WATER: dict[str, Any] = {"model": str(ROOT / "models/h2o_benzene/water.npz")}
PAIRS: dict[str, Any] = {"between": ["water", "water"], "model": "ww.npz", "cutoff": 6.0, "switch": 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"periodic": None}, "expected `periodic`"),
        ({"fragments": [{"name": "a", "atoms": "0:24", "model": "a.npz"}]}, "either `fragments` or `species`"),
        ({"species": {}}, "either `fragments` or `species`"),
        ({"species": {"water": WATER}}, "either `count`"),
        ({"species": {"water": WATER | {"count": 8, "atoms": "0:24"}}}, "either `count`"),
        ({"species": {"water": {"count": 8}}}, "either `model` or `energy`"),
        ({"species": {"water": {"count": 8, "energy": 1.0}}}, "go together"),
        ({"species": {"water": WATER | {"count": 0}}}, "greater than or equal to 1"),
        ({"species": {"9": WATER | {"count": 8}}}, "species"),
        ({"species": {"water": WATER | {"count": 7}}}, "has 24 atoms, the species 21 (7 water of 3)"),
        ({"species": {"water": WATER | {"atoms": "0:23"}}}, "23 atoms are no multiple of its 3"),
        ({"species": {"water": WATER | {"atoms": "1,0,2:24"}}}, "do not match box.extxyz"),
        ({"binding": [PAIRS | {"cutoff": None}]}, "expected a `cutoff`"),
        ({"binding": [PAIRS | {"switch": 7.0}]}, "longer than its cutoff"),
        ({"binding": [PAIRS | {"cutoff": -1}]}, "greater than 0"),
        ({"binding": [PAIRS | {"between": ["water"] * 4}]}, "two or three species"),
        ({"binding": [PAIRS | {"between": ["water", "ice"]}]}, "no species 'ice'; there are water"),
        ({"binding": [PAIRS, PAIRS]}, "two terms are between these species"),
        ({"binding": [PAIRS | {"between": ["water"] * 3}]}, "without the two of ['water', 'water']"),
        ({"binding": [PAIRS | {"model": "../water.npz"}]}, "no such"),
        ({"binding": {"model": "ww.npz"}}, "two or three species"),
        ({"terms": [{"kind": "spring", "name": "tie", "over": ["water"]}]}, "is over all"),
    ],
)
def test_bad_manifests(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DeltaError) as caught:
        load_potential(made_assembly(tmp_path, made_waters(8), **changes))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_structures_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no cell of three vectors"):
        load_potential(made_assembly(tmp_path, made_waters(8, None), periodic=True))
    atoms = made_waters(8)
    atoms.positions[4] += [3.0, 3.0, 0.0]
    with pytest.raises(ManifestError, match=r"its molecule 2 in box\.extxyz, are not all bonded"):
        load_potential(made_assembly(tmp_path, atoms))
    one = made_assembly(tmp_path, made_waters(1))
    with pytest.raises(ManifestError, match="only 1 of species 'water'"):
        load_potential(one)
    two, waters = made_assembly(tmp_path, made_waters(2)), made_waters(2, None)
    made_model(tmp_path / "ww.npz", waters.numbers, waters.positions, exchanges(2)[:4], 6, seed=2)
    with pytest.raises(ManifestError, match="does not have the exchange of equal molecules"):
        load_potential(two)
    complex_ = yaml.safe_load((ROOT / "models/h2o_benzene/manifest.yaml").read_text())
    complex_["binding"]["cutoff"] = 7.0
    one.write_text(yaml.safe_dump(complex_))
    with pytest.raises(ManifestError, match="expected a `cutoff` and, its last part, a `switch`"):
        load_potential(one)


def test_atoms_by_ranges_and_wrapped_structures(tmp_path: Path) -> None:
    atoms = made_waters(8)
    whole = load_potential(made_assembly(tmp_path, atoms))
    atoms.wrap()
    species = {"first": WATER | {"atoms": "12:24"}, "second": WATER | {"atoms": "0:12"}}
    pairs = [PAIRS | {"between": between} for between in (["first"] * 2, ["second"] * 2, ["second", "first"])]
    ranges = load_potential(made_assembly(tmp_path, atoms, species=species, binding=pairs))
    assert ranges.fragments[0].atoms.tolist() == [12, 13, 14]
    cell = atoms.cell.array
    result = ranges.compute(ranges.reference, cells=cell)
    assert result.energy == pytest.approx(whole.compute(whole.reference, cells=cell).energy, abs=1e-6)
    assert "2_second_first" in result.parts.energies


def test_a_data_set_of_triples_is_evaluated_with_all_its_parts(tmp_path: Path) -> None:
    """With an assembly's own pairs; as a model of triples alone, without what the pairs bind."""
    from delta_server.data.dataset import Dataset
    from delta_server.training.evaluation.evaluate import evaluate
    from delta_server.units import KCAL_MOL

    potential = load_potential(made_assembly(tmp_path, made_waters(3, None), PAIR, 12.0))
    result = potential.compute(potential.reference[None])
    zero = np.zeros((1, 9, 3))
    lower = np.array([5.0])
    data = Dataset(
        potential.numbers, potential.reference[None], result.energy / KCAL_MOL, result.forces / KCAL_MOL,
        np.repeat(np.arange(3), 3), np.zeros((1, 3)), zero, lower, zero,
    )  # fmt: skip
    parts = {part.name: part.energy_mae for part in evaluate(potential, data).parts}
    assert parts["total"] == pytest.approx(0.0, abs=1e-9)
    assert data.binding_energies() == pytest.approx(data.energies - 5.0)
