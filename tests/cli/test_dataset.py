"""`delta-sgdml dataset`: every command as a user runs it, killed, stopped, and given what it cannot use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
from ase import Atoms
from ase.data.s22 import create_s22_system
from ase.io import read, write

from delta_server.data.apart import placed_in
from delta_server.data.dataset import load_dataset

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
DATA = Path(__file__).resolve().parent.parent / "labelled"
NA, METHANE = str(DATA / "na_benzene.npz"), str(DATA / "methane_dimer.npz")
LJ = ("--calculator", "ase.calculators.lj:LennardJones", "--option", "sigma=2.5", "--option", "epsilon=0.001", "-j1")
SLOW = '''"""A calculator that takes its time."""
import time
from ase.calculators.lj import LennardJones
class Slow(LennardJones):
    def calculate(self, *args, **kwargs):
        time.sleep(0.03)
        super().calculate(*args, **kwargs)
'''


def dataset(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    done = warm.run([SGDML, "dataset", *arguments], folder, **options)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def works(folder: Path, *arguments: str, **options: Any) -> str:
    done = dataset(folder, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(folder: Path, *arguments: str, words: str, **options: Any) -> None:
    """Exit code 2, one line on stderr that holds the words, nothing on stdout, and no file made or changed."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = dataset(folder, *arguments, **options)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert words in line
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_from_a_geometry_to_a_split(tmp_path: Path) -> None:
    """sample, label, info, split: what a new complex goes through."""
    atoms = create_s22_system("Methane_dimer")
    write(tmp_path / "start.xyz", atoms)
    out = works(tmp_path, "sample", "start.xyz", "-o", "t.extxyz", "--temperature", "100", "--frames", "30",
                "--every", "8", "--equilibrate", "100")  # fmt: skip
    assert "30 frames" in out
    frames = read(tmp_path / "t.extxyz", ":")
    assert len(frames) == 30
    assert frames[0].get_forces().shape == (10, 3)
    out = works(tmp_path, "label", "t.extxyz", "-o", "d.npz", "-j", "2")
    assert "30 configurations of ch4_1, ch4_2, GFN2-xTB (tblite" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.npz", "start.xyz", "t.extxyz"]
    data = load_dataset(tmp_path / "d.npz")
    sampled = [frame.get_potential_energy() for frame in frames]
    assert data.energies * 0.0433641 == pytest.approx(sampled, abs=1e-3), "the wall has no part in labels"
    report = json.loads(works(tmp_path, "info", "d.npz", "--json", "--plot", "d.png"))
    assert all(check["passed"] for check in report["checks"])
    assert report["configurations"] == 30
    assert report["energy_unit"] == "kcal/mol"
    assert 0 < report["force_ratio"] < 0.1
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    assert "30" in works(tmp_path, "info", "d.npz")
    out = works(tmp_path, "split", "d.npz", "-o", "s.npz", "--train", "10", "--validation", "0.2", "--test", "8")
    assert "6 of 30 configurations left out" in out
    chosen = load_dataset(tmp_path / "s.npz")
    assert chosen.split is not None
    assert np.bincount(chosen.split).tolist() == [10, 6, 8]
    out = works(tmp_path, "sample", "t.extxyz", "-o", "p.extxyz", "--frames", "0", "--apart", "4")
    assert out == "p.extxyz: 4 with the fragments apart\n"
    works(tmp_path, "label", "p.extxyz", "-o", "p.npz")
    works(tmp_path, "import", "d.npz", "p.npz", "-o", "all.npz")
    assert placed_in(load_dataset(tmp_path / "all.npz")).tolist() == [False] * 30 + [True] * 4


