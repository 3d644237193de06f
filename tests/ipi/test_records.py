"""Outputs cut at a checkpoint's step, after a crash at any byte; followed while they grow."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from delta_server.ipi import records as outputs
from delta_server.ipi.records import Output, OutputKind, Tail, place

STEPS = range(0, 61, 10)


def record(kind: OutputKind, step: int) -> str:
    if kind == "properties":
        return f"   {step:.10e}     {step * 5e-4:.10e}    -5.7018e+02   \n"
    if kind == "extras":
        return f" #EXTRAS(energy_binding)# Step:  {step:10d} \n -1.0e-01\n"
    if kind == "pdb":
        return (
            f"TITLE {f'Step:  {step:10d}  Bead:       0':>70}\nCRYST1  100.000\nATOM      1    H  0 0 {step}\nEND\n"
        )
    head = "# CELL(abcABC):  100.0  100.0  100.0 90.0 90.0 90.0"
    return f"2\n{head} Step: {step:11d}  Bead:       0 positions{{angstrom}}\n H  0 0 {step}\n O 1 1 {step}\n"


HEADER = "# column   1     --> step : The current simulation time step.\n# column   2     --> time{picosecond}\n"
each_kind = pytest.mark.parametrize("kind", ["properties", "extras", "xyz", "pdb"])


def whole(kind: OutputKind, steps: range) -> str:
    return (HEADER if kind == "properties" else "") + "".join(record(kind, step) for step in steps)


@each_kind
def test_a_file_that_ends_at_any_byte(tmp_path: Path, kind: OutputKind) -> None:
    path = tmp_path / "out"
    text = whole(kind, STEPS)
    ends = {step: len(whole(kind, range(0, step + 1, 10))) for step in STEPS}
    path.write_text(text)
    for length in range(len(text), -1, -1):
        os.truncate(path, length)
        for upto in (0, 35, 50, 1000):
            found = place(Output(path, kind, 10), upto)
            there = [step for step in STEPS if step <= upto and ends[step] <= length]
            assert found.step == (there[-1] if there else -1), (length, upto)
            if there:
                assert found.offset == ends[there[-1]]


@each_kind
def test_a_file_larger_than_a_block(tmp_path: Path, kind: OutputKind, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    path.write_text(whole(kind, STEPS))
    expected = [place(Output(path, kind, 10), step) for step in range(-5, 70)]
    for block in range(1, 300, 23):
        monkeypatch.setattr(outputs, "_BLOCK", block)
        assert [place(Output(path, kind, 10), step) for step in range(-5, 70)] == expected


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    assert place(Output(tmp_path / "none", "xyz", 10), 50).step == -1
    assert Tail(Output(tmp_path / "none", "xyz", 10)).read() == []


@each_kind
def test_followed_byte_by_byte(tmp_path: Path, kind: OutputKind) -> None:
    path = tmp_path / "out"
    text = whole(kind, STEPS)
    tail = Tail(Output(path, kind, 10))
    seen = []
    with path.open("w") as file:
        for character in text:
            file.write(character)
            file.flush()
            seen += tail.read()
    assert seen == [(step, record(kind, step)) for step in STEPS]


@each_kind
def test_followed_from_a_step_on(tmp_path: Path, kind: OutputKind) -> None:
    path = tmp_path / "out"
    path.write_text(whole(kind, STEPS))
    assert [step for step, _ in Tail(Output(path, kind, 10), 45).read()] == [50, 60]


def test_the_names_that_i_pi_gives_to_outputs(tmp_path: Path) -> None:
    """By prefix, format, bead and quantity; what does not tell its steps is left out."""
    root = ElementTree.fromstring("""<simulation> <output prefix=' a '>
        <properties stride='5'> [ step, time ] </properties> <properties filename='e'> [ time, step ] </properties>
        <trajectory filename='pos' format='ase'> positions{angstrom} </trajectory>
        <trajectory filename='v' bead='1' format='pdb'> velocities </trajectory>
        <trajectory filename='w' bead='-2'> forces(bead=0) </trajectory>
        <trajectory filename='xc'> x_centroid </trajectory>
        <trajectory filename='b' format='bin'> positions </trajectory>
        <trajectory filename='q' extra_type='q'> extras </trajectory> <checkpoint/>
        </output> <system prefix='s'> <beads nbeads='3' natoms='1'/> </system> </simulation>""")
    found = {output.path.name: output.kind for output in outputs.outputs_of(root, tmp_path)["s"]}
    assert found == {
        "s_a.out": "properties", "s_a.pos_0.extxyz": "xyz", "s_a.pos_1.extxyz": "xyz", "s_a.pos_2.extxyz": "xyz",
        "s_a.v_1.pdb": "pdb", "s_a.w_0.xyz": "xyz", "s_a.w_2.xyz": "xyz", "s_a.xc.xyz": "xyz",
        "s_a.q_0": "extras", "s_a.q_1": "extras", "s_a.q_2": "extras",
    }  # fmt: skip
    root.find("output").set("prefix", "")  # type: ignore[union-attr]
    del root.find("system").attrib["prefix"]  # type: ignore[union-attr]
    assert outputs.outputs_of(root, tmp_path)[""][0].path.name == "out"


def test_exchanges_beyond_a_state_are_made_again(tmp_path: Path) -> None:
    """i-PI numbers an exchange by the state before it: that of the state to go on from is not yet made."""
    root = ElementTree.fromstring('<s><output prefix="md"/><smotion mode="remd"/></s>')
    (swaps,) = outputs.outputs_of(root, tmp_path)[""]
    swaps.path.write_text("".join(f"{step:10d}     0     1\n" for step in (3, 9, 10, 12)))
    outputs.cut(outputs.places([swaps], 10)[0])
    assert [row.split()[0] for row in swaps.path.read_text().splitlines()] == ["3", "9"]
