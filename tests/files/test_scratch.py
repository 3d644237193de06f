"""Folders for sockets: short enough, gone afterwards, and cleared of what was killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from delta_server.errors import InputError
from delta_server.files.scratch import MAX_SOCKET_PATH, socket_folder

KILLED = """
import os, signal, socket
from delta_server.files.scratch import socket_folder
with socket_folder("delta") as (folder, _):
    socket.socket(socket.AF_UNIX).bind(f"{folder}/delta")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)  # it remembers TMPDIR


def left_by_a_killed_process(base: Path) -> Path:
    env = {**os.environ, "TMPDIR": str(base)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=env, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


@pytest.mark.parametrize("depth", [0, 1, 20])
def test_a_socket_fits_wherever_temporary_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    base = tmp_path.joinpath(*["a-long-name"] * depth)
    base.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(base))
    name = "n" * 40
    with socket_folder(name) as (folder, _), socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{folder}/{name}")
        assert folder.is_relative_to(base) == (len(f"{base}/delta_12345678/{name}") <= MAX_SOCKET_PATH)
    assert not folder.exists()


def test_a_name_that_fits_nowhere() -> None:
    with pytest.raises(InputError, match=r"socket's name 'n+' is too long"), socket_folder("n" * 100):
        pass


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = left_by_a_killed_process(tmp_path)
    assert (left / "delta").is_socket()
    others = [tmp_path / "delta_notes", tmp_path / "delta_12345678", tmp_path / "delta-12345678"]
    for other in others:
        other.mkdir()
        (other / "mine").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with socket_folder() as (folder, _):
        assert not left.exists()
        with socket_folder() as (second, _):
            assert folder.is_dir()  # somebody lives there
            assert second != folder
    assert sorted(tmp_path.iterdir()) == sorted(others)
