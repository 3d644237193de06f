"""Free energies of runs side by side, or of whole ladders of temperatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import InputError
from ...manifest import Manifest
from ...variables.definition import Variables, read_variables
from ..runs import ladders_of, made_with, window_of
from ..statistics import Mean
from ..trajectory import OnFrames, Run
from .choice import choose
from .mbar import RESAMPLES, Pool, beta_of, ladder_surface
from .sampling import Samples, alike, samples_by_temperature
from .surface import MIN_COUNT, Edges, Surface, common_grid, difference, surface
from .windows import (
    BindingFreeEnergy,
    Enthalpy,
    StandardState,
    Window,
    binding_free_energy,
    enthalpy_of,
    windows_surface,
    without_sphere,
)

_BINS = 40  # along the variables of windows, together


@dataclass(frozen=True)
class FreeEnergyDifference:
    """F of all above a value of a variable less F of all below it, kcal/mol, in one run. split: as it was asked."""

    name: str
    variable: str
    value: float
    split: str
    mean: Mean

    def line(self) -> str:
        """What was found."""
        sides = f"F({self.variable} > {self.value:g}) − F({self.variable} < {self.value:g})"
        return f"{self.name}: {sides} = {self.mean.value:.2f} ± {self.mean.error:.1g} kcal/mol"

    def as_dict(self) -> dict[str, object]:
        """For machines."""
        return {"name": self.name, "split": self.split, "kcal_per_mol": self.mean.value, "error": self.mean.error}


@dataclass(frozen=True)
class FreeEnergies:
    """Surfaces over the same variables, whose units (Å or °) these are, on one grid. binding: at standard state,
    where that was asked for. notes: what casts doubt on them."""

    surfaces: tuple[Surface, ...]
    units: tuple[str, ...]
    differences: tuple[FreeEnergyDifference, ...] = ()
    notes: tuple[str, ...] = ()
    binding: tuple[BindingFreeEnergy, ...] = ()

    @property
    def enthalpies(self) -> dict[str, Enthalpy]:
        """ΔH° and ΔS° by the name of what was bound, where ΔG° is known at several temperatures."""
        of = {
            name: enthalpy_of([b for b in self.binding if b.name == name]) for name in {b.name for b in self.binding}
        }
        return {name: found for name, found in sorted(of.items()) if found is not None}

    def as_dict(self) -> dict[str, object]:
        """For machines."""
        return {
            "surfaces": [surface.as_dict() for surface in self.surfaces],
            "differences": [difference.as_dict() for difference in self.differences],
            "binding": [one.as_dict() for one in self.binding],
            "enthalpies": {name: one.as_dict() for name, one in self.enthalpies.items()},
            "notes": list(self.notes),
        }


def analyze_free_energy(
    runs: Sequence[Run],
    manifest: str | Path | Manifest | None = None,
    variables: str | Path | Variables | None = None,
    over: str | Sequence[str] | None = None,
    *,
    bins: int | None = None,
    min_count: int = MIN_COUNT,
    mbar: float | None = None,
    split: str | None = None,
    temperature: float | None = None,
    every: int = 1,
    equilibrated: bool = True,
    standard: StandardState | None = None,
    sphere: bool = True,
    progress: OnFrames | None = None,
) -> FreeEnergies:
    """F = −kT ln p (kcal/mol) over one or two collective variables, for all runs on one grid.

        >>> from delta_server.analysis import analyze_free_energy, find_runs
        >>> result = analyze_free_energy(find_runs("demo/h2o_benzene"), bins=10)
        >>> [surface] = result.surfaces
        >>> surface.variables, result.units, surface.free_energy.shape
        (('R_CM',), ('Å',), (10,))

    manifest: by default the one that the first run was made with; variables, over: as in `choose`. bins: along each
    variable, by default by the number of samples; those of fewer than `min_count` are left empty. mbar: K, one
    surface at this temperature for each path that the runs were found under, from all of its runs. split: as
    ``R_CM=6.5``, also the difference of F above and below. temperature: K, where i-PI recorded none. every: takes
    every n-th frame. equilibrated: without the start of each run. Umbrella windows become one surface for each path
    and temperature (with mbar one for all of its temperatures), others one each, reweighted where their manifest had
    a bias. standard: also ΔG° between windows of a distance. sphere: False takes 4πr² of a distance out of F. Raises
    InputError.
    """
    if not runs:
        raise InputError("no runs, so no free energy")
    known, names = choose(made_with(runs[0], manifest).manifest, variables, over)
    at = None if split is None else _parse_split(split)
    ladders: dict[str, list[Samples]] = {}
    windows: dict[str, list[Window]] = {}
    notes: list[str] = []
    for name, some in ladders_of(runs).items():
        there = [window_of(run) for run in some]
        biases = [window for window in there if window is not None]
        if biases and len(biases) < len(some):
            raise InputError(f"{name}: holds windows and runs without bias; give each a folder of its own")
        every_variable = known.merged(*(read_variables(w.definition, name) for w, _ in biases))
        samples = samples_by_temperature(
            [replace(r, progress=progress) for r in some], every_variable, temperature, every
        )
        notes += [] if biases else alike(samples)
        samples = [one.equilibrated() for one in samples] if equilibrated else samples
        if biases:
            windows[name] = [
                Window(one, w.variable, w.restraint(member.window or 0))
                for one, (w, member) in zip(samples, biases, strict=True)
            ]
        else:
            ladders[name] = samples
    alone = [one for samples in ladders.values() for one in samples]
    everything = [*alone, *(w.samples for some_windows in windows.values() for w in some_windows)]
    grid = common_grid(everything, names, bins if bins or not windows else _BINS // len(names))
    if mbar is None:
        surfaces = [_surface(one, names, grid, min_count) for one in alone]
    else:
        surfaces = [
            ladder_surface(samples, mbar, names, grid, min_count, name=f"{name} (MBAR of {len(samples)})")
            for name, samples in ladders.items()
        ]
    binding = []
    for name, kelvin, some_windows in _by_temperature(windows, mbar):
        label = f"{name} ({len(some_windows)} windows)"
        surfaces.append(windows_surface(some_windows, kelvin, names, grid, min_count, name=label))
        if standard is not None:
            binding.append(binding_free_energy(some_windows, kelvin, names[0], standard, name=label))
    distance = len(names) == 1 and known.variables[names[0]].kind == "distance"
    if standard is not None and not (distance and binding):
        raise InputError("--bound and --bulk: expected umbrella windows, and --over one distance")
    if not sphere:
        if not distance:
            raise InputError(f"--without-4pir2: expected --over one distance, found {', '.join(names)}")
        surfaces = [without_sphere(one, standard) for one in surfaces]
    differences = []
    if at is not None and split is not None:
        differences = [FreeEnergyDifference(one.name, *at, split, difference(one, *at)) for one in alone]
    units = tuple(known.variables[name].unit for name in names)
    return FreeEnergies(tuple(surfaces), units, tuple(differences), tuple(notes), tuple(binding))


def _surface(samples: Samples, variables: Sequence[str], edges: Edges, min_count: int) -> Surface:
    """Of one run; without the bias that its manifest had."""
    if samples.bias is None:
        return surface(samples, variables, edges, min_count)
    beta = beta_of(samples.temperature)
    pool = Pool([samples], beta * samples.bias[None], 0.0 * samples.bias)
    return pool.surface(samples.name, samples.temperature, variables, edges, min_count, RESAMPLES, 0)


def _by_temperature(
    windows: dict[str, list[Window]], mbar: float | None
) -> Iterator[tuple[str, float, list[Window]]]:
    """Which windows become one surface, and its temperature: `mbar`, or their own."""
    for name, some in windows.items():
        for kelvin in sorted({w.samples.temperature for w in some}) if mbar is None else [mbar]:
            yield name, kelvin, [w for w in some if mbar is not None or w.samples.temperature == kelvin]


def _parse_split(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise InputError(f"--split {text}: expected a variable and its value, as R_CM=6.5") from None
