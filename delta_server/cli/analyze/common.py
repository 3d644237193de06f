"""What the commands under `delta-sgdml analyze` share: which runs are meant, and of which complex."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..progress import Progress

if TYPE_CHECKING:
    from ...analysis.trajectory import Run
    from ...manifest import Manifest

T = TypeVar("T")

RunsArg = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Folders of i-PI runs or of sweeps, or trajectories that i-PI wrote or ase reads.",
        show_default=False,
    ),
]
ManifestOption = Annotated[
    Path | None,
    typer.Option("--manifest", help="Manifest of the complex: its fragments and structure (default: the sweep's)."),
]
PrefixOption = Annotated[str | None, typer.Option(help="Output prefix, to take one run of a folder with several.")]
TimestepOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="fs between steps (frames, in files that count no steps), if i-PI told no time."),
]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0.0, help="K, if i-PI recorded no ensemble_temperature.")
]
EveryOption = Annotated[int, typer.Option(min=1, help="Take every n-th frame.")]


def models(paths: Sequence[Path], prefix: str | None, timestep: float | None) -> list[list[Run]]:
    """The runs of each argument, with names that tell them apart."""
    from ...analysis.trajectory import find_runs

    found = [find_runs(path, prefix, timestep) for path in paths]
    times = Counter(run.name for runs in found for run in runs)
    return [
        [replace(run, name=f"{label(path)}/{run.name}") if times[run.name] > 1 else run for run in runs]
        for path, runs in zip(paths, found, strict=True)
    ]


def label(path: Path) -> str:
    """Of a run's or a model's folder."""
    return path.resolve().stem if path.is_file() else path.resolve().name


def manifest_of(given: Path | None, paths: Sequence[Path]) -> Manifest | None:
    """The manifest given, or that of the sweep that the first run belongs to."""
    from ...manifest import load_manifest
    from ...sweep.record import RECORD, load_sweep

    if given is not None:
        return load_manifest(given)
    first = paths[0].resolve()
    for folder in (first, *first.parents[:2]):
        if (folder / RECORD).is_file():
            return load_manifest(load_sweep(folder).manifest)
    return None


def beside(paths: Sequence[Path], name: str) -> Path:
    """Where a picture goes by default: into the first run's folder."""
    return (paths[0] if paths[0].is_dir() else paths[0].parent) / name


def with_progress(runs: Sequence[Run], look: Callable[[Run], T], every: int = 1) -> list[T]:
    """What `look` finds in each run, with a line on stderr while frames are read."""
    found = []
    for k, run in enumerate(runs):
        of = f" of {run.name} ({k + 1} of {len(runs)})" if len(runs) > 1 else ""
        progress = Progress(math.ceil(len(run.steps) / every), f"frames{of}")
        try:
            found.append(look(replace(run, watch=progress)))
        finally:
            progress.end()
    return found
