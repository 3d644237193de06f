"""A bias: an energy of a collective variable that is added to steer dynamics, and is no part of the physics.

terms:
  - kind: bias
    name: window
    options:
      variable: R_CM                  # of `variables`, a file or a mapping; by default the manifest's R_CM and R_p
      harmonic: {centre: 5.0, force_constant: 10.0}
      energy_unit: kcal/mol

With ξ the variable (Å, degrees, or a number): `harmonic` is k/2 (ξ − ξ₀)²; `flat_bottomed` the same outside of `low`
to `high`, and nothing within; `linear` slope · ξ. A dihedral is taken the short way round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import Field, ValidationError, model_validator

from .._types import FloatArray, IntArray
from ..errors import InputError, ManifestError
from ..files.documents import Strict, first_error
from ..manifest import EnergyUnit, Manifest, Name, TermEntry
from ..units import energy_in_ev
from ..variables.definition import Variables, default_variables, load_variables, read_variables
from ..variables.measure import Evaluated, Measure
from .base import Contribution, Frames, Side


class Harmonic(Strict):
    centre: float = Field(allow_inf_nan=False)
    force_constant: float = Field(gt=0, allow_inf_nan=False)


class FlatBottomed(Strict):
    low: float = -math.inf
    high: float = math.inf
    force_constant: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _flat_between(self) -> FlatBottomed:
        if not self.low < self.high or not (math.isfinite(self.low) or math.isfinite(self.high)):
            raise ValueError(f"expected low or high, or both and low < high; found {self.low:g} and {self.high:g}")
        return self


class Linear(Strict):
    slope: float = Field(allow_inf_nan=False)


class BiasOptions(Strict):
    """The options of a term of the kind ``bias``; just one of the three forms."""

    variable: Name
    variables: dict[str, Any] | Path | None = None
    groups: dict[str, Any] = Field(default_factory=dict)
    harmonic: Harmonic | None = None
    flat_bottomed: FlatBottomed | None = None
    linear: Linear | None = None
    energy_unit: EnergyUnit
    periodic: bool = Field(default=False, strict=True)

    @model_validator(mode="after")
    def _one_form(self) -> BiasOptions:
        if sum(form is not None for form in (self.harmonic, self.flat_bottomed, self.linear)) != 1:
            raise ValueError("expected just one of harmonic, flat_bottomed and linear")
        if self.groups and not isinstance(self.variables, dict):
            raise ValueError("`groups` go with a mapping of `variables`")
        return self

    @property
    def restraint(self) -> Restraint:
        """What it does to the variable, in eV."""
        unit = energy_in_ev(self.energy_unit)
        if self.harmonic is not None:
            centre = self.harmonic.centre
            return Restraint(centre, centre, unit * self.harmonic.force_constant)
        if self.flat_bottomed is not None:
            flat = self.flat_bottomed
            return Restraint(flat.low, flat.high, unit * flat.force_constant)
        assert self.linear is not None
        return Restraint(slope=unit * self.linear.slope)


@dataclass(frozen=True)
class Restraint:
    """An energy of one variable ξ: force_constant/2 times the square of how far it is outside of low … high, and
    slope · ξ; eV over the variable's unit. turn: after which ξ is the same, 0 for never."""

    low: float = -math.inf
    high: float = math.inf
    force_constant: float = 0.0
    slope: float = 0.0
    turn: float = 0.0

    def energy(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energies (n,) eV of values (n,), and their derivatives."""
        if self.turn and math.isfinite(self.low + self.high):
            values = near(values, (self.low + self.high) / 2, self.turn)
        outside = values - np.minimum(np.maximum(values, self.low), self.high)
        slopes = self.force_constant * outside + self.slope
        return self.force_constant / 2 * outside**2 + self.slope * values, slopes


def near(values: FloatArray, middle: float, turn: float) -> FloatArray:
    """The same places of a circle of this turn, next to `middle`; as they are where it is 0."""
    return middle + (values - middle + turn / 2) % turn - turn / 2 if turn else values


class Bias(Protocol):
    """An energy of d variables together."""

    def energy(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energies (n,) eV of values (n, d), and their derivatives (n, d), eV over each variable's unit."""


@dataclass(frozen=True)
class Restraints:
    """A restraint of each variable; their energies add up."""

    each: tuple[Restraint, ...]

    def energy(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Bias`."""
        energies, slopes = np.zeros(len(values)), np.zeros(values.shape)
        for i, restraint in enumerate(self.each):
            energy, slopes[:, i] = restraint.energy(values[:, i])
            energies += energy
        return energies, slopes


@dataclass(frozen=True, eq=False)
class Sum:
    """Biases of the same variables; their energies add up."""

    parts: tuple[Bias, ...]

    def energy(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Bias`."""
        energies, slopes = zip(*(part.energy(values) for part in self.parts), strict=True)
        return sum(energies, np.zeros(len(values))), sum(slopes, np.zeros(values.shape))


@dataclass(frozen=True, eq=False)
class BiasTerm:
    """A bias of some variables of a complex, by their names, whose atoms the sites are. periodic: distances between
    groups are those of nearest images, where frames have cells."""

    names: tuple[str, ...]
    variables: Mapping[str, Measure]
    bias: Bias
    periodic: bool = False
    part: Side = field(default="bias", init=False)

    @cached_property
    def sites(self) -> IntArray:
        """See `Term`: those atoms that the variables are of."""
        return np.unique(np.concatenate([g for measure in self.variables.values() for g in measure.groups]))[None]

    def evaluate(self, frames: Frames) -> Contribution:
        """See `Term`."""
        each = self._each(frames)
        energies, slopes = self.bias.energy(np.array([one.values for one in each]).T)
        forces, virials = np.zeros((len(energies), self.sites.shape[1], 3)), np.zeros((len(energies), 3, 3))
        for slope, one in zip(slopes.T[:, :, None, None], each, strict=True):
            forces -= slope * one.gradients.take(self.sites[0], axis=1)
            virials -= slope * one.strains
        return Contribution(energies[:, None], forces[:, None], virials[:, None], self._named(each))

    def expected_error(self, frames: Frames) -> FloatArray:
        """See `Term`: none, it is what it says."""
        return np.zeros((len(frames.positions), 1))

    def check_groups(self, molecules: Sequence[IntArray], where: str) -> None:
        """Raise InputError where nearest images are asked for of a group whose atoms are of several molecules: which
        images of them make its centre the positions alone do not say."""
        for name, measure in self.variables.items() if self.periodic else ():
            for group in measure.groups:
                if sum(bool(np.isin(group, atoms).any()) for atoms in molecules) > 1:
                    raise InputError(
                        f"{where}: term {self.names[0]!r}: periodic: a group of {name} has atoms of several "
                        "molecules; expected each within one"
                    )

    def values(self, frames: Frames) -> dict[str, FloatArray]:
        """Each variable (F,) by its name."""
        return self._named(self._each(frames))

    def _named(self, each: Sequence[Evaluated]) -> dict[str, FloatArray]:
        return {name: one.values for name, one in zip(self.variables, each, strict=True)}

    def _each(self, frames: Frames) -> list[Evaluated]:
        cells = frames.cells if self.periodic else None
        return [measure.gradient(frames.positions, cells) for measure in self.variables.values()]


def bias_of(manifest: Manifest, entry: TermEntry, numbers: IntArray) -> BiasTerm:
    """The term of an entry of the kind ``bias``. numbers: (N,) of the complex. Raises ManifestError, InputError."""
    where = f"{manifest.path}: term {entry.name!r}"
    options = bias_options(entry, where)
    if isinstance(options.variables, Path):
        known = load_variables(manifest.resolve(options.variables), manifest)
    elif options.variables is not None:
        known = read_variables({"groups": options.groups, "variables": options.variables}, where, manifest)
    else:
        known = default_variables(manifest)
    return restrain(entry.name, known, options.variable, options.restraint, numbers, where, options.periodic)


def bias_options(entry: TermEntry, where: str) -> BiasOptions:
    """Raises ManifestError."""
    try:
        return BiasOptions.model_validate(entry.options)
    except ValidationError as error:
        raise ManifestError(f"{where}: {first_error(error)}") from None


def restrain(
    name: str,
    known: Variables,
    variable: str,
    restraint: Restraint,
    numbers: IntArray,
    where: str,
    periodic: bool = False,
) -> BiasTerm:
    """A restraint of one variable, as `make_bias`. Raises InputError also for one end, or a slope, on a circle, and
    for values that the variable never has."""
    term = make_bias(name, known, (variable,), Restraints(()), numbers, where, periodic)
    known.check_reach(variable, restraint.low, restraint.high, where)
    turn = known.variables[variable].turn
    if turn and not math.isfinite(restraint.low + restraint.high):
        raise InputError(
            f"{where}: {variable} goes round: expected harmonic, or flat_bottomed with both low and high"
        )
    return replace(term, bias=Restraints((replace(restraint, turn=turn),)))


def make_bias(
    name: str,
    known: Variables,
    variables: tuple[str, ...],
    bias: Bias,
    numbers: IntArray,
    where: str,
    periodic: bool = False,
) -> BiasTerm:
    """A bias of the complex with these atomic numbers (N,). where: for messages. Raises InputError."""
    from ase.data import atomic_masses

    for variable in variables:
        if variable not in known.variables:
            raise InputError(f"{where}: no variable {variable!r}; there are {', '.join(known.variables)}")
    known.check(len(numbers))
    masses = np.asarray(atomic_masses[numbers], dtype=np.float64)
    measures = {variable: known.measure(variable, masses) for variable in variables}
    return BiasTerm((name,), measures, bias, periodic)


def nearest_images(manifest: Manifest | None) -> bool:
    """Whether variables are those of nearest images: as its biases say, or where there is none whether it is
    periodic. Raises ManifestError."""
    if manifest is None:
        return False
    biases = [entry for entry in manifest.terms if entry.kind == "bias"]
    asked = [bias_options(entry, f"{manifest.path}: term {entry.name!r}").periodic for entry in biases]
    return any(asked) if asked else bool(manifest.periodic)


def bias_extras(manifest: Manifest) -> tuple[str, ...]:
    """The keys of the extras that the biases of a manifest are told by: their energy, and each variable."""
    biases = [entry for entry in manifest.terms if entry.kind == "bias"]
    variables = [bias_options(entry, f"{manifest.path}: term {entry.name!r}").variable for entry in biases]
    return ("energy_bias", *(f"variable_{name}" for name in dict.fromkeys(variables))) if biases else ()
