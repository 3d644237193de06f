"""Samples of collective variables: from a run, in equilibrium, and how many of them are independent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from ..._types import BoolArray, FloatArray, IntArray
from ...errors import InputError
from ...units import BOLTZMANN, KCAL_MOL
from ...variables.definition import Variables
from ..statistics import equilibration, statistical_inefficiency
from ..trajectory import Block, Run

_BLOCK = 5  # statistical inefficiencies in a block of the bootstrap: shorter ones state errors too small
_LEAST, _MOST = 10, 400  # blocks
_FEW = 4  # frames at each temperature: fewer are no ladder's
_TOGETHER = 0.7  # least correlation, of every variable, of trajectories that move together


@dataclass(frozen=True)
class Samples:
    """One trajectory's values (n,) by variable, in Å and degrees, and its potential energies (n,) in eV if known;
    temperature in K. steps: (n,), empty where they do not matter. bias: (n,) eV, recorded of a run whose manifest had
    one; the energies are without it."""

    name: str
    temperature: float
    values: dict[str, FloatArray]
    energies: FloatArray | None = None
    steps: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    bias: FloatArray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def take(self, which: slice | IntArray) -> Samples:
        """Some of the frames."""
        energies = None if self.energies is None else self.energies[which]
        values = {name: v[which] for name, v in self.values.items()}
        steps = self.steps[which] if len(self.steps) else self.steps
        bias = None if self.bias is None else self.bias[which]
        return replace(self, values=values, energies=energies, steps=steps, bias=bias)

    def along(self, variable: str) -> FloatArray:
        """(n,) of one variable. Raises InputError where there is none of that name."""
        if variable not in self.values:
            raise InputError(f"{self.name}: no variable {variable!r}; there are {', '.join(self.values)}")
        return self.values[variable]

    def energies_of(self, biased: bool) -> FloatArray:
        """(n,) eV: the potential energies, which have to be known, without or with the bias."""
        assert self.energies is not None
        return self.energies if self.bias is None or not biased else self.energies + self.bias

    def inefficiency(self) -> float:
        """Frames from one independent sample to the next, for the slowest variable, or the square of what it is off
        its mean: one that vibrates comes back at once, but as far as before for as long as it keeps its energy."""
        off = [series - series.mean() for series in self.values.values()]
        return max(statistical_inefficiency(series) for one in off for series in (one, one**2))

    def equilibrated(self) -> Samples:
        """Without the start, up to where the last of the variables and the energy is in equilibrium."""
        series = [*self.values.values(), *([] if self.energies is None else [self.energies])]
        return self.take(slice(max(map(equilibration, series)), None))


def along(
    variables: Variables,
    blocks: Iterable[Block],
    masses: FloatArray,
    cells: Callable[[IntArray], FloatArray | None] = lambda steps: None,
) -> dict[str, FloatArray]:
    """Every variable in every frame. cells: (n, 3, 3) Å at steps (n,), where nearest images count. Raises InputError
    for atoms that are not there, or without frames."""
    variables.check(len(masses))
    values = [variables.evaluate(block.positions, masses, cells(block.steps)) for block in blocks]
    if not values:
        raise InputError("a trajectory without frames has no variables")
    return {name: np.concatenate([some[name] for some in values]) for name in values[0]}


def kt(temperature: float) -> float:
    """kT in kcal/mol."""
    return BOLTZMANN * temperature / KCAL_MOL


def samples_of(
    run: Run,
    variables: Variables,
    temperature: float | None = None,
    every: int = 1,
    periodic: bool = False,
    skip: float = 0.0,
) -> Samples:
    """From a run's frames, and its energies where it recorded them at the same steps.

    temperature: K, by default what i-PI recorded. periodic: variables of nearest images. skip: ps at the start that
    are left out. Raises InputError where there is no temperature, where it changed, or where nothing is left.
    """
    if temperature is None and run.exchanged:
        raise InputError(
            f"{run.path}: its temperature changed while it ran (replicas exchanged theirs?); sort the frames of all "
            "replicas by temperature"
        )
    (samples,) = by_state(run, variables, temperature, every, periodic, skip)
    return replace(samples, name=run.name)


def samples_by_temperature(
    runs: Sequence[Run],
    variables: Variables,
    temperature: float | None = None,
    every: int = 1,
    periodic: bool = False,
    skip: float = 0.0,
) -> list[Samples]:
    """Of each run; where replicas exchanged their temperatures, of each temperature: all frames that were made at it,
    in the order of their steps, whichever run they are in. skip: ps at the start of each that are left out. Raises
    InputError as `samples_of`."""
    if temperature is not None or not any(run.exchanged for run in runs):
        return [samples_of(run, variables, temperature, every, periodic, skip) for run in runs]
    return of_states([piece for run in runs for piece in by_state(run, variables, None, every, periodic, skip)])


def of_states(pieces: Sequence[Samples]) -> list[Samples]:
    """Pieces of several runs (see `by_state`), together for each temperature. Raises InputError where these are so
    many that a temperature changed all along."""
    states = sorted({piece.temperature for piece in pieces})
    frames = sum(map(len, pieces))
    if len(states) > 2 and frames < _FEW * len(states):
        raise InputError(
            f"{frames} frames of {len(states)} temperatures, {states[0]:g} to {states[-1]:g} K: an annealing has no "
            "free energy at any of them"
        )
    return [_merged([piece for piece in pieces if piece.temperature == kelvin]) for kelvin in states]


def by_state(
    run: Run,
    variables: Variables,
    temperature: float | None = None,
    every: int = 1,
    periodic: bool = False,
    skip: float = 0.0,
) -> list[Samples]:
    """The frames of a run at each temperature that it had; those at a step whose temperature was not recorded are of
    no state, and left out. Arguments as of `samples_of`."""
    blocks: list[IntArray] = []

    def noted() -> Iterator[Block]:
        for block in run.finite_blocks(every):
            blocks.append(block.steps)
            yield block

    known = temperature is not None or run.exchanged or run.temperature is not None
    if not known:
        raise InputError(
            f"{run.path}: its temperature is not known (no ensemble_temperature above 0); give --temperature"
        )
    values = along(variables, noted(), run.masses, _cells_of(run, every) if periodic else lambda steps: None)
    steps = np.concatenate(blocks)
    states = run.states(steps) if temperature is None else np.full(len(steps), temperature)
    assert states is not None
    bias = _bias(run, steps)
    if bias is not None:
        states = np.where(np.isfinite(bias), states, np.nan)
    if skip:
        states = np.where(_later(run, steps, skip), states, np.nan)
    everything = Samples(run.name, math.nan, values, _energies(run, steps), steps, bias)
    found = np.unique(states[np.isfinite(states)])
    if not len(found):
        raise InputError(
            f"{run.path}: no frame is of a step whose temperature was recorded; write positions and properties at "
            "the same steps"
        )
    return [
        replace(everything.take(np.flatnonzero(states == kelvin)), temperature=float(kelvin), name=f"{kelvin:g} K")
        for kelvin in found
    ]


def _later(run: Run, steps: IntArray, skip: float) -> BoolArray:
    """(n,) which steps come after so many ps of a run. Raises InputError where its time is not known, or none do."""
    time = run.time(steps)
    if not np.isfinite(time).all():
        raise InputError(f"{run.path}: its time is not known, so that nothing tells its first {skip:g} ps")
    if not (later := time - time[0] >= skip).any():
        raise InputError(f"{run.path}: lasts {time[-1] - time[0]:g} ps; without its first {skip:g} nothing is left")
    return np.asarray(later)


def _cells_of(run: Run, every: int) -> Callable[[IntArray], FloatArray]:
    """The cells of a run, by the steps of its frames."""
    steps, cells = run.steps[::every], run.cells(every)
    return lambda some: cells[np.searchsorted(steps, some)]


def _merged(pieces: Sequence[Samples]) -> Samples:
    """Samples of one state from several runs, in the order of their steps."""
    order = np.argsort(np.concatenate([piece.steps for piece in pieces]), kind="stable")
    values = {name: np.concatenate([piece.values[name] for piece in pieces]) for name in pieces[0].values}
    energies = [piece.energies for piece in pieces if piece.energies is not None]
    together = np.concatenate(energies) if len(energies) == len(pieces) else None
    steps = np.concatenate([piece.steps for piece in pieces])
    biases = [piece.bias for piece in pieces if piece.bias is not None]
    bias = np.concatenate(biases) if len(biases) == len(pieces) else None
    return replace(pieces[0], values=values, energies=together, steps=steps, bias=bias).take(order)


def _energies(run: Run, steps: IntArray) -> FloatArray | None:
    """eV; of ring polymers none, which are no function of one bead's positions or of the centroids."""
    energies = None if run.outputs is None or not run.classical else run.outputs.at("potential", steps)
    return None if energies is None or np.isnan(energies).any() else energies


