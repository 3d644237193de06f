"""delta-sgdml analyze free-energy: F over collective variables, of runs side by side or of a ladder as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import JsonOption, picture
from . import common as shared

if TYPE_CHECKING:
    from ...analysis.free_energy.surface import Surface
    from ...analysis.free_energy.variables import Variables


def free_energy(
    runs: shared.RunsArg,
    manifest: shared.ManifestOption = None,
    variables: Annotated[
        Path | None,
        typer.Option(help="Groups and collective variables, YAML (default: R_CM, and R_p of two corannulenes)."),
    ] = None,
    over: Annotated[
        str | None, typer.Option("--over", help="One or two of the variables, as R_p,R_CM (default: the first two).")
    ] = None,
    bins: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Along each variable (default: by the number of samples).")
    ] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Samples below which a bin is left empty.")] = 10,
    mbar: Annotated[
        float | None,
        typer.Option(min=0.0, help="K: all temperatures of each RUN as one surface at this one, by MBAR."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="As R_CM=6.5: also F of all above less F of all below.")] = None,
    highest: Annotated[float | None, typer.Option(min=0.0, help="kcal/mol at the end of the colours.")] = None,
    all_of_it: Annotated[bool, typer.Option("--all", help="Also the start, before a run is in equilibrium.")] = False,
    prefix: shared.PrefixOption = None,
    timestep: shared.TimestepOption = None,
    temperature: shared.TemperatureOption = None,
    every: shared.EveryOption = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Picture (default: free_energy.png beside the first run).", callback=picture
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Free energy over one or two collective variables.

    F = −kT ln p (kcal/mol), on one grid and one colour scale for all runs. Errors are a block bootstrap's. With
    --mbar each RUN (a folder with several temperatures of one model) becomes one surface.

    Example: delta-sgdml analyze free-energy sweep/delta sweep/full --manifest models/c60_buckycatcher/manifest.yaml
    """
    from ...analysis.free_energy.mbar import ladder_surface
    from ...analysis.free_energy.sampling import alike, samples_of
    from ...analysis.free_energy.surface import common_grid, difference, surface
    from ...analysis.pictures.free_energy import plot_surfaces

    chosen, names = choose(manifest, variables, over, runs)
    groups, doubts = [], []
    for model in shared.models(runs, prefix, timestep):
        found = shared.with_progress(model, lambda run: samples_of(run, chosen, temperature, every), every)
        doubts += alike(found)
        groups.append([one if all_of_it else one.equilibrated() for one in found])
    everything = [one for group in groups for one in group]
    grid = common_grid(everything, names, bins)
    if mbar is None:
        surfaces = [surface(one, names, grid, min_count) for one in everything]
    else:
        labels = [shared.label(path) for path in runs]
        surfaces = [
            ladder_surface(group, mbar, names, grid, min_count, name=f"{name} (MBAR of {len(group)})")
            for name, group in zip(labels, groups, strict=True)
        ]
    path = output or shared.beside(runs, "free_energy.png")
    plot_surfaces(surfaces, [chosen.variables[name].unit for name in names], path, highest)
    differences = []
    if split is not None:
        name, at = _split(split)
        differences = [difference(one, name, at) for one in everything]
    if as_json:
        said = {
            "surfaces": [one.as_dict() for one in surfaces],
            "differences": [
                {"name": s.name, "split": split, "kcal_per_mol": d.value, "error": d.error}
                for s, d in zip(everything, differences, strict=bool(differences))
            ],
            "notes": doubts,
            "picture": str(path),
        }
        print(json.dumps(said, allow_nan=False))
        return
    _table(surfaces, names, chosen)
    for one, d in zip(everything, differences, strict=bool(differences)):
        print(f"{one.name}: F({name} > {at:g}) − F({name} < {at:g}) = {d.value:.2f} ± {d.error:.1g} kcal/mol")
    for doubt in doubts:
        print(doubt)
    print(f"picture: {path}")


def choose(
    manifest: Path | None, variables: Path | None, over: str | None, runs: list[Path]
) -> tuple[Variables, list[str]]:
    """All variables, and the one or two that F is over. Raises InputError."""
    from ...analysis.free_energy.variables import default_variables, load_variables
    from ...errors import InputError

    complex_ = shared.manifest_of(manifest, runs)
    if variables is not None:
        there = load_variables(variables, complex_)
    elif complex_ is not None:
        there = default_variables(complex_)
    else:
        raise InputError("which variables? give --variables YAML, or --manifest for R_CM between its fragments")
    names = [name.strip() for name in over.split(",")] if over else list(there.variables)[:2]
    unknown = [name for name in names if name not in there.variables]
    if unknown or len(names) > 2 or len(set(names)) < len(names):
        raise InputError(f"--over {over}: expected one or two of {', '.join(there.variables)}")
    return there, names


def _split(text: str) -> tuple[str, float]:
    from ...errors import InputError

    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise InputError(f"--split {text}: expected a variable and its value, as R_CM=6.5") from None


def _table(surfaces: list[Surface], names: list[str], variables: Variables) -> None:
    import numpy as np

    at = [f"{name} ({variables.variables[name].unit})" for name in names]
    width = max(len("run"), *(len(one.name) for one in surfaces))
    print(f"{'run':{width}}  {'T (K)':>6}  {'independent':>11}  " + "  ".join(f"{a:>10}" for a in at) + "  error")
    for one in surfaces:
        where = "  ".join(f"{x:10.3f}" for x in one.lowest)
        typical = float(np.nanmedian(one.error))
        print(f"{one.name:{width}}  {one.temperature:6.4g}  {one.independent:11.0f}  {where}  {typical:.2g}")
        for note in one.notes:
            print(f"{'':{width}}  {note}")
    print("(independent: samples; variables where F is lowest; error: median over the bins, kcal/mol)")
