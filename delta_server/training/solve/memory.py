"""How much memory there is, and how long a fit will take, before it starts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..._types import IntArray
from ...gdml.descriptor.metric import Metric
from ...gdml.devices import find_device
from ..labels import Labels
from .kernel import matrix_bytes
from .kernels import make_kernel
from .least_squares import least_squares_bytes

_CGROUP = Path("/sys/fs/cgroup")


def available_memory(device: str = "cpu") -> int:
    """Bytes that this process can still take: of the machine, or of its control group where that has less; or of a
    GPU. Raises InputError where there is no such device."""
    place = None if device == "cpu" else find_device(device)
    if place is not None and place.type == "cuda":
        import torch

        torch.cuda.empty_cache()  # what PyTorch keeps of fits before is free
        return int(torch.cuda.mem_get_info(place)[0])
    free = 2**63 - 1
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":") for line in meminfo.read_text(encoding="ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
            statistics = dict(
                line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
            )
            free = min(free, int(limit) - used + int(statistics.get("inactive_file", 0)))
    except (OSError, ValueError):
        pass
    return free


class Forecast(NamedTuple):
    """The size of a fit: rows of its kernel matrix, memory, time."""

    rows: int
    memory: int  # bytes that it takes beside what the process has already
    seconds: float
    peak: int  # bytes that the system will report of the process


class Speed(NamedTuple):
    """The speed of this machine, or of a GPU, at this moment, with the threads that it is given."""

    flops: float  # of a matrix product, 1/s
    block: float  # s for one pair of atoms² and permutations of a kernel matrix block

    @classmethod
    def measure(cls, labels: Labels, permutations: IntArray, device: str = "cpu") -> Speed:
        """A fraction of a second of the two kinds of work, on the task itself. Compiles the kernel first."""
        n_atoms, few = len(labels.numbers), permutations[:64]
        points = max(2, min(len(labels), 24, int((3e7 / (n_atoms**2 * len(few))) ** 0.5)))
        metric = Metric(n_atoms)
        kernel = make_kernel(labels.positions[:points], few, metric, device)
        make_kernel(labels.positions[:2], few[:1], metric, device).matrix(10.0, False)
        start = time.perf_counter()
        kernel.matrix(10.0, False).diagonal()
        block = (time.perf_counter() - start) / (points * (points + 1) / 2 * len(few) * n_atoms**2)
        rows = 768 if device == "cpu" else 4096
        a = kernel.numbers(np.ones((rows, rows)))
        float((a @ a)[0, 0])
        start = time.perf_counter()
        float((a @ a)[0, 0])
        return cls(2 * float(rows) ** 3 / (time.perf_counter() - start), block)


def forecast(
    n_points: int,
    n_atoms: int,
    n_perms: int,
    energies: bool,
    speed: Speed,
    robust: bool = False,
    basis: int = 0,
    device: str = "cpu",
) -> Forecast:
    """Memory, of the device, and time of `fit.fit` by Cholesky factorisation. robust: with a second matrix where
    there is room. basis: points that are fitted to all by least squares."""
    each = 3 * n_atoms + energies
    block = n_perms * n_atoms**2 * speed.block  # s, two points
    if basis:
        rows, labels, passes = each * basis, each * n_points, 1 + robust
        memory = least_squares_bytes(basis, n_atoms, energies, device)
        seconds = basis * (basis / 2 + passes * n_points) * block
        seconds += rows**2 * (2 * passes * labels + (1 + passes) * rows / 3) / speed.flops
        return Forecast(rows, memory, seconds, peak_with(memory, device))
    rows = each * n_points
    seconds = n_points * (n_points + 1) / 2 * block + rows**3 / 3 / speed.flops
    memory = matrix_bytes(n_points, n_atoms, energies, device)
    if device != "cpu":  # where a robust fit makes its matrix twice
        return Forecast(rows, memory, (1 + robust) * seconds, peak_with(memory, device))
    twice = 4 * rows**2 if robust and 2.1 * memory < available_memory() else 0
    return Forecast(rows, memory, seconds, peak_with(memory + twice))


def peak_with(memory: int, device: str = "cpu") -> int:
    """The most memory that the system will report of this process, Python and imports included, once it has taken so
    many bytes beside what it has now; of a GPU these bytes alone."""
    if device != "cpu":
        return memory
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8", "replace").splitlines())
    now, most = (int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return max(most, now + memory)
