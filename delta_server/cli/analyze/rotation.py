"""delta-sgdml analyze rotation: how a guest turns, and whether that is diffusion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import JsonOption, picture
from . import common as shared


def rotation(
    runs: shared.RunsArg,
    manifest: shared.ManifestOption = None,
    guest: Annotated[
        str | None, typer.Option(help="Fragment or atoms (0:60) that turn (default: the first fragment).")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Fragment or atoms that it turns against, or lab (default: the second fragment)."),
    ] = None,
    longest: Annotated[float | None, typer.Option(min=0.0, help="ps: longest lag.")] = None,
    turn: Annotated[
        float, typer.Option(min=5.0, max=150.0, help="Degrees that count as a turn; more than a cage is wide.")
    ] = 60.0,
    prefix: shared.PrefixOption = None,
    timestep: shared.TimestepOption = None,
    every: shared.EveryOption = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Picture (default: rotation.png beside the first run).", callback=picture
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How a guest turns, and whether that is diffusion.

    Mean squared angular displacement, D_r (rad²/ps) and the orientational correlations C_1 and C_2. D_r comes from
    the MSAD only where its log–log slope is about 1, and is held against C_1, C_2 and coarser strides. Turns are
    counted: D_r from them, and how much longer a rest is from any moment than from the last turn (persistence over
    exchange), which is 1 for diffusion and more where rotation is intermittent.

    Example: delta-sgdml analyze rotation sweep/delta --manifest models/c60_buckycatcher/manifest.yaml
    """
    from ...analysis.pictures.rotation import plot_rotations
    from ...analysis.rotation.run import analyze_rotation

    chosen, complex_ = shared.find(runs, prefix, timestep, manifest)
    with shared.reading(chosen, every) as progress:
        rotations = [
            analyze_rotation(run, complex_, guest, host, every=every, longest=longest, turn=turn, progress=progress)
            for run in chosen
        ]
    path = output or shared.beside(runs, "rotation.png")
    plot_rotations(rotations, path)
    if as_json:
        document = {"rotations": [turned.as_dict() for turned in rotations], "picture": str(path)}
        print(json.dumps(document, allow_nan=False))
        return
    for turned in rotations:
        print(turned.line())
    print(f"picture: {path}")
