"""Where a run goes on after a crash: the newest state whose outputs are all there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from delta_server.errors import InputError
from delta_server.files.whole import write_whole
from delta_server.ipi.simulation import Simulation, System
from delta_server.sweep.checkpoint import prepare, prune

PREFIXES = ("../10K/10K", "../300K/300K")


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    """A ladder's folder after a crash beyond step 60: checkpoints of steps 20, 40 and 60, rows each 10 steps."""
    folder = tmp_path / "ladder"
    folder.mkdir()
    systems = tuple(System(t, f"../{t}K/{t}K") for t in (10, 300))
    simulation = Simulation("made", (), time=0.05, stride=10, checkpoint=20, systems=systems)
    (folder / "input.xml").write_text(simulation.xml(prefix="md"))
    for number, step in enumerate((20, 40, 60), 1):
        state = simulation.xml(prefix="md").replace("<total_steps>", f"<step> {step} </step> <total_steps>")
        (folder / f"md.chk_{number}").write_text(state)
    for system in systems:
        path = folder / system.prefix
        path.parent.mkdir()
        for name, text in outputs(range(0, 71, 10)).items():
            Path(f"{path}_md.{name}").write_text(text)
    return folder


def outputs(steps: range) -> dict[str, str]:
    frame = "1\n# CELL(abcABC): 1 1 1 90 90 90 Step: {0} Bead: 0 positions{{angstrom}}\nH 0 0 {0}\n"
    extra = " #EXTRAS(energy_binding)# Step:  {0}\n -0.1\n"
    return {
        "out": "# column 1 --> step\n" + "".join(f"  {s:.10e}  0.0\n" for s in steps),
        "pos_0.xyz": "".join(frame.format(s) for s in steps),
        "energy_binding_0": "".join(extra.format(s) for s in steps),
        "binding_force_rms_0": "".join(extra.format(s) for s in steps),
    }


def steps_left(ladder: Path) -> list[int]:
    """Of all outputs, which must agree."""
    found = set()
    for prefix in PREFIXES:
        found.add(tuple(np.loadtxt(ladder / f"{prefix}_md.out", ndmin=2)[:, 0].astype(int)))
        for name in ("pos_0.xyz", "energy_binding_0", "binding_force_rms_0"):
            lines = (ladder / f"{prefix}_md.{name}").read_text().splitlines()
            found.add(tuple(int(line.split("Step:")[1].split()[0]) for line in lines if "Step:" in line))
    assert len(found) == 1, found
    return list(found.pop())


def test_outputs_are_cut_back_to_the_newest_checkpoint(ladder: Path) -> None:
    origin = prepare(ladder, PREFIXES)
    assert (origin.step, origin.input.name) == (60, "resume.xml")
    assert steps_left(ladder) == list(range(0, 61, 10))
    assert not list(ladder.glob("*.chk_*"))
    again = prepare(ladder, PREFIXES)  # killed before i-PI wrote anything
    assert (again.step, steps_left(ladder)) == (60, list(range(0, 61, 10)))


def test_a_checkpoint_that_is_half_written(ladder: Path) -> None:
    os.truncate(ladder / "md.chk_3", 400)
    assert prepare(ladder, PREFIXES).step == 40
    assert steps_left(ladder) == list(range(0, 41, 10))


def test_a_checkpoint_without_its_last_row(ladder: Path) -> None:
    """Systems write at the same time: a checkpoint may be whole before a row of its step is."""
    path = Path(f"{ladder / PREFIXES[1]}_md.energy_binding_0")
    path.write_text(outputs(range(0, 51, 10))["energy_binding_0"])
    assert prepare(ladder, PREFIXES).step == 40
    assert steps_left(ladder) == list(range(0, 41, 10))


def test_a_restart_counts_when_it_is_newer(ladder: Path) -> None:
    text = (ladder / "md.chk_3").read_text()
    (ladder / "RESTART").write_text(text.replace("<step> 60", "<step> 67"))
    assert prepare(ladder, PREFIXES).step == 67
    assert steps_left(ladder) == list(range(0, 61, 10))


def test_nothing_to_go_on_from_begins_anew(ladder: Path) -> None:
    for path in ladder.glob("*.chk_*"):
        path.write_text("<simulation> <step>")
    origin = prepare(ladder, PREFIXES)
    assert (origin.step, origin.input.name) == (0, "input.xml")
    assert not list(ladder.parent.glob("*K/*"))


def test_a_system_is_taken_out(ladder: Path) -> None:
    before = Path(f"{ladder / PREFIXES[1]}_md.out").read_text()
    origin = prepare(ladder, PREFIXES[:1])
    text = origin.input.read_text()
    assert "<batch_size> 1 </batch_size>" in text
    assert PREFIXES[0] in text
    assert PREFIXES[1] not in text
    assert Path(f"{ladder / PREFIXES[1]}_md.out").read_text() == before


def test_outputs_elsewhere_are_not_touched(ladder: Path) -> None:
    for path in (ladder / "input.xml", *ladder.glob("*.chk_*")):
        path.write_text(path.read_text().replace("../10K/10K", "../../10K/10K"))
    with pytest.raises(InputError, match="outside of the sweep"):
        prepare(ladder, ("../../10K/10K", PREFIXES[1]))


def test_old_checkpoints_go(ladder: Path) -> None:
    for number in range(4, 13):
        (ladder / f"md.chk_{number}").write_text("<simulation/>")
    prune(ladder)
    assert sorted(p.name for p in ladder.glob("*.chk_*")) == ["md.chk_10", "md.chk_11", "md.chk_12"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_whole(path, "old")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "none/state.json", "x")