def _bias(run: Run, steps: IntArray) -> FloatArray | None:
    """eV, of a bias in the run's manifest; None where it had none. Of a run that goes on the last frames have NaN
    as yet. Raises InputError where it is not known."""
    recorded = None if run.outputs is None else run.outputs.extras.get("energy_bias")
    if recorded is None:
        return None
    at, values = recorded
    place = np.minimum(np.searchsorted(at, steps), len(at) - 1)
    later = steps > at[-1]
    if not (later | (at[place] == steps)).all():
        raise InputError(f"{run.path}: its bias was not recorded with every frame; write energy_bias as often")
    return np.where(later, np.nan, values[place])


def alike(samples: Sequence[Samples]) -> list[str]:
    """Pairs of trajectories that move together, frame by frame, in a line each: runs of the same seed are no
    independent samples, however different their temperatures. samples: as they were run, with the start."""
    notes = []
    for a, b in combinations(samples, 2):
        if set(a.values) != set(b.values):
            continue
        n = min(len(a), len(b))
        pairs = [(a.values[name][:n], b.values[name][:n]) for name in a.values]
        if a.energies is not None and b.energies is not None:
            pairs.append((a.energies[:n], b.energies[:n]))
        moving = [(x, y) for x, y in pairs if float(np.ptp(x)) > 0 and float(np.ptp(y)) > 0]
        together = [float(np.corrcoef(x, y)[0, 1]) for x, y in moving]
        if n > _LEAST and together and min(together) > _TOGETHER:
            notes.append(
                f"{a.name} and {b.name} move together (correlation {min(together):.2f} or more): started with the "
                "same seed, or too short to have parted? they are no independent samples"
            )
    return notes


def block_length(n: int, inefficiency: float) -> int:
    """Frames in a block of the bootstrap: long against correlations, and not too few or too many blocks."""
    return max(1, min(max(math.ceil(_BLOCK * inefficiency), n // _MOST), n // _LEAST))


def resampled(blocks: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Sums over blocks (b, …) drawn again with replacement: (resamples, …)."""
    rng = np.random.default_rng(seed)
    n = len(blocks)
    times = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    return np.asarray(np.tensordot(times, blocks, axes=1), dtype=np.float64)
