"""Stock sGDML: its search for permutations and its trainer, each in a process of its own.

sGDML's trainer forks workers, replaces the logger class of its process and exits on errors: none of that here.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..gdml.model import Model
from .fit import Hyper, model_of
from .labels import Labels


def find_permutations(positions: FloatArray, numbers: IntArray, processes: int = 1) -> IntArray:
    """(P, N) permutations that sGDML finds among geometries (M, N, 3) Å: its default. The identity alone where those
    that it finds generate no group of less than 100, with which stock sGDML stops. InputError where it fails."""
    permutations: IntArray = _apart(_find, positions, numbers, processes)
    return permutations


def train_stock(labels: Labels, permutations: IntArray, hyper: Hyper, processes: int = 2) -> Model:
    """`fit.fit` by sGDML's own trainer. hyper.lam must be absolute. Raises InputError where it fails."""
    return train_stock_timed(labels, permutations, hyper, processes)[0]


def train_stock_timed(
    labels: Labels, permutations: IntArray, hyper: Hyper, processes: int = 2
) -> tuple[Model, float]:
    """`train_stock`, and the seconds that sGDML's trainer took, its imports not counted."""
    if not hyper.absolute:
        raise InputError("sGDML's trainer knows absolute λ only")
    alphas, energy_weights, scale, offset, seconds = _apart(_train, labels, permutations, hyper, processes)
    solution = -alphas if energy_weights is None else np.concatenate([energy_weights, -alphas])
    return model_of(labels, permutations, hyper, hyper.lam, scale, solution, offset), seconds


def _apart(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result()
    except BrokenProcessPool:
        raise InputError("sGDML ended its process: out of memory, most likely") from None
    except ModuleNotFoundError as error:
        raise InputError(f"no module {error.name!r}: pip install 'delta-server[sgdml]'") from None


def _quiet() -> None:
    logging.disable(logging.CRITICAL)
    sys.stdout = sys.stderr = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115 - until this process ends


def _find(positions: FloatArray, numbers: IntArray, processes: int) -> IntArray:
    _quiet()
    from sgdml.utils import perm

    permutations = perm.find_perms(positions, numbers, max_processes=processes)
    return np.arange(len(numbers))[None] if permutations is None else np.asarray(permutations, dtype=np.intp)


def _train(
    labels: Labels, permutations: IntArray, hyper: Hyper, processes: int
) -> tuple[FloatArray, FloatArray | None, float, float, float]:
    _quiet()
    from sgdml.train import GDMLTrain

    task = {
        "type": "t", "dataset_name": labels.name, "dataset_theory": labels.theory, "z": labels.numbers,
        "R_train": labels.positions, "F_train": labels.forces, "E_train": labels.energies,
        "idxs_train": np.arange(len(labels)), "idxs_valid": np.arange(0), "md5_train": "", "md5_valid": "",
        "sig": hyper.sigma, "lam": hyper.lam, "use_E": True, "use_E_cstr": hyper.energies,
        "use_sym": len(permutations) > 1, "perms": permutations,
    }  # fmt: skip
    trainer, start = GDMLTrain(max_processes=max(2, processes)), time.perf_counter()
    model = trainer.train(task)
    seconds = time.perf_counter() - start
    return np.ravel(model["alphas_F"]), model.get("alphas_E"), float(model["std"]), float(model["c"]), seconds
