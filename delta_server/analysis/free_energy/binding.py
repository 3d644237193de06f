"""The standard state: binding free energies of biased runs along a distance, and the potential of mean force.

ΔG° = −kT ln(K/V°), V° = 1/(1 M): the volume of a molecule at that concentration. K = ∫_bound 4πr² exp(−w(r)/kT) dr, w
the potential of mean force without 4πr², zero in the bulk. Of the density p(r) of the distance, as it was sampled:

    K = V_shell P_bound/P_shell,    ΔG° = −kT ln(P_bound/P_shell) − kT ln(V_shell/V°)

with P_bound all that is nearer than `bound`, P_shell and V_shell those of a shell of the bulk, where w is flat; or of
the part of it within a cone, where a restraint keeps the guest before the opening of its host (as does the funnel of
Limongelli, Bonomi and Parrinello, PNAS 110, 6358 (2013)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from ..._types import BoolArray, FloatArray
from ...errors import InputError
from ...files.documents import plain
from ...variables.definition import Variables
from .mbar import RESAMPLES, Pool, Pools
from .sampling import kt
from .surface import Surface

_SHARES = np.arange(1, 11) / 10  # of each run
STANDARD_VOLUME = 1e27 / 6.02214076e23  # Å³ for each molecule at 1 mol/l


@dataclass(frozen=True)
class Cone:
    """Where `variable`, the angle at the host's centre between an axis of the host and the guest, is from `low` to
    `high` (degrees)."""

    variable: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 180:
            raise InputError(f"--cone {self.variable}={self.low:g}:{self.high:g}: expected degrees from 0 to 180")

    def check(self, known: Variables) -> None:
        """Raises InputError where its variable is no angle of these."""
        angles = [name for name, variable in known.variables.items() if variable.kind == "angle"]
        if self.variable not in angles:
            raise InputError(
                f"--cone {self.variable}: expected an angle of --variables ({', '.join(angles) or 'none'})"
            )

    @property
    def share(self) -> float:
        """Of all directions."""
        return (math.cos(math.radians(self.low)) - math.cos(math.radians(self.high))) / 2


@dataclass(frozen=True)
class StandardState:
    """Of which distances ΔG° is asked for: bound below `bound`, the bulk's shell from `low` to `high`, Å, of which
    with `cone` only that part counts."""

    bound: float
    low: float
    high: float
    cone: Cone | None = None

    def __post_init__(self) -> None:
        if not 0 < self.bound <= self.low < self.high < math.inf:
            raise InputError(
                f"--bound {self.bound:g} --bulk {self.low:g}:{self.high:g}: expected distances in Å, the bulk beyond "
                "what is bound"
            )

    @property
    def shell(self) -> float:
        """Its volume, Å³."""
        share = 1.0 if self.cone is None else self.cone.share
        return share * 4 / 3 * math.pi * (self.high**3 - self.low**3)

    def in_shell(self, values: Mapping[str, FloatArray], variable: str) -> BoolArray:
        """(n,): which samples of the variables are in it."""
        r = values[variable]
        inside = (r >= self.low) & (r < self.high)
        if self.cone is not None:
            angle = values[self.cone.variable]
            inside &= (angle >= self.cone.low) & (angle <= self.cone.high)
        return inside

    @property
    def where(self) -> str:
        """The shell in a few words."""
        cone = "" if self.cone is None else f", {self.cone.variable} {self.cone.low:g} to {self.cone.high:g}°"
        return f"{self.low:g} to {self.high:g} Å{cone}"


@dataclass(frozen=True)
class Convergence:
    """ΔG° (kcal/mol) of the first and of the last part of each run alone, (k,) each, NaN where one side of it has no
    samples; shares: (k,) of a run, the last of them 1 (Klimovich, Shirts and Mobley, J. Comput.-Aided Mol. Des. 29,
    397 (2015))."""

    shares: FloatArray
    forward: FloatArray
    backward: FloatArray


@dataclass(frozen=True)
class BindingFreeEnergy:
    """ΔG° (kcal/mol, 1 M) and its parts at a temperature (K).

    pmf: −kT ln(P_bound/P_shell); volume: −kT ln(V_shell/V°); halves: ΔG° of the first and of the second half of each
    run alone; of_bias: ΔG° by the negative bias of metadynamics alone. convergence: where that was asked for.
    """

    name: str
    temperature: float
    variable: str
    state: StandardState
    pmf: float
    volume: float
    error: float
    halves: tuple[float, float]
    of_bias: float | None = None
    convergence: Convergence | None = None

    @property
    def value(self) -> float:
        return self.pmf + self.volume

    def lines(self) -> list[str]:
        """What was found."""
        first, second = self.halves
        alone = "" if self.of_bias is None else f"; by the negative bias alone {self.of_bias:.2f}"
        return [
            f"{self.name}: ΔG°(1 M, {self.temperature:g} K) = {self.value:.2f} ± {self.error:.1g} kcal/mol "
            f"(halves: {first:.2f}, {second:.2f}{alone})",
            f"  −kT ln P({self.variable} < {self.state.bound:g})/P({self.state.where}) = "
            f"{self.pmf:.2f}; −kT ln({self.state.shell:.0f}/{STANDARD_VOLUME:.0f} Å³) = {self.volume:.2f}",
        ]

    def as_dict(self) -> dict[str, object]:
        """For machines."""
        found = {
            "name": self.name,
            "temperature_K": self.temperature,
            "variable": self.variable,
            "bound_A": self.state.bound,
            "bulk_A": [self.state.low, self.state.high],
            "cone": None if self.state.cone is None else asdict(self.state.cone),
            "kcal_per_mol": self.value,
            "error": self.error,
            "pmf": self.pmf,
            "volume_correction": self.volume,
            "halves": list(self.halves),
        }
        alone = {} if self.of_bias is None else {"by_negative_bias": self.of_bias}
        parts = {} if self.convergence is None else {"convergence": vars(self.convergence)}
        return dict(plain(found | alone | parts))


def binding_free_energy(
    pools: Pools,
    variable: str,
    state: StandardState,
    resamples: int = RESAMPLES,
    seed: int = 0,
    of_bias: float | None = None,
    growing: bool = False,
    convergence: bool = False,
) -> BindingFreeEnergy:
    """ΔG° over a distance that was sampled. of_bias: −kT ln(P_bound/P_shell) by the negative bias. growing: whether
    there were new hills to the end. convergence: also of parts of each run. Raises InputError where one side has no
    samples."""
    kelvin = pools.temperature
    pmf = pools.whole.ratio(_sides(pools.whole, variable, state), kelvin, resamples, seed)
    if not math.isfinite(pmf.value):
        raise InputError(f"{pools.name}: no sample with {variable} below {state.bound:g} or in {state.where}")
    volume = -kt(kelvin) * math.log(state.shell / STANDARD_VOLUME)

    def of_part(pool: Pool) -> float:
        return pool.ratio(_sides(pool, variable, state), kelvin, 0, seed).value + volume

    halves = [of_part(half) for half in pools.halves]
    error = pmf.error
    alone = None if of_bias is None else of_bias + volume
    if growing:  # a bootstrap takes walkers that share hills for more independent than they are
        error = max(error, abs(halves[0] - halves[1]) / 2 if np.isfinite(halves).all() else math.inf)
        if alone is not None:  # both are right only where the hills were put slowly enough
            error = max(error, abs(pmf.value + volume - alone) / 2)
    ends, parts = (halves[0], halves[1]), None
    if convergence:
        last = pmf.value + volume
        forward = [*(of_part(pools.part(0.0, share)) for share in _SHARES[:-1]), last]
        backward = [*(of_part(pools.part(1.0 - share, 1.0)) for share in _SHARES[:-1]), last]
        parts = Convergence(_SHARES, np.array(forward), np.array(backward))
    return BindingFreeEnergy(pools.name, kelvin, variable, state, pmf.value, volume, error, ends, alone, parts)


def _sides(pool: Pool, variable: str, state: StandardState) -> FloatArray:
    """(2, n): which samples are bound, and which in the bulk's shell."""
    bound = np.concatenate([s.values[variable] < state.bound for s in pool.samples])
    shell = np.concatenate([state.in_shell(s.values, variable) for s in pool.samples])
    return np.stack([bound, shell]).astype(np.float64)


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
    of_bias = None if surface.of_bias is None else shifted(surface.of_bias)
    return replace(surface, free_energy=shifted(surface.free_energy), halves=halves, of_bias=of_bias)
