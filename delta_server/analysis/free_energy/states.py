"""Free energies of several states from samples of each: MBAR (Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008)).

With N_k samples of the state k, and u_kn the reduced potential of the sample n in it, the free energies f are where

    Φ(f) = Σ_n m_n ln Σ_k N_k exp(f_k − u_kn) − Σ_k N_k f_k

is lowest, m_n how often a sample counts. pymbar finds them for samples that all count once, and from nothing. A
bootstrap counts some blocks several times and others not at all, and begins where it is nearly done: there Newton's
method on Φ, which is convex, takes a few steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..._types import FloatArray, IntArray
from ..statistics import quiet_pymbar

_ENOUGH = 1e-10  # by which the free energies may be off
_STEPS = 100
_FIRST = 20_000  # samples that pymbar begins with
# pymbar's own solver; its default ones give scipy options that scipy no longer knows, with a warning for each.
_SOLVER = ({"method": "adaptive", "options": {"min_sc_iter": 0}},)


@dataclass(frozen=True, eq=False)
class States:
    """K states and their free energies. starts: (K,) of each one's samples among all n; times: (n,) how often each
    counts; likely, logs: (K, n) and (n,), exp(f_k − u_kn) = likely exp(logs)."""

    starts: IntArray
    times: FloatArray
    likely: FloatArray
    logs: FloatArray

    @classmethod
    def solved(cls, reduced: FloatArray, numbers: IntArray) -> States:
        """reduced: (K, n) the reduced potential of every sample in each state; numbers: (K,) samples of each, one
        state's after the other's. Raises InputError without pymbar."""
        starts = np.cumsum(numbers) - numbers
        exponents = _begin(reduced, numbers, starts)[:, None] - reduced
        logs = exponents.max(0)
        states = cls(starts, np.ones(len(logs)), np.exp(exponents - logs), logs)
        return states.again(states.times)

    @property
    def numbers(self) -> FloatArray:
        """(K,) how many samples each state has."""
        return np.asarray(np.add.reduceat(self.times, self.starts))

    @property
    def shares(self) -> FloatArray:
        """(K, n) the probability that a sample, of which one does not know from where it is, is of a state."""
        shares = self.numbers[:, None] * self.likely
        return np.asarray(shares / shares.sum(0))

    def weights(self, target: FloatArray) -> FloatArray:
        """(n,) of every sample in a state of the reduced potentials (n,), summing to one (Eq. 13)."""
        logs = -target - self.logs - np.log(self.numbers @ self.likely)
        weights = self.times * np.exp(logs - logs.max())
        return np.asarray(weights / weights.sum())

    def again(self, times: FloatArray) -> States:
        """The same samples, but each counts so often; the free energies are those of these."""
        states = replace(self, times=times)
        for _ in range(_STEPS):
            shares = states.shares
            found = shares @ times
            off = found - states.numbers
            if np.abs(off).max() < _ENOUGH * times.sum():
                break
            curvature = np.diag(found) - (shares * times) @ shares.T
            step = np.linalg.pinv(curvature) @ -off  # all may rise together: the shortest
            states = states._toward(step, float(step @ off))
        return states

    def _toward(self, step: FloatArray, slope: float) -> States:
        """Free energies that Φ falls to, along a step (K,) with this slope."""
        before, numbers = self.numbers @ self.likely, self.numbers
        while True:
            after = replace(self, likely=np.exp(step)[:, None] * self.likely)
            change = float(self.times @ np.log(numbers @ after.likely / before) - numbers @ step)
            if change < 1e-4 * slope or np.abs(step).max() < _ENOUGH:
                return after
            step, slope = step / 2, slope / 2


def _begin(reduced: FloatArray, numbers: IntArray, starts: IntArray) -> FloatArray:
    """Free energies (K,) from some of the samples."""
    if (reduced == reduced[0]).all():
        return np.zeros(len(numbers))
    every = -(-int(numbers.sum()) // _FIRST)
    some = [np.arange(start, start + n, every) for start, n in zip(starts, numbers, strict=True)]
    mbar = quiet_pymbar("mbar")
    found: FloatArray = mbar.MBAR(
        reduced[:, np.concatenate(some)], np.array(list(map(len, some))), solver_protocol=_SOLVER
    ).f_k
    return found
