"""The one writer: a file is there whole or as it was, whatever happens while it is written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from delta_server.errors import InputError
from delta_server.files.whole import Replacements, replacing, save_arrays, write_json, write_whole


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path, ".txt") as part:
        assert part.parent == tmp_path
        assert part.suffix == ".txt"
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("interruption", [OSError, ValueError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path, interruption: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_writer_that_leaves_no_file_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with replacing(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"


def test_texts_json_and_arrays(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "Å")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "Å"
    write_json(tmp_path / "a.json", {"σ": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"σ": [1, None]}
    save_arrays(tmp_path / "a.npz", {"x": np.arange(3), "name": "water"})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]
        assert str(arrays["name"]) == "water"
    assert names(tmp_path) == ["a.json", "a.npz", "a.txt"]


def test_what_cannot_be_written_is_told_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none/a.txt: cannot be written: No such file"):
        write_whole(tmp_path / "none/a.txt", "x")
    with pytest.raises(OSError, match="No such file"):
        save_arrays(tmp_path / "none/a.npz", {"x": 1})
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == "1\n"
    assert names(tmp_path) == ["a.json"]


def three(folder: Path) -> list[Path]:
    paths = [folder / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_files_are_replaced_together(tmp_path: Path) -> None:
    paths = three(tmp_path)
    with Replacements() as files:
        for path in paths:
            files.beside(path).write_text(f"new {path.name}")
        assert [path.read_text() for path in paths] == ["a", "b", "c"]
    assert [path.read_text() for path in paths] == ["new a", "new b", "new c"]
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_file_that_cannot_be_put_in_place_brings_the_others_back(tmp_path: Path) -> None:
    paths = three(tmp_path)

    def write() -> None:
        with Replacements() as files:
            for path in paths:
                files.beside(path).write_text(f"new {path.name}")
            files.beside(paths[1]).unlink()

    with pytest.raises(FileNotFoundError):
        write()
    assert [path.read_text() for path in paths] == ["a", "b", "c"]
    assert names(tmp_path) == ["a", "b", "c"]


def test_nothing_is_replaced_after_an_exception(tmp_path: Path) -> None:
    paths = three(tmp_path)

    def write() -> None:
        with Replacements() as files:
            for path in paths:
                files.beside(path).write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [path.read_text() for path in paths] == ["a", "b", "c"]
    assert names(tmp_path) == ["a", "b", "c"]


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda f: (order.append("sync"), sync(f))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("replace"), replace(self, to))[1])
    write_whole(tmp_path / "a.txt", "x")
    assert order == ["sync", "replace", "sync"]
