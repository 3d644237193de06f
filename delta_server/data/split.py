"""Which configurations train, validate and test: like in energy, apart in time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._types import FloatArray, IntArray
from ..errors import InputError
from .dataset import Dataset

UNUSED = -1
_BLOCKS = 100  # of time, at least, where there are so many configurations


def split(
    data: Dataset,
    n_train: int,
    n_validation: int,
    n_test: int,
    seed: int = 0,
    *,
    block: int | None = None,
    gap: int = 2,
) -> IntArray:
    """(n,) 0 training, 1 validation, 2 test, −1 left out; exactly so many of each.

    Trajectories are cut into blocks of time, and whole blocks assigned, from the lowest mean energy to the highest,
    so that every side gets its share of each level; within a side configurations are drawn so that their energies are
    spread as all are. At most three blocks are cut, to fill a side to the last configuration.

    block: configurations to a block (default: so that there are 100). gap: configurations within so many steps (of
    `index`) of another side are left out, as far as enough remain. Raises InputError where there are fewer than
    asked for.
    """
    wanted = np.array([n_train, n_validation, n_test])
    n, asked = len(data), int(wanted.sum())
    if wanted.min() < 0 or asked == 0:
        raise InputError(
            f"asked for {n_train} + {n_validation} + {n_test} configurations; expected some, and none negative"
        )
    if asked > n:
        raise InputError(
            f"asked for {n_train} training + {n_validation} validation + {n_test} test = {asked} configurations, the "
            f"data set has {n}"
        )
    rng = np.random.default_rng(seed)
    run, index = _time(data)
    length = block or max(1, n // _BLOCKS)
    sides = _assign(run, index, data.energies, _quota(wanted, n), length, rng)
    for width in range(max(gap, 0), -1, -1):
        usable = np.where(_near_other(run, index, sides, width), UNUSED, sides)
        if all(np.count_nonzero(usable == side) >= wanted[side] for side in range(3)):
            break
    chosen = np.full(n, UNUSED)
    for side, count in enumerate(wanted.tolist()):
        members = np.flatnonzero(usable == side)
        chosen[_stratified(members, data.energies, count, rng)] = side
    return chosen


def spread(which: IntArray, count: int) -> IntArray:
    """So many of the configurations, evenly; all where there are no more."""
    return which if count >= len(which) else which[np.arange(count) * len(which) // count]


def distance_in_time(data: Dataset, sides: IntArray) -> FloatArray:
    """(n,) steps from each configuration that does not train to the nearest in its run that does; inf without one.

    Training and unused configurations have inf.
    """
    run, index = _time(data)
    steps = np.full(len(data), np.inf)
    for number in np.unique(run):
        train = np.sort(index[(run == number) & (sides == 0)])
        others = np.flatnonzero((run == number) & (sides > 0))
        if len(train) and len(others):
            right = np.searchsorted(train, index[others])
            before = index[others] - train[np.maximum(right - 1, 0)]
            after = train[np.minimum(right, len(train) - 1)] - index[others]
            steps[others] = np.minimum(np.abs(before), np.abs(after))
    return steps


def _time(data: Dataset) -> tuple[IntArray, IntArray]:
    """Run and place in it; a file that says neither is one run in order."""
    n = len(data)
    run = np.zeros(n, dtype=np.intp) if data.run is None else data.run
    return run, np.arange(n) if data.index is None else data.index


def _quota(wanted: IntArray, n: int) -> IntArray:
    """How many configurations each side draws its own from: all of them, shared out as asked (largest remainders)."""
    share = wanted * (n / wanted.sum())
    quota: IntArray = np.floor(share).astype(np.intp)
    quota[np.argsort(quota - share, kind="stable")[: n - int(quota.sum())]] += 1
    return quota


def _assign(
    run: IntArray, index: IntArray, energies: FloatArray, quota: IntArray, length: int, rng: np.random.Generator
) -> IntArray:
    """(n,) side of each configuration: blocks by mean energy, each to the side that lacks most of its quota."""
    order = np.lexsort((index, run))
    ends = np.flatnonzero(np.diff(run[order])) + 1
    blocks = [
        piece
        for stretch in np.split(order, ends)
        for piece in np.array_split(stretch, max(1, round(len(stretch) / length)))
    ]
    level = np.array([energies[b].mean() for b in blocks])
    sides = np.full(len(run), UNUSED)
    left = quota.astype(float)
    weight = np.maximum(quota, 1)
    for b in np.argsort(level):
        rest = blocks[b]
        while len(rest):
            lack = np.where(left > 0, left / weight + 1e-3 * rng.random(3), -1.0)
            side = int(lack.argmax())
            filled, rest = np.split(rest, [int(left[side])])
            sides[filled] = side
            left[side] -= len(filled)
    return sides


def _near_other(run: IntArray, index: IntArray, sides: IntArray, gap: int) -> npt.NDArray[np.bool_]:
    """(n,) whether a configuration is within `gap` steps of one on another side."""
    near = np.zeros(len(run), dtype=bool)
    if not gap:
        return near
    for side in range(3):
        for number in np.unique(run):
            here = run == number
            others = np.sort(index[here & (sides != side)])
            mine = np.flatnonzero(here & (sides == side))
            if len(others) and len(mine):
                at = np.searchsorted(others, index[mine])
                before = np.abs(index[mine] - others[np.maximum(at - 1, 0)])
                after = np.abs(others[np.minimum(at, len(others) - 1)] - index[mine])
                near[mine] = np.minimum(before, after) <= gap
    return near


def _stratified(members: IntArray, energies: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
    """`count` of `members` whose energies are spread as all energies are: near one at random from each quantile."""
    ordered = members[np.argsort(energies[members], kind="stable")]
    aims = np.quantile(energies, (np.arange(count) + rng.random(count)) / max(count, 1))
    nearest = np.searchsorted((energies[ordered][1:] + energies[ordered][:-1]) / 2, aims)
    picked: list[int] = []
    for i, place in enumerate(nearest.tolist()):
        after = picked[-1] + 1 if picked else 0
        picked.append(min(max(place, after), len(ordered) - count + i))
    return ordered[picked]
