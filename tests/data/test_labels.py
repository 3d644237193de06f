"""Labels by real calculators, the working file, and what becomes of calculators that fail, crash or are stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from delta_server.data.dataset import Dataset
from delta_server.data.labelling.workfile import open_workfile
from delta_server.data.labels import Labeller, LabelTask, label, working_file
from delta_server.data.structures import Structures
from delta_server.errors import InputError
from delta_server.methods import Method, parse_integers, parse_options
from delta_server.units import KCAL_MOL

XTB = Method("gfn2-xtb")
LJ = Method("ase.calculators.lj:LennardJones", {"sigma": 2.0, "epsilon": 0.01, "rc": 30.0})


def task_of(data: Dataset, method: Method = XTB, charges: tuple[int, ...] | None = None) -> LabelTask:
    n = len(data)
    structures = Structures(data.numbers, data.positions, np.arange(n), np.zeros(n, dtype=int), data.fragment)
    chosen = structures.in_fragments(None)
    q = charges or (tuple(data.charges.tolist()) if data.charges is not None else (0,) * len(chosen.names))
    return LabelTask(chosen, method, q, (1,) * len(q))


class Brittle(LennardJones):
    """A calculator that fails where atom 0 is at x < 0, and takes its process along where it is at x < −100."""

    def calculate(self, atoms: Atoms, *args: object, **kwargs: object) -> None:
        x = atoms.positions[0, 0]
        if x < -100:
            os.abort()
        if x < 0:
            raise RuntimeError("no convergence")
        super().calculate(atoms, *args, **kwargs)
        if x > 100:
            self.results["forces"] = self.results["forces"] * np.nan


BRITTLE = Method("test_labels:Brittle")


@pytest.fixture
def brittle(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], LabelTask]:
    """A task of four atoms in two fragments at the given x."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def make(places: list[float]) -> LabelTask:
        x = np.array([[0, 0, 0], [1.1, 0, 0], [5, 0, 0], [6.1, 0, 0]], dtype=float)
        positions = x + np.array(places)[:, None, None] * [1, 0, 0]
        n = len(places)
        structures = Structures(np.array([6, 6, 6, 6]), positions, np.arange(n), np.zeros(n, dtype=int))
        return LabelTask(structures.in_fragments("0:2,2:4"), BRITTLE, (0, 0), (1, 1))

    return make


def test_labels_of_the_reference_are_reproduced(na_benzene_data: Dataset, methane_dimer_data: Dataset) -> None:
    for data in (na_benzene_data, methane_dimer_data):
        task = task_of(data)
        labeller = Labeller(task)
        k, n = task.n_fragments, data.n_atoms
        for i in (3, 0, 17):
            found = labeller(data.positions[i])
            assert found[0] == pytest.approx(data.energies[i], abs=1e-3)
            assert found[1 : 1 + k] == pytest.approx(data.isolated()[1][i], abs=1e-3)
            assert found[1 + k : 1 + k + 3 * n] == pytest.approx(data.forces[i].ravel(), abs=1e-3)
            assert found[1 + k + 3 * n :] == pytest.approx(data.isolated()[2][i].ravel(), abs=1e-3)


def test_in_parallel_and_with_names(na_benzene_data: Dataset, tmp_path: Path) -> None:
    data = na_benzene_data.take(np.arange(6))
    outcome = label(task_of(data), tmp_path / "out.npz", processes=2)
    assert outcome.data is not None
    assert np.array_equal(outcome.data.positions, data.positions)
    assert outcome.data.energies == pytest.approx(data.energies, abs=1e-3)
    assert outcome.data.binding_forces() == pytest.approx(data.binding_forces(), abs=1e-3)
    alone, forces = outcome.data.isolated()[1:]
    assert np.ptp(alone[:, 0]) == 0.0
    assert not forces[:, 0].any()
    assert outcome.data.theory.startswith("GFN2-xTB (tblite ")
    assert outcome.data.fragment_names == ("na", "c6h6")
    assert outcome.data.charges is not None
    assert outcome.data.charges.tolist() == [1, 0]


def test_any_calculator_of_ase(methane_dimer_data: Dataset) -> None:
    labels = Labeller(task_of(methane_dimer_data, LJ, (0, 0)))(methane_dimer_data.positions[0])
    whole = Atoms(methane_dimer_data.numbers, methane_dimer_data.positions[0])
    whole.calc = LennardJones(sigma=2.0, epsilon=0.01, rc=30.0)
    assert labels[0] == pytest.approx(whole.get_potential_energy() / KCAL_MOL)
    first = whole[:5]
    first.calc = LennardJones(sigma=2.0, epsilon=0.01, rc=30.0)
    assert labels[1] == pytest.approx(first.get_potential_energy() / KCAL_MOL)
    assert Method("emt").theory.startswith("emt (ase ")
    assert "sigma=2.0" in LJ.theory


