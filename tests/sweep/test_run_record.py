"""A run's folder keeps which manifest the run uses, and goes on with no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from delta_server.errors import InputError
from delta_server.files.whole import sha256_of
from delta_server.server.record import RUN, load_run, write_run
from delta_server.server.supervisor import Supervisor


def test_the_record_moves_with_its_manifest(tmp_path: Path, h2o_benzene: Path) -> None:
    """The path is relative: folder and models may be moved together."""
    shutil.copytree(h2o_benzene.parent, tmp_path / "here/models")
    folder = tmp_path / "here/run"
    folder.mkdir()
    assert load_run(folder) is None
    write_run(folder, tmp_path / "here/models/manifest.yaml", "delta-sgdml run …")
    assert json.loads((folder / RUN).read_text())["manifest"] == "../models/manifest.yaml"
    (tmp_path / "here").rename(tmp_path / "there")
    record = load_run(tmp_path / "there/run")
    assert record is not None
    assert record.manifest == tmp_path / "there/models/manifest.yaml"
    assert record.command == "delta-sgdml run …"
    assert record.sha256 == {
        name: sha256_of(h2o_benzene.parent / name)
        for name in ("manifest.yaml", "water.npz", "benzene.npz", "binding.npz")
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Invalid JSON"),
        ("[]", "(should be an object|keys and values)"),
        ('{"manifest": "m.yaml"}', "sha256: "),
        ('{"format": "delta-sgdml-run/9"}', "format: .*'delta-sgdml-run/1'"),
        (" " * 2**21, "2097152 bytes"),
    ],
)
def test_a_record_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / RUN).write_text(text)
    with pytest.raises(InputError, match=rf"run\.json: .*{words}"):
        load_run(tmp_path)


def test_a_run_goes_on_with_the_same_models(tmp_path: Path, h2o_benzene: Path, inputs: Path) -> None:
    """Wherever these lie, and whether or not the run is older than its record."""
    manifest = tmp_path / "copy/manifest.yaml"
    shutil.copytree(h2o_benzene.parent, manifest.parent)
    source = inputs / "h2o_benzene/nvt.xml"
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(source, folder / "RESTART")

    def go_on(other: Path) -> None:
        Supervisor(source, other, directory=folder, restart=True)

    go_on(manifest)
    write_run(folder, h2o_benzene)
    go_on(manifest)
    manifest.write_text(manifest.read_text() + "# changed\n")
    with pytest.raises(InputError, match=r"not those that the run in .* was begun with; .* without --restart"):
        go_on(manifest)
