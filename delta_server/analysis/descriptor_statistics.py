"""What a single global model sees of a complex: how far apart its descriptors are, and how strong its forces are.

The argument for a Δ-model (arXiv 2511.01913, Sec. II A): a kernel compares configurations by z = |x − x'|, the
distance of their inverse interatomic distances. z² is a sum over pairs of atoms, so that it splits exactly into each
fragment's own part and the part of the pairs between fragments, z² = I_FF + I_CC + I_CF for a fullerene F in a
catcher C. Where fragments move against each other the last one is the largest, while nearly all of the force that is
to be learned comes from within the fragments.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from .._types import FloatArray, IntArray
from ..data.dataset import Dataset
from ..data.inspect import lengths, names_of
from ..errors import InputError
from ..gdml.descriptor.descriptor import Descriptor
from ..gdml.descriptor.metric import Metric

_ENTRIES = 2_000_000  # of descriptors that are held at once: 16 MB
_KEPT = 4_000_000  # differences of entries that are kept for a histogram, 32 MB
_SHOWN = 60  # entries of each part in a picture
_FRAMES = 400
_LISTED = 3_000_000  # pairs of configurations that are listed one and all, and drawn from: those of 2450
_TRIES = 100  # draws, where few configurations are far enough apart in time


@dataclass(frozen=True)
class PairKind:
    """The pairs of atoms within one fragment, or between two.

    ``contribution``: mean of I over pairs of configurations, Å⁻². ``share``: of the mean z². ``sigma``: as
    `Descriptors.sigma_intra`, of this part alone, Å⁻¹; None where there are no pairs, as within an ion.
    """

    name: str
    within: bool
    entries: int
    contribution: float
    share: float
    sigma: float | None


@dataclass(frozen=True)
class Forces:
    """Lengths of the force vectors of single atoms, kcal/mol/Å, over all atoms and configurations."""

    mean: float
    median: float
    p5: float
    p25: float
    p75: float
    p95: float

    @classmethod
    def of(cls, forces: FloatArray) -> Forces:
        """forces: (n, N, 3)."""
        size = lengths(forces)
        p5, p25, median, p75, p95 = (float(v) for v in np.percentile(size, (5, 25, 50, 75, 95)))
        return cls(float(size.mean()), median, p5, p25, p75, p95)


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Differences of descriptors between configurations, by kind of pair of atoms.

    =================== ================ ===================================================================
    attribute           shape
    =================== ================ ===================================================================
    ``pairs``                            pairs of configurations that were compared, P
    ``parts``           K(K+1)/2         each fragment's own pairs of atoms, then those between two fragments
    ``contributions``   (P, K(K+1)/2)    I of each part, Å⁻²; a row's sum is z²
    ``sigma_intra``                      Å⁻¹, pooled over all pairs of atoms within a fragment; or None
    ``sigma_inter``                      Å⁻¹, pooled over all pairs of atoms between fragments
    ``drift``                            σ_inter of pairs far apart in time over that of all; or None
    ``within``          (m,)             a sample of the differences behind σ_intra, Å⁻¹
    ``between``         (m',)            and of those behind σ_inter
    ``forces``                           `total`, `isolated` (the fragments alone) and `binding`
    =================== ================ ===================================================================

    σ² is the mean of (x_k − x'_k)² over all pairs of configurations and all entries k of the kind: the variance of
    the differences, whose mean is zero as each pair counts in both directions. It is therefore the mean I of the
    kind over its number of entries, and twice the mean variance of an entry along the trajectory. (The paper's
    Fig. 3C; that definition is ours.) Equivalent atoms keep their numbers: no symmetry is taken out. ``drift``:
    over the tenth of the pairs, within runs, that are farthest apart in time; well above 1 where the fragments have
    not yet been everywhere, so that a longer trajectory would give a larger σ_inter.
    """

    name: str
    configurations: int
    atoms: int
    pairs: int
    parts: tuple[PairKind, ...]
    contributions: FloatArray
    sigma_intra: float | None
    sigma_inter: float
    drift: float | None
    within: FloatArray
    between: FloatArray
    forces: dict[str, Forces]

    @property
    def ratio(self) -> float | None:
        """σ_inter/σ_intra; None where nothing moves within the fragments."""
        return self.sigma_inter / self.sigma_intra if self.sigma_intra else None

    def of_kind(self, within: bool) -> list[PairKind]:
        """The fragments' own parts, or those between fragments."""
        return [part for part in self.parts if part.within == within]

    def share(self, within: bool) -> float:
        """Of the mean z²."""
        return sum(part.share for part in self.of_kind(within))

    def entries(self, within: bool) -> int:
        """How many pairs of atoms are of the kind."""
        return sum(part.entries for part in self.of_kind(within))

    def as_dict(self) -> dict[str, object]:
        """For JSON: Å⁻² for I, Å⁻¹ for σ, kcal/mol/Å for forces."""
        return {
            "name": self.name,
            "configurations": self.configurations,
            "atoms": self.atoms,
            "pairs": self.pairs,
            "z2": float(self.contributions.sum(1).mean()),
            "parts": [asdict(part) for part in self.parts],
            "share_within": self.share(True),
            "share_between": self.share(False),
            "sigma_intra": self.sigma_intra,
            "sigma_inter": self.sigma_inter,
            "sigma_ratio": self.ratio,
            "drift": self.drift,
            "forces": {kind: asdict(forces) for kind, forces in self.forces.items()},
        }


