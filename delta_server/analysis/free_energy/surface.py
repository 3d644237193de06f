"""Free energies F = −kT ln p over one or two collective variables, with errors.

p is the density of the variables themselves: no Jacobian (4πr² of a distance) is taken out of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ...files.documents import plain
from ..statistics import Mean
from .sampling import Samples, block_length, kt, resampled

RESAMPLES = 200
_PER_BIN = 20  # samples that a bin should hold on average
_FEWEST, _MOST = 8, 40  # bins along a variable
MIN_COUNT = 10
OFTEN = 0.95  # of the resamples that have samples on both sides of a split, or their spread is no error
FEW = 50  # independent samples; with fewer, an error bar is a guess
ONE_BIN = "one bin alone"
Edges = tuple[FloatArray, ...]


@dataclass(frozen=True)
class Surface:
    """F in kcal/mol over a grid, zero at its lowest bin, NaN where fewer than `min_count` samples lie.

    edges: of the bins along each of `variables`. error: standard error of −kT ln p, kcal/mol. counts: samples (MBAR:
    effective ones) in each bin. independent: how many samples the whole is worth. halves: F of the first and of the
    second half of all runs alone, of_bias: F by the negative bias of metadynamics alone, where there are such.
    """

    name: str
    temperature: float
    variables: tuple[str, ...]
    edges: Edges
    free_energy: FloatArray
    error: FloatArray
    counts: FloatArray
    independent: float
    notes: tuple[str, ...] = ()
    halves: tuple[FloatArray, FloatArray] | None = None
    of_bias: FloatArray | None = None

    @property
    def centres(self) -> Edges:
        return tuple((edges[1:] + edges[:-1]) / 2 for edges in self.edges)

    @property
    def of_one_bin(self) -> bool:
        """Whether F is known in a single bin, and says nothing."""
        return int(np.isfinite(self.free_energy).sum()) == 1

    @property
    def lowest(self) -> tuple[float, ...]:
        """Where F is zero."""
        where = np.unravel_index(int(np.nanargmin(self.free_energy)), self.free_energy.shape)
        return tuple(float(centres[i]) for centres, i in zip(self.centres, where, strict=True))

    def as_dict(self) -> dict[str, object]:
        """For machines: bins that are not known are null."""

        more = {} if self.halves is None else {"halves_kcal_per_mol": [plain(half) for half in self.halves]}
        more |= {} if self.of_bias is None else {"by_negative_bias_kcal_per_mol": plain(self.of_bias)}
        return more | {
            "name": self.name,
            "temperature_K": self.temperature,
            "variables": list(self.variables),
            "edges": [edges.tolist() for edges in self.edges],
            "free_energy_kcal_per_mol": plain(self.free_energy),
            "error_kcal_per_mol": plain(self.error),
            "counts": self.counts.tolist(),
            "independent_samples": self.independent,
            "lowest": list(self.lowest),
            "notes": list(self.notes),
        }


def common_grid(samples: Sequence[Samples], variables: Sequence[str], bins: int | None = None) -> Edges:
    """The same bins for all: edges over what any of them visits. bins: along each variable; None: by the
    number of samples. Raises InputError for a variable that is not there, or that never changes."""
    if bins is None:
        filled = min(map(len, samples)) / _PER_BIN
        bins = int(np.clip(filled ** (1 / len(variables)), _FEWEST, _MOST))
    grid = []
    for name in variables:
        for one in samples:
            if name not in one.values:
                raise InputError(f"{one.name}: no variable {name!r}; there are {', '.join(one.values)}")
        low = min(float(one.values[name].min()) for one in samples)
        high = max(float(one.values[name].max()) for one in samples)
        if not low < high:
            raise InputError(f"variable {name!r} is {low:g} throughout: it has no free energy")
        grid.append(np.linspace(low, high, bins + 1))
    return tuple(grid)


def bin_of(samples: Samples, variables: Sequence[str], edges: Edges) -> IntArray:
    """The bin (n,) of each sample, counted through the whole grid."""
    places = []
    for name, edge in zip(variables, edges, strict=True):
        index = np.searchsorted(edge, samples.values[name], side="right") - 1
        places.append(np.clip(index, 0, len(edge) - 2))  # the last edge belongs to the last bin
    return np.asarray(np.ravel_multi_index(tuple(places), tuple(len(e) - 1 for e in edges)), dtype=np.intp)


def surface(
    samples: Samples,
    variables: Sequence[str],
    edges: Edges,
    min_count: int = MIN_COUNT,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Surface:
    """From one trajectory in equilibrium; errors by a bootstrap of blocks, each long against the correlations.

    Raises InputError where no bin holds `min_count` samples.
    """
    n, g = len(samples), samples.inefficiency()
    blocks = np.arange(n) // block_length(n, g)
    size = math.prod(len(edge) - 1 for edge in edges)
    place = blocks * size + bin_of(samples, variables, edges)
    by_block = np.bincount(place, minlength=(blocks[-1] + 1) * size).reshape(-1, size).astype(np.float64)
    counts = by_block.sum(0)
    drawn = resampled(by_block, resamples, seed)
    drawn /= drawn.sum(1, keepdims=True)
    notes = [f"only {n / g:.0f} independent samples: errors are guesses"] if n / g < FEW else []
    return build_surface(
        samples.name, samples.temperature, variables, edges, counts, counts, drawn, min_count, n / g, notes
    )


def build_surface(
    name: str,
    temperature: float,
    variables: Sequence[str],
    edges: Edges,
    weights: FloatArray,
    counts: FloatArray,
    drawn: FloatArray,
    min_count: int,
    independent: float,
    notes: Sequence[str],
) -> Surface:
    """A surface from the weight and number of samples in each bin (m,), and densities drawn again (r, m)."""
    seen = counts >= min_count
    if not seen.any():
        raise InputError(f"{name}: no bin holds {min_count} samples; take fewer bins or run longer")
    if seen.sum() == 1:
        notes = [*notes, f"{ONE_BIN} of {len(seen)} holds {min_count} samples: take fewer bins, or run longer"]
    shape = tuple(len(edge) - 1 for edge in edges)
    density = weights / weights.sum()
    free_energy, error = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    free_energy[seen] = -kt(temperature) * np.log(density[seen])
    error[seen] = kt(temperature) * drawn[:, seen].std(0, ddof=1) / density[seen]
    free_energy -= np.nanmin(free_energy)
    return Surface(
        name,
        temperature,
        tuple(variables),
        edges,
        free_energy.reshape(shape),
        error.reshape(shape),
        counts.reshape(shape),
        independent,
        tuple(notes),
    )


def difference(samples: Samples, variable: str, split: float, resamples: int = RESAMPLES, seed: int = 0) -> Mean:
    """F of all that lies above `split` minus F of all below, in kcal/mol. Raises InputError where one side is empty.

    The error is the bootstrap's, its inefficiency that of being on one side.
    """
    above = (samples.along(variable) > split).astype(np.float64)
    if not 0 < above.sum() < len(above):
        side = "below" if above.all() else "above"
        raise InputError(f"{samples.name}: no sample with {variable} {side} {split:g}")
    n, g = len(samples), max(samples.inefficiency(), Samples("", 0.0, {variable: above}).inefficiency())
    length = block_length(n, g)
    starts = np.arange(0, n, length)
    by_block = np.stack([np.add.reduceat(above, starts), np.add.reduceat(1 - above, starts)], axis=1)
    drawn = resampled(by_block, resamples, seed)
    both = (drawn > 0).all(1)
    known = both.sum() > max(2.0, OFTEN * resamples)
    energy = kt(samples.temperature)
    value = -energy * math.log(above.sum() / (n - above.sum()))
    error = float(energy * np.log(drawn[both, 0] / drawn[both, 1]).std(ddof=1)) if known else math.inf
    return Mean(value, error, g)
