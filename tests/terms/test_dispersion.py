"""Dispersion between molecules: DFT-D4's own program, derivatives, images of a cell, and bad input."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.io import write
from ase.units import Bohr, Hartree
from made import made_dimer
from made_assembly import made_assembly, made_waters

from delta_server import load_potential
from delta_server.checks import check_term
from delta_server.errors import GeometryError, ManifestError
from delta_server.terms.base import Frames
from delta_server.terms.dispersion import DispersionOptions, DispersionTerm
from delta_server.terms.dispersion_sums import compiled_sums, dispersion_sums

BENZENE: dict[str, Any] = {
    "kinds": {"benzene": [0] * 6 + [1] * 6},
    "c6": [[32.281085, 7.4978339], [7.4978339, 1.745498]],
    "c6_neutral": [[29.539657, 9.4928576], [9.4928576, 3.0574862]],
    "r4r2": [3.1049282, 2.007349],
    "damping": {"s8": 2.7, "s9": 5.0, "a1": 0.52, "a2": 5.0},
}
"""D4's coefficients of benzene alone, and GFN2-xTB's damping."""


def crystal(seed: int = 0) -> Atoms:
    """Three benzenes in a triclinic cell, shaken, one of them many cells away."""
    rng = np.random.default_rng(seed)
    cell = np.array([[7.5, 0.3, -0.2], [1.1, 8.1, 0.4], [-0.5, 0.9, 9.0]])
    one = molecule("C6H6")
    x = np.concatenate([one.positions + place @ cell for place in ([0, 0, 0], [0.4, 0.1, 0.5], [2.1, -3.4, 7.0])])
    return Atoms(np.tile(one.numbers, 3), x + 0.05 * rng.standard_normal(x.shape), cell=cell, pbc=True)


def term_of(atoms: Atoms, periodic: bool = True, **options: Any) -> DispersionTerm:
    known = DispersionOptions.model_validate(BENZENE | options)
    molecules = np.arange(len(atoms)).reshape(-1, 12)
    return DispersionTerm.of("dispersion", known, {"benzene": molecules}, periodic)


def energy_of(term: DispersionTerm, atoms: Atoms) -> float:
    return float(term.evaluate(Frames(atoms.positions[None], atoms.cell.array[None])).energies[0, 0])


@pytest.mark.parametrize("shift", [(0, 0, 3.6), (5.2, 0, 1.0), (1.0, 7.0, 4.0)])
def test_two_molecules_as_dftd4_has_them(shift: tuple[float, float, float]) -> None:
    """Its pairs of atoms in different molecules, and its triples less those of each alone."""
    interface = pytest.importorskip("dftd4.interface")
    one, two = molecule("C6H6"), molecule("C6H6")
    two.translate(shift)
    both = one + two
    term = term_of(both, periodic=False, cutoff=60.0, cutoff_of_triples=15.0)
    damping = interface.DampingParam(s6=1.0, s8=2.7, s9=5.0, a1=0.52, a2=5.0)

    def dispersion(atoms: Atoms) -> float:
        model = interface.DispersionModel(atoms.numbers, atoms.positions / Bohr)
        return float(model.get_dispersion(damping, grad=False)["energy"]) * Hartree

    expected = dispersion(both) - dispersion(one) - dispersion(two)
    assert energy_of(term, both) == pytest.approx(expected, rel=0.02)  # charges of the two move its coefficients


def test_compiled_is_numpy() -> None:
    if not compiled_sums():
        pytest.skip("no C compiler at installation")
    atoms = crystal()
    term = term_of(atoms)
    arrays = (term.molecule, term.kind, term.coefficients)
    for cell in (None, atoms.cell.array):
        one = dispersion_sums(atoms.positions, cell, *arrays, (9.0, 6.0))
        two = dispersion_sums(atoms.positions, cell, *arrays, (9.0, 6.0), compiled=False)
        for a, b in zip(one, two, strict=True):
            assert a == pytest.approx(b, rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("compiled", [True, False])
def test_forces_and_virial_are_derivatives(compiled: bool) -> None:
    atoms = crystal()
    term, cell, h = term_of(atoms), atoms.cell.array, 1e-4

    def energy(x: np.ndarray, cell: np.ndarray) -> float:
        return dispersion_sums(x, cell, term.molecule, term.kind, term.coefficients, (8.0, 5.5), compiled)[0]

    _, forces, virial = dispersion_sums(
        atoms.positions, cell, term.molecule, term.kind, term.coefficients, (8.0, 5.5), compiled
    )
    assert forces.sum(0) == pytest.approx(0, abs=1e-13)
    scale = abs(forces).max()
    for i, k in ((0, 0), (7, 1), (15, 2), (30, 0)):
        step = np.zeros_like(atoms.positions)
        step[i, k] = h
        numeric = (energy(atoms.positions - step, cell) - energy(atoms.positions + step, cell)) / (2 * h)
        assert forces[i, k] == pytest.approx(numeric, abs=1e-6 * scale)
    for k, m in ((0, 0), (1, 1), (2, 0), (1, 2)):
        strain = np.zeros((3, 3))
        strain[k, m] = h
        x, y = (np.eye(3) + sign * strain for sign in (1, -1))
        numeric = (energy(atoms.positions @ y, cell @ y) - energy(atoms.positions @ x, cell @ x)) / (2 * h)
        assert virial[k, m] == pytest.approx(numeric, abs=1e-6 * abs(virial).max())


def test_cells_and_images() -> None:
    """A supercell has as many times the energy; which image of a molecule is given does not matter; a molecule alone
    has none, but meets its images."""
    atoms = crystal()
    energy, tight = energy_of(term_of(atoms), atoms), {"rel": 1e-11}
    for repeat in ((2, 1, 1), (1, 2, 2)):
        larger = atoms * repeat
        assert energy_of(term_of(larger), larger) == pytest.approx(energy * np.prod(repeat), **tight)
    moved = atoms.copy()
    moved.positions[12:24] += np.array([3, -1, 2]) @ atoms.cell.array
    assert energy_of(term_of(moved), moved) == pytest.approx(energy, **tight)
    alone = atoms[:12]
    assert energy_of(term_of(alone, periodic=False), alone) == 0
    assert energy_of(term_of(alone), alone) < -1e-3


@pytest.mark.parametrize(("damping", "cutoffs"), [({"s9": 0.0}, (12.0, 30.0)), ({"s6": 0.0, "s8": 0.0}, (8.0, 13.0))])
def test_what_lies_beyond_the_cutoffs(damping: dict[str, float], cutoffs: tuple[float, float]) -> None:
    """With its tail a short cut-off comes close to a long one, also in a denser cell, and keeps its virial."""
    atoms = crystal()
    atoms.positions[24:] -= np.array([2, -4, 7]) @ atoms.cell.array
    x = np.diag([0.99, 0.98, 0.99])
    denser = Atoms(atoms.numbers, atoms.positions @ x, cell=atoms.cell.array @ x, pbc=True)
    short, long = (
        term_of(atoms, damping=BENZENE["damping"] | damping, cutoff=cutoff, cutoff_of_triples=min(cutoff, 13.0))
        for cutoff in cutoffs
    )
    tailed = short.with_tail(atoms.positions, atoms.cell.array)
    for there in (atoms, denser):
        missed = energy_of(short, there) - energy_of(long, there)
        assert abs(energy_of(tailed, there) - energy_of(long, there)) < 0.2 * abs(missed)
    checks = list(check_term(tailed, Frames(denser.positions[None], denser.cell.array[None])))
    assert all(check.passed for check in checks), checks


def test_a_manifest_with_dispersion(tmp_path: Path) -> None:
    """Of a complex its energy is told apart, and a part of the binding."""
    one, two = molecule("C6H6"), molecule("C6H6")
    two.translate((0, 0, 3.6))
    write(tmp_path / "geometry.xyz", one + two)
    kinds = {name: [0] * 6 + [1] * 6 for name in ("one", "two")}
    term = {"kind": "dispersion", "name": "d4", "options": BENZENE | {"kinds": kinds}}
    fragments = [
        {"name": name, "atoms": f"{12 * k}:{12 * k + 12}", "calculator": "emt"} for k, name in enumerate(kinds)
    ]
    content = {"format": "delta-sgdml/1", "name": "pair", "structure": "geometry.xyz", "fragments": fragments}
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(content | {"terms": [term]}))
    potential = load_potential(path)
    result = potential.compute(potential.reference)
    expected = energy_of(term_of(one + two, periodic=False), one + two)
    assert result.parts.energies["d4"] == pytest.approx(expected, rel=1e-6)  # the file has fewer digits
    assert result.parts.energies["d4"] == pytest.approx(result.parts.energies["binding"])


def test_an_assembly_with_dispersion(tmp_path: Path) -> None:
    """All molecules of a species, in the cell, with what lies beyond the cut-offs."""
    water = {"kinds": {"water": [0, 1, 1]}, "c6": [[25.0, 4.5], [4.5, 0.8]], "c6_neutral": [[25.0, 6.6], [6.6, 3.1]]}
    options = BENZENE | water | {"cutoff": 9.0, "cutoff_of_triples": 5.0}
    term = {"kind": "dispersion", "name": "d4", "options": options}
    box = made_waters(27)
    potential = load_potential(made_assembly(tmp_path / "box", box, 6.0, terms=[term]))
    result = potential.compute(box.positions, cells=box.cell.array)
    assert isinstance(made := potential.terms[-1], DispersionTerm)
    assert (made.periodic, made.sites.shape) == (True, (1, 81))
    assert made.tail is not None
    assert made.tail.pairs < 0 < made.tail.triples
    assert result.parts.energies["d4"] == pytest.approx(energy_of(made, box))
    cluster = load_potential(made_assembly(tmp_path / "cluster", made_waters(8, None), 6.0, terms=[term])).terms[-1]
    assert isinstance(cluster, DispersionTerm)
    assert (cluster.periodic, cluster.tail) == (False, None)


def test_a_second_one(tmp_path: Path) -> None:
    path = made_dimer(tmp_path)
    options = deepcopy(BENZENE | {"kinds": BOTH})  # YAML would have an alias for what is the same
    again = {"kind": "dispersion", "name": "again", "options": BENZENE | {"kinds": BOTH}}
    terms = [{"kind": "dispersion", "name": "d4", "options": options}, again]
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"terms": terms}))
    with pytest.raises(ManifestError, match="several terms of dispersion; expected one"):
        load_potential(path)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ([[9, 0, 0], [0, 9, 0], [4.5, 0, 0]], "three independent vectors"),
        ([[9, 0, 0], [0, 9, 0], [0, 0, 0.9]], "opposite faces of the cell are 0.9 Å apart, expected 2 or more"),
    ],
)
def test_cells_that_are_none(cell: list[list[float]], words: str) -> None:
    """Such as one in nm: there would be images without end."""
    atoms = crystal()
    atoms.set_cell(cell)
    with pytest.raises(GeometryError, match=words):
        energy_of(term_of(atoms), atoms)


BOTH = {"first": [0, 1, 1], "second": [0, 1, 1]}


@pytest.mark.parametrize(
    ("options", "keys", "words"),
    [
        ({"kinds": BOTH | {"third": [0, 0, 0]}}, {}, "kinds of 'third': there are only first, second"),
        ({"kinds": BOTH | {"first": [0, 0]}}, {}, "kinds of 'first': 2 for 3 atoms"),
        ({"kinds": BOTH | {"first": []}}, {}, "kinds.first: .*at least 1 item"),
        ({"kinds": {"first": [0, 1, 1]}}, {}, "kinds: none for second; expected those of every molecule"),
        ({"damping": {"s8": 1.0, "a1": 0.4, "a2": 5.0, "s6": -1.0}}, {}, "damping.s6: .*greater than or equal to 0"),
        ({"damping": {"s8": 1.0, "a1": 0.4, "a2": 1e200}}, {}, "damping.a2: .*less than or equal to 100"),
        ({"kinds": BOTH | {"first": [0, 0, 2]}}, {}, "kind 2, but c6 has those from 0 to 1"),
        ({"c6": [[1.0, 2.0], [3.0, 4.0]]}, {}, "c6: expected a symmetric matrix of 2 kinds"),
        ({"c6_neutral": [[1.0]]}, {}, "c6_neutral: expected a symmetric matrix of 2 kinds"),
        ({"r4r2": [1.0]}, {}, "r4r2: expected 2 numbers, one of each kind, found 1"),
        ({"r4r2": [1.0, float("nan")]}, {}, "r4r2"),
        ({"cutoff": 1e9}, {}, "cutoff: .*less than or equal to 60"),
        ({"cutoff_of_triples": 40.0}, {}, "cutoff_of_triples: .*less than or equal to 15"),
        ({"damping": {"s8": 1.0}}, {}, "damping.a1"),
        ({}, {"part": "fragments"}, "takes neither `part` nor `over`"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], keys: dict[str, Any], words: str) -> None:
    path = made_dimer(tmp_path)
    known = BENZENE | {"kinds": BOTH} | options
    term = {"kind": "dispersion", "name": "d4", "options": known, **keys}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"terms": [term]}))
    with pytest.raises(ManifestError, match=words):
        load_potential(path)
