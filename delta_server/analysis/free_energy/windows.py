"""Free energies from biased runs: windows of a collective variable together by MBAR, and the standard state.

ΔG° = −kT ln(K/V°), V° = 1/(1 M): the volume of a molecule at that concentration. K = ∫_bound 4πr² exp(−w(r)/kT) dr, w
the potential of mean force without 4πr², zero in the bulk. Of the density p(r) of the distance, as it was sampled:

    K = V_shell P_bound/P_shell,    ΔG° = −kT ln(P_bound/P_shell) − kT ln(V_shell/V°)

with P_bound all that is nearer than `bound`, P_shell and V_shell those of a shell of the bulk, where w is flat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..._types import FloatArray
from ...errors import InputError
from ...sweep.umbrella import THIN, shared
from ...terms.bias import Restraint
from .mbar import RESAMPLES, Pool, beta_of
from .sampling import Samples, kt
from .surface import MIN_COUNT, Edges, Surface

STANDARD_VOLUME = 1e27 / 6.02214076e23  # Å³ for each molecule at 1 mol/l
_MOST = 20_000  # frames of all windows: every resample solves for their free energies anew


@dataclass(frozen=True)
class Window:
    """What one run was biased by, and its samples, the variable's among them."""

    samples: Samples
    variable: str
    restraint: Restraint

    def half(self, which: int) -> Window:
        """The first (0) or the second half (1) of it."""
        middle = len(self.samples) // 2
        return replace(self, samples=self.samples.take(slice(middle) if which == 0 else slice(middle, None)))


@dataclass(frozen=True)
class StandardState:
    """Of which distances ΔG° is asked for: bound below `bound`, the bulk's shell from `low` to `high`, Å."""

    bound: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.bound <= self.low < self.high < math.inf:
            raise InputError(
                f"--bound {self.bound:g} --bulk {self.low:g}:{self.high:g}: expected distances in Å, the bulk beyond "
                "what is bound"
            )

    @property
    def shell(self) -> float:
        """Its volume, Å³."""
        return 4 / 3 * math.pi * (self.high**3 - self.low**3)


@dataclass(frozen=True)
class BindingFreeEnergy:
    """ΔG° (kcal/mol, 1 M) and its parts at a temperature (K).

    pmf: −kT ln(P_bound/P_shell); volume: −kT ln(V_shell/V°); halves: ΔG° of the first and of the second half of each
    window alone.
    """

    name: str
    temperature: float
    variable: str
    state: StandardState
    pmf: float
    volume: float
    error: float
    halves: tuple[float, float]

    @property
    def value(self) -> float:
        return self.pmf + self.volume

    def lines(self) -> list[str]:
        """What was found."""
        first, second = self.halves
        return [
            f"{self.name}: ΔG°(1 M, {self.temperature:g} K) = {self.value:.2f} ± {self.error:.1g} kcal/mol "
            f"(halves: {first:.2f}, {second:.2f})",
            f"  −kT ln P({self.variable} < {self.state.bound:g})/P({self.state.low:g} to {self.state.high:g} Å) = "
            f"{self.pmf:.2f}; −kT ln({self.state.shell:.0f}/{STANDARD_VOLUME:.0f} Å³) = {self.volume:.2f}",
        ]

    def as_dict(self) -> dict[str, object]:
        """For machines."""
        return {
            "name": self.name,
            "temperature_K": self.temperature,
            "variable": self.variable,
            "bound_A": self.state.bound,
            "bulk_A": [self.state.low, self.state.high],
            "kcal_per_mol": self.value,
            "error": self.error,
            "pmf": self.pmf,
            "volume_correction": self.volume,
            "halves": list(self.halves),
        }


