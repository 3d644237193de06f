"""delta-sgdml analyze free-energy: F over collective variables, of runs side by side or of a ladder as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import JsonOption, picture
from . import common as shared

if TYPE_CHECKING:
    from ...analysis.free_energy.run import FreeEnergies


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
        typer.Option(min=0.1, help="K: all temperatures of each RUN as one surface at this one, by MBAR."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="As R_CM=6.5: also F of all above less F of all below.")] = None,
    bound: shared.BoundOption = None,
    bulk: shared.BulkOption = None,
    cone: shared.ConeOption = None,
    sphere: Annotated[
        bool,
        typer.Option("--with-4pir2/--without-4pir2", help="F of a distance with its 4πr², or without."),
    ] = True,
    together: Annotated[
        bool, typer.Option("--together", help="Windows of all RUNS as one ladder: those of one, and others added.")
    ] = False,
    convergence: Annotated[
        Path | None,
        typer.Option(
            help="Also a picture of ΔG° by the first, and by the last, tenth to nine tenths of each run.",
            metavar="FILE",
            callback=picture,
            show_default=False,
        ),
    ] = None,
    highest: Annotated[float | None, typer.Option(min=0.0, help="kcal/mol at the end of the colours.")] = None,
    all_of_it: Annotated[bool, typer.Option("--all", help="Also the start, before a run is in equilibrium.")] = False,
    skip: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="ps at the start of each run that are left out, where something relaxes that neither the variables "
            "nor the energy tell.",
            metavar="PS",
            show_default="none",
        ),
    ] = 0.0,
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
    --mbar each RUN (a folder with several temperatures of one model) becomes one surface. Umbrella windows of a sweep
    become one surface by MBAR, walkers of metadynamics one by reweighting (dashed: by the negative bias alone);
    dotted beside it the first and the second half of each run alone.

    Example: delta-sgdml analyze free-energy sweep/delta sweep/full --manifest models/c60_buckycatcher/manifest.yaml
    """
    from ...analysis.free_energy.run import analyze_free_energy
    from ...analysis.pictures.free_energy import plot_convergence, plot_surfaces
    from ...errors import InputError

    standard = shared.standard_state(bound, bulk, cone)
    if convergence is not None and standard is None:
        raise InputError("--convergence is of ΔG°: it goes with --bound and --bulk")
    chosen, complex_ = shared.find(runs, prefix, timestep, manifest)
    with shared.reading(chosen, every) as progress:
        result = analyze_free_energy(
            chosen, complex_, variables, over, bins=bins, min_count=min_count, mbar=mbar, split=split,
            temperature=temperature, every=every, equilibrated=not all_of_it, skip=skip,
            standard=standard, sphere=sphere, together=together,
            convergence=convergence is not None, progress=progress,
        )  # fmt: skip
    path = output or shared.beside(runs, "free_energy.png")
    plot_surfaces(result.surfaces, result.units, path, highest)
    if convergence is not None:
        plot_convergence(result.binding, convergence)
    if as_json:
        print(json.dumps(result.as_dict() | {"picture": str(path)}, allow_nan=False))
        return
    _table(result)
    for difference in result.differences:
        print(difference.line())
    for binding in result.binding:
        print("\n".join(binding.lines()))
    for name, enthalpy in result.enthalpies.items():
        print(f"{name}: {enthalpy.line()}")
    for note in result.notes:
        print(note)
    print(f"picture: {path}" + (f", {convergence}" if convergence else ""))


def _table(result: FreeEnergies) -> None:
    import numpy as np

    names = result.surfaces[0].variables
    at = [f"{name} ({unit})" for name, unit in zip(names, result.units, strict=True)]
    width = max(len("run"), *(len(surface.name) for surface in result.surfaces))
    print(f"{'run':{width}}  {'T (K)':>6}  {'independent':>11}  " + "  ".join(f"{a:>10}" for a in at) + "  error")
    for surface in result.surfaces:
        where = "  ".join(f"{x:10.3f}" for x in surface.lowest)
        typical = float(np.nanmedian(surface.error))
        numbers = f"{surface.temperature:6.4g}  {surface.independent:11.0f}  {where}  {typical:.2g}"
        print(f"{surface.name:{width}}  {numbers}")
        for note in surface.notes:
            print(f"{'':{width}}  {note}")
    print("(independent: samples; variables where F is lowest; error: median over the bins, kcal/mol)")
