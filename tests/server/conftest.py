"""Fixtures: made potentials, a peer, and child processes that do not outlive their test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from made import made_dimer, made_manifest, made_model
from peer import Peer, listening
from processes import Driver, Ipi

from delta_server import Potential, load_potential
from delta_server.molecule.structures import read_structure
from delta_server.units import BOHR

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class System:
    """A manifest and the geometry that belongs to it."""

    manifest: Path
    numbers: npt.NDArray[np.intp]
    positions: Array  # (N, 3) Å

    @cached_property
    def potential(self) -> Potential:
        return load_potential(self.manifest)

    @property
    def bohr(self) -> Array:
        return self.positions / BOHR

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    def frames(self, n: int) -> Array:
        """(n, N, 3) geometries in bohr, all different."""
        return self.bohr + 0.02 * np.random.default_rng(7).standard_normal((n, *self.positions.shape))


@pytest.fixture(scope="session")
def dimer(tmp_path_factory: pytest.TempPathFactory) -> System:
    """Two waters with a binding: computed in no time."""
    manifest = made_dimer(tmp_path_factory.mktemp("dimer"))
    structure = read_structure(manifest.parent / "geometry.xyz")
    return System(manifest, structure.numbers, structure.positions)


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> System:
    """64 atoms of argon with many permutations: slow enough (0.3 s) to be interrupted."""
    folder = tmp_path_factory.mktemp("slow")
    positions = 3.8 * np.array(list(np.ndindex(4, 4, 4)), dtype=float)
    numbers = np.full(64, 18)
    rng = np.random.default_rng(3)
    permutations = np.array([rng.permutation(64) for _ in range(600)])
    made_model(folder / "argon.npz", numbers, positions, permutations, n_train=800, seed=4)
    fragments = [{"name": "argon", "atoms": "0:64", "model": "argon.npz"}]
    return System(made_manifest(folder, numbers, positions, fragments), numbers, positions)


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder with a short name: the path of a unix socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="delta") as folder:
        yield Path(folder)


@pytest.fixture
def socket_path(socket_folder: Path) -> Path:
    return socket_folder / "socket"


@pytest.fixture
def peer(socket_path: Path) -> Iterator[Peer]:
    """A server on a unix socket."""
    with listening(socket_path) as peer:
        yield peer


StartDriver = Callable[..., Driver]
StartIpi = Callable[..., Ipi]


@pytest.fixture
def start_driver(tmp_path: Path) -> Iterator[StartDriver]:
    """Start drivers: (manifest, address, *options)."""
    drivers: list[Driver] = []

    def start(manifest: Path, address: str, *options: str, **keywords: Any) -> Driver:
        log = f"driver-{len(drivers)}.log"
        drivers.append(Driver(manifest, address, *options, folder=tmp_path, log=log, **keywords))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()


@pytest.fixture
def start_ipi(tmp_path: Path, socket_folder: Path) -> Iterator[StartIpi]:
    """Start i-PI: (numbers, positions, ...), see `Ipi`."""
    runs: list[Ipi] = []

    def start(numbers: npt.ArrayLike, positions: npt.ArrayLike, **keywords: Any) -> Ipi:
        folder = tmp_path / f"run-{len(runs)}"
        folder.mkdir()
        runs.append(Ipi(numbers, positions, folder=folder, prefix=f"{socket_folder}/", **keywords))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()
