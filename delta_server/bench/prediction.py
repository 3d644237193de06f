"""Timing predictors against each other, in alternation, on the same structures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._types import FloatArray
from ..errors import InputError
from ..gdml.descriptor.descriptor import Descriptor
from ..gdml.descriptor.metric import Metric
from ..gdml.descriptor.pairs import n_pairs
from ..gdml.devices import find_device
from ..gdml.file import arrays_of, form_of, load_model
from ..gdml.model import Model
from ..gdml.predictor import MeasuredPredictor
from ..gdml.sums.contraction import Work

if TYPE_CHECKING:
    import torch

_COPIES = 9  # of the permuted training set that sgdml holds while it begins, measured (9.0 to 9.1); it keeps two
_KEYS = ("z", "R_desc", "R_d_desc_alpha", "perms", "tril_perms_lin", "sig", "std", "c", "alphas_E")


class Machine(NamedTuple):
    """The speed of one core, or as many as BLAS is given, at this moment."""

    flops: float  # of a matrix product, 1/s
    bandwidth: float  # of reading memory, bytes/s

    @classmethod
    def measure(cls, seconds: float = 0.3) -> Machine:
        """A matrix product of 768 rows, and the square of a vector of 256 MB; the best of some."""
        a = np.ones((768, 768))
        (product,) = alternate([lambda: a @ a], seconds)
        return cls(2 * 768.0**3 / min(product), 0.0).at(2**28, seconds)

    def at(self, size: int, seconds: float = 0.1) -> Machine:
        """The machine with the bandwidth at which `size` bytes are read again and again: a cache's where they fit."""
        line = np.ones(size // 8)
        (read,) = alternate([lambda: line @ line], seconds)
        return self._replace(bandwidth=line.nbytes / min(read))

    def least(self, work: Work, batch: int) -> float:
        """Seconds for a structure, were arithmetic or memory the only limit; training points are read once."""
        return max(work.flops / self.flops, work.bytes / batch / self.bandwidth)


@dataclass(frozen=True)
class Timing:
    """One term at one batch size; milliseconds are medians a structure, the ratio is sgdml's time over ours.

    points: of the model that was timed. roofline: the least that this machine could take, of what was taken. mae: of
    its forces on validation configurations (kcal/mol/Å), as its training recorded it.
    Differences are the largest over the batch, in the units of the model's file.
    """

    term: str
    batch: int
    ms: float
    points: int | None = None
    method: str = ""
    flops: float | None = None
    bytes: float | None = None
    roofline: float | None = None
    sgdml_ms: float | None = None
    ratio: float | None = None
    energy_difference: float | None = None
    force_difference: float | None = None
    mae: float | None = None


def sgdml_predictor(
    source: Path | Model, device: str = "cpu"
) -> Callable[[FloatArray], tuple[FloatArray, FloatArray]]:
    """Stock sgdml's `GDMLPredict` with one process, on positions (B, N, 3) in the file's units. Raises InputError.

    A model whose descriptor is not sGDML's is lent its own points and coefficients with all pairs by 1/r: sgdml then
    predicts something else, at the price that it has for a model of that size.

    device: as in `make_predictor`. On a GPU sgdml's torch predictor is taken, which makes single-precision numbers of
    positions and a whole one of σ; weights of energies, at which it fails while it loads, are handed to it later.
    """
    logging.disable(logging.INFO)  # torch and sgdml are talkative when they are imported
    try:
        from sgdml import predict as stock
    except ImportError:
        raise InputError(
            "sgdml is not installed here: pip install 'delta-server[sgdml]' -c constraints.txt"
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    if isinstance(source, Path) and form_of(source) == "native":
        source = load_model(source)
    if isinstance(source, Model):
        source = _with_stock_descriptor(source)
        model: dict[str, Any] = {k: np.asarray(v) for k, v in arrays_of(source, "sgdml").items()}
    else:
        with np.load(source, allow_pickle=False) as archive:
            model = {key: archive[key] for key in _KEYS if key in archive.files} | {"type": "m"}
    theirs, stock.share_array = stock.share_array, _shared
    try:
        predictor = _on_gpu(stock.GDMLPredict, model) if gpu_of(device) else stock.GDMLPredict(model, max_processes=1)
    finally:
        stock.share_array = theirs

    def predict(positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        energy, forces = predictor.predict(positions.reshape(len(positions), -1))
        return energy, forces.reshape(positions.shape)

    return predict


def _shared(array: FloatArray) -> tuple[Any, tuple[int, ...]]:
    """What sgdml's own makes, which goes through the array number by number: seconds of each model."""
    shared = RawArray("d", array.size)
    np.frombuffer(shared)[:] = array.ravel()
    return shared, array.shape


def _on_gpu(predictor: Callable[..., Any], model: dict[str, Any]) -> Any:
    """sgdml's `GDMLPredict` by torch, of a model with weights of energies as of another."""
    import torch

    weights = model.pop("alphas_E", None)
    logging.disable(logging.INFO)
    try:
        made = predictor(model, max_processes=1, use_torch=True)
    finally:
        logging.disable(logging.NOTSET)
    if weights is not None:
        on_device = torch.tensor(weights, dtype=torch.float64, device=made.torch_device)
        made.torch_predict._alphas_E = torch.nn.Parameter(on_device, requires_grad=False)
    return made


def gpu_of(device: str) -> torch.device | None:
    """The GPU that a device's name stands for, or None. Raises InputError where there is no such device."""
    place = None if device == "cpu" else find_device(device)
    return None if place is None or place.type == "cpu" else place


def sgdml_bytes(model: Model) -> int:
    """Memory (bytes) that stock sgdml takes at most to predict with a model, beside its imports: it writes out every
    permutation of every training point, all pairs of atoms each."""
    numbers = len(model.permutations) * n_pairs(model.n_atoms)
    return 8 * numbers * (_COPIES * model.n_train + 3)  # and the indices of the permuted pairs


def points_for_sgdml(model: Model, memory: int) -> int:
    """How many of a model's training points stock sgdml has room for in so many bytes; 0 where there is none."""
    numbers = 8 * len(model.permutations) * n_pairs(model.n_atoms)
    return max(0, min(model.n_train, (memory // numbers - 3) // _COPIES))


def _with_stock_descriptor(model: Model) -> Model:
    if model.metric.is_stock or model.training_positions is None or model.alphas is None:
        return model
    metric = Metric(model.n_atoms)
    described = Descriptor.of(model.training_positions, metric)
    return replace(model, metric=metric, descriptors=described.x, weights=described.jvp(model.alphas))


def _keep_freed_memory() -> None:
    """Let glibc keep temporaries of up to 30 MB for the next call.

    It does so once a block of that size was freed; until then, larger temporaries are fetched from the system and
    zeroed at every call.
    """
    np.empty(30 * 2**17)


def alternate(calls: Sequence[Callable[[], object]], seconds: float, least: int = 5) -> list[list[float]]:
    """Times (s) of calls made in turn, each once more until `seconds` have passed; two rounds before are not counted
    (in the second, a GPU records what it repeats from then on).

    Each is called twice in its turn, and the second is timed: what the others leave in the cache is not its fault.
    Freed memory is kept, which is worth a factor of up to three to sgdml: both sides get their best.
    """
    _keep_freed_memory()
    for call in (*calls, *calls):
        call()
    times: list[list[float]] = [[] for _ in calls]
    deadline = time.perf_counter() + seconds
    while len(times[0]) < least or time.perf_counter() < deadline:
        for call, taken in zip(calls, times, strict=True):
            call()
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
    return times


def bench_term(
    name: str,
    predictor: MeasuredPredictor,
    positions: FloatArray,
    seconds: float,
    rival: Callable[[FloatArray], tuple[FloatArray, FloatArray]] | None = None,
    angstrom: float = 1.0,
    electronvolt: float = 1.0,
    machine: Machine | None = None,
    same: bool = True,
    points: int | None = None,
) -> Timing:
    """Time one model on positions (B, N, 3) in Å, beside sgdml where a rival is given.

    angstrom, electronvolt: size of the rival's units. machine: for the roofline. same: whether the rival has the same
    model, so that differences mean something.
    """
    batch = len(positions)

    def timing(seconds: Sequence[float]) -> Timing:
        ms = 1e3 * median(seconds) / batch
        work = predictor.work
        share = 1e3 * machine.least(work, batch) / ms if machine else None
        return Timing(name, batch, ms, points, predictor.method, work.flops, work.bytes, share)

    calls: list[Callable[[], object]] = [lambda: predictor.predict(positions)]
    if rival is None:
        (ours,) = alternate(calls, seconds)
        return timing(ours)
    theirs_positions = positions / angstrom
    ours, theirs = alternate([*calls, lambda: rival(theirs_positions)], seconds)
    prediction, (energy, forces) = predictor.predict(positions), rival(theirs_positions)
    compared = replace(
        timing(ours),
        sgdml_ms=1e3 * median(theirs) / batch,
        ratio=median(b / a for a, b in zip(ours, theirs, strict=True)),
    )
    if not same:
        return compared
    return replace(
        compared,
        energy_difference=float(np.abs(prediction.energy / electronvolt - energy).max()),
        force_difference=float(np.abs(prediction.forces * angstrom / electronvolt - forces).max()),
    )
