"""`delta-sgdml report`: a page of two ladders, as a user and as Snakemake ask for it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import warm
from conftest import ROOT
from made_ladder import made_ladder

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))


def call(folder: Path, *arguments: object, code: int = 0) -> str:
    command = [SGDML, *map(str, arguments)]
    done = warm.run(command, folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ladders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Δ-model beside a single one, which knows no fragments; the last temperature has not run."""
    folder = tmp_path_factory.mktemp("ladders")
    made_ladder(folder / "delta", (200.0, 300.0, 400.0), 400)
    made_ladder(folder / "full", (200.0, 300.0, 400.0), 400, manifest="full.yaml", seed=5, broken=300)
    made_ladder(folder / "later", (300.0,))
    (folder / "empty").mkdir()
    return folder


def test_a_page_of_two(ladders: Path) -> None:
    """The fragments come from the one model that has them, whichever stands first."""
    command = ("report", "full", "delta", "-o", "page.html", "--figures", "figures", "--names", "single,Δ", "--json")
    said = json.loads(call(ladders, *command))
    assert said["runs"] == 4
    page = (ladders / "page.html").read_text()
    assert said["bytes"] == len(page.encode()) < 4e6
    assert "Δ: 400K has not run yet (waiting)" in said["missing"]
    assert "<td>single</td>" in page
    figures = [ladders / name for name in said["figures"]]
    assert {f.suffix for f in figures} == {".svg", ".png"}
    assert {"stability", "free_energy_200K", "msad", "energies_300K"} <= {f.stem for f in figures}
    assert all(f.stat().st_size > 3000 for f in figures)
    data = base64.b64decode(re.findall(r'download="report.json" href="data:[^,]*,([^"]*)"', page)[0])
    runs = json.loads(data)["runs"]
    assert [run["source"] for run in runs] == ["single", "single", "Δ", "Δ"]
    assert runs[0]["stability"]["step"] == 300 * 20
    assert runs[0]["free_energy"]["edges"] == runs[2]["free_energy"]["edges"]
    record = json.loads((ladders / "delta/sweep.json").read_text())
    assert all(digest in page for digest in record["sha256"].values())


def test_the_last_rule_of_the_snakefile(ladders: Path) -> None:
    """Its arguments are the command's."""
    rule = (ROOT / "run/Snakefile").read_text().rpartition("rule report:")[2]
    shell = re.findall(r'"delta-sgdml (report .*)"', rule)
    assert len(shell) == 1
    said = call(ladders, *shell[0].format(DIR="delta", output="delta/report.html").split())
    assert "page: delta/report.html" in said
    assert "delta: 400K has not run yet" in said
    assert (ladders / "delta/report.html").read_text().startswith("<!DOCTYPE html>")


def test_a_folder_of_runs_needs_no_sweep(ladders: Path, tmp_path: Path) -> None:
    """One of a sweep knows the sweep's manifest all the same; one from elsewhere knows none."""
    said = json.loads(call(ladders, "report", "full/300K", "-o", "one.html", "--json"))
    assert said["runs"] == 1
    assert any("not a sweep" in line for line in said["missing"])
    assert any("one fragment has no distance to another" in line for line in said["missing"])
    shutil.copytree(ladders / "full/300K", tmp_path / "alone")
    said = json.loads(call(tmp_path, "report", "alone", "-o", "one.html", "--json"))
    assert any("nothing recorded what was run" in line for line in said["missing"])
    assert any("no rotation" in line and "give --guest" in line for line in said["missing"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "no such file or folder"),
        (("empty",), "expected the folder of an i-PI run"),
        (("later",), "no temperature has run yet"),
        (("delta", "full", "--names", "one"), "expected 2 names"),
        (("delta", "delta"), "delta: given twice"),
        (("delta", "--over", "R_p"), "expected one or two of R_CM"),
        (("delta", "--guest", "C60"), "fragments: water, benzene"),
        (("delta", "--manifest", "nothing.yaml"), "no such manifest"),
        (("delta", "-o", "nowhere/page.html"), "no folder nowhere"),
        (("delta", "-o", "empty"), "is a directory"),
        (("delta", "--figures", "delta/sweep.json"), "File exists"),
    ],
)
def test_bad_input_is_one_line(ladders: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in call(ladders, "report", *arguments, code=2)


def test_files_that_changed_since_are_named(ladders: Path, tmp_path: Path) -> None:
    """The hashes of the record are held against the files."""
    shutil.copytree(ladders / "delta", tmp_path / "delta")
    record = json.loads((tmp_path / "delta/sweep.json").read_text())
    record["manifest"] = str((ladders / "delta" / record["manifest"]).resolve())
    record["sha256"]["water.npz"] = 64 * "0"
    (tmp_path / "delta/sweep.json").write_text(json.dumps(record))
    said = call(tmp_path, "report", "delta", "--frames", 5)
    assert "no longer the files that the sweep was begun with: water.npz" in said


def test_help_has_an_example(tmp_path: Path) -> None:
    assert "Example: delta-sgdml report" in call(tmp_path, "report", "--help")