def test_labels_equal_the_reference(tmp_path: Path) -> None:
    out = json.loads(works(tmp_path, "label", NA, "-o", "d.npz", "--every", "10", "--max", "4", "--json"))
    assert out["labelled"] == 4
    assert out["failed"] == []
    data, reference = load_dataset(tmp_path / "d.npz"), load_dataset(NA)
    assert data.index is not None
    rows = np.searchsorted(reference.index, data.index)  # type: ignore[arg-type]
    for mine, theirs in zip(
        (data.energies, data.forces, *data.isolated()[1:]),
        (reference.energies[rows], reference.forces[rows], *(a[rows] for a in reference.isolated()[1:])),
        strict=True,
    ):
        assert mine == pytest.approx(theirs, abs=1e-3)


class Slow:
    """A labelling that takes some seconds, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "slow.py").write_text(SLOW)
        self.working, self.output = folder / "d.npz.working", folder / "d.npz"
        self.environment = os.environ | {"PYTHONPATH": str(folder)}
        self.command = [SGDML, "dataset", "label", METHANE, "-o", "d.npz", "-j", "2", "--calculator", "slow:Slow"]
        self.folder = folder

    def start(self) -> warm.Forked:
        outputs = self.folder / "out", self.folder / "err"
        return warm.start(self.command, self.folder, *outputs, env=self.environment, session=True)

    def words(self) -> tuple[str, str]:
        """What the last one printed, to stdout and to stderr."""
        return (self.folder / "out").read_text(), (self.folder / "err").read_text()

    def wait_for(self, records: int) -> int:
        """Bytes of the working file once so many records more are in it."""
        size = 8 * (1 + 2 + 60 + 3)
        start, deadline = self.size(), time.monotonic() + 60
        while self.size() < start + records * size:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self.size()

    def size(self) -> int:
        return self.working.stat().st_size if self.working.exists() else 0

    def gone(self, leader: int) -> None:
        """Waits until nothing is left of a group."""
        deadline = time.monotonic() + 20
        while self.group(leader):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def group(self, leader: int) -> list[int]:
        """Processes that are left of a group."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[2]) == leader and fields[0] != "Z":
                    found.append(int(entry.name))
        return found


