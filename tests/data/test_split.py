"""Sides of the asked size, like in energy, apart in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delta_server.data.dataset import Dataset
from delta_server.data.split import distance_in_time, split
from delta_server.errors import InputError


def walk(n: int, runs: int = 1, seed: int = 0) -> Dataset:
    """n configurations whose energy remembers some 20 steps, in one or several trajectories."""
    rng = np.random.default_rng(seed)
    energy = np.zeros(n)
    for i in range(1, n):
        energy[i] = 0.95 * energy[i - 1] + rng.standard_normal()
    x = rng.standard_normal((n, 2, 3))
    run = np.sort(rng.integers(0, runs, n))
    return Dataset(np.array([1, 1]), x, energy, x, run=run, index=np.arange(n))


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(3, 300),
    shares=st.tuples(st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1)),
    used=st.floats(0.2, 1.0),
    runs=st.integers(1, 4),
    gap=st.integers(0, 5),
    block=st.none() | st.integers(1, 50),
)
def test_exactly_as_many_as_asked(
    n: int, shares: tuple[float, float, float], used: float, runs: int, gap: int, block: int | None
) -> None:
    wanted = np.floor(np.array(shares) / sum(shares) * used * n).astype(int)
    wanted[0] += wanted.sum() == 0
    sides = split(walk(n, runs), *wanted.tolist(), seed=1, gap=gap, block=block)
    assert [int((sides == side).sum()) for side in range(3)] == wanted.tolist()
    assert set(sides.tolist()) <= {-1, 0, 1, 2}


def test_energies_are_alike_on_all_sides() -> None:
    data = walk(3000)
    whole, worst = np.quantile(data.energies, [0.1, 0.5, 0.9]), 0.0
    for seed in range(5):
        sides = split(data, 400, 200, 1000, seed)
        for side in range(3):
            found = np.quantile(data.energies[sides == side], [0.1, 0.5, 0.9])
            worst = max(worst, float(np.abs(found - whole).max()))
    assert worst < 0.35 * data.energies.std()


def test_far_less_leaks_than_at_random() -> None:
    data = walk(2000)
    sides = split(data, 200, 100, 500, seed=3)
    steps = distance_in_time(data, sides)[sides == 2]
    assert steps.min() > 2  # the gap
    assert np.median(steps) > 10
    rng = np.random.default_rng(0)
    random = np.full(2000, -1)
    random[rng.permutation(2000)[:800]] = np.repeat([0, 1, 2], [200, 100, 500])
    assert np.median(distance_in_time(data, random)[random == 2]) < 6


def test_a_side_is_made_of_whole_stretches_where_all_is_used() -> None:
    data = walk(600)
    sides = split(data, 300, 150, 150, seed=0, block=10)
    changes = np.count_nonzero(np.diff(sides))
    assert changes < 65  # 60 blocks; at random some 370 neighbours would differ


def test_the_same_seed_gives_the_same() -> None:
    data = walk(500)
    first = split(data, 100, 50, 50, seed=5)
    assert np.array_equal(first, split(data, 100, 50, 50, seed=5))
    assert not np.array_equal(first, split(data, 100, 50, 50, seed=6))


def test_order_in_the_file_does_not_matter_for_time() -> None:
    data = walk(800)
    shuffle = np.random.default_rng(2).permutation(800)
    sides = split(data.take(shuffle), 100, 50, 200, seed=0)
    steps = distance_in_time(data.take(shuffle), sides)
    assert steps[sides == 2].min() > 2


def test_works_without_times() -> None:
    data = replace(walk(50), run=None, index=None)
    assert (split(data, 20, 10, 20) >= 0).all()


@pytest.mark.parametrize(
    ("asked", "words"), [((40, 10, 11), "= 61 .* has 60"), ((-1, 2, 3), "none negative"), ((0, 0, 0), "asked for 0")]
)
def test_more_than_there_are(asked: tuple[int, int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        split(walk(60), *asked)
