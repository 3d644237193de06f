"""What one needs of a turning body: its summed angle, how far it gets in a time, and what is left of its orientation.

All by blocks of time origins, so that errors know of correlations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import FloatArray, IntArray
from ..trajectory import segments
from .rigid import Orientations

BLOCKS = 10  # of time origins; the longest lag is one block's length


@dataclass(frozen=True)
class Curves:
    """By lag: lags (k,) in ps; by block of time origins (b, k, …): the mean squares of the summed rotation vector's
    components along the axes of the laboratory or host (`space`) and of the guest (`body`), in rad², and the
    orientational correlations `c1` and `c2`."""

    lags: FloatArray
    space: FloatArray  # (b, k, 3)
    body: FloatArray  # (b, k, 3)
    c1: FloatArray  # (b, k)
    c2: FloatArray  # (b, k)

    @property
    def msad(self) -> FloatArray:
        """(b, k), rad²."""
        total: FloatArray = self.space.sum(2)
        return total


def steps_of_rotation(rotations: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rotation vectors (n − 1, 3), rad, from each of n frames to the next: along axes of space, and of the body."""
    from scipy.spatial.transform import Rotation

    before = np.transpose(rotations[:-1], (0, 2, 1))
    space = Rotation.from_matrix(rotations[1:] @ before).as_rotvec()
    body = np.einsum("nij,nj->ni", before, space)
    return space, body


def largest_and_rms(found: Orientations) -> tuple[float, float]:
    """The angle from one frame to the next, rad: the largest, and the root mean square. Zeros without two frames."""
    angles = [np.linalg.norm(steps_of_rotation(found.rotations[part])[0], axis=1) for part in segments(found.time)]
    if not angles or not sum(map(len, angles)):
        return 0.0, 0.0
    together = np.concatenate(angles)
    return float(together.max()), float(np.sqrt(np.mean(together**2)))


def curves(found: Orientations, lags: IntArray, interval: float) -> Curves:
    """lags: in frames, increasing, the last shorter than a part without a gap; interval: ps between frames.

    The mean squared angular displacement (MSAD) is that of the summed rotation vector, which is not wrapped
    (Kämmerer, Kob and Schilling, Phys. Rev. E 56, 5450 (1997)). C_l is the mean over all axes of
    the body, which depends on the angle θ between two orientations alone: sin((2l + 1) θ/2) / ((2l + 1) sin(θ/2)).
    """
    longest = int(lags[-1])
    parts = [part for part in segments(found.time) if part.stop - part.start > longest]
    origins = sum(part.stop - part.start - longest for part in parts)
    space = np.zeros((BLOCKS, len(lags), 3))
    body, c1, c2 = np.zeros_like(space), np.zeros(space.shape[:2]), np.zeros(space.shape[:2])
    number = np.zeros(BLOCKS)
    done = 0
    for part in parts:
        turned = found.rotations[part]
        summed = [np.concatenate([np.zeros((1, 3)), np.cumsum(s, axis=0)]) for s in steps_of_rotation(turned)]
        n = len(turned) - longest
        block = (done + np.arange(n)) * BLOCKS // origins
        done += n
        starts = np.flatnonzero(np.diff(block, prepend=-1))
        which = block[starts]
        number[which] += np.diff(np.append(starts, n))
        for k, lag in enumerate(lags):
            for total, vectors in zip((space, body), summed, strict=True):
                total[which, k] += np.add.reduceat((vectors[lag : lag + n] - vectors[:n]) ** 2, starts)
            trace = np.einsum("nij,nij->n", turned[lag : lag + n], turned[:n])
            cosine = np.clip((trace - 1) / 2, -1, 1)
            c1[which, k] += np.add.reduceat((1 + 2 * cosine) / 3, starts)
            c2[which, k] += np.add.reduceat((1 + 2 * cosine + 2 * (2 * cosine**2 - 1)) / 5, starts)
    each = number[:, None]
    return Curves(
        np.asarray(lags * interval, dtype=np.float64),
        space / each[..., None],
        body / each[..., None],
        c1 / each,
        c2 / each,
    )


def decays(axes: FloatArray, lags: FloatArray) -> tuple[FloatArray, FloatArray]:
    """C_1 and C_2 (k,) of free rotational diffusion with D (3,) about the body's axes (Favro, Phys. Rev. 119, 53
    (1960)): means of the 3 and 5 exponentials, exp(−2Dτ) and exp(−6Dτ) if all are equal."""
    mean = axes.mean()
    split = np.sqrt(max(0.0, mean**2 - (axes[0] * axes[1] + axes[1] * axes[2] + axes[2] * axes[0]) / 3))
    first = 3 * mean - axes
    second = np.array([*(3 * (mean + axes)), 6 * (mean + split), 6 * (mean - split)])
    c1: FloatArray = np.exp(-np.outer(lags, first)).mean(1)
    c2: FloatArray = np.exp(-np.outer(lags, second)).mean(1)
    return c1, c2
