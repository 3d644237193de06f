"""Frames of i-PI's and other files: steps, units, what a killed run leaves behind, memory."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import ase.io
import made_runs
import numpy as np
import pytest
from ase import Atoms
from made_runs import frame

from delta_server.analysis.trajectory import Run, runs_in, segments
from delta_server.errors import InputError
from delta_server.units import BOHR


def place(step: int, n: int = 3) -> np.ndarray:
    return np.arange(3.0 * n).reshape(n, 3) + 0.001 * step


def write(folder: Path, steps: list[int], kelvin: float = 300.0, prefix: str = "nvt") -> Path:
    stride = steps[1] - steps[0]
    made_runs.write_run(folder, np.stack([place(s) for s in steps]), stride=stride, kelvin=kelvin, prefix=prefix)
    return folder / f"{prefix}.pos_0.xyz"


def positions_of(run: Run, every: int = 1) -> np.ndarray:
    return np.concatenate([block.positions for block in run.blocks(every)])


def test_a_run_s_folder(tmp_path: Path) -> None:
    steps = list(range(0, 200000, 10000))  # i-PI's own reader would keep one digit
    write(tmp_path, steps)
    (run,) = runs_in(tmp_path)
    assert (run.name, run.temperature, run.numbers.tolist()) == ("nvt", 300.0, [6, 6, 6])
    blocks = list(run.blocks(every=3))
    assert np.concatenate([b.steps for b in blocks]).tolist() == steps[::3]
    assert np.concatenate([b.time for b in blocks]) == pytest.approx(0.0005 * np.array(steps[::3]))
    assert positions_of(run, 3) == pytest.approx(np.stack([place(s) for s in steps[::3]]), abs=1e-6)
    assert [r.path for r in runs_in(tmp_path / "nvt.pos_0.xyz")] == [run.path]
    assert runs_in(tmp_path / "nvt.pos_0.xyz")[0].temperature == 300.0


def test_bohr_are_read_as_bohr(tmp_path: Path) -> None:
    path = tmp_path / "x.xyz"
    path.write_text(frame(0, place(0), unit="atomic_unit"))
    assert positions_of(Run("x", path)) == pytest.approx(BOHR * place(0)[None], abs=1e-6)
    path.write_text(frame(0, place(0), unit="electronvolt"))
    with pytest.raises(InputError, match="electronvolt"):
        _ = Run("x", path).numbers


@pytest.mark.parametrize("cut", [3, 20, 61, 62, 150, 200, 235, -1])
def test_what_a_killed_run_repeats_counts_once(tmp_path: Path, cut: int) -> None:
    """Killed in the middle of a frame, gone on from a checkpoint before it; the second course counts."""
    path = write(tmp_path, [0, 10, 20, 30])
    torn = frame(40, place(40))[:cut]
    again = "".join(frame(s, place(s) + 5) for s in (20, 30, 40, 50))
    path.write_text(path.read_text() + torn + again)
    (run,) = runs_in(tmp_path)
    assert run.steps.tolist() == [0, 10, 20, 30, 40, 50]
    expected = np.stack([place(s) + 5 * (s >= 20) for s in run.steps])
    assert positions_of(run) == pytest.approx(expected, abs=1e-6)
    assert segments(run.steps) == [slice(0, 6)]


def test_a_course_that_was_given_up_is_left_out(tmp_path: Path) -> None:
    """Back at step 20 and killed again: 30 and 40 of the first course do not follow from it."""
    path = write(tmp_path, [0, 10, 20, 30, 40])
    path.write_text(path.read_text() + frame(20, place(20)) + frame(30, place(30))[:100])
    assert runs_in(tmp_path)[0].steps.tolist() == [0, 10, 20]


def test_gaps_end_a_segment() -> None:
    steps = np.array([0, 10, 20, 50, 60, 70, 90])
    assert segments(steps) == [slice(0, 3), slice(3, 6)]
    assert segments(np.array([7])) == [slice(0, 1)]


@pytest.mark.parametrize("damage", ["   1.0100#00000e+0", "\0" * 18, "1.01  2.0", "1.01\n0.5"])
def test_damaged_frames_are_left_out_and_told(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path, [0, 10, 20])
    whole = path.read_text()
    path.write_text(whole.replace(f"{1.01:18.10e}", damage))
    (run,) = runs_in(tmp_path)
    (block,) = run.blocks()
    assert block.steps.tolist() == [0, 20]
    assert block.positions == pytest.approx(np.stack([place(0), place(20)]))
    (note,) = run.notes
    assert note.startswith("nvt.pos_0.xyz: ")
    assert "left out: 1" in note
    for step in (0.0, 0.01, 0.02):
        whole = whole.replace(f"{1 + step:18.10e}", "x")
    path.write_text(whole)
    with pytest.raises(InputError, match=r"no frame whose lines|lines of an atom"):
        positions_of(runs_in(tmp_path)[0])
    path.write_text(frame(0, place(0))[:200])
    with pytest.raises(InputError, match="3 lines of an atom"):
        _ = runs_in(tmp_path)[0].steps


def test_what_ase_reads(tmp_path: Path) -> None:
    path = tmp_path / "x.extxyz"
    made = [Atoms("C3", place(s), info={"step": s}) for s in (0, 10, 20, 10, 20, 30)]
    ase.io.write(path, made)
    (run,) = runs_in(path, timestep=0.5)
    assert run.steps.tolist() == [0, 10, 20, 30]
    assert run.temperature is None
    (block,) = run.blocks()
    assert block.time == pytest.approx([0, 0.005, 0.01, 0.015])
    assert positions_of(run, 2) == pytest.approx(np.stack([place(0), place(20)]))
    ase.io.write(tmp_path / "y.xyz", [Atoms("C3", place(s)) for s in range(5)])
    assert runs_in(tmp_path / "y.xyz")[0].steps.tolist() == [0, 1, 2, 3, 4]
    assert np.isnan(runs_in(tmp_path / "y.xyz")[0].time(np.array([3]))).all()


def test_folders_of_runs(tmp_path: Path) -> None:
    for kelvin in (100, 50, 10):
        write(tmp_path / f"{kelvin}K", [0, 10], kelvin, f"{kelvin}K_nvt")
    runs = runs_in(tmp_path)
    assert [(run.name, run.temperature) for run in runs] == [("10K_nvt", 10), ("50K_nvt", 50), ("100K_nvt", 100)]
    assert [run.name for run in runs_in(tmp_path, "50K_nvt")] == ["50K_nvt"]
    with pytest.raises(InputError, match="expected the folder of an i-PI run"):
        runs_in(tmp_path, "70K")
    with pytest.raises(InputError, match="no such file or folder"):
        runs_in(tmp_path / "nothing")


def long_file(path: Path, frames: int, atoms: int = 148) -> int:
    """A file of i-PI's with `frames` frames; returns its size in bytes."""
    body = frame(0, np.random.default_rng(0).standard_normal((atoms, 3)) * 10)
    before, after = body.split(f"Step: {0:11d}")
    with path.open("w") as file:
        for step in range(frames):
            file.write(f"{before}Step: {20 * step:11d}{after}")
    return path.stat().st_size


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Twice the file: the same peak, but for 24 bytes a frame of its index."""
    peaks = []
    for frames in (5000, 10000):
        size = long_file(tmp_path / "long.xyz", frames, atoms=30)
        tracemalloc.start()
        n = sum(len(block.steps) for block in Run("long", tmp_path / "long.xyz").blocks())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert n == frames
    assert size > 16e6
    assert peaks[1] < peaks[0] + 200 * 5000
    assert peaks[1] < 40e6


def test_a_process_stays_small(tmp_path: Path) -> None:
    """What the system says of a process that reads 58 MB, after its first frames and after its last."""
    size = long_file(tmp_path / "long.xyz", 6000)
    code = (
        "import sys; from pathlib import Path\n"
        "from delta_server.analysis.trajectory import runs_in\n"
        "peaks, n = [], 0\n"
        "for block in runs_in(Path(sys.argv[1]))[0].blocks():\n"
        "    n += len(block.steps)\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    peaks.append(int(status.split('VmHWM:')[1].split()[0]))\n"
        "print(n, peaks[0], peaks[-1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "long.xyz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    frames, first, last = map(int, done.stdout.split())
    assert frames == 6000
    assert size > 55e6
    assert last - first < 12e3  # KB
    assert last < 400e3


@pytest.mark.parametrize("comment", ["i = {0:8d}, time = {1:12.3f}, E = -20.9", "step={0}.0", "step={0}"])
def test_steps_of_comment_lines(tmp_path: Path, comment: str) -> None:
    """CP2K's, every tenth; a whole number however it is written."""
    path = tmp_path / "a.xyz"
    path.write_text("".join(f"1\n{comment.format(10 * k, 5.0 * k)}\nO 0 0 {k}\n" for k in range(4)))
    (run,) = runs_in(path, timestep=0.5)
    assert run.steps.tolist() == [0, 10, 20, 30]
    assert run.time(run.steps)[-1] == pytest.approx(0.015)
