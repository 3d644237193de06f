"""`delta-sgdml run`: i-PI and its drivers as one supervised job, with all that can happen to either."""

from __future__ import annotations

import os
import re
import shlex
import shutil
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

from delta_server.errors import DeltaError
from delta_server.ipi.tables import read_extras, read_properties
from delta_server.server.record import load_run
from delta_server.server.supervisor import Supervisor

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)


class Job:
    """A supervised run in a folder of its own."""

    def __init__(
        self, folder: Path, input_file: Path, manifest: Path, *options: str, outputs: Path, started: bool
    ) -> None:
        """outputs: a folder for what it prints. started: as a user's, not forked."""
        self.folder = folder
        self.command = [SGDML, "run", str(input_file), str(manifest), "--dir", str(folder), *options]
        self._out, self._err = outputs / "out", outputs / "err"
        self.process: warm.Forked | subprocess.Popen[bytes]
        if started:
            with self._out.open("wb") as out, self._err.open("wb") as err:
                self.process = subprocess.Popen(self.command, stdout=out, stderr=err)
        else:
            self.process = warm.start(self.command, None, self._out, self._err)

    def ended(self) -> tuple[int, str, str]:
        code, out, err = self.process.wait(120), self._out.read_text(), self._err.read_text()
        assert "Traceback" not in err, err
        return code, out, err

    def pids(self, what: str) -> list[int]:
        """Processes of this run: those that work in its folder and have `what` on their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().decode(errors="replace")
                    if Path(os.readlink(entry / "cwd")) == self.folder.resolve() and what in command:
                        found.append(int(entry.name))
                except OSError:  # gone meanwhile
                    continue
        return found

    def step(self) -> int:
        try:
            return int(read_properties(self.folder / "run.out")["step"][-1])
        except DeltaError:  # not there yet, or half a line of it
            return -1

    def wait_step(self, step: int) -> None:
        wait_until(lambda: self.step() >= step or self.process.poll() is not None, f"step {step}")
        assert self.process.poll() is None, self._err.read_text()


@pytest.fixture
def start(tmp_path: Path, inputs: Path, h2o_benzene: Path) -> Iterator[Callable[..., Job]]:
    """Start a run of `steps` steps of water on benzene: (steps, *options)."""
    jobs: list[Job] = []
    source = tmp_path / "source"
    source.mkdir()

    def begin(
        steps: int,
        *options: str,
        edit: Callable[[str], str] = str,
        init: Callable[[str], str] = str,
        started: bool = False,
        manifest: Path = h2o_benzene,
    ) -> Job:
        text = (inputs / "h2o_benzene/nvt.xml").read_text()
        text = re.sub(r"<total_steps>.*?</total_steps>", f"<total_steps>{steps}</total_steps>", text)
        text = re.sub(r'stride="20" flush="10"', 'stride="2"', text).replace('prefix="nvt"', 'prefix="run"')
        text = text.replace('safe_stride="200"', 'safe_stride="2"')
        text = text.replace("<timeout> 600", "<timeout> 20")
        (source / "input.xml").write_text(edit(text))
        (source / "init.xyz").write_text(init((inputs / "h2o_benzene/init.xyz").read_text()))
        outputs = tmp_path / f"outputs-{len(jobs)}"
        outputs.mkdir()
        given = tmp_path / "run", source / "input.xml", manifest, *options
        jobs.append(Job(*given, outputs=outputs, started=started))
        return jobs[-1]

    yield begin
    for job in jobs:
        if job.process.poll() is None:
            job.process.kill()
            job.process.wait()
        for pid in job.pids("i-pi") + job.pids("delta-driver"):
            os.kill(pid, signal.SIGKILL)


def assert_contiguous(folder: Path, last: int, *others: str) -> None:
    """Each record is in each output once, in order, to the last; read from the files as they are."""
    for name in ("run.out", "run.pos_0.xyz", "run.energy_binding_0", *others):
        text = (folder / name).read_text()
        rows = re.findall(r"^ +(\d\S+) " if name == "run.out" else r"Step:\s*(\d+)", text, re.M)
        assert [int(float(row)) for row in rows] == list(range(0, last + 1, 2)), name


def steps_of(folder: Path) -> list[int]:
    return [int(s) for s in read_properties(folder / "run.out")["step"]]


def test_a_run_to_its_end(start: Callable[..., Job], h2o_benzene: Path) -> None:
    job = start(200, "--drivers", "2", started=True)
    code, out, err = job.ended()
    assert code == 0, err
    assert "finished: 200 steps (0.100 ps)" in out
    assert "ns/day" in out
    assert steps_of(job.folder) == list(range(0, 201, 2))
    assert len(read_extras(job.folder / "run.energy_binding_0")[2]) == 101
    assert not job.pids("delta-driver")
    for log in ("i-pi.log", "delta-0.log", "delta-1.log"):
        assert (job.folder / log).stat().st_size > 0
    record = load_run(job.folder)
    assert record is not None
    assert record.manifest == h2o_benzene
    assert record.command == shlex.join(["delta-sgdml", *job.command[1:]])


def far_apart(xyz: str) -> str:
    """Water 7 Å farther from benzene than at the minimum."""
    lines = xyz.splitlines()
    for i, line in enumerate(lines[2:5], 2):
        symbol, x, y, z = line.split()
        lines[i] = f"{symbol} {float(x) - 7.0} {y} {z}"
    return "\n".join(lines) + "\n"


def with_formulas(xml: str) -> str:
    """As the models at PBE0-D4 call the molecules."""
    return xml.replace("energy_water", "energy_h2o").replace("energy_benzene", "energy_c6h6")


def test_where_a_model_leaves_its_training_the_run_says_so(start: Callable[..., Job], h2o_benzene: Path) -> None:
    """Models whose data have no fragments placed."""
    manifest = h2o_benzene.parent / "pbe0/manifest.yaml"
    job = start(100000, "--stop-outside", init=far_apart, edit=with_formulas, manifest=manifest)
    code, out, err = job.ended()
    assert code == 10, err
    assert ": --stop-outside; go on with --restart" in out
    (line,) = err.strip().splitlines()
    assert re.search(
        r"step \d+: left what the model was trained on, binding: expected error 1\.\d+ kcal/mol/Å, us", line
    )
    record = load_run(job.folder)
    assert record is not None
    (left,) = record.left
    assert (left.term, left.system) == ("binding", "")
    assert left.error > 3 * left.usual > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_softly_and_continued(start: Callable[..., Job], number: signal.Signals) -> None:
    job = start(100000)
    job.wait_step(20)
    job.process.send_signal(number)
    code, out, err = job.ended()
    assert code == 128 + number
    assert "go on with --restart" in out
    assert len(err.strip().splitlines()) == 1
    last = job.step() + 40
    state = job.folder / "RESTART"
    state.write_text(re.sub(r"100000(?=\s*</total_steps>)", str(last), state.read_text()))
    code, out, err = start(last, "--restart").ended()
    assert code == 0, err
    assert_contiguous(job.folder, last)


@pytest.mark.parametrize("beads", [1, 4])
def test_both_transports_give_the_same_trajectory(start: Callable[..., Job], tmp_path: Path, beads: int) -> None:
    """To the last bit, also of one that goes on by the other; the log's first line says which it is."""
    folder = tmp_path / "run"

    def quantum(text: str) -> str:
        text = text.replace('nbeads="1"', f'nbeads="{beads}"')
        return text.replace('"langevin"', '"pile_l"').replace(' splitting="baoab"', "") if beads > 1 else text

    def run(*legs: str) -> dict[str, bytes]:
        for i, transport in enumerate(legs, 1):
            steps = 40 // len(legs) * i
            if i > 1:
                state = folder / "RESTART"
                state.write_text(re.sub(r"\d+(?=\s*</total_steps>)", str(steps), state.read_text()))
            code, _, err = start(steps, "--transport", transport, *["--restart"] * (i > 1), edit=quantum).ended()
            assert code == 0, err
            where = "through the socket" if transport == "socket" else "in i-PI's own process"
            first = (folder / "i-pi.log").read_text().splitlines()[0]
            assert first == f"delta-sgdml: forces {where} (--transport {transport})"
        outputs = {path.name: path.read_bytes() for path in folder.glob("run.[!cj]*")}  # no checkpoints, no record
        shutil.rmtree(folder)
        return outputs

    if beads == 1:
        assert run("auto") == run("socket")
    else:  # a RESTART has ten digits: both go on from one
        assert run("direct", "socket") == run("socket", "direct")


