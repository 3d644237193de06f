"""Free energies of runs side by side, or of whole ladders of temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import InputError
from ...manifest import Manifest
from ...variables.definition import Variables
from ..runs import ladders_of, made_with
from ..statistics import Mean
from ..trajectory import OnFrames, Run
from .choice import choose
from .mbar import ladder_surface
from .sampling import alike, samples_by_temperature
from .surface import MIN_COUNT, Surface, common_grid, difference, surface


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
    """Surfaces over the same variables, whose units (Å or °) these are, on one grid. notes: what casts doubt on
    them."""

    surfaces: tuple[Surface, ...]
    units: tuple[str, ...]
    differences: tuple[FreeEnergyDifference, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For machines."""
        return {
            "surfaces": [surface.as_dict() for surface in self.surfaces],
            "differences": [difference.as_dict() for difference in self.differences],
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
    every n-th frame. equilibrated: without the start of each run. Raises InputError.
    """
    if not runs:
        raise InputError("no runs, so no free energy")
    known, names = choose(made_with(runs[0], manifest).manifest, variables, over)
    at = None if split is None else _parse_split(split)
    ladders, notes = {}, []
    for name, some in ladders_of(runs).items():
        samples = samples_by_temperature([replace(r, progress=progress) for r in some], known, temperature, every)
        notes += alike(samples)
        ladders[name] = [one.equilibrated() for one in samples] if equilibrated else samples
    everything = [one for samples in ladders.values() for one in samples]
    grid = common_grid(everything, names, bins)
    if mbar is None:
        surfaces = [surface(one, names, grid, min_count) for one in everything]
    else:
        surfaces = [
            ladder_surface(samples, mbar, names, grid, min_count, name=f"{name} (MBAR of {len(samples)})")
            for name, samples in ladders.items()
        ]
    differences = []
    if at is not None and split is not None:
        differences = [FreeEnergyDifference(one.name, *at, split, difference(one, *at)) for one in everything]
    units = tuple(known.variables[name].unit for name in names)
    return FreeEnergies(tuple(surfaces), units, tuple(differences), tuple(notes))


def _parse_split(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise InputError(f"--split {text}: expected a variable and its value, as R_CM=6.5") from None
