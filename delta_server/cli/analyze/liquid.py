"""delta-sgdml analyze liquid: many molecules in a cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import JsonOption, picture
from . import common as shared


def liquid(
    runs: shared.RunsArg,
    skip: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Time (ps) at the start to leave out.",
            metavar="PS",
            show_default="until the density is in equilibrium",
        ),
    ] = None,
    longest: Annotated[
        float | None,
        typer.Option(min=0.0, help="Longest lag (ps).", metavar="PS", show_default="a tenth of the run"),
    ] = None,
    width: Annotated[float, typer.Option(min=0.001, help="Width of the bins of r (Å).")] = 0.05,
    prefix: shared.PrefixOption = None,
    timestep: shared.TimestepOption = None,
    every: shared.EveryOption = 1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Picture (default: liquid.png beside the first run).", callback=picture),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Density, cell, g(r) and diffusion of molecules in a cell.

    Radial distribution functions are of elements, without pairs within a molecule, and of centres of mass; D is the
    slope of the mean squared displacement of these, its error from five pieces of the run. Molecules are those of
    the first frame's bonds.

    Example: delta-sgdml analyze liquid npt --skip 5
    """
    from ...analysis.liquid.run import analyze_liquid
    from ...analysis.pictures.liquid import plot_liquids
    from ...analysis.runs import find_runs

    chosen = find_runs(*runs, prefix=prefix, timestep=timestep)
    shared.tell_notes(chosen)
    with shared.reading(chosen, every) as progress:
        liquids = [
            analyze_liquid(run, every=every, skip=skip, longest=longest, width=width, progress=progress)
            for run in chosen
        ]
    path = output or shared.beside(runs, "liquid.png")
    plot_liquids(liquids, path)
    if as_json:
        print(json.dumps({"liquids": [each.as_dict() for each in liquids], "picture": str(path)}, allow_nan=False))
        return
    for each in liquids:
        print(each.line())
    print(f"picture: {path}")
