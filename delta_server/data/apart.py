"""Complexes whose fragments are placed from contact to where nothing binds them.

Dynamics shows the bound complex, and what is 30 Å apart has no binding; between the two a model knows nothing unless
it is shown some configurations there, of many distances and orientations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._types import BoolArray, FloatArray, IntArray
from .dataset import Dataset

FARTHEST = 30.0  # Å beyond contact
_TOUCH = 0.85  # of the sum of van der Waals radii: strangers that are nearer repel each other by far
_INSIDE = 0.3  # Å nearer than a bound complex is
_UNKNOWN = 2.0  # Å, of an element whose radius is not known
_NEAR = 0.7  # Å: the distances beyond contact are drawn evenly in log(1 + d / _NEAR)


def place(
    numbers: IntArray,
    fragments: Sequence[IntArray],
    positions: FloatArray,
    count: int,
    *,
    farthest: float = FARTHEST,
    seed: int = 0,
) -> FloatArray:
    """(count, N, 3) Å: complexes with one fragment taken from its place.

    numbers: (N,). fragments: atoms of each, two at least. positions: (n, N, 3) Å of bound complexes, from all over
    which the geometries of the fragments are taken. Every other one keeps the orientation that it has when bound and
    goes away in a direction up to a right angle from its own; the others are turned at random and come from anywhere.
    Of each half the distances beyond contact are spread from 0 to `farthest`, most of them near.
    """
    rng = np.random.default_rng(seed)
    frames = positions[np.linspace(0, len(positions) - 1, count).round().astype(np.intp)]
    spread = np.empty(count)  # 0 to 1, one from each of so many equal parts
    for half in (spread[::2], spread[1::2]):
        half[:] = (rng.permutation(len(half)) + rng.random(len(half))) / max(len(half), 1)
    placed = np.empty_like(frames)
    for n, (x, u) in enumerate(zip(frames, spread, strict=True)):
        moved = fragments[int(rng.integers(len(fragments)))]
        others = np.setdiff1d(np.arange(len(numbers)), moved)
        here = x[others] - x[others].mean(0)
        there = x[moved] - x[moved].mean(0)
        away = x[moved].mean(0) - x[others].mean(0)
        bound, touch = n % 2 == 0, van_der_waals(numbers, moved, others)
        way = _direction(rng)
        if bound:
            own = away / max(float(np.linalg.norm(away)), 1e-9)
            across = way - (way @ own) * own
            tilt = rng.random() * np.pi / 2
            way = np.cos(tilt) * own + np.sin(tilt) * across / np.linalg.norm(across)
            closeness = np.linalg.norm(there[:, None] + away - here, axis=2) / touch
            start = contact(there, here, way, touch * _nearest(numbers[moved], numbers[others], closeness)) - _INSIDE
        else:
            there = there @ random_rotation(rng).T
            start = contact(there, here, way, touch * _TOUCH)
        placed[n, others] = here
        placed[n, moved] = there + (start + _NEAR * ((1 + farthest / _NEAR) ** u - 1)) * way
    return placed


def _nearest(moved: IntArray, others: IntArray, closeness: FloatArray) -> FloatArray:
    """(n, m) the least of closeness (n, m) between the same two elements, `_TOUCH` at most: how near the atoms of a
    hydrogen bond are is no measure of the others."""
    first, second = moved.astype(np.intp)[:, None], others.astype(np.intp)
    _, kind = np.unique(1000 * np.minimum(first, second) + np.maximum(first, second), return_inverse=True)
    kind = kind.reshape(closeness.shape)
    nearest = np.full(kind.max() + 1, _TOUCH)
    np.minimum.at(nearest, kind, closeness)
    return nearest[kind]


def contact(moved: FloatArray, others: FloatArray, way: FloatArray, reach: FloatArray) -> float:
    """The largest distance along a direction at which some pair of atoms is as near as its reach; 0 where none is.

    moved: (n, 3), others: (m, 3) Å; way: (3,) of length 1, along which the first are moved; reach: (n, m) Å.
    """
    apart = moved[:, None] - others
    along = apart @ way
    squared = reach**2 - (apart**2).sum(2) + along**2
    return float(np.max(np.sqrt(np.maximum(squared, 0.0)) - along, initial=0.0, where=squared > 0))


def placed_in(data: Dataset) -> BoolArray:
    """(n,) which configurations are the only one of their run, as those that were placed are; none where all are."""
    if data.run is None:
        return np.zeros(len(data), dtype=bool)
    _, run, size = np.unique(data.run, return_inverse=True, return_counts=True)
    only: BoolArray = size[run] == 1
    return only & ~only.all()


def gaps(positions: FloatArray, fragments: Sequence[IntArray]) -> FloatArray:
    """(n,) Å between the nearest atoms of a fragment and the others, of the fragment farthest from them.

    positions: (n, N, 3) Å.
    """
    widest = np.zeros(len(positions))
    everyone = np.arange(positions.shape[1])
    for mine in fragments:
        others = np.setdiff1d(everyone, mine)
        for n, x in enumerate(positions):
            nearest = np.linalg.norm(x[mine][:, None] - x[others], axis=2).min()
            widest[n] = max(widest[n], float(nearest))
    return widest


def van_der_waals(numbers: IntArray, moved: IntArray, others: IntArray) -> FloatArray:
    """(n, m) Å: sums of van der Waals radii (Alvarez, Dalton Trans. 42, 8617 (2013))."""
    from ase.data.vdw_alvarez import vdw_radii

    known = np.nan_to_num(vdw_radii, nan=_UNKNOWN)
    radii = np.where(numbers < len(known), known[np.minimum(numbers, len(known) - 1)], _UNKNOWN)
    return np.asarray(radii[moved][:, None] + radii[others])


def _direction(rng: np.random.Generator) -> FloatArray:
    way = rng.standard_normal(3)
    return np.asarray(way / np.linalg.norm(way))


def random_rotation(rng: np.random.Generator) -> FloatArray:
    """(3, 3), any rotation as likely as any other."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.random(random_state=rng).as_matrix())
