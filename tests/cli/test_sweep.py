"""`delta-sgdml sweep`: ladders of water on benzene under real i-PI, with all that can end them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import warm
from processes import Process

from delta_server.ipi.input import read_input
from delta_server.loading import load_potential
from delta_server.molecule.structures import read_structure
from delta_server.sweep.record import load_sweep
from delta_server.sweep.state import load_states

BIN = Path(sys.executable).parent
SHORT = ("--stride", "10", "--frames", "20", "--checkpoint", "50")


def sgdml(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "delta-sgdml"), *map(str, arguments)]
    done = warm.run(command, timeout=timeout)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Water on benzene, copied: a sweep goes on with the models that it was begun with, or not at all."""
    import shutil

    source = Path(__file__).parents[2] / "models/h2o_benzene"
    folder = tmp_path_factory.mktemp("model")
    for name in ("manifest.yaml", "geometry.xyz", "water.npz", "benzene.npz", "binding.npz", "full.npz", "full.yaml"):
        shutil.copy(source / name, folder / name)
    return folder / "manifest.yaml"


@pytest.fixture
def write(tmp_path: Path, manifest: Path) -> Iterator[Callable[..., Path]]:
    """Write a sweep; what still runs in it when the test ends is killed."""
    folder = tmp_path / "sweep"

    def make(temperatures: str, time: float, *options: object, relax: bool = False) -> Path:
        arguments = ("--temperatures", temperatures, "--time", time, *SHORT, *["--no-relax"] * (not relax), *options)
        done = sgdml("sweep", "write", manifest, "-o", folder, *arguments)
        assert done.returncode == 0, done.stderr
        return folder

    yield make
    for pid in processes(folder):
        os.kill(pid, signal.SIGKILL)