def test_stopped_and_gone_on_with(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    output, done = tmp_path / "out.npz", [0]
    task = task_of(methane_dimer_data.take(np.arange(12)), LJ, (0, 0))

    def progress(labelled: int, failed: int) -> None:
        done[0] = labelled

    outcome = label(task, output, stop=lambda: done[0] >= 5, progress=progress)
    assert outcome.data is None
    assert 5 <= outcome.done < 12
    before = working_file(output).read_bytes()
    outcome = label(task, output)
    assert outcome.data is not None
    assert len(outcome.data) == 12
    assert working_file(output).read_bytes().startswith(before), "what was there is kept"
    direct = Labeller(task)
    assert outcome.data.energies == pytest.approx([direct(x)[0] for x in task.structures.positions])


def test_a_failure_costs_one_configuration(brittle: Callable[[list[float]], LabelTask], tmp_path: Path) -> None:
    """Raised, crashed, not finite: listed with a reason, and not tried again before somebody asks for it."""
    task = brittle([1.0, 2.0, -1.0, 3.0, -200.0, 4.0, 200.0])
    output = tmp_path / "out.npz"
    outcome = label(task, output, processes=2)
    assert outcome.data is not None
    assert outcome.data.index is not None
    assert outcome.data.index.tolist() == [0, 1, 3, 5]
    assert outcome.data.positions[2] == pytest.approx(task.structures.positions[3])
    reasons = {failure.index: failure.reason for failure in outcome.failures}
    assert "no convergence" in reasons[2]
    assert "SIGABRT" in reasons[4]
    assert "not finite" in reasons[6]
    size = working_file(output).stat().st_size
    again = label(task, output)
    assert {f.index for f in again.failures} == {2, 4, 6}
    assert working_file(output).stat().st_size == size, "nothing was tried again"
    assert label(task, output, retry_failed=True).done == 4
    assert working_file(output).stat().st_size > size


def test_the_first_may_fail(brittle: Callable[[list[float]], LabelTask], tmp_path: Path) -> None:
    outcome = label(brittle([-1.0, 1.0, 2.0]), tmp_path / "out.npz")
    assert outcome.done == 2
    assert [failure.index for failure in outcome.failures] == [0]


def test_where_all_fail_the_run_does_not_start(brittle: Callable[[list[float]], LabelTask], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no convergence; so for all 5 configurations"):
        label(brittle([-float(i) for i in range(1, 30)]), tmp_path / "out.npz")
    assert list(tmp_path.iterdir()) == []


def test_scf_that_fails(methane_dimer_data: Dataset, tmp_path: Path) -> None:
    """Two atoms in one place, which tblite refuses, and too few cycles."""
    data = methane_dimer_data.take(np.arange(3))
    data.positions[1, 2] = data.positions[1, 1]
    outcome = label(task_of(data), tmp_path / "out.npz")
    assert [(f.index, f.reason) for f in outcome.failures] == [(1, "Too close interatomic distances found")]
    with pytest.raises(InputError, match="SCF not converged in 2 cycles"):
        label(task_of(data, Method("gfn2-xtb", {"max_iterations": 2})), tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("charges", "words"),
    [
        ((0, 0), "fragment na: charge 0 leaves 11 electrons"),
        ((1, 1), "fragment c6h6: charge 1 leaves 41 electrons"),
        ((3, 0), "fragment na: charge 3 takes more than the 1 valence"),
        ((1, 40), "more than the 30 valence electrons"),
    ],
)
def test_charges_that_cannot_be(na_benzene_data: Dataset, charges: tuple[int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        task_of(na_benzene_data, charges=charges)


def test_open_shells_where_they_are_meant(na_benzene_data: Dataset) -> None:
    task = replace(task_of(na_benzene_data), charges=(0, 0), multiplicities=(2, 1))
    assert task.total == (0, 2)
    sodium = Labeller(task)(na_benzene_data.positions[0])[1] * KCAL_MOL
    assert sodium == pytest.approx(-4.547, abs=0.01), "eV, of the atom"


def test_a_charge_for_a_calculator_without(na_benzene_data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes no charge"):
        label(task_of(na_benzene_data, LJ), tmp_path / "out.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Method("gfn2-xtb", {"acuracy": 1}), "did you mean accuracy"),
        (Method("gfn2-xtb", {"charge": 1}), "said by --charges"),
        (Method("orca", {"orcablock": "%scf MaxIter 500 end"}), "orca: no option 'orcablock'; known: .*orcablocks"),
        (Method("nonesuch"), "expected gfn2-xtb, d4, pyscf, the name of a calculator"),
        (Method("ase.calculators.lj:Lennard"), "no attribute"),
        (Method("no.such.module:Class"), "No module named"),
        (Method("ase.calculators.lj:__name__"), "__name__ is no class and no function that makes one"),
    ],
)
def test_calculators_that_are_not_there(method: Method, words: str) -> None:
    with pytest.raises(InputError, match=words):
        method.load()


def lennard_jones(sigma: float = 1.0) -> LennardJones:
    return LennardJones(sigma=sigma)


def test_a_function_that_returns_a_calculator() -> None:
    method = Method("test_labels:lennard_jones", {"sigma": 2.5})
    method.check(np.array([1, 8, 1]), 0, 1, "water")
    assert method.make().parameters["sigma"] == 2.5
    assert not method.by_files
    with pytest.raises(InputError, match="takes no charge"):
        method.make(charge=1)


_FROM_ATOMS = """
from ase.calculators.calculator import Calculator
class SO3LRCalculator(Calculator):
    implemented_properties = ["energy"]
    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 100.0 * atoms.info["charge"] + atoms.info["total_spin"]}
"""


def test_calculators_that_read_the_charge_from_the_atoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As so3krates-torch does, which the tests do not need: a calculator of its name, that says what it read."""
    folder = tmp_path / "so3krates_torch" / "calculator"
    folder.mkdir(parents=True)
    (folder / "so3.py").write_text(_FROM_ATOMS)
    monkeypatch.syspath_prepend(tmp_path)
    method = Method("so3krates_torch.calculator.so3:SO3LRCalculator")
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]])
    for charge, multiplicity in ((1, 3), (0, 2)):
        method.check(atoms.numbers, charge, multiplicity, "hydroxyl")
        method.prepare(atoms, charge, multiplicity)
        atoms.calc = method.make(charge, multiplicity)
        assert atoms.get_potential_energy() == 100 * charge + (multiplicity - 1) / 2
    with pytest.raises(InputError, match="cannot have multiplicity"):
        method.check(atoms.numbers, 0, 1, "hydroxyl")


def test_options() -> None:
    assert parse_options(["a=1", "b=0.5", "c=true", "d=GFN1-xTB", "e=1e-3"]) == {
        "a": 1, "b": 0.5, "c": True, "d": "GFN1-xTB", "e": 1e-3,
    }  # fmt: skip
    assert parse_integers("-1,0", 2, "--charges") == (-1, 0)
    for bad in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(InputError, match="key=value"):
            parse_options(bad)
    with pytest.raises(InputError, match="3 given, there are 2 fragments"):
        parse_integers("1,0,0", 2, "--charges")
    with pytest.raises(InputError, match="expected integers"):
        parse_integers("1,x", 2, "--charges")


def test_working_file_survives_a_torn_end(tmp_path: Path) -> None:
    """Cut anywhere, it gives back every record that was whole."""
    path = tmp_path / "w"
    values = np.random.default_rng(0).standard_normal((5, 7))
    with open_workfile(path, "task", 9, 7) as work:
        for i in range(4):
            work.add(2 * i, values[i])
        work.fail(1, "because Å")
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    size = (len(whole) - head) // 5
    for cut in range(0, len(whole), 13):
        path.write_bytes(whole[:cut])
        with open_workfile(path, "task", 9, 7) as work:
            count = max(0, cut - head) // size
            assert sorted(work.labels) == [0, 2, 4, 6][:count]
            assert all(np.array_equal(work.labels[2 * i], values[i]) for i in range(min(count, 4)))
            work.add(8, values[4])
        with open_workfile(path, "task", 9, 7) as work:
            assert np.array_equal(work.labels[8], values[4])
    path.write_bytes(whole)
    with open_workfile(path, "task", 9, 7) as work:
        assert work.failures[1].reason == "because Å"
        work.add(1, values[4])
    with open_workfile(path, "task", 9, 7) as work:
        assert work.failures == {}


def test_a_damaged_record_is_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with open_workfile(path, "task", 9, 7) as work:
        for i in range(3):
            work.add(i, np.full(7, float(i)))
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    with open_workfile(path, "task", 9, 7) as work:
        assert sorted(work.labels) == [0, 2]


def test_a_working_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with open_workfile(path, "one", 9, 7) as work:
        work.add(0, np.zeros(7))
        with pytest.raises(InputError, match="another process"), open_workfile(path, "one", 9, 7):
            pass
    before = path.read_bytes()
    for arguments in (("two", 9, 7), ("one", 8, 7)):
        with pytest.raises(InputError, match="another task"), open_workfile(path, *arguments):
            pass
    assert path.read_bytes() == before
    path.write_bytes(b"my thesis")
    with pytest.raises(InputError, match="no working file"), open_workfile(path, "one", 9, 7):
        pass
    assert path.read_bytes() == b"my thesis"
    with pytest.raises(InputError, match="cannot be written"), open_workfile(tmp_path / "no" / "w", "one", 9, 7):
        pass


def test_other_tasks_have_other_digests(methane_dimer_data: Dataset) -> None:
    task = task_of(methane_dimer_data)
    moved = methane_dimer_data.positions.copy()
    moved[3, 2, 1] += 1e-9
    others = [
        replace(task, method=Method("gfn2-xtb", {"accuracy": 1})),
        replace(task, method=Method("gfn1-xtb")),
        replace(task, charges=(1, -1), multiplicities=(2, 2)),
        task_of(replace(methane_dimer_data, positions=moved)),
        task_of(methane_dimer_data.take(np.arange(39))),
    ]
    assert len({task.digest(), *(other.digest() for other in others)}) == 6
    assert task.digest() == task_of(methane_dimer_data).digest()
