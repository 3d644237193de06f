"""Means of correlated series, with errors that know of the correlation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .._types import FloatArray


class Mean(NamedTuple):
    """A mean, its standard error, and how many samples apart two are independent."""

    value: float
    error: float
    inefficiency: float


def correlated_mean(series: FloatArray) -> Mean:
    """Mean of an equilibrated series; error σ √(g/n), g the statistical inefficiency.

    g = 1 + 2 Σ (1 − t/n) C(t), summed until the autocorrelation C first turns negative (Chodera et al., J. Chem.
    Theory Comput. 3, 26 (2007), Eqs. 20–22).
    """
    n = len(series)
    deviation = series - series.mean()
    variance = float(np.mean(deviation**2))
    if n < 2 or variance == 0.0:
        return Mean(float(series.mean()), 0.0, 1.0)
    spectrum = np.abs(np.fft.rfft(deviation, 2 * n)) ** 2
    lags = np.arange(n)
    correlation = np.fft.irfft(spectrum)[:n] / (n - lags) / variance
    negative = np.flatnonzero(correlation[1:] <= 0)
    last = int(negative[0]) + 1 if len(negative) else n
    g = max(1.0, 1.0 + 2.0 * float(np.sum((1 - lags[1:last] / n) * correlation[1:last])))
    return Mean(float(series.mean()), float(np.sqrt(variance * g / n)), g)


def slope(x: FloatArray, y: FloatArray) -> float:
    """Slope of a straight line through (x, y) by least squares; NaN where all x are the same."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ (y - y.mean())) / spread if spread else math.nan
