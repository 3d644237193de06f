"""The one writer of files: they appear whole or not at all, and are on the disk when they do.

What is written goes into a file beside (``.NAME.PID.part``), which then takes the place of the old one. Whoever reads
meanwhile, or after a crash, finds the old content or the new.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Write to the path that this yields; it takes the place of `path` when the block ends without an exception.

    A block that leaves no file there replaces nothing. suffix: of the file that is written to, for a writer that goes
    by the name. Raises OSError, which names the file (of a full disk the system names none); nothing is left then.
    """
    part = _beside(path, f"part{suffix}")
    try:
        yield part
        if part.exists():
            _put(part, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        _remove(part)


class Replacements:
    """Several files that are replaced together: all of them or, but for a crash in between, none.

    >>> with Replacements() as files:                                     # doctest: +SKIP
    ...     files.beside(record).write_text(text)
    ...     files.beside(model).write_bytes(content)
    """

    def __init__(self) -> None:
        self._parts: dict[Path, Path] = {}

    def beside(self, path: Path) -> Path:
        """Where to write what shall take the place of the existing file `path`."""
        return self._parts.setdefault(path, _beside(path, "part"))

    def __enter__(self) -> Replacements:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Put all files in their places. Raises OSError, with every file as it was before."""
        try:
            if kind is None:
                self._put_all()
        finally:
            for part in self._parts.values():
                _remove(part)

    def _put_all(self) -> None:
        kept: dict[Path, Path] = {}
        try:
            for path in self._parts:
                kept[path] = _beside(path, "old")
                os.link(path, kept[path])
            for path, part in self._parts.items():
                _put(part, path)
        except BaseException:  # Ctrl-C too
            for path, old in kept.items():
                with suppress(OSError):
                    old.replace(path)
            raise
        finally:
            for old in kept.values():
                _remove(old)


def write_whole(path: Path, text: str) -> None:
    """Write a text. Raises InputError where that cannot be done."""
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def write_json(path: Path, value: Any) -> None:
    """Write a value as `json_text`. Raises InputError where that cannot be done."""
    write_whole(path, json_text(value))


def json_text(value: Any) -> str:
    """A value as it stands in a JSON file. Raises ValueError for what JSON does not know, such as NaN."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def save_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write a compressed ``.npz``. Raises OSError."""
    with replacing(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **{k: np.asarray(v) for k, v in arrays.items()})  # type: ignore[arg-type]


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file."""
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            sha256.update(block)
    return sha256.hexdigest()


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")


def _put(part: Path, path: Path) -> None:
    """Bring the content to the disk, give it its name, and bring the name to the disk as well."""
    _sync(part)
    part.replace(path)
    with suppress(OSError):  # the file is in its place; a folder that cannot be opened is no reason to say otherwise
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
