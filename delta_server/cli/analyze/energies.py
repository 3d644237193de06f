"""delta-sgdml analyze energies: energies, temperature and binding along a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import JsonOption, picture
from ..process import complain


def energies(
    directory: Annotated[Path, typer.Argument(help="Folder of an i-PI run.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Picture (default: PREFIX.png in the run's folder).", callback=picture),
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="Output prefix, where the folder has several runs.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw energies and temperature against time.

    Of the whole, the binding and the fragments: a picture and a line. Means begin where pymbar finds the potential
    energy in equilibrium; their errors know of correlations.

    Example: delta-sgdml analyze energies demo/h2o_benzene
    """
    from ...analysis.energies import analyze_energies
    from ...analysis.pictures.energies import plot_energies

    report = analyze_energies(directory, prefix=prefix)
    path = output or directory / f"{report.title}.png"
    plot_energies(report, path)
    for note in report.notes:
        complain(f"{report.title}: {note}")
    if as_json:
        print(json.dumps(report.as_dict() | {"picture": str(path)}, allow_nan=False))
    else:
        print(report.line())
        print(f"picture: {path}")