def describe(
    data: Dataset,
    pairs: int = 10_000,
    apart: int = 0,
    seed: int = 0,
    watch: Callable[[int], None] = lambda done: None,
) -> Descriptors:
    """Compare `pairs` pairs of configurations, drawn at random so that few are neighbours in time; all of them
    where there are no more.

    apart: frames between two of one run, at least. watch: told how many are done. Raises
    InputError without labels of isolated fragments, with fewer than two fragments or configurations, where none are
    so far apart, where all that are compared are the same, and where atoms coincide.
    """
    isolated = data.isolated()[2]
    if data.n_fragments < 2:
        raise InputError(f"{data.name}: holds one fragment, expected two or more")
    if len(data) < 2:
        raise InputError(f"{data.name}: holds one configuration, expected two or more to compare")
    metric, clock = Metric(data.n_atoms), _Clock.of(data)
    parts = _Parts.of(data, metric)
    pair = _draw(clock, pairs, apart, np.random.default_rng(seed))
    contributions, sample = _compare(data, metric, parts, pair, watch)
    squared, inside = contributions.mean(0), parts.within
    if not np.isfinite(squared).all():
        raise InputError(f"{data.name}: two atoms of a configuration are at the same place")
    if not squared.any():
        raise InputError(f"{data.name}: all configurations are the same, expected those of a trajectory")
    across = contributions[:, ~inside].sum(1) / parts.sizes[~inside].sum()
    border = int(parts.sizes[inside].sum())
    return Descriptors(
        name=data.name,
        configurations=len(data),
        atoms=data.n_atoms,
        pairs=len(contributions),
        parts=tuple(
            PairKind(name, bool(own), int(size), float(i), float(i / squared.sum()), _sigma(i, size))
            for name, own, size, i in zip(parts.names, inside, parts.sizes, squared, strict=True)
        ),
        contributions=contributions,
        sigma_intra=_sigma(squared[inside], parts.sizes[inside]),
        sigma_inter=float(np.sqrt(across.mean())),
        drift=_drift(across, clock.lag(*pair)),
        within=sample[:, :border].ravel(),
        between=sample[:, border:].ravel(),
        forces={
            "total": Forces.of(data.forces),
            "isolated": Forces.of(isolated),
            "binding": Forces.of(data.forces - isolated),
        },
    )


