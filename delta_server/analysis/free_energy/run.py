"""Free energies of runs side by side, or of whole ladders of temperatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import InputError
from ...files.documents import plain
from ...manifest import Manifest
from ...sweep.record import Member, Sweep
from ...terms.bias import nearest_images
from ...variables.definition import Variables, read_variables
from ..runs import biased_in, ladders_of, made_with
from ..statistics import Mean
from ..trajectory import OnFrames, Run
from .binding import (
    BindingFreeEnergy,
    Enthalpy,
    StandardState,
    binding_free_energy,
    enthalpy_of,
    without_sphere,
)
from .choice import choose
from .mbar import Pools, ladder_surface, reweighted
from .metadynamics import Flooded
from .sampling import Samples, alike, samples_by_temperature
from .surface import MIN_COUNT, Edges, Surface, common_grid, difference, surface
from .windows import Window, windows_together

_BINS = 40  # along the variables of biased runs, together


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
        mean = {"kcal_per_mol": plain(self.mean.value), "error": plain(self.mean.error)}
        return {"name": self.name, "split": self.split, **mean}


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
    skip: float = 0.0,
    standard: StandardState | None = None,
    sphere: bool = True,
    together: bool = False,
    convergence: bool = False,
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
    every n-th frame. equilibrated: without the start of each run. skip: ps of it that are left out in any case,
    where something relaxes that the variables do not tell. Umbrella windows become one surface for each path and
    temperature (with mbar one for all of its temperatures), and so do walkers of metadynamics; others one each,
    reweighted where their manifest had a bias. standard: also ΔG° of biased runs along a distance. sphere: False
    takes 4πr² of a distance out of F. together: windows of all paths are one ladder's. convergence: ΔG° of the
    first and of the last parts of each run too. Raises InputError.
    """
    if not runs:
        raise InputError("no runs, so no free energy")
    model = made_with(runs[0], manifest).manifest
    known, names = choose(model, variables, over)
    periodic = nearest_images(model)
    if standard is not None and standard.cone is not None:
        standard.cone.check(known)
    at = None if split is None else _parse_split(split, known)
    ladders: dict[str, list[Samples]] = {}
    biased: list[tuple[Pools, Flooded | None]] = []
    notes: list[str] = []
    ladders_there = ladders_of(runs)
    if together:
        ladders_there = {" and ".join(ladders_there): list(runs)}
    for name, some in ladders_there.items():
        there = [biased_in(run) for run in some]
        biases = [bias for bias in there if bias is not None]
        if biases and len(biases) < len(some):
            raise InputError(f"{name}: holds biased runs and others; give each a folder of its own")
        if together:
            _alike(name, [sweep for sweep, _ in biases])
        definitions = {
            sweep.folder: told.definition for sweep, _ in biases if (told := sweep.record.bias) is not None
        }
        every_variable = known.merged(*(read_variables(d, name) for d in definitions.values()))
        samples = samples_by_temperature(
            [replace(r, progress=progress) for r in some], every_variable, temperature, every, periodic, skip
        )
        notes += [] if biases else alike(samples)
        samples = [one.equilibrated() for one in samples] if equilibrated else samples
        if biases:
            biased += _together(name, samples, biases, mbar)
        else:
            ladders[name] = samples
    alone = [one for samples in ladders.values() for one in samples]
    everything = [*alone, *(one for pools, _ in biased for one in pools.whole.samples)]
    grid = common_grid(everything, names, bins if bins or not biased else _BINS // len(names))
    if mbar is None:
        surfaces = [_surface(one, names, grid, min_count) for one in alone]
    else:
        surfaces = [
            ladder_surface(samples, mbar, names, grid, min_count, name=f"{name} (MBAR of {len(samples)})")
            for name, samples in ladders.items()
        ]
    binding = []
    for pools, flooded in biased:
        one = pools.surface(names, grid, min_count)
        surfaces.append(one if flooded is None else flooded.beside(one))
        if standard is not None:
            of_bias = None  # the hills say nothing of what is in a cone
            if flooded is not None and flooded.variables == (names[0],) and standard.cone is None:
                of_bias = flooded.binding(standard)
            binding.append(
                binding_free_energy(
                    pools,
                    names[0],
                    standard,
                    of_bias=of_bias,
                    growing=flooded is not None and flooded.growing,
                    convergence=convergence,
                )
            )
    distance = len(names) == 1 and known.variables[names[0]].kind == "distance"
    if standard is not None and not (distance and binding):
        raise InputError("--bound and --bulk: expected umbrella windows or metadynamics, and --over one distance")
    if not sphere:
        if not distance:
            raise InputError(f"--without-4pir2: expected --over one distance, found {', '.join(names)}")
        surfaces = [without_sphere(one, standard) for one in surfaces]
    differences = []
    if at is not None and split is not None:
        differences = [FreeEnergyDifference(one.name, *at, split, _difference(one, *at)) for one in alone]
        differences += [FreeEnergyDifference(p.name, *at, split, p.difference(*at)) for p, _ in biased]
    units = tuple(known.variables[name].unit for name in names)
    return FreeEnergies(tuple(surfaces), units, tuple(differences), tuple(notes), tuple(binding))


def _surface(samples: Samples, variables: Sequence[str], edges: Edges, min_count: int) -> Surface:
    """Of one run; without the bias that its manifest had."""
    if samples.bias is None:
        return surface(samples, variables, edges, min_count)
    return reweighted(samples.name, samples).surface(variables, edges, min_count)


def _difference(samples: Samples, variable: str, split: float) -> Mean:
    if samples.bias is None:
        return difference(samples, variable, split)
    return reweighted(samples.name, samples).difference(variable, split)


def _alike(name: str, sweeps: Sequence[Sweep]) -> None:
    """Raises InputError where these are not windows of one variable of one model."""
    windows = [sweep.record.windows for sweep in sweeps]
    same = {(told.variable, str(told.definition)) if told else None for told in windows}
    models = {tuple(sorted(sweep.record.sha256.items())) for sweep in sweeps}
    if None in same or len(same) != 1 or len(models) != 1:
        raise InputError(f"{name}: --together takes umbrella windows of one variable, all of the same model")


def _together(
    name: str, samples: Sequence[Samples], biases: Sequence[tuple[Sweep, Member]], mbar: float | None
) -> Iterator[tuple[Pools, Flooded | None]]:
    """Which biased runs become one surface: the windows of a temperature, or with mbar of all; walkers that share
    hills."""
    windows: list[Window] = []
    walkers: dict[Path, list[Samples]] = {}
    for one, (sweep, member) in zip(samples, biases, strict=True):
        if sweep.record.windows is not None:
            told = sweep.record.windows
            windows.append(Window(one, told.variable, told.restraint(member.window or 0)))
        elif member.hills is not None:
            walkers.setdefault(member.hills, []).append(one)
    for kelvin in sorted({w.samples.temperature for w in windows}) if mbar is None else [mbar] if windows else []:
        some = [w for w in windows if mbar is not None or w.samples.temperature == kelvin]
        yield windows_together(some, kelvin, f"{name} ({len(some)} windows)"), None
    if walkers and mbar is not None:
        raise InputError(f"{name}: --mbar takes no metadynamics, whose temperatures each have their own hills")
    for home, sharing in walkers.items():
        flooded = Flooded.read(f"{name} ({len(sharing)} walkers)", home, sharing)
        yield flooded.together(), flooded


def _parse_split(text: str, known: Variables) -> tuple[str, float]:
    name, _, value = text.partition("=")
    name = name.strip()
    if name not in known.variables:
        raise InputError(f"--split {text}: no variable {name!r}; there are {', '.join(known.variables)}")
    try:
        return name, float(value)
    except ValueError:
        raise InputError(f"--split {text}: expected a variable and its value, as R_CM=6.5") from None
