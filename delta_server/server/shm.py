"""i-PI's shared-memory transport: six segments that i-PI owns; only the handshake and extras use the socket."""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass
from math import prod

import numpy as np

from .._types import FloatArray
from ..errors import ProtocolError

KINDS = ("pos", "h", "ih", "pot", "force", "vir")
MAX_NAME = 255
_FOLDER = "/dev/shm"


@dataclass(frozen=True)
class Segments:
    """The segments of one connection, as arrays over i-PI's memory."""

    positions: FloatArray  # (batch, N, 3) bohr, read
    cells: FloatArray  # (batch, 3, 3) bohr, columns are lattice vectors, read
    energies: FloatArray  # (batch,) hartree, written
    forces: FloatArray  # (batch, N, 3) hartree/bohr, written
    virials: FloatArray  # (batch, 3, 3) hartree, written

    @classmethod
    def attach(cls, names: dict[str, str], batch: int, n_atoms: int) -> Segments:
        """Map the segments called `names`. Raises ProtocolError if one is missing or too small.

        Mapped directly: `multiprocessing.shared_memory` (before Python 3.13) would take i-PI's segments for
        its own and remove them at exit.
        """
        shapes: dict[str, tuple[int, ...]] = {
            "pos": (batch, n_atoms, 3),
            "h": (batch, 3, 3),
            "pot": (batch,),
            "force": (batch, n_atoms, 3),
            "vir": (batch, 3, 3),
        }
        arrays = {kind: _map(names[kind], shape) for kind, shape in shapes.items()}
        return cls(arrays["pos"], arrays["h"], arrays["pot"], arrays["force"], arrays["vir"])


def _map(name: str, shape: tuple[int, ...]) -> FloatArray:
    name = name.lstrip("/")
    if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,254}", name) or name.startswith("."):
        raise ProtocolError(f"shared-memory segment name {name!r} is not one")
    size = 8 * prod(shape)
    try:
        descriptor = os.open(os.path.join(_FOLDER, name), os.O_RDWR | os.O_NOFOLLOW)
    except OSError as error:
        raise ProtocolError(
            f"shared-memory segment {name}: {error.strerror}; i-PI must run on this very machine"
        ) from None
    try:
        found = os.fstat(descriptor).st_size
        if found < size:
            raise ProtocolError(f"shared-memory segment {name} has {found} bytes, expected {size} for {shape}")
        memory = mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
    return np.frombuffer(memory, dtype=np.float64).reshape(shape)
