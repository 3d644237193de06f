"""What a run was asked for, kept in its folder as ``run.json``, and what such records share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError

from ..errors import InputError
from ..files.documents import Strict, first_error, read_text, versions
from ..files.whole import sha256_of, write_json
from ..manifest import Manifest, load_manifest

RUN = "run.json"
_MAX_BYTES = 2**20


AnyRecord = TypeVar("AnyRecord", bound=Strict)


class LeftRange(Strict):
    """A term that left what its model knows: at which step of which system of the input (its prefix), with which
    expected error of its force components, and the largest where it was trained, eV/Å."""

    system: str
    term: str
    step: int
    error: float
    usual: float


class RunRecord(Strict):
    """What `delta-sgdml run` was asked for. manifest: in the file relative to its folder, absolute when loaded;
    sha256: of the manifest and of its models, by path relative to the manifest. left: what happened since."""

    format: Literal["delta-sgdml-run/1"] = "delta-sgdml-run/1"
    manifest: Path
    sha256: dict[str, str]
    versions: dict[str, str]
    command: str
    left: tuple[LeftRange, ...] = ()


def write_run(folder: Path, manifest: Path, command: str = "") -> None:
    """Keep which manifest a run uses; command: what was typed. Raises InputError, and ManifestError."""
    record = RunRecord(
        manifest=Path(relative(manifest, folder)),
        sha256=hashes(load_manifest(manifest)),
        versions=versions("delta-server", "ipi", "numpy", missing="not installed"),
        command=command,
    )
    write_json(folder / RUN, record.model_dump(mode="json"))


def note_left(folder: Path, left: LeftRange) -> None:
    """Add to the record in a run's folder; what it tells of a term already stays. Raises InputError."""
    record = read_record(folder / RUN, RunRecord, "begin the run anew")
    if (left.system, left.term) not in [(known.system, known.term) for known in record.left]:
        record = record.model_copy(update={"left": (*record.left, left)})
        write_json(folder / RUN, record.model_dump(mode="json"))


def load_run(folder: Path) -> RunRecord | None:
    """The record in a run's folder; None where there is none. Raises InputError for one that cannot be read."""
    path = folder / RUN
    if not path.is_file():
        return None
    record = read_record(path, RunRecord, "delete it, and name the manifest with --manifest")
    return record.model_copy(update={"manifest": (folder / record.manifest).resolve()})


def refuse_another_manifest(folder: Path, manifest: Path) -> None:
    """Raise InputError where a run that is to go on was begun with another manifest, or other models. A run from
    before there were records may go on."""
    record = load_run(folder)
    if record is not None and record.sha256 != hashes(load_manifest(manifest)):
        raise InputError(
            f"{manifest}: manifest or models are not those that the run in {folder} was begun with; go on with "
            "those, or begin anew without --restart"
        )


def read_record(path: Path, kind: type[AnyRecord], remedy: str) -> AnyRecord:
    """A record from its JSON file. remedy: what to do about one that cannot be used. Raises InputError."""
    text = read_text(path, "record", "JSON", InputError, _MAX_BYTES)
    try:
        return kind.model_validate_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}; {remedy}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}; {remedy}") from None


def hashes(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of the manifest and of every model in it, by path relative to the manifest."""
    models = {str(entry.model): manifest.resolve(entry.model) for entry in manifest.models().values()}
    return {name: sha256_of(path) for name, path in {manifest.path.name: manifest.path, **models}.items()}


def relative(path: Path, folder: Path) -> str:
    """The way from a folder to a file, so that both may be moved together."""
    return os.path.relpath(path.resolve(), folder.resolve())
