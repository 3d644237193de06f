"""delta-sgdml analyze rotation: how a guest turns, and whether that is diffusion."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import JsonOption, picture
from . import common as shared

if TYPE_CHECKING:
    from ..._types import IntArray
    from ...analysis.rotation.diffusion import Rotation
    from ...analysis.trajectory import Run
    from ...manifest import Manifest


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
    the MSAD only where its log–log slope is about 1, and is held against C_1, C_2 and coarser strides.

    Example: delta-sgdml analyze rotation sweep/delta --manifest models/c60_buckycatcher/manifest.yaml
    """
    from ...analysis.pictures.rotation import plot_rotations

    complex_ = shared.manifest_of(manifest, runs)
    turning, frame = bodies(guest, host, complex_)
    everything = [run for model in shared.models(runs, prefix, timestep) for run in model]
    found = shared.with_progress(everything, lambda run: _rotation(run, turning, frame, every, longest), every)
    path = output or shared.beside(runs, "rotation.png")
    plot_rotations(found, path)
    if as_json:
        print(json.dumps({"rotations": [_plain(one) for one in found], "picture": str(path)}, allow_nan=False))
        return
    for one in found:
        print(one.line())
    print(f"picture: {path}")


def _rotation(run: Run, guest: IntArray, host: IntArray | None, every: int, longest: float | None) -> Rotation:
    import numpy as np
    from ase.data import atomic_masses

    from ...analysis.rotation.diffusion import rotation
    from ...analysis.rotation.rigid import orientations
    from ...errors import InputError

    numbers = run.numbers
    for atoms in (guest, host):
        if atoms is not None and int(atoms.max()) >= len(numbers):
            raise InputError(f"{run.path}: {len(numbers)} atoms, --guest or --host names atom {int(atoms.max())}")
    steps = run.steps[::every]
    interval = float(np.median(np.diff(steps))) * run.time_per_step if len(steps) > 1 else math.nan
    if not interval > 0:
        raise InputError(f"{run.path}: the time between its frames is not known; give --timestep")
    found = orientations(run.blocks(every), atomic_masses[numbers], guest, host)
    return rotation(found, interval, run.name, run.temperature, longest)


def bodies(guest: str | None, host: str | None, manifest: Manifest | None) -> tuple[IntArray, IntArray | None]:
    """The atoms of guest and host; None for the laboratory. Raises InputError."""
    import numpy as np

    from ...errors import InputError
    from ...manifest import parse_atoms

    fragments = {} if manifest is None else {fragment.name: fragment.atoms for fragment in manifest.fragments}
    names = list(fragments)

    def atoms(text: str, option: str) -> IntArray:
        if text in fragments:
            return np.array(fragments[text], dtype=np.intp)
        try:
            return np.array(parse_atoms(text), dtype=np.intp)
        except ValueError as error:
            known = f"; fragments: {', '.join(names)}" if names else "; fragments are known with --manifest"
            raise InputError(f"{option} {text}: {error}{known}") from None

    if guest is None and not names:
        raise InputError("which molecule turns? give --guest 0:60, or --manifest")
    turning = atoms(guest or names[0], "--guest")
    if host is None and len(names) == 2:
        other = [name for name in names if not set(fragments[name]) & set(turning.tolist())]
        host = other[0] if len(other) == 1 else None
    return turning, None if host in (None, "lab") else atoms(str(host), "--host")


def _plain(one: Rotation) -> dict[str, object]:
    """For machines."""
    from dataclasses import asdict

    from ...files.documents import plain

    said = plain(asdict(one))
    units = {"lags": "ps", "msad": "rad^2", "d": "rad^2/ps", "window": "ps", "rmsd": "Ang", "temperature": "K"}
    return {**said, "units": units}
