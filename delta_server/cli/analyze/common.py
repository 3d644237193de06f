"""What the commands under `delta-sgdml analyze` share: which runs are meant, of which complex, and their progress."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..process import complain, complain_of
from ..progress import Progress

if TYPE_CHECKING:
    from ...analysis.free_energy.binding import StandardState
    from ...analysis.trajectory import OnFrames, Run
    from ...manifest import Manifest

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
    typer.Option("--manifest", help="Manifest of the complex: its fragments and structure (default: the run's own)."),
]
PrefixOption = Annotated[str | None, typer.Option(help="Output prefix, to take one run of a folder with several.")]
TimestepOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="fs between steps (frames, in files that count no steps), if i-PI told no time."),
]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0.1, help="K, if i-PI recorded no ensemble_temperature.")
]
BoundOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="Å: with --bulk, also ΔG° (1 M) of all that is nearer than this, by biased runs."),
]
BulkOption = Annotated[
    str | None, typer.Option(help="Shell in which the curve is flat, from and to (Å): 10:12.", metavar="RANGES")
]
ConeOption = Annotated[
    str | None,
    typer.Option(
        help="As axis=145:180: of the shell only where this angle at the host is so, as a restraint in the "
        "manifest keeps it."
    ),
]
EveryOption = Annotated[int, typer.Option(min=1, help="Take every n-th frame.")]


def find(
    paths: Sequence[Path], prefix: str | None, timestep: float | None, manifest: Path | None
) -> tuple[list[Run], Manifest | None]:
    """The runs of all arguments, and the manifest for all of them: the one given, or that of the first run."""
    from ...analysis.runs import find_runs, made_with

    runs = find_runs(*paths, prefix=prefix, timestep=timestep)
    made = made_with(runs[0], manifest)
    tell_notes(runs, made.notes)
    return runs, made.manifest


def tell_notes(runs: Sequence[Run], of_first: Sequence[str] = ()) -> None:
    """What is noted of the runs, each once; of_first: of the first one, if more is."""
    from ...analysis.runs import notes_of

    first = [(runs[0].name, note) for note in of_first]
    complain_of([*first, *((run.name, note) for run in runs for note in notes_of(run))])


def standard_state(bound: float | None, bulk: str | None, cone: str | None) -> StandardState | None:
    """What ΔG° is asked for by these options; None where it is not. Raises InputError."""
    from ...analysis.free_energy.binding import Cone, StandardState
    from ...errors import InputError

    if bound is None and bulk is None and cone is None:
        return None
    shell = _between(bulk or "")
    if bound is None or shell is None or not shell[0] < shell[1]:
        raise InputError("--bound R --bulk LOW:HIGH go together: distances in Å, such as --bound 6.5 --bulk 10:12")
    if cone is None:
        return StandardState(bound, *shell)
    name, _, angles = cone.partition("=")
    if (within := _between(angles)) is None:
        raise InputError(f"--cone {cone}: expected an angle and its range in degrees, as axis=145:180")
    return StandardState(bound, *shell, Cone(name.strip(), *within))


def _between(text: str) -> tuple[float, float] | None:
    """Two numbers, ``10:12``; None where it is something else."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        return None
    return low, high


def beside(paths: Sequence[Path], name: str) -> Path:
    """Where a picture goes by default: into the first run's folder."""
    return (paths[0] if paths[0].is_dir() else paths[0].parent) / name


@contextmanager
def reading(runs: Sequence[Run], every: int = 1) -> Iterator[OnFrames]:
    """A line on stderr while every `every`-th frame of the runs is read, one after the other; then what of them was
    left out as damaged."""
    lines: dict[str, Progress] = {}
    read: dict[str, Run] = {}

    def show(run: Run, done: int) -> None:
        read[run.name] = run
        if run.name not in lines:
            end()
            of = f" of {run.name} ({len(lines) + 1} of {len(runs)})" if len(runs) > 1 else ""
            lines[run.name] = Progress(math.ceil(len(run.steps) / every), f"frames{of}")
        lines[run.name](done)

    def end() -> None:
        for line in lines.values():
            line.end()

    try:
        yield show
    finally:
        end()
    for name, run in read.items():
        for note in run.notes:
            complain(f"{name}: {note}")
