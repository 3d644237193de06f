"""delta-sgdml report: one page of what one ladder of temperatures, or several, did."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .analyze.common import BoundOption, BulkOption, ConeOption, standard_state
from .options import JsonOption, check_writable
from .progress import Progress

if TYPE_CHECKING:
    from ..analysis.report.collect import Report

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
        Path | None, typer.Option(metavar="DIR", help="Write every figure there as well, as SVG and PNG.")
    ] = None,
    names: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="What to call them (default: the folders' names).")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Manifest with the fragments (default: that of the first run with more than one)."),
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
    bound: BoundOption = None,
    bulk: BulkOption = None,
    cone: ConeOption = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.1, help="K, of runs that recorded no ensemble_temperature.")
    ] = None,
    frames: Annotated[int, typer.Option(min=2, max=2000, help="Of each trajectory in the viewer, at most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page of what sweeps or runs did.

    It opens offline: what was run, what came out by temperature, the molecule moving in 3D. Stability, free energy,
    rotation (MSAD, D_r) and energies, with tables to copy and data to save. What is missing (temperatures that have
    not run yet, trajectories too short) is said in a line.

    Example: delta-sgdml report demo/delta demo/full -o demo/report.html --figures demo/figures
    """
    from ..analysis.report.collect import collect
    from ..analysis.report.page import About, frames_within, make_page
    from ..analysis.report.sources import choose_what, read_sources
    from ..errors import InputError
    from ..files.whole import write_whole

    path = output or directories[0] / "report.html"
    if directories[0].is_dir():  # or `read_sources` says what is wrong
        check_writable(path)
    sources = read_sources(directories, names)
    choices = choose_what(sources, manifest, variables, over, guest, host)
    standard = standard_state(bound, bulk, cone)
    runs = [run for source in sources for run in source.runs]
    room = frames_within(len(runs[0].numbers), len(runs), frames) if runs else frames
    choices = replace(choices, bins=bins, mbar=mbar, frames=room, temperature=temperature, standard=standard)
    progress = Progress(0, "steps of the analysis")

    def on_stage(done: int, total: int, what: str) -> None:
        progress.total = total
        progress(done, f": {what}")

    try:
        contents = collect(sources, choices, on_stage)
    finally:
        progress.end()
    about = About(_today(), shlex.join(["delta-sgdml", *sys.argv[1:]]), _versions())
    page = make_page(contents, about, highest)
    write_whole(path, page.html)
    written: list[Path] = []
    if figures is not None:
        try:
            figures.mkdir(parents=True, exist_ok=True)
            written = [file for picture in page.pictures for file in picture.write(figures)]
        except OSError as error:
            raise InputError(f"{error.filename or figures}: {error.strerror}") from None
    _tell(contents, path, written, as_json)


def _tell(contents: Report, path: Path, written: list[Path], as_json: bool) -> None:
    size = path.stat().st_size
    missing = [f"{part.title}: no {stage}: {why}" for part in contents.parts for stage, why in part.missing.items()]
    missing = [f"{s.name}: {line}" for s in contents.sources for line in (*s.absent, *s.notes)] + missing
    if as_json:
        document = {
            "page": str(path),
            "bytes": size,
            "runs": len(contents.parts),
            "figures": [str(file) for file in written],
            "missing": missing,
            "notes": list(contents.notes),
        }
        print(json.dumps(document, allow_nan=False))
        return
    for line in (*missing, *contents.notes):
        print(line)
    if size > _LARGE:
        print(f"{size / 1e6:.0f} MB is much for a page: --frames or --bins make it smaller")
    if written:
        print(f"figures: {len(written)} in {written[0].parent}")
    print(f"page: {path} ({size / 1e6:.1f} MB, {len(contents.parts)} trajectories)")


def _today() -> str:
    from datetime import datetime

    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _versions() -> dict[str, str]:
    from ..files.documents import versions

    return versions(*_PACKAGES, missing="not installed")
