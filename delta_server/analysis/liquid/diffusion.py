"""Mean squared displacements of molecules, and their diffusion coefficient, D = lim MSD / 6τ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import BoolArray, FloatArray
from ..statistics import slope

_WINDOW = (0.2, 1.0)  # of the longest lag: where D is read off, behind the ballistic part


@dataclass(frozen=True)
class Diffusion:
    """Of the molecules of one species: lags (n,) ps, MSD (n,) Å²; D and its standard error, Å²/ps, NaN where the run
    is too short for one; window: lags (ps) that D is of."""

    species: str
    molecules: int
    lags: FloatArray
    msd: FloatArray
    d: float
    error: float
    window: tuple[float, float]


def squared_displacements(x: FloatArray) -> FloatArray:
    """(n,) the mean of |x(t + τ) − x(t)|² over all t and all of M points, of paths (n, M, 3).

    By Fourier transforms (Kneller et al., Comput. Phys. Commun. 91, 191 (1995)).
    """
    n = len(x)
    spectrum = np.fft.rfft(x, 2 * n, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:n].sum(2)
    squares = np.concatenate([(x**2).sum(2), np.zeros((1, x.shape[1]))])
    left = 2 * squares.sum(0)
    sums = np.empty((n, x.shape[1]))
    for lag in range(n):
        left = left - squares[lag - 1] - squares[n - lag]
        sums[lag] = left
    per_lag = (sums - 2 * products) / np.arange(n, 0, -1)[:, None]
    return np.asarray(np.maximum(per_lag.mean(1), 0.0))


def diffusion(species: str, paths: FloatArray, interval: float, longest: float, blocks: int) -> Diffusion:
    """Of the centres (n, M, 3) Å of one species, `interval` ps apart, unwrapped, up to the longest lag (ps).

    The error is that of the mean of D over blocks of the run, each as long as the lags allow: the MSD at lags that
    share their frames is correlated, and a fit's own error would be far too small.
    """
    n = len(paths)
    count = min(n, int(longest / interval + 1e-6) + 1)
    lags, msd = np.asarray(interval * np.arange(count)), squared_displacements(paths)[:count]
    inside = _inside(count)
    d = slope(lags[inside], msd[inside]) / 6 if inside.sum() > 2 else np.nan
    parts = [part for part in np.array_split(paths, blocks) if len(part) > count]
    each = [slope(lags[inside], squared_displacements(part)[:count][inside]) / 6 for part in parts]
    known = len(each) > 1 and np.isfinite(d)
    error = float(np.std(each, ddof=1) / np.sqrt(len(each))) if known else np.nan
    window = (float(lags[inside][0]), float(lags[inside][-1])) if inside.any() else (np.nan, np.nan)
    return Diffusion(species, paths.shape[1], lags, msd, float(d), error, window)


def _inside(count: int) -> BoolArray:
    """(count,) which lags D is read off."""
    place = np.arange(count)
    return np.asarray((place >= max(1, _WINDOW[0] * (count - 1))) & (place <= _WINDOW[1] * (count - 1)))
