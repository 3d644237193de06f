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
    """Time to failure (bonds broken or made; energy, temperature, uncertainty out of range), survival by temperature.

    An unstable trajectory is a result, not an error. Bonds are those of the manifest's structure, or of the first
    frame.

    Example: delta-sgdml analyze stability sweep/delta sweep/full --manifest models/c60_buckycatcher/manifest.yaml
    """
    from ...analysis.pictures.stability import plot_stability
    from ...analysis.stability import stability as examine
    from ...analysis.stability import survival
    from ...molecule.structures import read_structure

    complex_ = shared.manifest_of(manifest, runs)
    start = None if complex_ is None else read_structure(complex_.resolve(complex_.structure)).positions
    fragments = None if complex_ is None else [entry.atoms for entry in complex_.fragments]
    limits = Limits(stretch, energy, heat, uncertainty)
    everything = [run for model in shared.models(runs, prefix, timestep) for run in model]
    found = shared.with_progress(everything, lambda run: examine(run, limits, start, temperature, fragments))
    survivals = survival(found)
    path = output or shared.beside(runs, "stability.png")
    plot_stability(found, survivals, path)
    if as_json:
        said = {
            "limits": asdict(limits),
            "runs": [_finite(asdict(one)) for one in found],
            "survival": [
                {
                    "temperature_K": one.temperature,
                    "runs": one.runs,
                    "failed": one.failed,
                    "times_ps": one.times.tolist(),
                    "fraction": one.fraction.tolist(),
                }
                for one in survivals
            ],
            "picture": str(path),
        }
        print(json.dumps(said, allow_nan=False))
        return
    for one in found:
        print(one.line())
    for group in survivals:
        if group.runs > 1:
            where = "in all" if group.temperature is None else f"at {group.temperature:g} K"
            print(f"{where}: {group.failed} of {group.runs} failed; {group.fraction.min():.2f} hold to the end")
    print(f"picture: {path}")


def _finite(row: dict[str, object]) -> dict[str, object]:
    """Without numbers that JSON does not know: times, where no time is known."""
    return {key: None if isinstance(v, float) and v != v else v for key, v in row.items()}
