"""Which runs are meant, and which manifest each was made with: from what lies on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import DeltaError, InputError
from ..files.whole import sha256_of
from ..manifest import Manifest, load_manifest
from ..molecule.structures import read_structure
from ..server.record import hashes, load_run
from ..sweep.record import RECORD, Member, Sweep, load_sweep
from .trajectory import Run, runs_in


def find_runs(*paths: str | Path, prefix: str | None = None, timestep: float | None = None) -> list[Run]:
    """The trajectories in folders of i-PI runs, in sweeps and other folders of such folders, and in files that i-PI
    wrote or ase reads; their names tell them apart.

        >>> from delta_server.analysis import find_runs
        >>> [run] = find_runs("demo/h2o_benzene")
        >>> run.name, run.temperature, len(run.steps)
        ('nvt', 300.0, 1500)

    prefix: takes one of several runs in a folder. timestep: fs between steps, for files beside which i-PI recorded no
    time. Raises InputError where there is no run.
    """
    ladders = [(Path(path), runs_in(Path(path), prefix, timestep)) for path in paths]
    times = Counter(run.name for _, runs in ladders for run in runs)
    return [
        replace(run, name=f"{label(path)}/{run.name}" if times[run.name] > 1 else run.name, ladder=path)
        for path, runs in ladders
        for run in runs
    ]


def label(path: Path) -> str:
    """What to call the runs under a path: the name of the folder, or of the file without its ending."""
    return path.resolve().stem if path.is_file() else path.resolve().name


def ladders_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by the path under which they were found: temperatures of one model, which MBAR takes together."""
    ladders: dict[Path, list[Run]] = {}
    for run in runs:
        ladders.setdefault(run.ladder or run.path, []).append(run)
    names = Counter(map(label, ladders))
    return {label(path) if names[label(path)] == 1 else str(path): some for path, some in ladders.items()}


@dataclass(frozen=True)
class MadeWith:
    """The manifest of a run, or None where nothing tells it; notes: what its files have become since, in a line."""

    manifest: Manifest | None
    notes: tuple[str, ...] = ()


def made_with(run: Run, given: str | Path | Manifest | None = None) -> MadeWith:
    """Which manifest a run was made with: the one given, or what run.json in its folder says, or the sweep.json there
    or above it.

    Raises InputError for a record that is none, and for a given manifest of other atoms; ManifestError for a file
    that is no manifest.
    """
    sweep = _sweep_of(run)
    made = _made_with(run, sweep, given)
    return made if sweep is None else replace(made, notes=(*made.notes, *sweep.record.notes))


def _made_with(run: Run, sweep: Sweep | None, given: str | Path | Manifest | None) -> MadeWith:
    if given is None:
        record = _record_of(run, sweep)
        return MadeWith(None) if record is None else read_recorded(*record)
    if isinstance(given, Manifest):
        manifest, record = given, None
    else:
        manifest, record = load_manifest(Path(given)), _record_of(run, sweep)
    numbers = read_structure(manifest.resolve(manifest.structure)).numbers
    if not np.array_equal(numbers, run.numbers):
        raise InputError(
            f"{run.path}: its {len(run.numbers)} atoms are not the {len(numbers)} of {manifest.path}; give the "
            "manifest of the molecules that ran"
        )
    if record is None or sha256_of(manifest.path) == record[1].get(record[0].name):
        return MadeWith(manifest)
    return MadeWith(manifest, (f"made with {record[0]}, not with {manifest.path}",))


def _record_of(run: Run, sweep: Sweep | None) -> tuple[Path, dict[str, str], str] | None:
    """The arguments of `read_recorded`, as the record in the run's folder or of its sweep has them."""
    record = load_run(run.path.resolve().parent)
    if record is not None:
        return record.manifest, record.sha256, "run"
    return None if sweep is None else (sweep.manifest, sweep.record.sha256, "sweep")


def _sweep_of(run: Run) -> Sweep | None:
    folder = run.path.resolve().parent
    return next((load_sweep(above) for above in (folder, *folder.parents[:2]) if (above / RECORD).is_file()), None)


def notes_of(run: Run) -> tuple[str, ...]:
    """What its sweep's record has to say of it. Raises InputError for a record that is none."""
    sweep = _sweep_of(run)
    return () if sweep is None else sweep.record.notes


def biased_in(run: Run) -> tuple[Sweep, Member] | None:
    """The sweep that biased a run, by windows or metadynamics, and which of its trajectories it is; None where it was
    not biased so. Raises InputError."""
    folder = run.path.resolve().parent
    if not (folder.parent / RECORD).is_file():
        return None
    sweep = load_sweep(folder.parent)
    return None if sweep.record.bias is None else (sweep, sweep.member(folder))


def read_recorded(path: Path, sha256: dict[str, str], what: str) -> MadeWith:
    """The manifest at a recorded path, and whether it and its models are still the files that they were. what: the
    run or the sweep, for the notes."""
    try:
        manifest = load_manifest(path)
        now = hashes(manifest)
    except (DeltaError, OSError) as error:
        return MadeWith(None, (f"its manifest cannot be read now: {error}",))
    changed = sorted(file for file in {*now, *sha256} if now.get(file) != sha256.get(file))
    if not changed:
        return MadeWith(manifest)
    return MadeWith(manifest, (f"no longer the files that the {what} was begun with: {', '.join(changed)}",))