def test_a_killed_driver_is_started_again(start: Callable[..., Job]) -> None:
    job = start(400, "--transport", "socket")
    job.wait_step(20)
    (pid,) = job.pids("delta-driver")
    os.kill(pid, signal.SIGKILL)
    code, out, err = job.ended()
    assert code == 0, err
    assert "driver restarts: 1" in out
    assert "was killed by signal 9" in err
    assert steps_of(job.folder) == list(range(0, 401, 2))
    assert np.isfinite(read_properties(job.folder / "run.out")["potential"]).all()


def test_a_killed_ipi_ends_the_rest(start: Callable[..., Job]) -> None:
    job = start(100000)
    job.wait_step(20)
    (pid,) = job.pids("i-pi")
    os.kill(pid, signal.SIGKILL)
    code, _, err = job.ended()
    assert code == 9
    assert "i-PI ended with code -9" in err
    assert len(err.strip().splitlines()) == 1
    assert not job.pids("delta-driver")


@pytest.mark.parametrize("transport", ["direct", "socket"])
def test_a_geometry_in_the_wrong_unit_ends_all(start: Callable[..., Job], transport: str) -> None:
    wrong = 'mode="xyz" units="atomic_unit">'
    job = start(100, "--transport", transport, edit=lambda text: text.replace('mode="xyz">', wrong))
    code, _, err = job.ended()
    assert code == 9
    assert len(err.strip().splitlines()) == 1
    assert "geometry" in err
    assert "Å were read as bohr" in err or "units" in err
    assert not job.pids("delta-driver")
    assert not job.pids("i-pi")


