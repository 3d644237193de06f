"""The lock of a run's folder, which keeps two runs apart.

It is held by the run's process and by its i-PI, which may outlive it for a moment: a kill -9 frees it only when both
are gone.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError

LOCK = ".lock"
_DYING = 0.5  # s that a process may take to die of a kill -9


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
    called once. orphans_only: a run whose master lives is not waited for. Raises InputError when another run works
    there.
    """
    with ExitStack() as stack:
        held = []
        told = False
        began = time.monotonic()
        for folder in folders:
            file = stack.enter_context(_open(folder / LOCK))
            while not _take(file.fileno()):
                owner = _owner(folder / LOCK)
                refused = orphans_only and owner
                if time.monotonic() - began > (min(patience, _DYING) if refused else patience):
                    running = f"is running there{owner}" if owner else "has not ended there"
                    raise InputError(f"{folder}: another run {running}; wait for it, or stop it")
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
