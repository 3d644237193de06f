"""Small files of a sweep's folder: written whole or not at all, and the lock that keeps two runs apart."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError

LOCK = ".lock"


@contextmanager
def locked(
    folders: Sequence[Path], patience: float = 20.0, waiting: Callable[[], None] = lambda: None
) -> Iterator[list[int]]:
    """Hold the locks of these folders; yields their descriptors, for a child to hold them as long as it lives.

    A run whose master was killed ends softly by itself: that is waited for, `patience` seconds. Raises InputError
    when another run works there.
    """
    with ExitStack() as stack:
        held = []
        deadline = time.monotonic() + patience
        for folder in folders:
            file = stack.enter_context(_open(folder / LOCK))
            while not _take(file.fileno()):
                if time.monotonic() > deadline:
                    raise InputError(f"{folder}: another run works here; wait for it, or stop it")
                waiting()
                time.sleep(0.1)
            held.append(file.fileno())
        yield held


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        file = path.open("a+")
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


def is_locked(folder: Path) -> bool:
    """Whether a run works in the folder now."""
    with suppress(OSError), (folder / LOCK).open() as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
