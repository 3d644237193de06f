"""The same dynamics over every way into i-PI, with the shipped inputs and models."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
import pytest
from conftest import ROOT
from ipi.utils.units import unit_to_internal
from processes import Process

from delta_server import load_potential
from delta_server.ipi.tables import read_extras, read_properties
from delta_server.server import __file__ as server_package
from delta_server.server.job.ipi_process import IpiProcess
from delta_server.server.job.processes import RunProgress
from delta_server.units import BOHR, HARTREE

MANIFEST = ROOT / "models/h2o_benzene/manifest.yaml"
INPUTS = ROOT / "inputs/h2o_benzene"
PLUGIN = Path(server_package).with_name("ipi_pes.py")
BIN = Path(sys.executable).parent
STEPS = 15

FRAMES = "<trajectory stride='1' filename='frames' format='ase'> positions </trajectory>"
SYSTEMS = """
  <system_template>
    <labels> [ TKELVIN ] </labels>
    <instance> [ 10 ] </instance> <instance> [ 50 ] </instance> <instance> [ 100 ] </instance>
    <instance> [ 150 ] </instance> <instance> [ 200 ] </instance> <instance> [ 250 ] </instance>
    <instance> [ 300 ] </instance> <instance> [ 400 ] </instance>
    <template> {system} </template>
  </system_template>"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Run:
    """A shipped input, shortened, with another <ffsocket> (or <ffdirect>) in its place."""

    def __init__(
        self, folder: Path, prefix: str, name: str, forcefield: str, *, systems: bool, forces: tuple[str, ...]
    ) -> None:
        folder.mkdir()
        self.folder, self.name = folder, name
        text = (INPUTS / f"{name}.xml").read_text()
        text = re.sub(r"<ffsocket.*</ffsocket>", forcefield, text, flags=re.S)
        text = re.sub(r"<total_steps>.*?</total_steps>", f"<total_steps>{STEPS}</total_steps>", text)
        text = re.sub(r'stride="\d+"', 'stride="1"', text)
        text = text.replace("</output>", f"{FRAMES}</output>")
        if forces:
            components = " ".join(f"<force forcefield='{f}'/>" for f in forces)
            text = text.replace('<force forcefield="delta"/>', components)
            text = re.sub(r"<trajectory[^>]*extra_type.*?</trajectory>", "", text)
        if systems:
            system = re.search(r"<system>.*</system>", text, flags=re.S)
            assert system is not None
            template = system[0].replace("<system>", '<system prefix="TKELVIN">').replace(" 300 ", " TKELVIN ")
            text = text.replace(system[0], SYSTEMS.format(system=template))
        (folder / "input.xml").write_text(text)
        (folder / "init.xyz").write_text((INPUTS / "init.xyz").read_text())
        self.ipi = Process([str(BIN / "i-pi"), "-S", prefix, "input.xml"], folder, "i-pi.log")

    def table(self, system: str = "") -> dict[str, np.ndarray]:
        return read_properties(self.folder / f"{system}{self.name}.out").columns


@pytest.fixture
def run(tmp_path: Path, socket_folder: Path) -> Iterator:
    """Run an input with drivers to its end: (name, forcefield, driver command, ...) → Run."""
    children: list[Process] = []

    def start(
        name: str, forcefield: str, *drivers: list[str], systems: bool = False, forces: tuple[str, ...] = ()
    ) -> Run:
        prefix = f"{socket_folder}/{len(children)}-"
        here = Run(tmp_path / f"run-{len(children)}", prefix, name, forcefield, systems=systems, forces=forces)
        children.append(here.ipi)
        for i, command in enumerate(drivers):
            if command[0] == OURS[0]:
                command = [*command, "--input", "input.xml", "--sockets-prefix", prefix]
            else:
                here.ipi.wait_for("Created unix socket")  # the stock driver does not wait for its server
                command = [*command, "-S", prefix]
            children.append(Process(command, here.folder, f"driver-{i}.log"))
        assert here.ipi.wait() == 0, here.ipi.said
        for child in children[-len(drivers) :] if drivers else []:
            assert child.wait() == 0, child.said
        return here

    yield start
    for child in children:
        child.kill()


OURS = [str(BIN / "delta-driver"), str(MANIFEST)]
STOCK = [
    str(BIN / "i-pi-driver-py"),
    "-m",
    "custom",
    "-P",
    str(PLUGIN),
    "-o",
    f"manifest={MANIFEST}",
    "-u",
    "-a",
    "x",
]


def ffsocket(mode: str = "unix", attributes: str = "", elements: str = "") -> str:
    port = f"<port> {free_port()} </port>" if mode == "inet" else ""
    address = "127.0.0.1" if mode == "inet" else "x"
    return (
        f"<ffsocket name='delta' mode='{mode}' pbc='False' {attributes}> <address> {address} </address> {port} "
        f"<latency> 1e-4 </latency> <timeout> 600 </timeout> {elements} </ffsocket>"
    )


def ffdirect(batch: int = 1) -> str:
    return (
        f"<ffdirect name='delta'> <pes> custom </pes> <pes_path> {PLUGIN} </pes_path> "
        f"<parameters> {{ manifest: {MANIFEST} }} </parameters> <batch_size> {batch} </batch_size> </ffdirect>"
    )