def _compare(
    data: Dataset, metric: Metric, parts: _Parts, pair: tuple[IntArray, IntArray], watch: Callable[[int], None]
) -> tuple[FloatArray, FloatArray]:
    """I of each part (P, parts), and a sample of x − x' (p, D) in the order of the parts."""
    count, entries = len(pair[0]), len(metric.pairs)
    contributions, kept = np.empty((count, len(parts.names))), []
    step, wanted = max(1, _ENTRIES // entries), max(1, _KEPT // entries)
    for start in range(0, count, step):
        here = slice(start, start + step)
        x, other = (Descriptor.of(data.positions[which[here]], metric).x for which in pair)
        difference = (x - other)[:, parts.order]
        if start < wanted:
            kept.append(difference[: wanted - start].copy())
        contributions[here] = parts.sums(difference**2)
        watch(min(start + step, count))
    return contributions, np.concatenate(kept)


@dataclass(frozen=True, eq=False)
class Traces:
    """Some entries along the trajectory: (E, T) deviations from their means in time, Å⁻¹.

    ``ends``: (E, 2) atoms of each. ``part``: (E,) numbers of their parts, ascending; within a part near pairs come
    first. ``frames``: (T,) configurations in the data set, in the order of time; ``run``: (T,) which trajectory.
    """

    deviations: FloatArray
    ends: IntArray
    part: IntArray
    frames: IntArray
    run: IntArray


def traces(data: Dataset) -> Traces:
    """Of each part the same number of entries at most, evenly spread between the nearest and the farthest pair."""
    metric = Metric(data.n_atoms)
    parts = _Parts.of(data, metric)
    clock = _Clock.of(data)
    ordered = np.lexsort((clock.index, clock.run))
    frames = ordered[_spread(len(ordered), max(2, min(_FRAMES, _KEPT // len(metric.pairs))))]
    x = Descriptor.of(data.positions[frames], metric).x
    mean = x.mean(0)
    chosen, part = [], []
    for k, entries in enumerate(np.split(parts.order, np.cumsum(parts.sizes)[:-1])):
        near_first = entries[np.argsort(-mean[entries], kind="stable")]
        chosen.append(near_first[_spread(len(near_first), _SHOWN)])
        part.append(np.full(len(chosen[-1]), k))
    which = np.concatenate(chosen)
    ends = np.stack(np.divmod(metric.pairs[which], data.n_atoms), 1)
    return Traces((x[:, which] - mean[which]).T, ends, np.concatenate(part), frames, clock.run[frames])


@dataclass(frozen=True, eq=False)
class _Parts:
    """To which part each entry of the descriptor belongs."""

    names: tuple[str, ...]
    within: npt.NDArray[np.bool_]  # (parts,)
    order: IntArray  # (D,) entries sorted by part: the fragments' own ones first
    sizes: IntArray  # (parts,)

    @classmethod
    def of(cls, data: Dataset, metric: Metric) -> _Parts:
        fragment = data.isolated()[0]
        k, names = data.n_fragments, names_of(data)
        number, between = np.zeros((k, k), dtype=np.intp), list(itertools.combinations(range(k), 2))
        number[range(k), range(k)] = range(k)
        for i, (f, g) in enumerate(between):
            number[f, g] = number[g, f] = k + i
        row, col = np.divmod(metric.pairs, metric.n_atoms)
        part = number[fragment[row], fragment[col]]
        return cls(
            names=(*names, *(f"{names[f]}–{names[g]}" for f, g in between)),
            within=np.arange(k + len(between)) < k,
            order=np.argsort(part, kind="stable"),
            sizes=np.bincount(part, minlength=k + len(between)),
        )

    def sums(self, values: FloatArray) -> FloatArray:
        """(B, parts) of values (B, D) in this order."""
        there = self.sizes > 0
        starts = np.cumsum(self.sizes) - self.sizes
        sums = np.zeros((len(values), len(self.sizes)))
        sums[:, there] = np.add.reduceat(values, starts[there], axis=1)
        return sums


@dataclass(frozen=True, eq=False)
class _Clock:
    """When each configuration was, (n,) each; in the order of the file where the data set does not say."""

    name: str
    run: IntArray
    index: IntArray

    @classmethod
    def of(cls, data: Dataset) -> _Clock:
        run = np.zeros(len(data), dtype=np.intp) if data.run is None else data.run
        return cls(data.name, run, np.arange(len(data)) if data.index is None else data.index)

    def lag(self, first: IntArray, second: IntArray) -> IntArray:
        """Frames between configurations of one run, −1 between two runs."""
        frames: IntArray = np.abs(self.index[first] - self.index[second])
        return np.where(self.run[first] == self.run[second], frames, -1)


def _draw(clock: _Clock, wanted: int, apart: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Two different configurations each, (P,) and (P,), in random order; no pair twice, but in large data sets."""
    n, first, second = len(clock.run), np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    for _ in range(_TRIES):
        if few := n * (n - 1) // 2 <= _LISTED:
            a, b = rng.permutation(np.stack(np.tril_indices(n, -1), 1)).T
        else:
            a = rng.integers(n, size=wanted)
            b = (a + 1 + rng.integers(n - 1, size=wanted)) % n
        lag = clock.lag(a, b)
        far = (lag < 0) | (lag >= apart)
        first, second = np.append(first, a[far]), np.append(second, b[far])
        if few or len(first) >= wanted:
            break
    if not len(first):
        longest = max(int(np.ptp(clock.index[clock.run == run])) for run in np.unique(clock.run))
        raise InputError(
            f"{clock.name}: no two configurations found that are {apart} frames apart; the longest run has {longest}"
        )
    return first[:wanted], second[:wanted]


def _drift(across: FloatArray, lag: IntArray) -> float | None:
    """σ_inter of the tenth of the pairs that are farthest apart in time over that of all; None with few in a run."""
    inside = np.flatnonzero(lag >= 0)
    if len(inside) < 100 or not across.any():
        return None
    far = inside[np.argsort(lag[inside], kind="stable")[-(len(inside) // 10) :]]
    return float(np.sqrt(across[far].mean() / across[inside].mean()))


def _sigma(contribution: FloatArray, entries: IntArray) -> float | None:
    """From mean I, summed, and the number of entries; None without entries."""
    count = int(np.sum(entries))
    return float(np.sqrt(np.sum(contribution) / count)) if count else None


def _spread(n: int, most: int) -> IntArray:
    """At most so many of 0 … n−1, evenly spread, with both ends."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp)) if n else np.zeros(0, dtype=np.intp)
