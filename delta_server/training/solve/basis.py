"""Which configurations are the points of a model that is fitted to more of them."""

from __future__ import annotations

import numpy as np

from ..._types import FloatArray, IntArray
from ...data.split import spread
from ...gdml.descriptor.descriptor import Descriptor
from ...gdml.descriptor.metric import Metric
from ...gdml.uncertainty import EnergyKernel

_KNOWN = 1e-12  # of its variance; a configuration with less left adds nothing but rounding


def choose_basis(positions: FloatArray, permutations: IntArray, metric: Metric, sigma: float, count: int) -> IntArray:
    """(count,) of the configurations (n, N, 3) Å: each the one of whose energy those before it leave most unknown.

    A pivoted Cholesky factorisation of the covariances of energies (Harbrecht, Peters and Schneider, Appl. Numer.
    Math. 62, 428 (2012)). Evenly spread where nothing is unknown any more, or the permutations are no group.
    """
    x = Descriptor.of(positions, metric).x
    kernel = EnergyKernel(metric, permutations)
    own = kernel.diagonal(x, (sigma,))[0]
    left, known = own.copy(), np.zeros((len(x), count))
    chosen: list[int] = []
    for n in range(count * kernel.of_a_group):
        i = int((left / own).argmax())
        if left[i] <= _KNOWN * own[i]:
            break
        column = kernel.cross(x, kernel.points(x[i : i + 1]), (sigma,))[0][:, 0] - known @ known[i]
        known[:, n] = column / np.sqrt(left[i])
        left -= known[:, n] ** 2
        chosen.append(i)
        left[chosen] = 0.0
    rest = np.setdiff1d(np.arange(len(x)), chosen)
    return np.sort(np.concatenate([np.array(chosen, dtype=np.intp), spread(rest, count - len(chosen))]))