def pool_of(windows: Sequence[Window], temperature: float) -> Pool:
    """The windows' samples, of several temperatures where their energies are known, without bias at `temperature`.

    Raises InputError.
    """
    every = max(1, -(-sum(len(w.samples) for w in windows) // _MOST))
    windows = [replace(w, samples=w.samples.take(slice(None, None, every))) for w in windows]
    samples = [w.samples for w in windows]
    energies: FloatArray = np.zeros(sum(map(len, samples)))
    if any(s.temperature != temperature for s in samples):
        known = [s.energies for s in samples if s.energies is not None]
        if len(known) < len(samples):
            raise InputError(
                "windows at several temperatures: MBAR needs the classical potential energy of every frame"
            )
        energies = np.concatenate(known)
        energies = energies - energies.mean()
    reduced = np.empty((len(windows), len(energies)))
    for k, window in enumerate(windows):
        values = np.concatenate([s.values[window.variable] for s in samples])
        reduced[k] = beta_of(window.samples.temperature) * (energies + window.restraint.energy(values)[0])
    return Pool(samples, reduced, beta_of(temperature) * energies)


def windows_surface(
    windows: Sequence[Window],
    temperature: float,
    variables: Sequence[str],
    edges: Edges,
    min_count: int = MIN_COUNT,
    resamples: int = RESAMPLES,
    seed: int = 0,
    name: str = "windows",
) -> Surface:
    """F without the biases at `temperature` (K); errors by a bootstrap of blocks of each window, and the curves of
    both halves alone. Raises InputError."""
    surface = pool_of(windows, temperature).surface(
        name, temperature, variables, edges, min_count, resamples, seed, thin(windows)
    )
    halves = []
    for which in (0, 1):
        pool = pool_of([w.half(which) for w in windows], temperature)
        half = pool.surface(name, temperature, variables, edges, 1, 2, seed)
        both = np.isfinite(half.free_energy) & np.isfinite(surface.free_energy)
        off = np.median((half.free_energy - surface.free_energy)[both]) if both.any() else 0.0
        halves.append(np.where(np.isfinite(surface.free_energy), half.free_energy - off, math.nan))
    return replace(surface, halves=(halves[0], halves[1]))


def thin(windows: Sequence[Window]) -> list[str]:
    """A line for each two neighbours of one temperature that hardly overlap."""
    notes = []
    ordered = sorted(windows, key=lambda w: (w.samples.temperature, w.restraint.low))
    for a, b in pairwise(ordered):
        if a.samples.temperature == b.samples.temperature and a.variable == b.variable:
            overlap = shared(a.samples.values[a.variable], b.samples.values[b.variable])
            if overlap < THIN:
                notes.append(
                    f"{a.samples.name} and {b.samples.name} overlap by {overlap:.2f} only: add a window between"
                )
    return notes


def binding_free_energy(
    windows: Sequence[Window],
    temperature: float,
    variable: str,
    state: StandardState,
    resamples: int = RESAMPLES,
    seed: int = 0,
    name: str = "windows",
) -> BindingFreeEnergy:
    """ΔG° over a distance that was sampled. Raises InputError where one side has no samples."""
    pool = pool_of(windows, temperature)
    sides = _sides(pool, variable, state)
    pmf = _pmf(pool.weights, sides, temperature)
    if not math.isfinite(pmf):
        raise InputError(
            f"{name}: no sample with {variable} below {state.bound:g} or in {state.low:g} to {state.high:g} Å"
        )
    again = np.array([_pmf(weights, sides[:, which], temperature) for which, weights in pool.drawn(resamples, seed)])
    volume = -kt(temperature) * math.log(state.shell / STANDARD_VOLUME)
    halves = []
    for which in (0, 1):
        half = pool_of([w.half(which) for w in windows], temperature)
        halves.append(_pmf(half.weights, _sides(half, variable, state), temperature) + volume)
    sound = again[np.isfinite(again)]
    error = float(sound.std(ddof=1)) if len(sound) > 2 else math.inf
    return BindingFreeEnergy(name, temperature, variable, state, pmf, volume, error, (halves[0], halves[1]))


def _sides(pool: Pool, variable: str, state: StandardState) -> FloatArray:
    """(2, n): which samples are bound, and which in the bulk's shell."""
    r = np.concatenate([s.values[variable] for s in pool.samples])
    return np.stack([r < state.bound, (r >= state.low) & (r < state.high)]).astype(np.float64)


def _pmf(weights: FloatArray, sides: FloatArray, temperature: float) -> float:
    bound, bulk = sides @ weights
    return -kt(temperature) * math.log(bound / bulk) if bound > 0 and bulk > 0 else math.nan


@dataclass(frozen=True)
class Enthalpy:
    """ΔH° (kcal/mol) and ΔS° (kcal/mol/K) of a line ΔG° = ΔH° − TΔS° through several temperatures, as if neither
    changed between them, with their standard errors."""

    enthalpy: float
    entropy: float
    enthalpy_error: float
    entropy_error: float

    def line(self) -> str:
        """What was found."""
        enthalpy = f"ΔH° = {self.enthalpy:.2f} ± {self.enthalpy_error:.1g} kcal/mol"
        return f"{enthalpy}, TΔS° (300 K) = {300 * self.entropy:.2f} ± {300 * self.entropy_error:.1g} kcal/mol"

    def as_dict(self) -> dict[str, float]:
        """For machines."""
        return {
            "enthalpy_kcal_per_mol": self.enthalpy,
            "enthalpy_error": self.enthalpy_error,
            "entropy_kcal_per_mol_K": self.entropy,
            "entropy_error": self.entropy_error,
        }


def enthalpy_of(binding: Sequence[BindingFreeEnergy]) -> Enthalpy | None:
    """From ΔG° at each temperature, weighted by their errors; None of fewer than two temperatures."""
    if len({one.temperature for one in binding}) < 2 or not all(0 < one.error < math.inf for one in binding):
        return None
    t, g, e = (np.array([getattr(one, name) for one in binding]) for name in ("temperature", "value", "error"))
    design = np.stack([np.ones_like(t), -t], axis=1) / e[:, None]
    covariance = np.linalg.inv(design.T @ design)
    enthalpy, entropy = covariance @ design.T @ (g / e)
    errors = np.sqrt(np.diag(covariance))
    return Enthalpy(float(enthalpy), float(entropy), float(errors[0]), float(errors[1]))


def without_sphere(surface: Surface, state: StandardState | None = None) -> Surface:
    """F of a distance without 4πr², kcal/mol: the potential of mean force. state: in whose bulk its mean is
    zero; None: zero at its lowest."""
    (r,) = surface.centres
    added = 2 * kt(surface.temperature) * np.log(r)

    def shifted(free_energy: FloatArray) -> FloatArray:
        force = free_energy + added
        low, high = (math.inf, math.inf) if state is None else (state.low, state.high)
        far = np.isfinite(force) & (r >= low) & (r < high)
        return force - (force[far].mean() if far.any() else np.nanmin(force))

    halves = None if surface.halves is None else (shifted(surface.halves[0]), shifted(surface.halves[1]))
    return replace(surface, free_energy=shifted(surface.free_energy), halves=halves)
