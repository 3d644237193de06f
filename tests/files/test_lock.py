"""Two runs never share a folder, and a run whose master was killed is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from delta_server.errors import InputError
from delta_server.files.lock import is_locked, locked

HOLD = """
import subprocess, sys, time
from pathlib import Path
from delta_server.files.lock import locked
with locked([Path(sys.argv[1])]) as held:
    subprocess.Popen(["sleep", sys.argv[2]], pass_fds=held, stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(60)
"""


def master(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that holds the lock, with a child that holds it so long, whatever becomes of its master."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked([tmp_path]):
        assert is_locked(tmp_path)
        with pytest.raises(InputError, match=rf"is running there, process {os.getpid()};"), locked([tmp_path], 0.2):
            pass
    assert not is_locked(tmp_path)


def test_a_living_master_is_not_waited_for_and_a_killed_ones_child_is(tmp_path: Path) -> None:
    process = master(tmp_path, 3.0)
    began = time.monotonic()
    with (
        pytest.raises(InputError, match=f"is running there, process {process.pid};"),
        locked([tmp_path], orphans_only=True),
    ):
        pass
    assert time.monotonic() - began < 1.5
    process.kill()  # and not waited for: it is a zombie
    waits: list[float] = []
    with locked([tmp_path], orphans_only=True, waiting=lambda: waits.append(time.monotonic())):
        assert waits
        assert 2.0 < time.monotonic() - began < 10.0
    process.communicate()


def test_a_child_that_does_not_end_is_killed_and_who_waits_is_not(tmp_path: Path) -> None:
    process = master(tmp_path, 100.0)
    process.kill()
    process.communicate()
    with (tmp_path / ".lock").open() as opened, subprocess.Popen(["sleep", "100"], stdin=opened) as waiter:
        with locked([tmp_path], 1.0):
            assert waiter.poll() is None
        waiter.kill()


def test_a_master_on_another_machine(tmp_path: Path) -> None:
    with locked([tmp_path]):
        (tmp_path / ".lock").write_text("17 elsewhere\n")
        with pytest.raises(InputError, match="process 17 on elsewhere"), locked([tmp_path], orphans_only=True):
            pass
