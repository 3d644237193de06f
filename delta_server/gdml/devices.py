"""The predictor for a device."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from ..errors import InputError
from .cpu_predictor import CpuPredictor
from .model import Model
from .predictor import MeasuredPredictor

if TYPE_CHECKING:
    import torch


def find_device(device: str) -> torch.device | None:
    """What a device's name stands for.

    ``auto``: the first CUDA GPU, or None where there is none, or no torch: the CPU has a predictor of its own.
    ``cuda``, ``cuda:N``: that GPU. ``torch-cpu``: this module's arithmetic on the CPU, slower than `CpuPredictor`
    and there to test it.

    Raises InputError where the name is another, torch does not load, or there is no such GPU.
    """
    if not re.fullmatch(r"auto|torch-cpu|cuda(:\d{1,4})?", device):
        raise InputError(f"device {device!r}: expected cpu, cuda, cuda:N (N from 0) or auto")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own
            import torch
    except (ImportError, OSError) as error:  # OSError: a CUDA library that it was built for is missing
        if device == "auto":
            return None
        raise InputError(
            f"device {device!r} needs PyTorch, which does not load here ({error}): pip install torch, or --device cpu"
        ) from None
    if device == "torch-cpu":
        return torch.device("cpu")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return torch.device("cuda", 0) if count else None
    if not count:
        built = torch.version.cuda or torch.version.hip
        reason = str(said[0].message) if said else "no driver or no GPU" if built else "a build without CUDA"
        raise InputError(
            f"device {device!r}: PyTorch {torch.__version__} finds no CUDA GPU here ({reason}); take --device cpu"
        )
    number = int(device.partition(":")[2] or 0)
    if number >= count:
        there = "only cuda:0 is" if count == 1 else f"cuda:0 to cuda:{count - 1} are"
        raise InputError(f"device {device!r}: {there} there")
    return torch.device("cuda", number)


def make_predictor(model: Model, threads: int = 1, device: str = "cpu") -> MeasuredPredictor:
    """The predictor for a device: ``cpu``, ``cuda`` or ``cuda:N``, or ``auto`` (a GPU where there is one).

    Raises InputError where the device, or torch for it, is not there.
    """
    if device == "cpu":
        return CpuPredictor(model, threads)
    from .torch_predictor import TorchPredictor

    found = find_device(device)
    return CpuPredictor(model, threads) if found is None else TorchPredictor(model, found)