def test_killed_torn_and_gone_on_with(tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    for _ in range(2):
        process = slow.start()
        slow.wait_for(8)
        process.kill()
        process.wait(30)
        slow.gone(process.pid)  # its workers see that nobody listens
        kept = slow.working.read_bytes()
        slow.working.write_bytes(kept[:-50])
    size = slow.size()
    process = slow.start()
    assert process.wait(120) == 0, slow.words()
    assert size > 10 * 8 * 66
    data = load_dataset(slow.output)
    reference = load_dataset(METHANE)
    assert np.array_equal(data.positions, reference.positions)
    assert not slow.working.exists()
    works(tmp_path, "label", METHANE, "-o", "e.npz", "-j1", "--calculator", "ase.calculators.lj:LennardJones")
    direct = load_dataset(tmp_path / "e.npz")
    assert np.array_equal(data.energies, direct.energies)
    assert np.array_equal(data.binding_forces(), direct.binding_forces())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_softly(tmp_path: Path, number: signal.Signals) -> None:
    """The signal goes to all of the group, as from a terminal; what was begun is kept."""
    slow = Slow(tmp_path)
    process = slow.start()
    size = slow.wait_for(6)
    os.killpg(process.pid, number)
    assert process.wait(30) == 128 + number
    out, err = slow.words()
    assert out == ""
    assert "Traceback" not in err
    assert "go on: delta-sgdml dataset label" in err
    assert slow.size() >= size
    assert not slow.output.exists()
    slow.gone(process.pid)
    if number == signal.SIGTERM:
        return  # the rest is the same
    fails(tmp_path, *slow.command[2:], "--option", "sigma=3", words="another task", env=slow.environment)
    fails(tmp_path, "label", METHANE, "-o", "d.npz", "--every", "2", words="another task")
    assert slow.start().wait(120) == 0
    assert len(load_dataset(slow.output)) == 40


def test_failed_configurations_are_told_and_tried_again(tmp_path: Path) -> None:
    frames = [create_s22_system("Methane_dimer") for _ in range(4)]
    for i, frame in enumerate(frames):
        frame.positions[6] += 0.01 * i
    frames[2].positions[2] = frames[2].positions[1]  # two H in one place
    write(tmp_path / "t.extxyz", frames)
    out = works(tmp_path, "label", "t.extxyz", "-o", "d.npz", "-j1")
    assert "3 configurations" in out
    assert "failed: 1 of 4" in out
    assert "configuration 2: Too close interatomic distances found" in out
    working = tmp_path / "d.npz.working"
    size = working.stat().st_size
    works(tmp_path, "label", "t.extxyz", "-o", "d.npz", "-j1")
    assert working.stat().st_size == size
    works(tmp_path, "label", "t.extxyz", "-o", "d.npz", "-j1", "--retry-failed")
    assert working.stat().st_size > size
    assert load_dataset(tmp_path / "d.npz").index.tolist() == [0, 1, 3]  # type: ignore[union-attr]


def test_a_complete_output_is_not_labelled_again(tmp_path: Path) -> None:
    works(tmp_path, "label", METHANE, "-o", "d.npz", "--max", "2", *LJ)
    fails(tmp_path, "label", METHANE, "-o", "d.npz", "--max", "2", *LJ, words="exists and is complete")
    works(tmp_path, "label", METHANE, "-o", "d.npz", "--max", "3", *LJ, "--overwrite")
    assert len(load_dataset(tmp_path / "d.npz")) == 3


def test_fragments_that_react(tmp_path: Path) -> None:
    frames = [create_s22_system("Water_dimer") for _ in range(3)]
    for i, frame in enumerate(frames):
        frame.positions[5] += 0.01 * i
    frames[1].positions[3:] -= 0.9 * (frames[1].positions[3] - frames[1].positions[2]) * 0.6
    write(tmp_path / "t.extxyz", frames)
    fails(tmp_path, "label", "t.extxyz", "-o", "d.npz", words="react in 1 of 3 configurations, first in 1")
    out = works(tmp_path, "label", "t.extxyz", "-o", "d.npz", "-j1", "--skip-reactive")
    assert "2 configurations" in out
    assert "left out: fragments react in 1 of 3" in out


def test_import_and_fragments(tmp_path: Path) -> None:
    works(tmp_path, "label", METHANE, "-o", "d.npz", "--max", "5", "-j1")
    atoms = create_s22_system("Benzene-water_complex")
    mixed = atoms[np.random.default_rng(0).permutation(15)]
    write(tmp_path / "mixed.xyz", mixed)
    out = works(tmp_path, "fragments", "mixed.xyz", "-o", "ordered.xyz")
    assert "scattered" in out
    ordered = json.loads(works(tmp_path, "fragments", "ordered.xyz", "--json"))
    assert ordered["in_order"]
    assert sorted((f["name"], f["formula"]) for f in ordered["fragments"]) == [("c6h6", "C6H6"), ("h2o", "H2O")]
    assert all(f["atoms"].count(":") == 1 and "," not in f["atoms"] for f in ordered["fragments"])
    out = works(tmp_path, "fragments", METHANE)
    assert '- {name: ch4_1, atoms: "0:5", model: ch4_1.npz}' in out
    out = works(tmp_path, "import", "d.npz", METHANE, "-o", "both.npz")
    assert "45 configurations of CH4, CH4 in 2 runs" in out
    assert load_dataset(tmp_path / "both.npz").labelled_fragments


def test_a_data_set_is_reordered_with_its_labels(tmp_path: Path) -> None:
    """One methane's atoms turned around: forces go along, and nothing else changes."""
    from dataclasses import replace

    from delta_server.data.dataset import save_dataset

    data = load_dataset(METHANE)
    turn = np.array([0, 1, 2, 3, 4, 9, 8, 7, 6, 5])
    assert data.fragment_forces is not None
    turned = replace(
        data, numbers=data.numbers[turn], positions=data.positions[:, turn], forces=data.forces[:, turn],
        fragment_forces=data.fragment_forces[:, turn],
    )  # fmt: skip
    save_dataset(tmp_path / "turned.npz", turned)
    assert "another order of atoms" in works(tmp_path, "fragments", "turned.npz", "-o", "again.npz")
    again = load_dataset(tmp_path / "again.npz")
    assert again.numbers.tolist() == [6, 1, 1, 1, 1] * 2
    assert again.energies == pytest.approx(data.energies)
    assert json.loads(works(tmp_path, "info", "again.npz", "--json"))["force_ratio"] == pytest.approx(
        json.loads(works(tmp_path, "info", METHANE, "--json"))["force_ratio"]
    )


def test_info_fails_on_labels_that_cannot_be(tmp_path: Path) -> None:
    from dataclasses import replace

    from delta_server.data.dataset import save_dataset

    data = load_dataset(NA)
    save_dataset(tmp_path / "d.npz", replace(data, forces=-data.forces))
    done = dataset(tmp_path, "info", "d.npz")
    assert done.returncode == 2
    assert "FAIL  forces = −dE/dr" in done.stdout
    report = json.loads(dataset(tmp_path, "info", "d.npz", "--json").stdout)
    assert {check["name"] for check in report["checks"] if not check["passed"]} >= {"forces = −dE/dr"}


def test_sampling_is_stopped_softly(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    write(tmp_path / "start.xyz", create_s22_system("Methane_dimer"))
    command = [SGDML, "dataset", "sample", "start.xyz", "-o", "t.extxyz", "--frames", "100000", "--every", "1",
               "--equilibrate", "5"]  # fmt: skip
    err = tmp_path_factory.mktemp("said") / "err"
    process = warm.start(command, tmp_path, Path(os.devnull), err)
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size > 20_000 for p in tmp_path.glob(".t.extxyz*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "kept in t.extxyz" in err.read_text()
    assert len(read(tmp_path / "t.extxyz", ":")) > 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["start.xyz", "t.extxyz"]


TIRED = """
from ase.calculators.lj import LennardJones

class Tired(LennardJones):
    calls = 0

    def calculate(self, *args, **kwargs):
        self.calls += 1
        if self.calls > 100:
            raise RuntimeError("no more")
        super().calculate(*args, **kwargs)
"""


def test_a_calculator_that_fails_late_leaves_the_frames_before(tmp_path: Path) -> None:
    (tmp_path / "tired.py").write_text(TIRED)
    write(tmp_path / "start.xyz", create_s22_system("Methane_dimer"))
    command = [
        SGDML, "dataset", "sample", "start.xyz", "-o", "t.extxyz", "--calculator", "tired:Tired", "--frames", "500",
        "--every", "1", "--equilibrate", "1", "--option", "epsilon=0.0001",
    ]  # fmt: skip
    done = warm.run(command, tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    (*_, line) = done.stderr.splitlines()
    assert "tired:Tired failed: no more" in line
    assert "500 frames are kept in t.extxyz" in line
    assert 0 < len(read(tmp_path / "t.extxyz", ":")) < 500


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("label", "none.xyz", "-o", "d.npz"), "none.xyz: no such file"),
        (("label", "one.xyz", "-o", "d.npz"), "one fragment: all atoms (CH4) are bonded into one molecule"),
        (("label", "two.xyz", "-o", "d.xyz"), "expected a name that ends in .npz"),
        (("label", "two.xyz", "-o", "no/d.npz"), "no folder no"),
        (("label", "two.xyz", "-o", "/proc/d.npz"), "cannot be written"),
        (("label", "two.xyz", "-o", "d.npz", "--fragments", "0:5"), "--fragments '0:5'"),
        (("label", "two.xyz", "-o", "d.npz", "--charges", "1,0"), "charge 1 leaves 9 electrons"),
        (("label", "two.xyz", "-o", "d.npz", "--charges", "-30,0"), "so for all 1 configurations"),
        (("label", "two.xyz", "-o", "d.npz", "--charges", "1"), "1 given, there are 2 fragments"),
        (("label", "two.xyz", "-o", "d.npz", "--multiplicity", "2,1"), "cannot have multiplicity 2"),
        (("label", "two.xyz", "-o", "d.npz", "--option", "max_iterations=2"), "SCF not converged"),
        (("label", "two.xyz", "-o", "d.npz", "--option", "acuracy=2"), "did you mean accuracy"),
        (("label", "two.xyz", "-o", "d.npz", "--calculator", "nonesuch"), "calculator 'nonesuch'"),
        (("label", "two.xyz", "-o", "d.npz", *LJ, "--charges", "1,0"), "takes no charge"),
        (("label", "nan.xyz", "-o", "d.npz"), "not finite"),
        (("sample", "two.xyz", "-o", "t.npz"), "expected a name that ends in .extxyz"),
        (("sample", "two.xyz", "-o", "t.xyz", "--option", "max_iterations=2"), "SCF not converged"),
        (("sample", "one.xyz", "-o", "t.xyz"), "one fragment"),
        (("import", "two.xyz", "-o", "d.npz"), "two.xyz, frame 0: no energy"),
        (("import", METHANE, NA, "-o", "d.npz"), "one data set holds one complex"),
        (("import", METHANE, "-o", "d.npz", "--fragments", "0:3,3:10"), "labels are of other fragments"),
        (("import", METHANE, "-o", "d.npz", "--charges", "1,-1"), "the files say 0,0"),
        (("import", METHANE, "-o", "d.npz", "--energy-unit", "eV"), "its energy unit is kcal/mol"),
        (("import", METHANE, "-o", "/proc/d.npz"), "cannot be written"),
        (("info", "two.xyz"), "is no .npz file, expected a data set"),
        (("info", "none.npz"), "no such data set"),
        (("split", METHANE, "-o", "s.npz", "--train", "30", "--validation", "20"), "the data set has 40"),
        (("split", METHANE, "-o", "s.npz", "--train", "many"), "--train 'many'"),
        (("split", METHANE, "-o", ".", "--train", "3"), "ends in .npz"),
        (("fragments", "one.xyz"), "one fragment"),
        (("fragments", METHANE, "-o", "d.xyz"), "a data set is written as .npz"),
    ],
)
def test_bad_input(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    atoms = create_s22_system("Methane_dimer")
    write(tmp_path / "two.xyz", atoms)
    write(tmp_path / "one.xyz", atoms[:5])
    (tmp_path / "nan.xyz").write_text("2\n\nH 0 0 0\nH 0 0 nan\n")
    fails(tmp_path, *arguments, words=words)


@pytest.mark.parametrize("command", ["label", "sample"])
def test_without_tblite(tmp_path: Path, command: str) -> None:
    """As where only the server is installed: the import fails."""
    write(tmp_path / "two.xyz", Atoms("He2", [[0, 0, 0], [0, 0, 3]]))
    (tmp_path / "tblite.py").write_text("raise ImportError('no tblite')\n")
    output = "d.npz" if command == "label" else "d.xyz"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    fails(tmp_path, command, "two.xyz", "-o", output, words="pip install 'delta-server[train]'", env=environment)


def test_nothing_is_replaced_without_being_told_to(tmp_path: Path) -> None:
    """Every command that writes a file, with a file of that name there."""
    write(tmp_path / "two.xyz", create_s22_system("Methane_dimer"))
    for name in ("t.xyz", "d.npz", "p.png"):
        (tmp_path / name).write_text("precious")
    model = Path(__file__).resolve().parents[2] / "models/methane_dimer/manifest.yaml"
    for command in (
        ("import", METHANE, "-o", "d.npz"),
        ("sample", "two.xyz", "-o", "t.xyz", "--frames", "1"),
        ("split", METHANE, "-o", "d.npz", "--train", "3"),
        ("select", METHANE, str(model), "-o", "t.xyz"),
        ("fragments", "two.xyz", "-o", "t.xyz"),
        ("info", METHANE, "--plot", "p.png"),
        ("label", METHANE, "-o", "d.npz", *LJ),
    ):
        fails(tmp_path, *command, words="--overwrite")
    works(tmp_path, "import", METHANE, "-o", "d.npz", "--overwrite")
    works(tmp_path, "split", METHANE, "-o", "d.npz", "--train", "3", "--overwrite")
    assert len(load_dataset(tmp_path / "d.npz")) > 3


def test_an_imported_complex_keeps_its_labels(tmp_path: Path) -> None:
    from dataclasses import replace

    from delta_server.data.dataset import save_dataset

    data = load_dataset(METHANE).take(np.arange(4))
    bare = replace(data, fragment_energies=None, fragment_forces=None, energies=data.energies + 0.01)
    save_dataset(tmp_path / "bare.npz", bare)
    works(tmp_path, "import", "bare.npz", "-o", "d.npz")
    out = works(tmp_path, "label", "d.npz", "-o", "e.npz", "-j1")
    assert "the complex keeps its labels of d.npz" in out
    assert np.array_equal(load_dataset(tmp_path / "e.npz").energies, bare.energies)
    fails(tmp_path, "label", "d.npz", "-o", "f.npz", *LJ, words="labels of two methods do not mix")
    works(tmp_path, "label", "d.npz", "-o", "f.npz", *LJ, "--relabel")
    assert "LennardJones" in load_dataset(tmp_path / "f.npz").theory


def test_electrons_that_the_file_states(tmp_path: Path) -> None:
    atoms = Atoms("NaOH2", [[0, 0, 0], [0, 0, 2.4], [0, 0.75, 3], [0, -0.75, 3]], info={"charge": 1})
    write(tmp_path / "ion.xyz", atoms, format="extxyz")
    out = works(tmp_path, "label", "ion.xyz", "-o", "d.npz", "-j1")
    assert "na (+1)" in out
    fails(tmp_path, "label", "ion.xyz", "-o", "e.npz", "--charges", "0,-1", words="the file says a net charge of 1")


def test_oxygen_taken_for_a_singlet(tmp_path: Path) -> None:
    write(tmp_path / "o2.xyz", Atoms("OOHe", [[0, 0, 0], [0, 0, 1.21], [4, 0, 0]]))
    fails(
        tmp_path,
        "label",
        "o2.xyz",
        "-o",
        "d.npz",
        "-j",
        "1",
        "--option",
        "max_iterations=1",
        words="O2 is a triplet: 3,1",
    )


def test_files_that_contradict_the_reader(tmp_path: Path) -> None:
    """Keys, units and cells, as `dataset import` meets them."""
    atoms = create_s22_system("Methane_dimer")
    atoms.info = {"e_tot": -1.0}
    atoms.arrays["pull"] = np.zeros((10, 3))
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    fails(tmp_path, "import", "a.xyz", "-o", "d.npz", words="--energy-key")
    works(tmp_path, "import", "a.xyz", "-o", "d.npz", "--energy-key", "e_tot", "--forces-key", "pull")
    atoms.cell, atoms.pbc = [9, 9, 9], True
    atoms.info["units"] = "energy:kcal/mol,length:Ang"
    write(tmp_path / "b.xyz", atoms, format="extxyz")
    keys = ("--energy-key", "e_tot", "--forces-key", "pull")
    fails(tmp_path, "import", "b.xyz", "-o", "e.npz", *keys, words="--isolated")
    fails(tmp_path, "import", "b.xyz", "-o", "e.npz", *keys, "--isolated", "--energy-unit", "eV", words="says eV")
    works(tmp_path, "import", "b.xyz", "-o", "e.npz", *keys, "--isolated")
    assert load_dataset(tmp_path / "e.npz").energies.tolist() == [-1.0]
