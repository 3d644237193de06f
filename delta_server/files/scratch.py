"""A folder for sockets, whose path is short enough for them, and that never stays: what a killed process left, the
next one clears."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError

MAX_SOCKET_PATH = 107  # bytes, Linux
_PREFIX = "delta_"
_OURS = re.compile(_PREFIX + r"[a-z0-9_]{8}")  # as tempfile names them
_TRIES = 100


@contextmanager
def socket_folder(longest: str = "") -> Iterator[tuple[Path, int]]:
    """A folder for sockets with names up to this one, and a descriptor: whoever holds it, holds the folder.

    It lies in TMPDIR or, where a path would be too long there, in /tmp. Raises InputError where none can be made.
    """
    folder, descriptor = _make(longest)
    try:
        yield folder, descriptor
    finally:
        _clear(folder)
        os.close(descriptor)


def _make(longest: str) -> tuple[Path, int]:
    room = MAX_SOCKET_PATH - len(f"/{_PREFIX}12345678/") - len(os.fsencode(longest))
    why = f"the socket's name {longest!r} is too long"
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        if len(os.fsencode(base)) > room:
            continue
        _clear_what_was_left(Path(base))
        for _ in range(_TRIES):
            try:
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError as error:
                why = f"{base}: {error.strerror}"
                continue  # cleared by another before it could be held
            except OSError as error:
                why = f"{base}: {error.strerror}"
                break
            if _hold(folder, descriptor):
                return folder, descriptor
            os.close(descriptor)
    raise InputError(f"no folder for sockets ({why}); set TMPDIR to a short path that can be written")


def _hold(folder: Path, descriptor: int) -> bool:
    """Take hold of a new folder; false where somebody is clearing it, or has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here: then nobody can clear it either
        return True
    return folder.is_dir()


def _clear_what_was_left(base: Path) -> None:
    """Remove the folders of this user that nobody holds any more."""
    with suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if not _OURS.fullmatch(entry.name):
                continue
            with suppress(OSError):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    if os.fstat(descriptor).st_uid == os.getuid():
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        _clear(Path(entry.path))
                finally:
                    os.close(descriptor)


def _clear(folder: Path) -> None:
    """Remove a folder with its sockets; one that holds anything else stays."""
    with suppress(OSError):
        for path in folder.iterdir():
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        folder.rmdir()
