"""Which files are a run's outputs, written by i-PI's own writers under every name and in every form that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from delta_server.analysis.trajectory import runs_in
from delta_server.errors import InputError
from delta_server.ipi.outputs import find_frames, find_outputs, systems
from delta_server.units import BOHR

STEPS = (0, 2, 4, 6)
HEADER = (
    "# column   1     --> step : .\n# column   2     --> time{femtosecond} : .\n"
    "# column   3     --> potential{electronvolt} : .\n"
)
SYMBOLS = ("O", "H", "H")


def place(step: int) -> np.ndarray:
    return np.array([[0.0, 0.0, 0.0], [0.96, 0.0, -12.5], [-0.24, 0.93, 0.001 * step]]) + 0.01 * step


def write_table(path: Path) -> None:
    path.write_text(HEADER + "".join(f" {s} {0.5 * s} {-5 - s} \n" for s in STEPS))


def write_frames(
    path: Path,
    form: str = "xyz",
    key: str = "positions",
    unit: str = "angstrom",
    bead: int = 0,
    symbols: tuple[str, ...] = SYMBOLS,
) -> None:
    """By i-PI's own writer."""
    from ipi.engine.atoms import Atoms
    from ipi.engine.cell import Cell
    from ipi.utils.io import print_file

    atoms, cell = Atoms(len(symbols)), Cell(h=200 * np.eye(3))
    atoms.names[:] = symbols
    units: dict[str, Any] = {"units": "ase", "cell_units": "ase"} if form == "ase" else {"units": unit}
    with path.open("w") as file:
        for step in STEPS:
            atoms.q[:] = (place(step) / BOHR).ravel()
            title = f"Step:  {step:10d}  Bead:   {bead:5d} "
            print_file(form, atoms, cell, file, title=title, key=key, dimension="length", **units)


@pytest.mark.parametrize(
    ("table", "frames", "form", "key", "unit", "name"),
    [
        ("sim.out", "sim.pos_0.xyz", "xyz", "positions", "angstrom", "sim"),
        ("sim.md", "sim.pos_0.xyz", "xyz", "positions", "atomic_unit", "sim"),
        ("i-pi.md", "i-pi.pos_0.xyz", "xyz", "positions", "automatic", "i-pi"),
        ("sim.thermo.log", "sim.positions_0.xyz", "xyz", "positions", "nanometer", "sim"),
        ("sim.out", "sim.pos_0.extxyz", "ase", "positions", "ase", "sim"),
        ("sim.out", "sim.pos_0.pdb", "pdb", "positions", "angstrom", "sim"),
        ("300.5K_md.out", "300.5K_md.traj_0.xyz", "xyz", "positions", "picometer", "300.5K_md"),
        ("sim.out", "sim.c.extxyz", "ase", "x_centroid", "ase", "sim"),
        ("sim.out", "sim.xc.xyz", "xyz", "x_centroid", "angstrom", "sim"),
        ("out", "pos_0.xyz", "xyz", "positions", "angstrom", "out"),
        ("s1_out", "s1_pos_0.xyz", "xyz", "positions", "angstrom", "s1"),
    ],
)
def test_names_and_forms(tmp_path: Path, table: str, frames: str, form: str, key: str, unit: str, name: str) -> None:
    write_table(tmp_path / table)
    write_frames(tmp_path / frames, form, key, unit)
    (tmp_path / "slurm-1.out").write_text("job starts on node01\n")
    (run,) = runs_in(tmp_path)
    assert (run.name, run.path.name, run.numbers.tolist()) == (name, frames, [8, 1, 1])
    (block,) = run.blocks()
    assert block.steps.tolist() == list(STEPS)
    assert block.time == pytest.approx(5e-4 * np.array(STEPS))
    digits = {"pdb": 6e-4, "ase": 2e-7}.get(form, 1e-4)  # Å
    assert block.positions == pytest.approx(np.stack([place(s) for s in STEPS]), abs=digits)
    by_file = runs_in(tmp_path / frames)[0]
    assert (by_file.name, by_file.outputs is not None) == (name, True)


def test_stray_files_and_copies_are_no_runs(tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "300K"
    folder.mkdir(parents=True)
    write_table(folder / "sim.out")
    write_frames(folder / "sim.pos_0.xyz")
    for copy in ("sim.out.bak", "#sim.out#0#", "sim.out~", "sim.old"):
        write_table(folder / copy)
    for log in ("slurm-12.out", "nohup.out", "job.o123", "core.out"):
        (folder / log).write_bytes(b"# a log\n\0\1\2")
        (tmp_path / "sweep" / log).write_text("# a log\n")
    assert list(systems(folder)) == ["sim"]
    assert [run.name for run in runs_in(tmp_path / "sweep")] == ["sim"]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "slurm-12.out").write_text("x\n")
    with pytest.raises(InputError, match=r"no property output in it.*there is slurm-12\.out"):
        runs_in(tmp_path / "logs")


