"""Calculators that run a program through files: each calculation in a folder of its own, charge and spin as each
takes them, answers held against what was asked, and labels that are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.genericfileio import CalculatorTemplate
from ase.io.aims import write_control
from conftest import ROOT

from delta_server import load_potential
from delta_server.cli.models.own import OwnOptions, _electrons
from delta_server.data.dataset import Dataset, load_dataset, save_dataset
from delta_server.data.labels import LabelTask, label
from delta_server.data.structures import read_structures, structures_of
from delta_server.errors import InputError
from delta_server.methods import Method

PROGRAM = '''"""A program that reads PREFIX.in and writes PREFIX.out, in the folder it is started in."""
import sys
lines = open("qm.in").read().split("\\n")
x = [[float(v) for v in line.split()] for line in lines if line]
n, energy = len(x), 0.0
forces = [[0.0] * 3 for _ in x]
for i in range(n):
    for j in range(i):
        d = [a - b for a, b in zip(x[i], x[j])]
        r = sum(v * v for v in d) ** 0.5
        energy += 1 / r
        for k in range(3):
            forces[i][k] += d[k] / r**3
            forces[j][k] -= d[k] / r**3
if sys.argv[1] == "short":
    forces = forces[1:]
if sys.argv[1] == "nan":
    energy = float("nan")
if sys.argv[1] != "silent":
    with open("qm.out", "w") as out:
        out.write(repr(energy) + "\\n" + "\\n".join(" ".join(map(repr, f)) for f in forces))
'''
CALCULATOR = """
from ase.calculators.calculator import FileIOCalculator
import numpy as np
class Qm(FileIOCalculator):
    implemented_properties = ["energy", "forces"]
    def __init__(self, fault="none", python="python", **kwargs):
        super().__init__(command=f"{python} -S qm.py {fault}", **kwargs)
    def write_input(self, atoms, properties=None, system_changes=None):
        with open("qm.in", "w") as out:
            out.write("\\n".join(" ".join(map(repr, map(float, x))) for x in atoms.positions))
    def read_results(self):
        energy, *forces = open("qm.out").read().split("\\n")
        self.results = {"energy": float(energy), "forces": np.array([f.split() for f in forces], dtype=float)}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: the program is named by a path that is seen from there."""
    (tmp_path / "qm.py").write_text(PROGRAM)
    (tmp_path / "by_files.py").write_text(CALCULATOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def task_of(data: Dataset, fault: str = "none") -> LabelTask:
    save_dataset(Path("in.npz"), data)
    return LabelTask(
        read_structures(Path("in.npz")).in_fragments(None), Method("by_files:Qm", {"fault": fault}), (0, 0), (1, 1)
    )


def test_two_processes_label_as_one(methane_dimer_data: Dataset, folder: Path) -> None:
    task = task_of(methane_dimer_data.take(np.arange(24)))
    one, two = (label(task, folder / f"{n}.npz", processes=n).data for n in (1, 2))
    assert one is not None
    assert two is not None
    assert np.array_equal(one.energies, two.energies)
    assert np.array_equal(one.forces, two.forces)
    assert all(np.array_equal(a, b) for a, b in zip(one.isolated(), two.isolated(), strict=True))
    x = one.positions[5]
    distance = np.linalg.norm(x[:, None] - x, axis=2)[np.tril_indices(10, -1)]
    assert one.energies[5] * 0.0433641 == pytest.approx((1 / distance).sum(), rel=1e-6)
    assert {path.name for path in folder.iterdir()} >= {"qm.py", "in.npz"}
    assert not list(folder.glob("qm.in")), "nothing is written where the user is"


@pytest.mark.parametrize(
    ("fault", "words"),
    [("short", r"forces of shape \(9, 3\) for 10 atoms"), ("nan", "not finite"), ("silent", "qm.out")],
)
def test_answers_are_held_against_what_was_asked(
    methane_dimer_data: Dataset, folder: Path, fault: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        label(task_of(methane_dimer_data.take(np.arange(3)), fault), folder / "d.npz")


def test_the_labels_of_an_imported_complex_are_kept(methane_dimer_data: Dataset, folder: Path) -> None:
    data = methane_dimer_data.take(np.arange(6))
    bare = replace(data, fragment_energies=None, fragment_forces=None, energies=data.energies + 1e-3, theory="")
    save_dataset(Path("in.npz"), bare)
    xtb = Method("gfn2-xtb")
    task = LabelTask(read_structures(Path("in.npz")).in_fragments(None), xtb, (0, 0), (1, 1))
    made = label(task, folder / "d.npz").data
    assert made is not None
    assert np.array_equal(made.energies, bare.energies), "not computed again"
    assert np.array_equal(made.forces, bare.forces)
    assert made.isolated()[1] == pytest.approx(data.isolated()[1], abs=1e-3)
    with pytest.raises(InputError, match="labels of two methods do not mix"):
        label(replace(task, method=Method("gfn1-xtb")), folder / "e.npz")
    save_dataset(Path("in.npz"), replace(bare, energies=bare.energies + 23.06))
    with pytest.raises(InputError, match="its zero of energy is another"):
        label(LabelTask(read_structures(Path("in.npz")).in_fragments(None), xtb, (0, 0), (1, 1)), folder / "e.npz")


def keywords(name: str, charge: int, multiplicity: int) -> dict[str, object]:
    method = Method(name)
    return method._electrons(method.load(), charge, multiplicity)


def test_charge_and_spin_as_each_calculator_takes_them(tmp_path: Path) -> None:
    assert keywords("orca", 1, 2) == {"charge": 1, "mult": 2}
    assert keywords("gaussian", -1, 1) == {"charge": -1, "mult": 1}
    assert keywords("psi4", 1, 2) == {"charge": 1, "multiplicity": 2, "reference": "uhf"}
    assert keywords("aims", 1, 2) == {"charge": 1, "spin": "collinear", "fixed_spin_moment": 1}
    assert keywords("aims", 0, 1) == {}
    assert keywords("nwchem", 1, 3) == {"charge": 1}
    assert Method("nwchem").moments(3, 3) == pytest.approx([2 / 3] * 3)
    assert Method("orca").moments(3, 3) is None
    for name, key in (("orca", "charge"), ("orca", "mult"), ("psi4", "multiplicity"), ("aims", "charge")):
        method = Method(name, {key: 1})
        with pytest.raises(InputError, match=f"--option {key} is said by --"):
            method._electrons(method.load(), 0, 1)


def test_the_inputs_that_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    water = Atoms("OH2", [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    Method("gaussian").make(1, 2).write_input(water, ["forces"])
    assert "\n1 2\n" in Path("Gaussian.com").read_text()
    moments = Method("nwchem").moments(3, 2)
    water.set_initial_magnetic_moments(moments)
    Method("nwchem").make(1, 2).write_input(water, ["forces"])
    text = Path("nwchem.nwi").read_text().split()
    assert text[text.index("charge") + 1] == "1"
    assert text[text.index("mult") + 1] == "2"
    templates: list[CalculatorTemplate] = []
    for name in ("orca", "aims"):
        module = __import__(f"ase.calculators.{name}", fromlist=["x"])
        templates.append(getattr(module, "OrcaTemplate" if name == "orca" else "AimsTemplate")())
    templates[0].write_input(None, tmp_path, water, keywords("orca", 1, 2), ["forces"])
    assert "*xyz 1 2" in (tmp_path / "orca.inp").read_text()
    (tmp_path / "species").mkdir()
    with (tmp_path / "control.in").open("w") as stream:
        write_control.__wrapped__(stream, water[:0], {"xc": "pbe", "species_dir": "species"} | keywords("aims", 1, 2))
    lines = [line.split() for line in (tmp_path / "control.in").read_text().splitlines()]
    assert ["charge", "1"] in lines
    assert ["fixed_spin_moment", "1"] in lines


def test_what_the_file_says_of_its_electrons(tmp_path: Path) -> None:
    def read(words: str) -> Path:
        (tmp_path / "a.xyz").write_text(f"4\nProperties=species:S:1:pos:R:3 {words}\n" + ATOMS)
        return tmp_path / "a.xyz"

    for words, charges, spins in (
        ("", (0, 0), (1, 1)), ("charge=1", (1, 0), (1, 1)), ("total_charge=1 multiplicity=1", (1, 0), (1, 1)),
        ("multiplicity=2", (0, 0), (2, 1)),
    ):  # fmt: skip
        assert read_structures(read(words)).in_fragments(None).electrons((), ()) == (charges, spins)
    charged = read_structures(read("charge=1")).in_fragments(None)
    with pytest.raises(InputError, match="the file says a net charge of 1"):
        charged.electrons((0, 0), ())
    with pytest.raises(InputError, match="not which fragment has it: say --charges"):
        read_structures(read("charge=2")).in_fragments(None).electrons((), ())
    with pytest.raises(InputError, match="expected one whole number"):
        read_structures(read("charge=0.5"))


ATOMS = "Na 0 0 0\nO 0 0 2.4\nH 0 0.75 3\nH 0 -0.75 3\n"


def test_a_data_set_keeps_what_is_known_of_its_electrons(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    save_dataset(tmp_path / "d.npz", replace(methane_dimer_data, charge=-1, multiplicity=2))
    data = load_dataset(tmp_path / "d.npz")
    assert (data.charge, data.multiplicity) == (-1, 2)


def test_labels_of_triplets_are_labelled_again_as_triplets(na_benzene_data: Dataset, tmp_path: Path) -> None:
    """Which fragment it is stands in no total: a data set that did not say was labelled again as singlets."""
    few = structures_of(na_benzene_data.take(np.arange(2))).in_fragments(None)
    found = label(LabelTask(few, Method("gfn2-xtb"), (1, 0), (1, 3)), tmp_path / "d.npz", processes=1).data
    assert found is not None
    save_dataset(tmp_path / "d.npz", found)
    again = structures_of(load_dataset(tmp_path / "d.npz"))
    assert again.electrons((), ()) == ((1, 0), (1, 3))
    with pytest.raises(InputError, match="multiplicities 3,1 asked for, the file says 1,3: leave --multiplicity out"):
        again.electrons((), (3, 1))
    assert again.in_fragments("0,1:13").multiplicities == ()
    potential = load_potential(ROOT / "models/na_benzene/manifest.yaml")
    nothing_said = OwnOptions((), 1, 0.0, 0, "gfn2-xtb", (), None, None, 1, None)
    assert _electrons(potential, load_dataset(tmp_path / "d.npz"), nothing_said) == ((1, 0), (1, 3))
    assert _electrons(potential, None, nothing_said) == ((0, 0), (1, 1))
