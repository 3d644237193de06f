"""The working file of a long labelling: a line that says which task, then fixed records that are only ever appended.

A run that is killed leaves whole records and perhaps a torn one, which is cut off. No pickle, nothing to parse.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..._types import FloatArray
from ...errors import InputError

FORMAT = "delta-sgdml labels/1"
_MAX_HEADER = 4096
_SYNC = 1.0  # s between the times that records are forced to the disk: a killed process loses none either way


@dataclass(frozen=True)
class Failure:
    """A configuration that has no labels."""

    index: int
    reason: str


class WorkFile:
    """Labels by configuration. `labels`: index → (width,) float64; `failures`: index → why there are none.

    One record: index, whether it failed, the labels (or the reason in UTF-8), CRC-32 of all that.
    """

    def __init__(self, path: Path, stream: BinaryIO, width: int) -> None:
        self.path, self.labels, self.failures = path, dict[int, FloatArray](), dict[int, Failure]()
        self._stream, self._synced = stream, time.monotonic()
        self._record = np.dtype([("index", "<i8"), ("failed", "<i8"), ("values", "<f8", width), ("crc", "<u8")])

    def add(self, index: int, values: FloatArray) -> None:
        """values: (width,). Raises OSError."""
        self._append(index, 0, values.astype("<f8").tobytes())
        self.labels[index] = values
        self.failures.pop(index, None)

    def fail(self, index: int, reason: str) -> None:
        """The reason is kept as far as a record holds it. Raises OSError."""
        self._append(index, 1, reason.encode())
        self.failures[index] = Failure(index, reason)

    def _append(self, index: int, failed: int, content: bytes) -> None:
        record = np.zeros((), self._record)
        record["index"], record["failed"] = index, failed
        size = record["values"].nbytes
        record["values"] = np.frombuffer(content[:size].ljust(size, b"\0"), "<f8")
        record["crc"] = zlib.crc32(record.tobytes()[:-8])
        try:
            self._stream.write(record.tobytes())
            self._stream.flush()
            if time.monotonic() - self._synced > _SYNC:
                self.sync()
        except OSError as error:  # of a full disk the system names no file
            error.filename = error.filename or str(self.path)
            raise

    def sync(self) -> None:
        """Everything so far survives a power failure. Raises OSError."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._synced = time.monotonic()

    def _read(self, n: int) -> None:
        """Takes in records, passes over damaged ones, and cuts off a torn end."""
        end = self._stream.tell()
        while len(block := self._stream.read(self._record.itemsize)) == self._record.itemsize:
            end += len(block)
            record = np.frombuffer(block, self._record)[0]
            index = int(record["index"])
            if zlib.crc32(block[:-8]) != record["crc"] or not 0 <= index < n:
                continue
            if record["failed"]:
                reason = record["values"].tobytes().rstrip(b"\0").decode("utf-8", "replace")
                self.failures[index] = Failure(index, reason)
            else:
                self.labels[index] = np.array(record["values"], dtype=np.float64)
                self.failures.pop(index, None)
        self._stream.seek(end)
        self._stream.truncate()


@contextmanager
def open_workfile(path: Path, task: str, n: int, width: int) -> Iterator[WorkFile]:
    """The working file at `path`, made or gone on with, and kept from other processes meanwhile.

    task: digest of what is computed. n: configurations. width: numbers to a configuration. Raises InputError where
    the file is another task's, is no working file, is in use, or cannot be written.
    """
    header = json.dumps({"format": FORMAT, "task": task, "configurations": n, "width": width}).encode() + b"\n"
    try:
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise InputError(f"{path}: the working file cannot be written: {error.strerror}") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process is labelling into this file") from None
        except OSError:  # a file system without locks
            pass
        first = stream.readline(_MAX_HEADER)
        if first != header and header.startswith(first):  # new, or killed while the line was written
            stream.seek(0)
            stream.truncate()
            stream.write(header)
        elif first != header:
            raise InputError(
                f"{path}: {_differs(first)}; expected what a killed run of this very command left; "
                "remove it, or choose another output"
            )
        work = WorkFile(path, stream, width)
        work._read(n)
        yield work
        work.sync()


def _differs(header: bytes) -> str:
    ours = header.startswith(f'{{"format": "{FORMAT}"'.encode())
    return "is the working file of another task" if ours else "is no working file"