def test_columns_in_two_files(tmp_path: Path) -> None:
    write_table(tmp_path / "sim.out")
    rows = "".join(f"{s} {300 + s}\n" for s in range(8))
    (tmp_path / "sim.temp").write_text("# column 1 --> step : .\n# column 2 --> temperature{kelvin} : .\n" + rows)
    properties = find_outputs(tmp_path).properties
    assert properties["temperature"].tolist() == [300, 302, 304, 306]
    assert properties["potential"].tolist() == [-5, -7, -9, -11]


def test_what_is_there_is_said(tmp_path: Path) -> None:
    write_table(tmp_path / "sim.out")
    write_frames(tmp_path / "sim.frc_0.xyz", key="forces")
    with pytest.raises(InputError, match=r"no positions beside sim\.out.*there is sim\.frc_0\.xyz, sim\.out"):
        find_frames(tmp_path)
    (tmp_path / "sim.pos_0.xyz").write_bytes(b"\0" * 4096)  # as a node leaves a file that died
    with pytest.raises(InputError, match=r"sim\.pos_0\.xyz does not begin with a frame as i-PI writes it"):
        find_frames(tmp_path)
    with pytest.raises(InputError, match="holds forces, expected positions"):
        _ = runs_in(tmp_path / "sim.frc_0.xyz")[0].numbers


@pytest.mark.parametrize(
    ("files", "classical"),
    [
        ({"sim.pos_0.xyz": 0}, True),
        ({"sim.pos_0.xyz": 0, "sim.pos_1.xyz": 1}, False),
        ({"sim.quanta_00.xyz": 0}, False),
        ({"sim.any_3.xyz": 3}, False),
        ({"sim.pos_0.xyz": 0, "sim.vel_7.xyz": 7}, False),
    ],
)
def test_a_bead_is_no_classical_trajectory(tmp_path: Path, files: dict[str, int], classical: bool) -> None:
    write_table(tmp_path / "sim.out")
    for name, bead in files.items():
        write_frames(tmp_path / name, bead=bead)
    (run,) = runs_in(tmp_path)
    assert run.path.name == min(files)
    assert run.classical is classical
    assert runs_in(tmp_path / max(files))[0].classical is classical


@pytest.mark.parametrize(("nbeads", "classical"), [(1, True), (8, False)])
@pytest.mark.parametrize("name", ["sim.pos_0.xyz", "sim.xc.xyz"])
def test_the_input_tells_the_beads(tmp_path: Path, name: str, nbeads: int, classical: bool) -> None:
    write_table(tmp_path / "sim.out")
    write_frames(tmp_path / name, key="x_centroid" if "xc" in name else "positions")
    assert runs_in(tmp_path)[0].classical is ("xc" not in name)  # all that the files alone tell
    for where, begin in (("input.xml", "<initialize nbeads='{}'/>"), ("RESTART", "<beads natoms='3' nbeads='{}'/>")):
        text = f"<simulation><output prefix='sim'/><system>{begin.format(nbeads)}</system></simulation>"
        (tmp_path / where).write_text(text)
        assert runs_in(tmp_path)[0].classical is classical
    other = "<simulation><output prefix='other'/><system><initialize nbeads='64'/></system></simulation>"
    (tmp_path / "other.xml").write_text(other)
    assert runs_in(tmp_path)[0].classical is classical


def test_a_time_step_that_changed(tmp_path: Path) -> None:
    """0.5 fs to step 40, 2 fs from there on; then a file of other steps than the frames'."""
    rows = [(s, 0.5 * s if s <= 40 else 20 + 2.0 * (s - 40)) for s in range(0, 101, 4)]
    (tmp_path / "sim.out").write_text(HEADER + "".join(f" {s} {t:.8e} -5 \n" for s, t in rows))
    outputs = find_outputs(tmp_path)
    assert outputs.time(np.array([0, 10, 40, 42, 100, 120])) == pytest.approx(
        np.array([0, 5, 20, 24, 140, 180]) * 1e-3
    )
    (tmp_path / "sim.out").write_text(HEADER + " 0 0 -5\n")
    assert np.isnan(find_outputs(tmp_path).time(np.array([10]))).all()


def test_rounded_times_are_no_changes_of_the_step(tmp_path: Path) -> None:
    """10 ns at 0.5 fs in nine digits: a row's time is wrong by a fifth of a step, the run's is not."""
    steps = np.arange(20_000_000 - 2000, 20_000_000)
    (tmp_path / "sim.out").write_text(HEADER + "".join(f" {s} {0.5 * s:.8e} -5\n" for s in steps))
    times = find_outputs(tmp_path).time(steps)
    assert np.diff(times) == pytest.approx(5e-4, rel=1e-3)
