"""delta-sgdml report: one page of what one ladder of temperatures, or several, did."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import JsonOption, check_writable
from .progress import Progress

if TYPE_CHECKING:
    from ..analysis.report.collect import Choices, Report, Source
    from ..analysis.trajectory import Run
    from ..manifest import Manifest
    from ..sweep.record import Sweep

_LARGE = 10_000_000  # bytes of a page
_PACKAGES = ("delta-server", "numpy", "scipy", "pymbar", "matplotlib", "ase")


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of sweeps or of i-PI runs; several stand side by side."),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Page (default: report.html in the first folder).")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write every figure there as well, as SVG and PNG.")
    ] = None,
    names: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="What to call them (default: the folders' names).")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Manifest with the fragments (default: the first sweep's that has more than one)."),
    ] = None,
    variables: Annotated[
        Path | None,
        typer.Option(help="Groups and collective variables, YAML (default: R_CM, and R_p of two corannulenes)."),
    ] = None,
    over: Annotated[
        str | None, typer.Option(help="One or two of the variables, as R_p,R_CM (default: the first two).")
    ] = None,
    guest: Annotated[str | None, typer.Option(help="Fragment or atoms that turn (default: the first).")] = None,
    host: Annotated[
        str | None, typer.Option(help="Fragment or atoms that it turns against, or lab (default: the second).")
    ] = None,
    bins: Annotated[
        int | None, typer.Option(min=2, max=200, help="Along each variable (default: by the number of samples).")
    ] = None,
    highest: Annotated[float | None, typer.Option(min=0.1, help="kcal/mol at the end of F's scale.")] = None,
    mbar: Annotated[
        float | None,
        typer.Option(min=0.1, help="K: also F of each ladder at this temperature from all of its own."),
    ] = None,
    frames: Annotated[int, typer.Option(min=2, max=2000, help="Of each trajectory in the viewer, at most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """One HTML file that opens offline: what was run, what came out by temperature, the molecule moving in 3D.

    Stability, free energy, rotation (MSAD, D_r) and energies, with tables to copy and data to save.

    What is missing (temperatures that have not run yet, trajectories too short) is said in a line.

    Example: delta-sgdml report demo/delta demo/full -o demo/report.html --figures demo/figures
    """
    from ..analysis.report.collect import collect
    from ..analysis.report.page import About, frames_within, make_page
    from ..errors import InputError
    from ..files.whole import write_whole

    path = output or directories[0] / "report.html"
    if directories[0].is_dir():  # or `_sources` says what is wrong
        check_writable(path)
    sources = _sources(directories, names)
    choices = _choices(sources, manifest, variables, over, guest, host)
    runs = [run for source in sources for run in source.runs]
    room = frames_within(len(runs[0].numbers), len(runs), frames) if runs else frames
    choices = replace(choices, bins=bins, mbar=mbar, frames=room)
    progress = Progress(0, "steps of the analysis")

    def on_stage(done: int, total: int, what: str) -> None:
        progress.total = total
        progress(done, f": {what}")

    try:
        found = collect(sources, choices, on_stage)
    finally:
        progress.end()
    about = About(_today(), shlex.join(["delta-sgdml", *sys.argv[1:]]), _versions())
    page = make_page(found, about, highest)
    write_whole(path, page.html)
    written: list[Path] = []
    if figures is not None:
        try:
            figures.mkdir(parents=True, exist_ok=True)
            written = [file for picture in page.pictures for file in picture.write(figures)]
        except OSError as error:
            raise InputError(f"{error.filename or figures}: {error.strerror}") from None
    _say(found, path, written, as_json)


def _say(found: Report, path: Path, written: list[Path], as_json: bool) -> None:
    size = path.stat().st_size
    missing = [f"{part.title}: no {stage}: {why}" for part in found.parts for stage, why in part.missing.items()]
    missing = [f"{s.name}: {line}" for s in found.sources for line in (*s.absent, *s.notes)] + missing
    if as_json:
        said = {
            "page": str(path),
            "bytes": size,
            "runs": len(found.parts),
            "figures": [str(file) for file in written],
            "missing": missing,
            "notes": list(found.notes),
        }
        print(json.dumps(said, allow_nan=False))
        return
    for line in (*missing, *found.notes):
        print(line)
    if size > _LARGE:
        print(f"{size / 1e6:.0f} MB is much for a page: --frames or --bins make it smaller")
    if written:
        print(f"figures: {len(written)} in {written[0].parent}")
    print(f"page: {path} ({size / 1e6:.1f} MB, {len(found.parts)} trajectories)")


def _sources(directories: list[Path], names: str | None) -> list[Source]:
    """Raises InputError."""
    from ..errors import InputError

    called = [name.strip() for name in names.split(",")] if names else _names(directories)
    if len(called) != len(directories) or len(set(called)) < len(called) or not all(called):
        raise InputError(f"--names {names}: expected {len(directories)} names, all different")
    return [_source(folder, name) for folder, name in zip(directories, called, strict=True)]


def _names(directories: list[Path]) -> list[str]:
    """The folders' own names, with as much of what is above as tells them apart."""
    places = [folder.resolve() for folder in directories]
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        called = ["/".join(place.parts[-depth:]) for place in places]
        if max(Counter(called).values()) == 1:
            break
    return called


