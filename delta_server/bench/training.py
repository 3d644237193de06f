"""How long a fit takes, and how much memory, against stock sGDML on the same task."""

from __future__ import annotations

import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from .._types import FloatArray, IntArray
from ..gdml import CpuPredictor, Model
from ..training.fit import Hyper, fit
from ..training.labels import Labels
from ..training.solve.kernel import matrix_bytes
from ..training.solve.memory import Forecast, Speed, forecast
from ..training.stock import train_stock_timed
from ..units import KCAL_MOL


@dataclass(frozen=True)
class TrainingTime:
    """One task: seconds of both trainers, memory, and by how much their models differ on other configurations."""

    points: int
    atoms: int
    permutations: int
    rows: int
    seconds: float
    forecast: float  # s
    peak: int  # bytes, beyond what the process had before
    matrix: int  # bytes that were forecast
    sgdml_seconds: float | None = None
    energy_difference: float | None = None  # kcal/mol
    force_difference: float | None = None  # kcal/mol/Å

    @property
    def ratio(self) -> float | None:
        """How many times longer sGDML took."""
        return None if self.sgdml_seconds is None else self.sgdml_seconds / self.seconds


def bench_training(
    labels: Labels, test: FloatArray, permutations: IntArray, hyper: Hyper, against: bool, threads: int
) -> TrainingTime:
    """Fit `labels` (`hyper.lam` absolute) in a process of its own, and once more by sGDML in another.

    test: (n, N, 3) Å, where the two models are compared. threads: sGDML's processes. The time of ours is that of a
    compiled program; sGDML's begins after its imports.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        model, seconds, peak, expected = pool.submit(_timed, labels, permutations, hyper).result()
    times = TrainingTime(
        len(labels), len(labels.numbers), len(permutations), expected.rows, seconds, expected.seconds, peak,
        matrix_bytes(len(labels), len(labels.numbers), hyper.energies),
    )  # fmt: skip
    if not against:
        return times
    stock, stock_seconds = train_stock_timed(labels, permutations, hyper, threads)
    mine, theirs = (CpuPredictor(m).predict(test) for m in (model, stock))
    return replace(
        times,
        sgdml_seconds=stock_seconds,
        energy_difference=float(np.abs(mine.energy - theirs.energy).max()) / KCAL_MOL,
        force_difference=float(np.abs(mine.forces - theirs.forces).max()) / KCAL_MOL,
    )


def _timed(labels: Labels, permutations: IntArray, hyper: Hyper) -> tuple[Model, float, int, Forecast]:
    fit(labels.take(slice(0, 3)), permutations[:1], hyper)  # compiled, and BLAS has its buffers
    before = _peak()
    start = time.perf_counter()
    model = fit(labels, permutations, hyper)
    seconds, peak = time.perf_counter() - start, _peak() - before
    speed = Speed.measure(labels, permutations)  # last, for it takes memory too
    return model, seconds, peak, forecast(len(labels), len(labels.numbers), len(permutations), hyper.energies, speed)


def _peak() -> int:
    """Bytes of memory that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
