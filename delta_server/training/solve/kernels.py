"""What a fit asks of a kernel matrix, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..._types import FloatArray, IntArray
from ...gdml.descriptor.metric import Metric
from ...gdml.devices import find_device
from .kernel import KernelMatrix, Report

Numbers = Any
"""Numbers where the fit is made: a NumPy array, or a tensor of a GPU."""


class Matrix(Protocol):
    """A symmetric matrix: `Panels`, `TorchMatrix`."""

    @property
    def n(self) -> int: ...
    def copy(self) -> Matrix: ...
    def diagonal(self) -> FloatArray: ...
    def add_diagonal(self, values: FloatArray | float) -> None: ...
    def factor(self, progress: Callable[[float], None] | None = None) -> None: ...
    def solve(self, y: Numbers) -> FloatArray: ...
    def forward(self, y: Numbers) -> Numbers: ...
    def backward(self, y: FloatArray) -> FloatArray: ...
    def add_product(self, a: Numbers) -> None: ...


class Kernel(Protocol):
    """The kernel of some points: `KernelMatrix`, `TorchKernel`."""

    def numbers(self, values: FloatArray) -> Numbers: ...
    def zeros(self, energies: bool) -> Matrix: ...
    def matrix(self, sigma: float, energies: bool, report: Report | None = None) -> Matrix: ...
    def columns(self, positions: FloatArray, sigma: float, energies: bool) -> Numbers: ...


def make_kernel(positions: FloatArray, permutations: IntArray, metric: Metric, device: str = "cpu") -> Kernel:
    """The kernel of points (M, N, 3) Å on a device: ``cpu``, ``cuda`` or ``cuda:N``, or ``auto`` (a GPU where there
    is one). Raises InputError where the device, or torch for it, is not there."""
    place = None if device == "cpu" else find_device(device)
    if place is None:
        return KernelMatrix(positions, permutations, metric)
    from .torch_kernel import TorchKernel

    return TorchKernel(positions, permutations, metric, place)
