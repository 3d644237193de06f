"""Reading ``.npz`` files without trusting them.

Only the arrays that are asked for are touched, never unpickled, and each one's header is held against
what it should be before its data are read: a file may carry pickled tables, or claim any size, and neither matters.
"""

from __future__ import annotations

import errno
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import DeltaError

_MAX_TEXT = 10_000  # characters; the longest string a file has any use for
_MAX_BYTES = 64 * 2**30
_MAX_RATIO = 200  # of an array beyond _FREE bytes to its compressed self; numbers do not compress so well
_FREE = 2**26
_CHUNK = 2**18  # bytes read at once

# What NumPy's reader of a header has been seen to raise, and zipfile for what is no zip file.
_NO_HEADER = (ValueError, TypeError, OverflowError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError)
_NO_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)


@contextmanager
def open_arrays(path: str | Path, what: str, keys: str, error: type[DeltaError]) -> Iterator[Arrays]:
    """The arrays of a file. what: the kind of file, as in "no such {what}"; keys: the arrays that it should have.

    Raises `error`, naming the file, for whatever is wrong with it, here or while the arrays are read.
    """
    path = Path(path)
    try:
        if not path.is_file() and path.exists():  # a pipe would be waited for, a device read for ever
            raise error(f"{path}: is no regular file, expected a {what} (.npz)")
        with zipfile.ZipFile(path) as archive:
            yield Arrays(path, archive, what, keys, error)
    except FileNotFoundError:
        raise error(f"{path}: no such {what}") from None
    except OSError as failure:
        if failure.errno == errno.EINVAL:  # the archive's directory points before its beginning
            raise error(f"{path}: not a whole .npz file; copy it again") from None
        raise error(f"{path}: cannot be read: {failure.strerror or failure}") from None
    except _NO_ZIP as failure:
        if not _may_be_cut(path):
            raise error(f"{path}: is no .npz file, expected a {what}") from None
        raise error(f"{path}: not a whole .npz file ({_short(failure)}); copy it again") from None
    except MemoryError:
        raise error(f"{path}: does not fit into memory") from None


def _may_be_cut(path: Path) -> bool:
    """Whether it begins as an archive does, as far as it goes."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"")


def _short(error: Exception) -> str:
    return f"{error}"[:200] or type(error).__name__


class Header(NamedTuple):
    """What an array says of itself; by_columns: in Fortran's order."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]
    size: int  # of the header itself, in bytes


class Arrays:
    """Arrays of an open ``.npz``, each checked against its header before it is read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, what: str, keys: str, error: type[DeltaError]) -> None:
        self.path, self.what, self.keys, self.error = path, what, keys, error
        self.archive = archive
        self.members = {Path(i.filename).stem: i for i in archive.infolist() if i.filename.endswith(".npy")}
        self._headers: dict[str, Header] = {}

    def __contains__(self, key: str) -> bool:
        return key in self.members

    def misspelled(self, key: str) -> str | None:
        """An array's name that is the key's but for upper and lower case, where there is no such key."""
        return None if key in self else next((name for name in self.members if name.lower() == key.lower()), None)

    def fail(self, key: str, what: str) -> DeltaError:
        return self.error(f"{self.path}: array {key!r} {what}")

    def header(self, key: str) -> Header:
        """What the header of an array says, none of its data read."""
        if key not in self._headers:
            self._headers[key] = self._read_header(key)
        return self._headers[key]

    def _read_header(self, key: str) -> Header:
        if key not in self.members:
            raise self.error(
                f"{self.path}: no array {key!r}; a {self.what} has {self.keys}; "
                f"this file has {', '.join(sorted(self.members))[:200] or 'none'}"
            )
        member = self.members[key]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.fail(key, "is compressed in a way that NumPy does not write")
        if member.file_size > max(_FREE, _MAX_RATIO * member.compress_size):
            raise self.fail(
                key, f"claims {member.file_size} bytes packed into {member.compress_size}: no numbers are"
            )
        with self.archive.open(member) as stream:
            try:
                version = np.lib.format.read_magic(stream)
                formats = np.lib.format
                read: Any = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
                shape, by_columns, dtype = read(stream)
            except _NO_HEADER as error:
                raise self.fail(key, f"has no readable header: {_short(error)}") from None
            if any(type(n) is not int or not 0 <= n <= _MAX_BYTES for n in shape):
                raise self.fail(key, f"has the impossible shape {shape}"[:200])
            return Header(tuple(shape), by_columns, dtype, stream.tell())

    def shape(self, key: str) -> tuple[int, ...]:
        return self.header(key).shape

    def get(self, key: str, shape: tuple[int, ...] | None, kinds: str) -> npt.NDArray[Any]:
        """The array, if its header says `shape` and a dtype kind in `kinds`, and its size bears that out."""
        found, by_columns, dtype, header_bytes = self.header(key)
        if dtype.hasobject:
            raise self.fail(key, "holds pickled Python objects, which are never loaded")
        if dtype.kind not in kinds:
            raise self.fail(key, f"has dtype {dtype}, expected kind {' or '.join(kinds)}")
        if dtype.kind == "f" and prod(found) > 1 and dtype.itemsize < 8:
            raise self.fail(key, f"is {dtype}: single precision costs tens of kcal/mol, float64 expected")
        if shape is not None and found != shape:
            raise self.fail(key, f"has shape {found}, expected {shape}")
        size = prod(found) * dtype.itemsize
        stored = self.members[key].file_size - header_bytes
        if stored != size:
            raise self.fail(key, f"holds {stored} bytes, its header says {size}")
        if size > _MAX_BYTES or (dtype.kind in "SU" and size > 4 * _MAX_TEXT):
            raise self.fail(key, f"is absurdly large: {size} bytes")
        array = np.empty(prod(found), dtype)
        rest = array.view(np.uint8).data if size else memoryview(b"")
        stream: Any  # what zipfile gives can do more than it promises
        with self.archive.open(self.members[key]) as stream:
            stream.read(header_bytes)
            while rest and (n := stream.readinto(rest[:_CHUNK])):
                rest = rest[n:]
        if rest:
            raise self.fail(key, f"cannot be read: {len(rest)} of {size} bytes are missing")
        array = array.reshape(found, order="F" if by_columns else "C")
        if dtype.kind == "U" and size and (array.reshape(-1).view(dtype.str[0] + "u4") > sys.maxunicode).any():
            raise self.fail(key, "holds characters that do not exist")
        return array

    def floats(self, key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        with np.errstate(all="ignore"):  # long doubles that are too large are found below
            array = np.ascontiguousarray(self.get(key, shape, "fiu"), dtype=np.float64)
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise self.fail(key, f"holds {bad} values that are not finite")
        return array

    def number(self, key: str, *, positive: bool = False) -> float:
        array = self.get(key, None, "fiu")
        if array.size != 1:
            raise self.fail(key, f"has shape {array.shape}, expected one number")
        value = float(array.reshape(())[()])
        if not np.isfinite(value) or (positive and value <= 0):
            raise self.fail(key, f"is {value}, expected a finite {'positive ' * positive}number")
        return value

    def text(self, key: str) -> str | None:
        if key not in self.members:
            return None
        array = self.get(key, None, "SU")
        if array.size != 1:
            raise self.fail(key, f"has shape {array.shape}, expected one text")
        value: Any = array.reshape(())[()]
        text = value if array.dtype.kind == "S" else str(value).encode("utf-8", "replace")  # surrogates, alone
        return str(text.decode("utf-8", "replace"))
