"""Free energies at one temperature from runs at several, or under several biases, by MBAR."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ...units import BOLTZMANN
from ..statistics import Mean
from .sampling import Samples, block_length, kt
from .states import States
from .surface import FEW, MIN_COUNT, OFTEN, Edges, Surface, bin_of, build_surface

RESAMPLES = 50
_NUMBERS = 3_000_000  # reduced potentials of all runs under biases: every resample solves for the free energies anew
_MOST = 3000  # frames of each temperature
_SHARED = 0.01  # of the samples of each of two neighbours lie in the range of the other, or they do not overlap


def ladder_surface(
    samples: Sequence[Samples],
    temperature: float,
    variables: Sequence[str],
    edges: Edges,
    min_count: int = MIN_COUNT,
    resamples: int = RESAMPLES,
    seed: int = 0,
    name: str = "MBAR",
) -> Surface:
    """F at `temperature` (K), without the bias of the manifest where it had one, from trajectories of one model in
    equilibrium at several; errors by a bootstrap of blocks of each, solved anew. Temperatures whose energies do not
    overlap with nearer ones to `temperature` are left out, and named in the notes.

    Raises InputError for trajectories without energies, of which some alone had a bias, or where no bin holds
    `min_count` effective samples.
    """
    for one in samples:
        if one.energies is None:
            raise InputError(
                f"{one.name}: MBAR needs the classical potential energy of every frame; record "
                "potential{electronvolt} at the steps at which positions are written"
            )
    if len({one.bias is None for one in samples}) > 1:
        raise InputError(f"{name}: some of these runs had a bias in their manifest, others none; give each a folder")
    used, left = connected(sorted(map(_thinned, samples), key=lambda s: s.temperature), temperature)
    notes = [f"without {', '.join(s.name for s in left)}, whose energies do not overlap"] if left else []
    energies, drawn_by = (np.concatenate([s.energies_of(b) for s in used]) for b in (False, True))
    mean = energies.mean()  # taken off, exponents stay small
    betas = np.array([beta_of(s.temperature) for s in used])
    pool = Pool(used, np.outer(betas, drawn_by - mean), beta_of(temperature) * (energies - mean))
    return pool.surface(name, temperature, variables, edges, min_count, resamples, seed, notes)


@dataclass(frozen=True)
class Pool:
    """Samples of K states, one state after the other, n in all. reduced: (K, n) the reduced potential of each of them
    in each state; target: (n,) in the state that is asked for."""

    samples: Sequence[Samples]
    reduced: FloatArray
    target: FloatArray

    @cached_property
    def numbers(self) -> IntArray:
        return np.array([len(s) for s in self.samples])

    @cached_property
    def inefficiencies(self) -> list[float]:
        return [s.inefficiency() for s in self.samples]

    @cached_property
    def _states(self) -> States:
        return States.solved(self.reduced, self.numbers)

    @cached_property
    def weights(self) -> FloatArray:
        """(n,) of every sample in the state that is asked for, summing to one."""
        return self._states.weights(self.target)

    @property
    def worth(self) -> float:
        """How many independent samples of that state all of them are worth."""
        return 1 / float(np.sum(self.weights**2) * np.average(self.inefficiencies, weights=self.numbers))

    def drawn(self, resamples: int, seed: int) -> Iterator[FloatArray]:
        """The weights of all samples, blocks of each state drawn with replacement, and solved anew."""
        rng = np.random.default_rng(seed)
        blocks = [block_length(len(s), g) for s, g in zip(self.samples, self.inefficiencies, strict=True)]
        for _ in range(resamples):
            times = [_times(n, length, rng) for n, length in zip(self.numbers.tolist(), blocks, strict=True)]
            yield self._states.again(np.concatenate(times)).weights(self.target)

    def ratio(self, sides: FloatArray, temperature: float, resamples: int, seed: int) -> Mean:
        """−kT ln of how much of that state is on one side of two, over how much is on the other, kcal/mol; by a
        bootstrap. sides: (2, n), 1 for the samples that are there. NaN where one side has none; the error is not
        known where that is so in one of twenty resamples or more."""

        def logarithm(weights: FloatArray) -> float:
            one, other = sides @ weights
            return -kt(temperature) * math.log(one / other) if one > 0 and other > 0 else math.nan

        again = np.array([logarithm(weights) for weights in self.drawn(resamples, seed)])
        sound = again[np.isfinite(again)]
        error = float(sound.std(ddof=1)) if len(sound) > max(2.0, OFTEN * len(again)) else math.inf
        return Mean(logarithm(self.weights), error, max(self.inefficiencies))

    def surface(
        self,
        name: str,
        temperature: float,
        variables: Sequence[str],
        edges: Edges,
        min_count: int,
        resamples: int,
        seed: int,
        notes: Sequence[str] = (),
    ) -> Surface:
        """F in that state, at `temperature` (K); errors by a bootstrap. Raises InputError as `build_surface`."""
        if self.worth < FEW:
            few = f"worth only {self.worth:.0f} independent samples at {temperature:g} K: errors are guesses"
            notes = [*notes, few]
        places = np.concatenate([bin_of(s, variables, edges) for s in self.samples])
        size = math.prod(len(edge) - 1 for edge in edges)
        total = np.bincount(places, self.weights, size).astype(np.float64)
        squares = np.bincount(places, self.weights**2, size)
        counts: FloatArray = np.zeros(size)
        counts[squares > 0] = total[squares > 0] ** 2 / squares[squares > 0]
        drawn = np.empty((resamples, size))
        for r, weights in enumerate(self.drawn(resamples, seed)):
            drawn[r] = np.bincount(places, weights, size)
        return build_surface(
            name, temperature, variables, edges, total, counts, drawn, min_count, self.worth, list(notes)
        )


@dataclass(frozen=True)
class Pools:
    """Runs under biases that make one surface at `temperature` (K). part: what they sampled from one share of each
    run to another, 0 to 1. notes: what casts doubt on it."""

    name: str
    temperature: float
    part: Callable[[float, float], Pool]
    notes: tuple[str, ...] = ()

    @cached_property
    def whole(self) -> Pool:
        """All that they sampled."""
        return self.part(0.0, 1.0)

    @cached_property
    def halves(self) -> tuple[Pool, Pool]:
        """The first and the second half of each alone."""
        return self.part(0.0, 0.5), self.part(0.5, 1.0)

    def difference(self, variable: str, split: float, resamples: int = RESAMPLES, seed: int = 0) -> Mean:
        """F of all that lies above `split` less F of all below, kcal/mol. Raises InputError where one side is
        empty."""
        above = np.concatenate([one.along(variable) for one in self.whole.samples]) > split
        mean = self.whole.ratio(np.stack([above, ~above]).astype(np.float64), self.temperature, resamples, seed)
        if not math.isfinite(mean.value):
            raise InputError(f"{self.name}: no sample with {variable} on one side of {split:g}")
        return mean

    def surface(
        self,
        variables: Sequence[str],
        edges: Edges,
        min_count: int = MIN_COUNT,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> Surface:
        """F without the biases; errors by a bootstrap of blocks of each run, and the curves of both halves. Raises
        InputError."""
        form = self.name, self.temperature, variables, edges
        surface = self.whole.surface(*form, min_count, resamples, seed, self.notes)
        halves = []
        for pool in self.halves:
            half = pool.surface(*form, 1, 2, seed)
            both = np.isfinite(half.free_energy) & np.isfinite(surface.free_energy)
            off = np.median((half.free_energy - surface.free_energy)[both]) if both.any() else 0.0
            halves.append(np.where(np.isfinite(surface.free_energy), half.free_energy - off, math.nan))
        return replace(surface, halves=(halves[0], halves[1]))


def reweighted(name: str, *samples: Samples) -> Pools:
    """Runs at one temperature whose samples each tell the bias that they were drawn under, for F without it."""
    return Pools(
        name, samples[0].temperature, lambda begin, end: _reweighted([share_of(one, begin, end) for one in samples])
    )


def _reweighted(samples: Sequence[Samples]) -> Pool:
    some = thinned_together(samples)
    bias = np.concatenate([one.bias for one in some if one.bias is not None])
    reduced = beta_of(some[0].temperature) * np.tile(bias, (len(some), 1))
    return Pool(some, reduced, np.zeros(len(bias)))


def share_of(samples: Samples, begin: float, end: float) -> Samples:
    """A run from one share of it to another, 0 to 1."""
    return samples.take(slice(int(begin * len(samples)), int(end * len(samples))))


def thinned_together(samples: Sequence[Samples]) -> list[Samples]:
    """So few frames of each that every resample can solve for the free energies of all anew."""
    every = max(1, -(-sum(map(len, samples)) * len(samples) // _NUMBERS))
    return [one.take(slice(None, None, every)) for one in samples]


def _thinned(samples: Samples) -> Samples:
    return samples.take(slice(None, None, -(-len(samples) // _MOST)))


def _times(n: int, length: int, rng: np.random.Generator) -> FloatArray:
    """(n,) how often each of 0 … n − 1 is drawn, in as many blocks as there are, with replacement."""
    blocks = -(-n // length)
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks))
    return np.repeat(drawn, length)[:n].astype(np.float64)


def connected(samples: Sequence[Samples], temperature: float) -> tuple[list[Samples], list[Samples]]:
    """Those of a sorted ladder that are linked to `temperature` by overlapping energies, and the rest."""
    nearest = min(range(len(samples)), key=lambda k: abs(math.log(samples[k].temperature / temperature)))
    low = high = nearest
    while low > 0 and _overlap(samples[low - 1], samples[low]):
        low -= 1
    while high < len(samples) - 1 and _overlap(samples[high], samples[high + 1]):
        high += 1
    return list(samples[low : high + 1]), [*samples[:low], *samples[high + 1 :]]


def _overlap(cold: Samples, hot: Samples) -> bool:
    of_cold, of_hot = cold.energies_of(True), hot.energies_of(True)
    shared = min(np.mean(of_hot < of_cold.max()), np.mean(of_cold > of_hot.min()))
    return bool(shared >= _SHARED)


def beta_of(temperature: float) -> float:
    """1/kT in 1/eV."""
    return 1 / (BOLTZMANN * temperature)
