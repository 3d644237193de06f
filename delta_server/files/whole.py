"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError


def save_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write a compressed ``.npz`` that appears whole or not at all. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            np.savez_compressed(stream, **{k: np.asarray(v) for k, v in arrays.items()})  # type: ignore[arg-type]
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file."""
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            sha256.update(block)
    return sha256.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once: whoever reads it, also after a crash, finds the old text or the new."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name as well
        finally:
            os.close(folder)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