def processes(folder: Path) -> list[int]:
    """What works for a sweep: in one of its folders, or with one of them on its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                inside = Path(os.readlink(entry / "cwd")).is_relative_to(folder.resolve())
                if inside or ("sweep" in command.split("\0") and str(folder) in command):
                    found.append(int(entry.name))
            except OSError:  # gone meanwhile
                continue
    return found


def assert_alone(folder: Path) -> None:
    """Nothing works there any more; what a command has started may end a moment after it."""
    deadline = time.monotonic() + 3
    while left := processes(folder):
        assert time.monotonic() < deadline, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        time.sleep(0.05)


def steps_in(path: Path) -> list[int]:
    text = path.read_text()
    if path.suffix == ".out":
        return [int(float(row.split()[0])) for row in text.splitlines() if not row.startswith("#")]
    return [int(step) for step in re.findall(r"Step:\s*(\d+)", text)]


def assert_contiguous(folder: Path, last: int, where: str = "") -> None:
    """Every output of every temperature: each record once, in order, to the last."""
    sweep = load_sweep(folder)
    for name in (member.name for member in sweep.members):
        outputs = sorted((folder / (where or name)).glob(f"{name}_md.*"))
        assert len(outputs) >= 6
        for path in outputs:
            stride = sweep.record.frames if path.suffix == ".xyz" else sweep.record.stride
            assert steps_in(path) == list(range(0, last + 1, stride)), path


def test_what_is_written(write: Callable[..., Path], manifest: Path) -> None:
    folder = write("10:400:50", 0.1, relax=True)
    names = [f"{t}K" for t in (10, 50, 100, 150, 200, 250, 300, 350, 400)]
    assert {p.name for p in folder.iterdir()} == {*names, "ladder", "sweep.json", "start.xyz"}
    potential = load_potential(manifest)
    for name in names:
        start = read_structure(folder / name / "init.xyz")
        forces = potential.compute(start.positions).forces
        assert np.linalg.norm(forces, axis=1).max() < 2e-3
        root = read_input(folder / name / "input.xml")
        assert float(root.findtext(".//velocities") or 0) == float(name[:-1])
        assert float(root.findtext(".//ensemble/temperature") or 0) == float(name[:-1])
        assert (root.findtext(".//fixcom") or "").strip() == "True"
    assert len({read_input(folder / n / "input.xml").findtext("prng/seed") for n in names}) == 9
    record = json.loads((folder / "sweep.json").read_text())
    assert record["steps"] == 200
    assert set(record["sha256"]) == {"manifest.yaml", "water.npz", "benzene.npz", "binding.npz"}
    assert record["command"].startswith("delta-sgdml sweep write")
    done = sgdml("sweep", "write", manifest, "-o", folder)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "--overwrite" in done.stderr
    assert write("300", 0.1, "--overwrite") == folder
    assert {p.name for p in folder.iterdir()} == {"300K", "ladder", "sweep.json", "start.xyz"}


@pytest.mark.parametrize("old", [False, True], ids=["new", "replaced"])
def test_a_disk_that_is_full_while_a_sweep_is_written(tmp_path: Path, manifest: Path, old: bool) -> None:
    """The file is named, an old sweep stays, and the same can be asked again."""
    folder = tmp_path / "sweep"
    arguments = ["sweep", "write", manifest, "-o", folder, "--no-relax"]
    if old:
        assert sgdml(*arguments, "--temperatures", "100").returncode == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    arguments += ["--temperatures", "200,300", *["--overwrite"] * old]
    # a file of more than 1 KiB is refused by the system, as by a disk that is full
    command = ["bash", "-c", 'ulimit -f 1; exec "$@"', "-", BIN / "delta-sgdml", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(r"200K/input\.xml: cannot be written: File too large$", done.stderr.strip())
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert folder.exists() == old
    assert sgdml(*arguments).returncode == 0
    assert {p.name for p in folder.iterdir()} == {"200K", "300K", "ladder", "sweep.json", "start.xyz"}


def test_a_sweep_that_was_interrupted_while_it_appeared(write: Callable[..., Path]) -> None:
    folder = write("100,300", 0.05)
    (folder / ".part").mkdir()
    for name in ("300K", "sweep.json"):
        (folder / name).rename(folder / ".part" / name)
    assert write("200", 0.05) == folder
    assert {p.name for p in folder.iterdir()} == {"200K", "ladder", "sweep.json", "start.xyz"}


def test_a_ladder_in_one_process(write: Callable[..., Path]) -> None:
    folder = write("50,300", 0.1)
    done = sgdml("sweep", "run", folder, "--json")
    assert done.returncode == 0, done.stderr
    states = json.loads(done.stdout)
    assert [(s["name"], s["phase"], s["step"]) for s in states] == [
        ("50K", "finished", 200),
        ("300K", "finished", 200),
    ]
    assert all(s["potential"] < 0 and abs(s["binding"]) < 0.5 and s["uncertainty"] > 0 for s in states)
    assert_contiguous(folder, 200)
    assert json.loads((folder / "50K/result.json").read_text())["phase"] == "finished"
    assert json.loads(sgdml("sweep", "status", folder, "--json").stdout) == states
    table = sgdml("sweep", "status", folder).stdout.splitlines()
    assert [row.split()[0] for row in table[1:]] == ["50K", "300K"]
    (folder / "50K/result.json").unlink()  # as an engine does before it asks again
    again = sgdml("sweep", "run", folder)
    assert again.returncode == 0
    assert (folder / "50K/result.json").is_file()
    assert_contiguous(folder, 200)
    assert_alone(folder)


@pytest.mark.parametrize("mode", [(), ("--jobs", "2")], ids=["batched", "jobs"])
@pytest.mark.parametrize("everything", [True, False], ids=["all", "master"])
def test_killed_three_times(write: Callable[..., Path], mode: tuple[str, ...], everything: bool) -> None:
    """kill -9 of the command, or of it and all that it started; at the end nothing is missing and nothing twice."""
    folder = write("100,300", 1.0)
    seed = random.SystemRandom().randrange(10**6)
    pause = random.Random(seed)
    reached = []
    for _ in range(3):
        command = [str(BIN / "delta-sgdml"), "sweep", "run", str(folder), *mode]
        job = warm.start(command, None, Path(os.devnull))
        begun = max(reached, default=0)
        deadline = time.monotonic() + 60
        while newest(folder) <= begun + 20 and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(pause.uniform(0, 0.2))
        for pid in [job.pid, *(processes(folder) if everything else [])]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        job.wait()
        reached.append(newest(folder))
    done = sgdml("sweep", "run", folder, *mode)
    assert done.returncode == 0, (seed, done.stderr)
    assert {s.phase for s in load_states(load_sweep(folder))} == {"finished"}
    assert_contiguous(folder, 2000)
    assert reached == sorted(reached), seed
    if mode == () and reached[-1] < 2000:
        found = re.search(r"going on from step (\d+)", done.stderr)
        assert found, done.stderr
        assert int(found[1]) >= reached[-1] - 60  # one checkpoint interval, and a record
    assert_alone(folder)


def newest(folder: Path) -> int:
    """The last step of the temperature that is behind."""
    found = []
    for member in load_sweep(folder).members:
        path = member.folder / f"{member.name}_md.out"
        steps = re.findall(r"^ +(\d\S+) .*\n", path.read_text() if path.is_file() else "", re.M)
        found.append(int(float(steps[-1])) if steps else 0)
    return max(found)


@pytest.mark.parametrize("mode", [(), ("--jobs", "2")], ids=["batched", "jobs"])
def test_a_trajectory_that_breaks(write: Callable[..., Path], mode: tuple[str, ...]) -> None:
    """5000 K, where bonds soon are 10 % longer: stopped and marked, the other goes on. A result, not an error."""
    folder = write("50,5000", 2.0, "--stretch", 1.1)
    done = sgdml("sweep", "run", folder, *mode)
    assert done.returncode == 0, done.stderr
    assert re.search(r"5000K is unstable at 0\.\d+ ps: ", done.stderr)
    cold, hot = load_states(load_sweep(folder))
    assert (cold.phase, cold.step) == ("finished", 4000)
    assert hot.phase == "unstable"
    assert hot.broken_at is not None
    assert 0 < hot.broken_at < 0.1
    assert hot.step < 4000
    result = json.loads((folder / "5000K/result.json").read_text())
    assert result["broken_at_ps"] == hot.broken_at
    assert steps_in(folder / "50K/50K_md.out") == list(range(0, 4001, 10))
    rows = steps_in(folder / "5000K/5000K_md.out")
    assert rows == list(range(0, rows[-1] + 1, 10))
    assert "unstable at" in sgdml("sweep", "status", folder).stdout
    assert sgdml("sweep", "run", folder, *mode).returncode == 0  # nothing is left to do


def test_all_break(write: Callable[..., Path]) -> None:
    folder = write("4000,5000", 0.4, "--stretch", 1.02)
    done = sgdml("sweep", "run", folder)
    assert done.returncode == 0, done.stderr
    assert {s.phase for s in load_states(load_sweep(folder))} == {"unstable"}


def test_one_temperature_for_an_engine(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write("300", 50.0)
    out, err = tmp_path / "out", tmp_path / "err"
    job = warm.start([BIN / "delta-sgdml", "sweep", "md", folder / "300K"], None, out, err)
    deadline = time.monotonic() + 60
    while newest(folder) < 60 and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 75, err.read_text()
    (state,) = load_states(load_sweep(folder))
    assert state.phase == "stopped"
    assert not (folder / "300K/result.json").exists()
    again = sgdml("sweep", "md", folder / "300K", "--wall-time", 4)
    assert again.returncode == 75, again.stderr
    assert "going on from step" in again.stderr
    rows = steps_in(folder / "300K/300K_md.out")
    assert rows == list(range(0, rows[-1] + 1, 10))
    other = sgdml("sweep", "run", folder, "--batched")
    assert other.returncode == 2
    assert "was begun as a job of its own" in other.stderr


@pytest.mark.parametrize(
    ("kind", "options"),
    [("pimd", ("--beads", "4")), ("mts", ("--inner", "2")), ("remd", ("--exchange", "5"))],
)
def test_other_kinds_stopped_and_continued(write: Callable[..., Path], kind: str, options: tuple[str, ...]) -> None:
    folder = write("200,250", 0.12, "--kind", kind, *options)
    total = load_sweep(folder).record.steps
    begun = sgdml("sweep", "run", folder, "--wall-time", 1)
    assert begun.returncode in (0, 75), begun.stderr
    done = sgdml("sweep", "run", folder)
    assert done.returncode == 0, done.stderr
    assert_contiguous(folder, total, "remd" if kind == "remd" else "")
    if kind == "remd":
        swaps = steps_in_swaps(folder / "remd/md.remd_idx")
        assert len(swaps) > 3
        assert swaps == sorted(set(swaps))
        assert sgdml("sweep", "md", folder / "200K").returncode == 2


def steps_in_swaps(path: Path) -> list[int]:
    return [int(row.split()[0]) for row in path.read_text().splitlines()]


def test_multiple_time_steps_are_of_the_same_potential(write: Callable[..., Path], manifest: Path) -> None:
    """What i-PI adds up from the two drivers is the whole potential."""
    folder = write("300", 0.05, "--kind", "mts", "--frames", "10")
    assert sgdml("sweep", "md", folder / "300K").returncode == 0
    rows = np.loadtxt(folder / "300K/300K_md.out")
    text = (folder / "300K/300K_md.pos_0.xyz").read_text().split("\n")
    frames = np.array([line.split()[1:] for line in text if len(line.split()) == 4], dtype=float).reshape(-1, 15, 3)
    expected = load_potential(manifest).compute(frames).energy
    np.testing.assert_allclose(rows[:, 5], expected, atol=2e-4)  # i-PI's electronvolt, and the digits of its xyz


def test_the_binding_of_fewer_beads_is_nearly_the_same(write: Callable[..., Path]) -> None:
    """Ring-polymer contraction: where all beads are in one place nothing changes, then little does."""
    rows, bindings = [], []
    for contract in ("0", "2"):
        folder = write("300", 0.02, "--kind", "pimd", "--beads", "8", "--contract", contract, "--overwrite")
        assert sgdml("sweep", "md", folder / "300K").returncode == 0
        run = folder / "300K"
        rows.append(np.loadtxt(run / "300K_md.out")[:, 5])
        bindings.append(np.mean([np.loadtxt(run / f"300K_md.energy_binding_{k}") for k in range(8)], axis=0).ravel())
    assert rows[1][0] == pytest.approx(rows[0][0], abs=1e-5)
    assert bindings[1] == pytest.approx(bindings[0], abs=0.01)  # eV
    assert 1e-7 < np.abs(rows[1] - rows[0]).max() < 0.02


def test_beads_spread_over_drivers_that_connect_over_tcp(write: Callable[..., Path], manifest: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if port > 60000:
        port -= 10000
    options = ("--kind", "pimd", "--beads", "4", "--batch", "2", "--inet", f"127.0.0.1:{port}")
    folder = write("300", 0.1, *options)
    run = folder / "300K"
    ipi = Process([str(BIN / "i-pi"), "input.xml"], run, "i-pi.log")
    command = [str(BIN / "delta-driver"), str(manifest), "--socket", f"inet:127.0.0.1:{port}"]
    drivers = [Process(command, run, f"driver-{i}.log") for i in range(2)]
    assert ipi.wait() == 0, ipi.said
    for driver in drivers:
        assert driver.wait() == 0, driver.said
        served = re.search(r"(\d+) requests \((\d+) structures\)", driver.said)
        assert served
        assert int(served[1]) > 50
    assert steps_in(run / "300K_md.out") == list(range(0, 201, 10))


def test_a_global_model_without_binding(write: Callable[..., Path], manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    arguments = ("--temperatures", "100", "--time", 0.05, *SHORT, "--no-relax")
    assert sgdml("sweep", "write", manifest.with_name("full.yaml"), "-o", folder, *arguments).returncode == 0
    done = sgdml("sweep", "run", folder)
    assert done.returncode == 0, done.stderr
    assert sgdml("sweep", "status", folder).returncode == 0


def test_models_that_changed(write: Callable[..., Path], manifest: Path) -> None:
    folder = write("100", 0.05)
    record = json.loads((folder / "sweep.json").read_text())
    record["sha256"]["water.npz"] = "0" * 64
    (folder / "sweep.json").write_text(json.dumps(record))
    done = sgdml("sweep", "run", folder)
    assert done.returncode == 2
    assert "not those that the sweep was written with" in done.stderr


METADYNAMICS = ("--kind", "metadynamics", "--variable", "R_CM")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("write", "{manifest}", "-o", "{new}", "--temperatures", "10:400"), "FIRST:LAST:STEP"),
        (("write", "{manifest}", "-o", "{new}", "--stride", "20", "--frames", "30"), "multiple of --stride"),
        (("write", "{manifest}", "-o", "{new}", "--stride", "20", "--checkpoint", "30"), "multiple of --stride"),
        (("write", "{manifest}", "-o", "{new}", "--beads", "8"), "goes with --kind pimd"),
        (("write", "{manifest}", "-o", "{new}", "--kind", "pimd", "--contract", "16"), "less than its --beads"),
        (("write", "{manifest}", "-o", "{new}", "--contract", "4"), "goes with --kind pimd"),
        (("write", "{manifest}", "-o", "{new}", "--energy-margin", "0"), "energy 0, expected a number above 0"),
        (("write", "{manifest}", "-o", "{new}", "--kind", "remd", "--temperatures", "300"), "at least two"),
        (("write", "{full}", "-o", "{new}", "--kind", "mts"), "has no binding"),
        (("write", "{manifest}", "-o", "{new}", "--inet", "nowhere"), "inet:HOST:PORT"),
        (("write", "{manifest}", "-o", "{new}", "--walkers", "2"), "--walkers goes with --kind metadynamics"),
        (("write", "{manifest}", "-o", "{new}", *METADYNAMICS, "--width", "wide"), "a number for each variable"),
        (("write", "{manifest}", "-o", "{new}", *METADYNAMICS, "--walls", "3"), "as 2:12 or :12"),
        (("write", "{new}", "-o", "{new}"), "no such manifest"),
        (("write", "{manifest}", "-o", "{other}", "--overwrite"), "something else than a sweep"),
        (("run", "{other}"), "is no sweep"),
        (("run", "{sweep}", "--jobs", "2", "--batched"), "not both"),
        (("md", "{sweep}/400K"), "there are 300K"),
        (("md", "{other}/300K"), "is no sweep"),
        (("status", "{new}"), "is no sweep"),
    ],
)
def test_bad_input(tmp_path: Path, manifest: Path, arguments: tuple[str, ...], says: str) -> None:
    places = {"manifest": manifest, "full": manifest.with_name("full.yaml"), "new": tmp_path / "new"}
    places |= {"other": tmp_path / "other", "sweep": tmp_path / "sweep"}
    places["other"].mkdir()
    (places["other"] / "notes.txt").write_text("mine")
    if "{sweep}" in " ".join(arguments):
        known = ("sweep", "write", manifest, "-o", places["sweep"], "--temperatures", "300", "--no-relax")
        assert sgdml(*known).returncode == 0
    done = sgdml("sweep", *(argument.format(**places) for argument in arguments))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert says in done.stderr
    assert not places["new"].exists()
    assert (places["other"] / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("mode", [(), ("--jobs", "2")], ids=["batched", "jobs"])
def test_made_longer(write: Callable[..., Path], mode: tuple[str, ...]) -> None:
    """One that is finished goes on, twice; what is shorter is refused, what broke stays so."""
    folder = write("100,300,400", 0.1, "--seed", 3)
    assert sgdml("sweep", "run", folder, *mode).returncode == 0
    first = (folder / "300K/300K_md.out").read_text()
    state = json.loads((folder / "400K/state.json").read_text())
    state |= {"phase": "unstable", "broken_step": 200, "reason": "a bond broke"}
    (folder / "400K/state.json").write_text(json.dumps(state))
    for picoseconds, last in ((0.15, 300), (0.2, 400)):
        done = sgdml("sweep", "run", folder, "--time", picoseconds, *mode)
        assert done.returncode == 0, done.stderr
        assert f"300K: {picoseconds:.3f} ps, finished" in done.stdout
        for name in ("100K", "300K"):
            assert steps_in(folder / name / f"{name}_md.out") == list(range(0, last + 1, 10))
            assert json.loads((folder / name / "result.json").read_text())["step"] == last
        assert steps_in(folder / "400K/400K_md.out") == list(range(0, 201, 10))
    assert (folder / "300K/300K_md.out").read_text().startswith(first)
    assert load_sweep(folder).record.steps == 400
    for never in ("nan", "inf"):
        assert "--time" in sgdml("sweep", "run", folder, "--time", never, *mode).stderr
    less = sgdml("sweep", "run", folder, "--time", "0.1", *mode)
    assert (less.returncode, less.stderr.count("\n")) == (2, 1)
    assert "is of 0.2 ps each, no less can be asked: 0.1 ps" in less.stderr


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "delta-sgdml-sweep/2"}', "\0"])
def test_a_record_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    done = sgdml("sweep", "status", tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)


def test_a_state_that_is_none(write: Callable[..., Path]) -> None:
    folder = write("300", 0.05)
    (folder / "300K/state.json").write_text('{"phase": "running"}')
    done = sgdml("sweep", "run", folder)
    assert done.returncode == 2
    assert "not the state of a run" in done.stderr
