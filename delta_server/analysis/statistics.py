"""Means of correlated series, with errors that know of the correlation."""

from __future__ import annotations

import importlib
import logging
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._types import FloatArray
from ..errors import InputError


class Mean(NamedTuple):
    """A mean, its standard error, and how many samples apart two are independent."""

    value: float
    error: float
    inefficiency: float


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.error:.1g}"


_LONGEST = 5000  # values from which correlations are estimated; longer series are averaged over neighbours first
_STARTS = 50  # places at which a run may be taken to be in equilibrium


def statistical_inefficiency(series: FloatArray) -> float:
    """How many samples apart two are independent: g = 1 + 2 Σ (1 − t/n) C(t), by pymbar (Chodera et al., J. Chem.
    Theory Comput. 3, 26 (2007), Eqs. 20–22). 1 for a constant series. Raises InputError without pymbar."""
    if len(series) < 4 or float(np.ptp(series)) == 0.0:
        return 1.0
    short, every = _shortened(series)
    g = float(quiet_pymbar("timeseries").statistical_inefficiency(short))
    if every > 1 and g < 2.0:  # correlations shorter than the averages: they show in the series itself, at its start
        return float(quiet_pymbar("timeseries").statistical_inefficiency(series[: 4 * _LONGEST], fast=True))
    return g * every


def equilibration(series: FloatArray) -> int:
    """From which sample on a series is in equilibrium: where most independent samples are left (Chodera, J. Chem.
    Theory Comput. 12, 1799 (2016)), at most half of it. 0 for a constant series. Raises InputError without pymbar.

    As pymbar's `detect_equilibration`, which looks at all starts: of a slow series it often takes a short end, whose
    correlations do not show any more.
    """
    if len(series) < 10 or float(np.ptp(series)) == 0.0:
        return 0
    short, every = _shortened(series, 2000)
    starts = range(0, len(short) // 2 + 1, max(1, len(short) // (2 * _STARTS)))
    start = max(starts, key=lambda t: (len(short) - t) / statistical_inefficiency(short[t:]))
    return start * every


def _shortened(series: FloatArray, longest: int = _LONGEST) -> tuple[FloatArray, int]:
    every = -(-len(series) // longest)
    n = len(series) // every
    return series[: n * every].reshape(n, every).mean(1), every


def quiet_pymbar(module: str) -> Any:
    """A module of pymbar, without what it logs when it is imported (a caveat, a missing JAX). Raises InputError."""
    logger = logging.getLogger("pymbar")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return importlib.import_module(f"pymbar.{module}")
    except ImportError:
        raise InputError("pymbar is not installed here: pip install 'delta-server[analysis]'") from None
    finally:
        logger.setLevel(level)


def correlated_mean(series: FloatArray) -> Mean:
    """Mean of an equilibrated series; error σ √(g/n), g the statistical inefficiency."""
    g = statistical_inefficiency(series)
    return Mean(float(series.mean()), float(series.std() * np.sqrt(g / len(series))), g)


def standard_error(blocks: FloatArray) -> FloatArray:
    """Of the means over blocks (b, …) that hardly know of each other: (…)."""
    error: FloatArray = blocks.std(0, ddof=1) / np.sqrt(len(blocks))
    return error


def of_blocks(blocks: FloatArray) -> Estimate:
    """The mean of a number by block (b,), and its standard error."""
    return Estimate(float(blocks.mean()), float(standard_error(blocks)))


def slope(x: FloatArray, y: FloatArray) -> float:
    """Slope of a straight line through (x, y) by least squares; NaN where all x are the same."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ (y - y.mean())) / spread if spread else math.nan


def windows(time: FloatArray, values: FloatArray, most: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """At most `most` windows of a series (n,): their mean times, means, lowest and highest values."""
    each = max(1, -(-len(time) // most))
    starts = np.arange(0, len(time), each)
    sizes = np.diff(np.append(starts, len(time)))
    return (
        np.add.reduceat(time, starts) / sizes,
        np.add.reduceat(values, starts) / sizes,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
    )
