"""The lock of a run's folder, which keeps two runs apart.

It is held by the run's process and by its i-PI, which may outlive it for a moment: a kill -9 frees it only when both
are gone. An i-PI whose threads wait for one another would never be: it is killed in the end.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError

LOCK = ".lock"
_DYING = 0.5  # s that a process may take to die of a kill -9
_TAKEN_BY = re.compile(r"^lock:.* FLOCK .* (\d+) \S+:\S+:\d+ ", re.MULTILINE)  # in /proc/PID/fdinfo: by whom


@contextmanager
def locked(
    folders: Sequence[Path],
    patience: float = 20.0,
    waiting: Callable[[], None] = lambda: None,
    *,
    orphans_only: bool = False,
) -> Iterator[list[int]]:
    """Hold the locks of these folders; yields their descriptors, for a child to hold them as long as it lives.

    A run whose master was killed ends softly by itself: that is waited for, `patience` seconds, and `waiting` is
    called once; then what is left of it is killed. orphans_only: a run whose master lives is not waited for. Raises
    InputError when another run works there.
    """
    with ExitStack() as stack:
        held = []
        told = False
        began = time.monotonic()
        for folder in folders:
            file = stack.enter_context(_open(folder / LOCK))
            killed = math.inf
            while not _take(file.fileno()):
                owner = _owner(folder / LOCK)
                refused = orphans_only and owner
                waited = time.monotonic() - began
                if waited > (min(patience, _DYING) if refused else patience):
                    if owner or waited > killed + _DYING:
                        running = f"is running there{owner}" if owner else "has not ended there"
                        raise InputError(f"{folder}: another run {running}; wait for it, or stop it")
                    if killed == math.inf:
                        _kill_orphans(folder / LOCK)
                        killed = waited
                if not refused and not told:
                    told = True
                    waiting()
                time.sleep(0.1)
            file.truncate(0)
            file.write(f"{os.getpid()} {socket.gethostname()}\n")
            file.flush()
            held.append(file.fileno())
        yield held


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        yield file


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks
        raise InputError(
            f"the run's folder cannot be locked ({error.strerror}); choose another file system"
        ) from None
    return True


def _owner(path: Path) -> str:
    """Who wrote that the lock is its own, if it lives, or works on another machine, where that cannot be told."""
    try:
        pid, host = path.read_text(encoding="utf-8").split()
        if host != socket.gethostname():
            return f", process {pid} on {host}"
        return f", process {pid}" if _lives(int(pid)) else ""
    except (OSError, ValueError):  # it is just being written
        return ""


def _kill_orphans(path: Path) -> None:
    """Kill the processes of this user that hold the lock of a master that is dead (Linux; elsewhere: nothing)."""
    lock = path.stat()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it ended, or is another user's
            if not os.path.samestat(link.stat(), lock):
                continue
            # not all that have it open hold it: some may wait for it, as this process does
            taken = _TAKEN_BY.search(Path(*link.parts[:3], "fdinfo", link.name).read_text())
            if taken and not _lives(int(taken[1])):
                os.kill(int(link.parts[2]), signal.SIGKILL)


def _lives(pid: int) -> bool:
    """Whether a process has not ended, be it waited for or not."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:  # a kernel without
        return True
    try:
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether a run works in the folder now."""
    with suppress(OSError), (folder / LOCK).open() as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
