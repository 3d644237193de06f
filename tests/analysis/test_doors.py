"""`delta_server.analysis` from Python: its examples, the manifest of a run, and the script that uses it."""

from __future__ import annotations

import doctest
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from made_ladder import MODELS, made_ladder, moving
from made_runs import write_run

from delta_server import analysis
from delta_server.analysis.runs import ladders_of
from delta_server.errors import InputError, ManifestError
from delta_server.molecule.structures import read_structure
from delta_server.server import record

SYMBOLS = read_structure(MODELS / "geometry.xyz").symbols
N = 1500


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which demo/h2o_benzene lies as `make demo` leaves it."""
    folder = tmp_path_factory.mktemp("place")
    write_run(folder / "demo/h2o_benzene", moving(N, 1), SYMBOLS)
    record.write_run(folder / "demo/h2o_benzene", MODELS / "manifest.yaml")
    return folder


@pytest.fixture
def demo(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return Path("demo/h2o_benzene")


@pytest.mark.parametrize("name", ["", *(n for n in analysis.__all__ if n.startswith(("analyze", "find")))])
def test_examples(demo: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the module and of every door: what they show is what comes out."""
    shown = getattr(analysis, name) if name else analysis
    (example,) = (e for e in doctest.DocTestFinder(recurse=False).find(shown, name or "analysis", globs={}))
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert (runner.failures, runner.tries > 1) == (0, True), capsys.readouterr().out


def test_every_name_is_there() -> None:
    assert all(getattr(analysis, name).__name__ == name for name in analysis.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        analysis.nothing  # noqa: B018


def test_nothing_is_printed_and_frames_are_told(demo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    [run] = analysis.find_runs(demo)
    told: list[tuple[str, int]] = []
    result = analysis.analyze_rotation(run, every=3, progress=lambda run, done: told.append((run.name, done)))
    json.dumps(result.as_dict(), allow_nan=False)
    json.dumps(analysis.analyze_free_energy([run]).as_dict(), allow_nan=False)
    json.dumps(analysis.analyze_stability(run).as_dict(), allow_nan=False)
    assert told[-1] == ("nvt", N // 3)
    assert capfd.readouterr() == ("", "")


def test_bodies_by_name_and_by_atoms_are_the_same(demo: Path) -> None:
    [run] = analysis.find_runs(demo)
    default, named, listed = (
        analysis.analyze_rotation(run, every=5, guest=guest, host=host)
        for guest, host in ((None, None), ("water", "benzene"), (range(3), range(3, 15)))
    )
    assert default.msad.tolist() == named.msad.tolist() == listed.msad.tolist()


def test_ladders_of_runs(tmp_path: Path) -> None:
    """Runs of the same name are told apart, and go together by the folder that was named."""
    for model in ("delta", "full"):
        for kelvin in (200, 300):
            write_run(tmp_path / f"{model}/{kelvin}K", moving(5, 1), SYMBOLS, prefix=f"{kelvin}K_md", kelvin=kelvin)
    runs = analysis.find_runs(tmp_path / "delta", str(tmp_path / "full"))
    assert [run.name for run in runs] == ["delta/200K_md", "delta/300K_md", "full/200K_md", "full/300K_md"]
    assert analysis.analyze_energies(runs[0]).title == "delta/200K_md"
    ladders = ladders_of(runs)
    assert {name: [run.temperature for run in some] for name, some in ladders.items()} == {
        "delta": [200, 300],
        "full": [200, 300],
    }
    with pytest.raises(InputError, match="no runs"):
        analysis.analyze_free_energy([])


def test_which_manifest_a_run_was_made_with(tmp_path: Path) -> None:
    """The one that is given, then the run's record, then the sweep's, else none."""
    sweep = made_ladder(tmp_path / "sweep", (300.0, 400.0), 5, manifest="full.yaml")
    [run] = analysis.find_runs(sweep.folder)
    of_sweep = analysis.made_with(run)
    assert of_sweep.manifest is not None
    assert (of_sweep.manifest.path.name, of_sweep.notes) == ("full.yaml", ())
    record.write_run(run.path.parent, MODELS / "manifest.yaml")
    of_run = analysis.made_with(run)
    assert of_run.manifest is not None
    assert (of_run.manifest.path.name, of_run.notes) == ("manifest.yaml", ())
    given = analysis.made_with(run, MODELS / "full.yaml")
    assert given.manifest is not None
    assert given.manifest.path == MODELS / "full.yaml"
    assert "made with " in given.notes[0]
    assert str(MODELS / "full.yaml") in given.notes[0]
    assert analysis.made_with(run, MODELS / "manifest.yaml").notes == ()
    shutil.copytree(run.path.parent, tmp_path / "alone")
    (tmp_path / "alone/run.json").unlink()
    assert analysis.made_with(analysis.find_runs(tmp_path / "alone")[0]).manifest is None


def test_files_that_changed_are_named_and_others_refused(tmp_path: Path) -> None:
    shutil.copytree(MODELS, tmp_path / "models")
    write_run(tmp_path / "run", moving(5, 1), SYMBOLS)
    record.write_run(tmp_path / "run", tmp_path / "models/manifest.yaml")
    [run] = analysis.find_runs(tmp_path / "run")
    shutil.copy(tmp_path / "models/benzene.npz", tmp_path / "models/water.npz")
    changed = analysis.made_with(run)
    assert changed.manifest is not None
    assert changed.notes == ("no longer the files that the run was begun with: water.npz",)
    (tmp_path / "models/manifest.yaml").unlink()
    gone = analysis.made_with(run)
    assert gone.manifest is None
    assert "its manifest cannot be read now" in gone.notes[0]
    with pytest.raises(ManifestError, match="no such manifest"):
        analysis.made_with(run, "nothing.yaml")
    with pytest.raises(InputError, match="its 15 atoms are not the 13 of"):
        analysis.made_with(run, ROOT / "models/na_benzene/manifest.yaml")
    (tmp_path / "run/run.json").write_text('{"format": "another"}')
    with pytest.raises(InputError, match=r"run\.json"):
        analysis.made_with(run)


def test_the_script_and_its_slurm_twin(place: Path) -> None:
    """One folder with all pictures, and the numbers that the doors give."""
    run, out = place / "demo/h2o_benzene", place / "out"
    command = ["bash", "run/analyze.slurm", run, "-o", out]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": path, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
    pictures = {"energies_nvt.png", "free_energy.png", "rotation.png", "stability.png"}
    assert {file.name for file in out.iterdir()} == {*pictures, "analysis.json"}
    assert all((out / name).stat().st_size > 5000 for name in pictures)
    document = json.loads((out / "analysis.json").read_text())
    [found] = analysis.find_runs(run)
    assert document["missing"] == {}
    assert document["energies"]["nvt"] == analysis.analyze_energies(found).as_dict()
    assert document["free_energy"] == analysis.analyze_free_energy([found]).as_dict()
    assert document["rotation"]["nvt"] == analysis.analyze_rotation(found).as_dict()
    assert document["stability"]["runs"][0]["failed"] is None
    assert "nvt: stable for 14.99 ps" in done.stdout


def test_the_script_says_what_cannot_be_had(tmp_path: Path) -> None:
    write_run(tmp_path / "run", moving(50, 1), SYMBOLS)
    command = [sys.executable, ROOT / "run/analyze.py", tmp_path / "run", "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "no rotation: which molecule turns?" in done.stdout
    missing = json.loads((tmp_path / "out/analysis.json").read_text())["missing"]
    assert set(missing) == {"free_energy", "rotation"}