def test_unix_inet_shm_and_in_process_give_the_same_trajectory(run) -> None:
    reference = run("nvt", ffsocket(), OURS)
    others = {
        "inet": run("nvt", ffsocket("inet"), OURS),
        "shm": run("nvt", ffsocket("shm"), OURS),
        "not consolidated": run(
            "nvt", ffsocket("unix", "", "<consolidate_messages> False </consolidate_messages>"), OURS
        ),
        "two drivers": run("nvt", ffsocket(), OURS, OURS),
        "ffdirect": run("nvt", ffdirect()),
        "stock driver": run("nvt", ffsocket(), STOCK),
    }
    expected = reference.table()
    assert np.ptp(expected["potential"]) > 0.05  # it did move
    for name, other in others.items():
        for column, values in other.table().items():
            assert np.array_equal(values, expected[column]), (name, column)

    potential = load_potential(MANIFEST)
    frames = np.array([a.positions for a in ase.io.read(reference.folder / "nvt.frames_0.extxyz", ":")])
    result = potential.compute(frames)
    assert len(frames) == STEPS + 1
    potential_energy = (
        unit_to_internal("energy", "electronvolt", expected["potential"]) * HARTREE
    )  # i-PI's eV is older
    assert result.energy == pytest.approx(potential_energy, abs=1e-6)  # frames have 8 decimals of an Å
    for term in ("water", "benzene", "binding"):
        key, steps, values = read_extras(reference.folder / f"nvt.energy_{term}_0")
        assert key == f"energy_{term}"
        assert steps.tolist() == list(range(STEPS + 1))
        assert values == pytest.approx(result.parts.energies[term], abs=1e-6)


def test_sixteen_beads_in_one_batch(run) -> None:
    batch = "<batch_size> 16 </batch_size>"
    single = run("pimd", ffsocket(), OURS)
    for name, other in {
        "batch": run("pimd", ffsocket("unix", "matching='any'", batch), OURS),
        "short batches": run("pimd", ffsocket("unix", "matching='any'", "<batch_size> 12 </batch_size>"), OURS),
        "batch over shm": run("pimd", ffsocket("shm", "matching='any'", batch), OURS),
        "batch in process": run("pimd", ffdirect(16)),
    }.items():
        for column, values in other.table().items():
            assert np.array_equal(values, single.table()[column]), (name, column)


def test_eight_systems_in_one_batch(run) -> None:
    single = run("nve", ffsocket(), OURS, systems=True)
    batch = run("nve", ffsocket("unix", "matching='any'", "<batch_size> 8 </batch_size>"), OURS, systems=True)
    assert sorted(p.name for p in batch.folder.glob("*_nve.out")) == sorted(
        f"{t}_nve.out" for t in (10, 50, 100, 150, 200, 250, 300, 400)
    )
    for temperature in (10, 50, 100, 150, 200, 250, 300, 400):
        system = f"{temperature}_"
        for column, values in batch.table(system).items():
            assert np.array_equal(values, single.table(system)[column]), (system, column)


def test_fragments_and_binding_as_two_forcefields(run) -> None:
    """What multiple time stepping and ring-polymer contraction stand on: the parts add up in i-PI."""
    whole = run("nvt", ffsocket(), OURS)
    split = ffsocket().replace("'delta'", "'fragments'") + ffsocket().replace("'delta'", "'binding'").replace(
        "> x <", "> y <"
    )
    halves = [[*OURS, "--ffsocket", part, "--part", part, "--no-extras"] for part in ("fragments", "binding")]
    parts = run("nvt", split, *halves, forces=("fragments", "binding"))
    for column, values in parts.table().items():
        assert values == pytest.approx(whole.table()[column], rel=1e-7, abs=1e-6), column


def test_the_command_that_prints_the_plug_in(tmp_path: Path) -> None:
    printed = subprocess.run([str(BIN / "delta-sgdml"), "pes"], capture_output=True, text=True, check=True).stdout
    assert Path(printed.strip()).samefile(PLUGIN)


def test_the_plug_in_takes_one_structure_or_a_list(h2o_benzene: Path) -> None:
    from delta_server.server.ipi_pes import DeltaDriver

    potential = load_potential(h2o_benzene)
    driver = DeltaDriver(str(h2o_benzene), verbosity=False)
    x = np.stack([potential.reference, potential.reference + 0.01]) / BOHR
    batch = driver([np.zeros((3, 3))] * 2, list(x))
    energy, forces, virial, extra = driver(np.zeros((3, 3)), x[1])
    assert batch[1][0] == pytest.approx(energy)
    assert batch[1][1] == pytest.approx(forces, abs=1e-9)
    result = potential.compute(x[1] * BOHR)
    assert energy * HARTREE == pytest.approx(result.energy)
    assert forces * HARTREE / BOHR == pytest.approx(result.forces)
    assert virial * HARTREE == pytest.approx(result.virial)
    assert json.loads(extra)["energy_water"] == pytest.approx(result.parts.energies["water"])
    with pytest.raises(ValueError, match="part is"):
        DeltaDriver(str(h2o_benzene), part="some")


def test_i_pi_has_one_heap_and_the_threads_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of many systems share it; who sets it otherwise keeps that."""
    names = ("MALLOC_ARENA_MAX", "OMP_NUM_THREADS")
    told = [sys.executable, "-c", f"import os; print(*(os.environ[name] for name in {names}))"]

    def environment() -> str:
        process = IpiProcess(told, tmp_path, RunProgress(0), 3, (), "log")
        process.close()
        assert process.process.wait(30) == 0
        return process.log.read_text().splitlines()[1]

    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert environment() == "1 3"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert environment() == "4 3"