def test_a_system_that_breaks_in_a_thread_of_its_own_ends_all(start: Callable[..., Job]) -> None:
    """i-PI would wait for it for ever: its batch never fills again."""

    def two(text: str) -> str:
        system = text[text.index("<system>") : text.index("</system>") + len("</system>")]
        other = system.replace("<system>", '<system prefix="b">').replace(
            "> 300 </velocities>", "> nan </velocities>"
        )
        text = text.replace(system, system.replace("<system>", '<system prefix="a">') + other)
        return text.replace('threading="False"', 'threading="True"')

    job = start(100, "--transport", "direct", edit=two)
    code, _, err = job.ended()
    assert code == 6
    (line,) = err.strip().splitlines()
    assert (
        "a geometry that cannot be this molecule: position of atom 0 in frame" in line
    )  # in which, the threads decide
    assert (job.folder / "RESTART").is_file()
    assert not job.pids("i-pi")


def test_an_input_that_ipi_refuses(start: Callable[..., Job]) -> None:
    job = start(100, edit=lambda text: text.replace("<fixcom>", "<fixcon>").replace("</fixcom>", "</fixcon>"))
    code, _, err = job.ended()
    assert code == 9
    assert "fixcon" in err
    assert len(err.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_named(start: Callable[..., Job]) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        inet = rf'mode="inet"\1<address> localhost </address> <port> {port} </port>'
        job = start(
            100, edit=lambda text: re.sub(r'mode="unix"(.*?)<address>.*?</address>', inet, text, flags=re.DOTALL)
        )
        code, _, err = job.ended()
    assert code == 9
    assert f"another program listens at localhost:{port}" in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_that_ends_before_its_last_step(start: Callable[..., Job]) -> None:
    job = start(100000)
    job.wait_step(20)
    (job.folder / "EXIT").touch()
    code, out, _ = job.ended()
    assert code == 10
    assert "stopped at step" in out
    assert "finished" not in out


def test_a_crash_is_continued_from_the_last_checkpoint(start: Callable[..., Job]) -> None:
    often = 'stride="10" filename="chk" overwrite="True"'
    job = start(100000, edit=lambda text: text.replace('stride="1000" filename="chk" overwrite="False"', often))
    job.wait_step(40)
    (pid,) = job.pids("i-pi")
    checkpoint = job.folder / "run.chk"

    def whole() -> bool:
        """It may be writing it just now; then there is nothing to go on from."""
        os.kill(pid, signal.SIGSTOP)
        if checkpoint.read_text().rstrip().endswith("</simulation>"):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    wait_until(whole, "a whole checkpoint")
    os.kill(pid, signal.SIGKILL)
    assert job.ended()[0] == 9
    text = checkpoint.read_text().replace(" 100000 ", " 200 ").replace(">100000<", ">200<")
    checkpoint.write_text(text[: len(text) // 2])
    code, _, err = start(200, "--restart").ended()
    assert code == 2
    assert "no checkpoint to go on from (run.chk is cut off)" in err
    checkpoint.write_text(text)
    code, _, err = start(200, "--restart").ended()
    assert code == 0, err
    assert steps_of(job.folder) == list(range(0, 201, 2))


def test_an_ipi_that_does_not_end_is_killed_and_continued(
    start: Callable[..., Job], tmp_path: Path, h2o_benzene: Path
) -> None:
    """Its threads can wait for one another for ever when it is asked to end: here it is stopped altogether."""
    often = 'stride="10" filename="chk" overwrite="False"'  # the last may be cut off, those before it are whole
    job = start(200, edit=lambda text: text.replace('stride="1000" filename="chk" overwrite="False"', often))
    assert job.ended()[0] == 0  # for its files
    (job.folder / "RESTART").unlink()
    supervisor = Supervisor(tmp_path / "source/input.xml", h2o_benzene, directory=job.folder, grace=1.0)
    told: list[str] = []

    def freeze() -> bool:
        if supervisor.progress.step < 40:
            return False
        for pid in job.pids("i-pi"):
            os.kill(pid, signal.SIGSTOP)
        return True

    outcome = supervisor.run(freeze, on_event=told.append)
    assert not outcome.finished
    assert told == ["i-PI did not end within 1 s of being asked, and is killed"]
    assert not job.pids("i-pi")
    assert not job.pids("delta-driver")
    code, _, err = start(200, "--restart").ended()
    assert code == 0, err
    assert steps_of(job.folder) == list(range(0, 201, 2))


def test_two_sockets_that_would_count_the_energy_twice(start: Callable[..., Job]) -> None:
    def split(text: str) -> str:
        socket = text[text.index("<ffsocket") : text.index("</ffsocket>") + len("</ffsocket>")]
        other = socket.replace('"delta"', '"more"').replace("h2o_benzene", "more")
        return text.replace(socket, socket + other).replace("</forces>", '<force forcefield="more"/> </forces>')

    job = start(100, edit=split)
    code, _, err = job.ended()
    assert code == 2
    assert "count twice" in err
    assert "'fragments' and 'binding'" in err


def test_beginning_anew_over_an_earlier_run_is_said(start: Callable[..., Job]) -> None:
    assert start(20).ended()[0] == 0
    code, _, err = start(20).ended()
    assert code == 0
    assert "begins anew" in err


def test_a_second_run_in_the_same_folder_touches_nothing(start: Callable[..., Job]) -> None:
    first = start(100000)
    first.wait_step(20)
    kept = [(path.name, path.stat().st_ino) for path in sorted(first.folder.iterdir())]
    for options in (["--restart"], []):
        code, _, err = start(100000, *options).ended()
        assert code == 2
        assert f"another run is running there, process {first.process.pid};" in err
        assert len(err.strip().splitlines()) == 1
    assert [(path.name, path.stat().st_ino) for path in sorted(first.folder.iterdir())] == kept
    first.process.send_signal(signal.SIGINT)
    assert first.ended()[0] == 130
    assert_contiguous(first.folder, first.step())


@pytest.mark.parametrize("everything", [True, False], ids=["all", "supervisor"])
def test_killed_and_continued(start: Callable[..., Job], everything: bool) -> None:
    """kill -9 twice, then to the end: nothing is missing, nothing twice, nobody is left; --restart waits for the i-PI
    of the killed one."""

    more = (
        '<trajectory stride="2" filename="p" format="pdb"> positions </trajectory> '
        '<trajectory stride="2" filename="v" format="ase"> velocities </trajectory> </output>'
    )

    def often(text: str) -> str:
        return text.replace("</output>", more).replace('stride="1000"', 'stride="20"')

    transport = ["--transport", "direct" if everything else "socket"]
    reached = 0
    for options in (transport, [*transport, "--restart"]):
        job = start(400, *options, edit=often)
        job.wait_step(reached + 30)
        for pid in [job.process.pid, *(job.pids("i-pi") + job.pids("delta-driver") if everything else [])]:
            os.kill(pid, signal.SIGKILL)
        job.process.wait()
        reached = job.step()
    code, _, err = start(400, "--restart", edit=often).ended()
    assert code == 0, err
    found = re.search(r"going on from step (\d+)", err)
    assert found, err
    assert int(found[1]) >= reached - 22  # a checkpoint interval, and a record
    assert_contiguous(job.folder, 400, "run.p_0.pdb", "run.v_0.extxyz")
    assert not job.pids("i-pi")
    assert not job.pids("delta-driver")


def test_the_state_of_an_earlier_run_is_not_gone_on_from(start: Callable[..., Job]) -> None:
    job = start(100)
    assert job.ended()[0] == 0
    again = start(100000)
    wait_until(lambda: bool(again.pids("i-pi")), "i-PI")
    for pid in [again.process.pid, *again.pids("i-pi")]:
        os.kill(pid, signal.SIGKILL)
    again.process.wait()
    code, _, err = start(100, "--restart").ended()
    assert (code, "no RESTART and no checkpoint" in err) == (2, True), err
    assert (job.folder / "#RESTART#0#").is_file()


def test_a_finished_run_has_nothing_to_go_on_with(start: Callable[..., Job]) -> None:
    job = start(40)
    assert job.ended()[0] == 0
    code, out, _ = start(40, "--restart").ended()
    assert code == 0
    assert "it had reached its last step" in out
    assert_contiguous(job.folder, 40)


def motion(xml: str) -> Callable[[str], str]:
    """An edit of an input: another motion."""
    return lambda text: re.sub(r"<motion.*</motion>", f"<motion {xml} </motion>", text, flags=re.S)


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ('mode="minimize"> <optimizer mode="lbfgs"> <tolerances> <energy> 1e-3 </energy> <force> 1e-1 </force> '
         "<position> 1e-1 </position> </tolerances> </optimizer>", "Geometry optimization converged"),
        ('mode="vibrations"> <vibrations mode="fd"> </vibrations>', "Dynamic matrix is calculated"),
    ],
    ids=["optimisation", "phonons"],
)  # fmt: skip
def test_what_ends_before_its_last_step_because_it_is_done(start: Callable[..., Job], xml: str, says: str) -> None:
    for options in ([], ["--restart"]):
        code, out, err = start(1000, *options, edit=motion(xml)).ended()
        assert code == 0, err
        assert re.search(rf"finished: \d+ of 1000 steps in .*: {says}", out), out


def test_the_files_that_an_input_names_and_a_long_tmpdir(
    start: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions, masses, labels and velocities from files, some above the input; a TMPDIR that no socket fits in."""
    init = Path(__file__).parents[2] / "inputs/h2o_benzene/init.xyz"
    (tmp_path / "above.xyz").write_text(init.read_text())
    names, atoms = [line.split()[0] for line in init.read_text().splitlines()[2:]], "".join
    head = "15\n# CELL(abcABC): 100 100 100 90 90 90 cell{angstrom} velocities{atomic_unit}\n"
    places = (
        '<positions mode="xyz"> ../above.xyz </positions> <cell mode="abc" units="angstrom"> [100, 100, 100] </cell> '
        '<masses mode="xyz"> ../above.xyz </masses> <labels mode="xyz"> init.xyz </labels> '
        '<velocities mode="xyz"> vel.xyz </velocities>'
    )
    (tmp_path / "source/vel.xyz").write_text(head + atoms(f"{name} 0 0 1e-4\n" for name in names))
    long = tmp_path.joinpath(*["a-long-name"] * 12)
    long.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(long))
    edit = re.compile(r"(<initialize[^>]*>).*(</initialize>)", re.S)
    job = start(20, edit=lambda text: edit.sub(rf"\1 {places} \2", text))
    code, _, err = job.ended()
    assert code == 0, err
    assert_contiguous(job.folder, 20)
    assert read_properties(job.folder / "run.out")["temperature"][0] > 0


def test_a_file_that_is_missing(start: Callable[..., Job], tmp_path: Path) -> None:
    code, _, err = start(20, edit=lambda text: text.replace("init.xyz", "gone.xyz")).ended()
    assert code == 2
    assert "<file> names gone.xyz, no such file in" in err
    assert not (tmp_path / "run").exists()


def test_restart_without_a_restart(start: Callable[..., Job]) -> None:
    code, _, err = start(100, "--restart").ended()
    assert code == 2
    assert "no RESTART and no checkpoint" in err
