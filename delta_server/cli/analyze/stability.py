"""delta-sgdml analyze stability: how long a trajectory stays the molecule."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...molecule.limits import Limits
from ..options import EnergyMarginOption, JsonOption, MaxUncertaintyOption, StretchOption, picture
from . import common as shared


def stability(
    runs: shared.RunsArg,
    manifest: shared.ManifestOption = None,
    stretch: StretchOption = Limits.stretch,
    energy: EnergyMarginOption = Limits.energy,
    heat: Annotated[
        float, typer.Option(min=1.0, help="Broken: this times the set temperature, and 100 K more.")
    ] = Limits.heat,
    uncertainty: MaxUncertaintyOption = Limits.uncertainty,
    prefix: shared.PrefixOption = None,
    timestep: shared.TimestepOption = None,
    temperature: shared.TemperatureOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Picture (default: stability.png beside the first run).", callback=picture
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How long trajectories stay the molecule.

    Time to failure (bonds broken or made; energy, temperature, uncertainty out of range) and survival by temperature.
    An unstable trajectory is a result, not an error. Bonds are those of the manifest's structure, or of the first
    frame.

    Example: delta-sgdml analyze stability sweep/delta sweep/full --manifest models/c60_buckycatcher/manifest.yaml
    """
    from ...analysis.pictures.stability import plot_stability
    from ...analysis.stability import analyze_stability, survival

    limits = Limits(stretch, energy, heat, uncertainty)
    chosen, complex_ = shared.find(runs, prefix, timestep, manifest)
    with shared.reading(chosen) as progress:
        reports = [
            analyze_stability(run, complex_, limits=limits, temperature=temperature, progress=progress)
            for run in chosen
        ]
    survivals = survival(reports)
    path = output or shared.beside(runs, "stability.png")
    plot_stability(reports, survivals, path)
    if as_json:
        document = {
            "limits": asdict(limits),
            "runs": [report.as_dict() for report in reports],
            "survival": [group.as_dict() for group in survivals],
            "picture": str(path),
        }
        print(json.dumps(document, allow_nan=False))
        return
    for report in reports:
        print(report.line())
    for group in survivals:
        if group.runs > 1:
            print(group.line())
    print(f"picture: {path}")