def _source(folder: Path, name: str) -> Source:
    """A sweep, or a folder of runs that has no record. Raises InputError for what is neither."""
    from ..analysis.report.collect import Source
    from ..analysis.trajectory import find_runs
    from ..sweep.record import RECORD, load_sweep

    if (folder / RECORD).is_file():
        return _of_sweep(load_sweep(folder), name)
    return Source(name, folder, tuple(find_runs(folder)), notes=("not a sweep: nothing recorded what was run here",))


def _of_sweep(sweep: Sweep, name: str) -> Source:
    from ..analysis.report.collect import Source, Told
    from ..analysis.trajectory import find_runs
    from ..errors import DeltaError
    from ..manifest import load_manifest
    from ..molecule.structures import read_structure
    from ..server.record import hashes
    from ..sweep.state import load_state
    from ..sweep.write import START

    record = sweep.record
    runs: list[Run] = []
    absent: list[str] = []
    notes: list[str] = []
    told: dict[str, Told] = {}
    for member in sweep.members:
        try:
            state = load_state(sweep, member)
            folder = sweep.ladder if record.kind == "remd" else member.folder
            if not any(folder.glob(f"{member.name}_*.out")):
                absent.append(f"{member.name} has not run yet ({state.phase})")
                continue
            found = [run for run in find_runs(folder) if run.name.startswith(f"{member.name}_")]
            told |= {run.name: Told(state.phase, state.reason, state.broken_step) for run in found}
            runs += found
        except DeltaError as error:
            absent.append(f"{member.name} has nothing to show: {error}")
    manifest, start = None, None
    try:
        manifest = load_manifest(sweep.manifest)
        now = hashes(manifest)
        changed = sorted(file for file in {*now, *record.sha256} if now.get(file) != record.sha256.get(file))
        if changed:
            notes.append(f"no longer the files that the sweep was begun with: {', '.join(changed)}")
    except (DeltaError, OSError) as error:
        notes.append(f"its manifest cannot be read now: {error}")
    if (sweep.folder / START).is_file():
        start = read_structure(sweep.folder / START).positions
    return Source(
        name,
        sweep.folder,
        tuple(runs),
        manifest,
        record.model_dump(mode="json"),
        record.limits,
        told,
        tuple(absent),
        tuple(notes),
        start,
    )


def _choices(
    sources: list[Source],
    manifest: Path | None,
    variables: Path | None,
    over: str | None,
    guest: str | None,
    host: str | None,
) -> Choices:
    """What was asked for has to be there; what nobody asked for may be missing, in a line. Raises InputError."""
    from ..analysis.report.collect import Choices
    from ..errors import InputError
    from ..manifest import load_manifest
    from .analyze.free_energy import choose
    from .analyze.rotation import bodies

    complex_ = load_manifest(manifest) if manifest is not None else _with_fragments(sources)
    found = Choices()
    why_not = {}
    try:
        there, names = choose(None if complex_ is None else complex_.path, variables, over, [sources[0].folder])
        found = replace(found, variables=there, over=tuple(names))
    except InputError as error:
        if manifest or variables or over:
            raise
        why_not["free energy"] = str(error)
    try:
        turning, still = bodies(guest, host, complex_)
        found = replace(found, guest=turning, host=still)
    except InputError as error:
        if guest or host:
            raise
        why_not["rotation"] = str(error)
    return replace(found, why_not=why_not)


def _with_fragments(sources: list[Source]) -> Manifest | None:
    """The first manifest with two molecules; a model of the whole complex has but one."""
    there = [source.manifest for source in sources if source.manifest is not None]
    return next((manifest for manifest in there if len(manifest.fragments) > 1), there[0] if there else None)


def _today() -> str:
    from datetime import datetime

    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _versions() -> dict[str, str]:
    import importlib.metadata

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
