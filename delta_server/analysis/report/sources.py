"""What a page is about: the ladders of temperatures in folders, and what of them is analysed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import DeltaError, InputError
from ...manifest import Manifest, load_manifest
from ...molecule.structures import read_structure
from ...sweep.record import RECORD, Sweep, load_sweep
from ...sweep.state import load_state
from ...sweep.write import START
from ...terms.bias import nearest_images
from ..free_energy.choice import choose
from ..rotation.run import bodies
from ..runs import made_with, read_recorded
from ..trajectory import Run, runs_in
from .collect import Choices, ReportSource, WhileRunning


def read_sources(folders: Sequence[Path], names: str | None = None) -> list[ReportSource]:
    """The ladders in folders of sweeps or of runs. names: what to call them, with commas between, by default as the
    folders. Raises InputError."""
    called = [name.strip() for name in names.split(",")] if names else _names(folders)
    if not names and len(set(called)) < len(called):
        twice = next(folder for folder, name in zip(folders, called, strict=True) if called.count(name) > 1)
        raise InputError(f"{twice}: given twice; a page shows each folder once")
    if len(called) != len(folders) or len(set(called)) < len(called) or not all(called):
        raise InputError(f"--names {names}: expected {len(folders)} names, all different")
    return [_source(folder, name) for folder, name in zip(folders, called, strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, with as much of what is above as tells them apart."""
    places = [folder.resolve() for folder in folders]
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        called = ["/".join(place.parts[-depth:]) for place in places]
        if max(Counter(called).values()) == 1:
            break
    return called


def _source(folder: Path, name: str) -> ReportSource:
    """A sweep, or a folder of runs that is none. Raises InputError for what is neither."""
    if (folder / RECORD).is_file():
        return _source_of_sweep(load_sweep(folder), name)
    runs = runs_in(folder)
    made = made_with(runs[0])
    notes = ["not a sweep: nothing recorded what was run here" if made.manifest is None else "not a sweep"]
    start = None
    if made.manifest is not None:
        start = read_structure(made.manifest.resolve(made.manifest.structure)).positions
    return ReportSource(name, folder, tuple(runs), made.manifest, notes=(*notes, *made.notes), start=start)


def _source_of_sweep(sweep: Sweep, name: str) -> ReportSource:
    record = sweep.record
    runs: list[Run] = []
    absent: list[str] = []
    told: dict[str, WhileRunning] = {}
    for member in sweep.members:
        try:
            state = load_state(sweep, member)
            folder = sweep.ladder if record.kind == "remd" else member.folder
            if not any(folder.glob(f"{member.name}_*.out")):
                absent.append(f"{member.name} has not run yet ({state.phase})")
                continue
            of_member = [run for run in runs_in(folder) if run.name.startswith(f"{member.name}_")]
            told |= {run.name: WhileRunning(state.phase, state.reason, state.broken_step) for run in of_member}
            runs += of_member
        except DeltaError as error:
            absent.append(f"{member.name} has nothing to show: {error}")
    made = read_recorded(sweep.manifest, record.sha256, "sweep")
    start = sweep.folder / START
    return ReportSource(
        name,
        sweep.folder,
        tuple(runs),
        made.manifest,
        record.model_dump(mode="json"),
        record.limits,
        told,
        tuple(absent),
        (*made.notes, *record.notes),
        read_structure(start).positions if start.is_file() else None,
    )


def choose_what(
    sources: Sequence[ReportSource],
    manifest: Path | None = None,
    variables: Path | None = None,
    over: str | None = None,
    guest: str | None = None,
    host: str | None = None,
) -> Choices:
    """The variables of the free energy and the bodies that turn. What was asked for has to be there; what nobody
    asked for may be missing, and `Choices.why_not` tells why.

    manifest: by default the first source's that has several fragments. Raises InputError and ManifestError.
    """
    complex_ = load_manifest(manifest) if manifest is not None else _with_fragments(sources)
    choices = Choices(periodic=nearest_images(complex_))
    why_not = {}
    try:
        known, names = choose(complex_, variables, over)
        choices = replace(choices, variables=known, over=tuple(names))
    except InputError as error:
        if manifest or variables or over:
            raise
        why_not["free energy"] = str(error)
    try:
        turning, still = bodies(guest, host, complex_)
        choices = replace(choices, guest=turning, host=still)
    except InputError as error:
        if guest or host:
            raise
        why_not["rotation"] = str(error)
    return replace(choices, why_not=why_not)


def _with_fragments(sources: Sequence[ReportSource]) -> Manifest | None:
    """The first manifest with two molecules; a model of the whole complex has but one."""
    manifests = [source.manifest for source in sources if source.manifest is not None]
    several = (manifest for manifest in manifests if len(manifest.fragments) > 1)
    return next(several, manifests[0] if manifests else None)
