"""Every shipped input is what its command in `run/make_inputs.sh` writes today."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT, SYSTEMS
from typer.main import get_command

from delta_server.cli.main import app
from delta_server.manifest import load_manifest
from delta_server.molecule.structures import read_structure
from delta_server.sweep.record import load_sweep
from delta_server.sweep.temperatures import parse_temperatures
from delta_server.sweep.write import SweepPlan, lay_out


@pytest.mark.parametrize("system", [*SYSTEMS, "water", "benzene_crystal"])
def test_inputs_are_what_the_writer_makes(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of their own. Sweeps begin from the shipped geometries, for relaxing takes minutes."""
    listed = subprocess.run(
        ["bash", ROOT / "run/make_inputs.sh", "-n", system], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (tmp_path / "inputs" / system).mkdir(parents=True)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    sgdml = get_command(app)
    for command in listed:
        words = command.split()[1:]
        if words[0] == "input":
            sgdml.main(words, standalone_mode=False)
        else:
            write_again(Path(words[words.index("-o") + 1]), words, command)
    shipped, made = texts(ROOT / "inputs" / system), texts(tmp_path / "inputs" / system)
    assert shipped.keys() == made.keys()
    assert len(shipped) > (50 if system in SYSTEMS else 4)
    differ = [str(name) for name, text in shipped.items() if made[name] != text]
    assert not differ, f"inputs/{system}: write them again with run/make_inputs.sh"
    assert all("ensemble_temperature{kelvin}" in text for name, text in shipped.items() if name.suffix == ".xml")


def write_again(folder: Path, words: list[str], command: str) -> None:
    """A shipped sweep, in the working directory, with the record's word on how its start was relaxed."""
    record = load_sweep(ROOT / folder).record
    assert record.command == command
    options = dict(pairwise(words))
    plan = SweepPlan(
        parse_temperatures(options["--temperatures"]),
        options.get("--kind", "nvt"),  # type: ignore[arg-type]
        float(options["--time"]),
        beads=int(options.get("--beads", 1)),
        contract=int(options.get("--contract", 0)),
    )
    start = read_structure(ROOT / folder / "start.xyz")
    lay_out(folder, load_manifest(Path(words[2])), plan, start, record.start, command)
    shipped, again = (json.loads((root / folder / "sweep.json").read_text()) for root in (ROOT, Path()))
    for of_this_place in ("manifest", "versions"):
        shipped.pop(of_this_place), again.pop(of_this_place)
    assert again == shipped


def texts(folder: Path) -> dict[Path, str]:
    """Every input and every geometry in a folder, by path."""
    files = [path for path in folder.rglob("*") if path.suffix in (".xml", ".xyz")]
    return {path.relative_to(folder): path.read_text() for path in files}
