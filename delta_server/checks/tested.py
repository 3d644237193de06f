"""Whether a model was ever tested on its own dynamics: the record that `delta-sgdml evaluate --own` leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ..errors import InputError
from ..files.documents import Strict, first_error, read_text
from ..files.whole import sha256_of
from ..manifest import Manifest
from .check import Check

OWN = "own.json"
"""Beside manifest.yaml; `own_path` has the name for any."""


class OwnErrors(Strict):
    """Errors of one part (``total``, a fragment, ``binding``) on n frames of one temperature (None: not known), or on
    held-out configurations: mean absolute errors and their standard errors, kcal/mol and kcal/mol/Å; mean: of the
    energy's errors, with their signs."""

    part: str
    temperature: float | None
    n: int
    energy_mae: float
    energy_mae_error: float
    energy_mean: float
    force_mae: float
    force_mae_error: float


class OwnRecord(Strict):
    """The test of a model on its own dynamics. models: SHA-256 of each file, by its path in the manifest."""

    format: Literal["delta-sgdml-own/1"] = "delta-sgdml-own/1"
    models: dict[str, str]
    run: str
    theory: str
    sample: int
    seed: int
    failed: int
    own: tuple[OwnErrors, ...] = Field(min_length=1)
    held_out: tuple[OwnErrors, ...] = ()

    @property
    def frames(self) -> int:
        """On how many, of all temperatures."""
        return sum(row.n for row in self.own if row.part == "total")


def own_path(manifest: Path) -> Path:
    """Where the record of a manifest is: several in one folder have one each."""
    return manifest.with_name(OWN if manifest.stem == "manifest" else f"{manifest.stem}.{OWN}")


def digests_of(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of each model's file, by its path in the manifest."""
    return {str(entry.model): sha256_of(manifest.resolve(entry.model)) for entry in manifest.models().values()}


def check_tested(manifest: Manifest) -> Check:
    """Warns where there is no record beside the manifest, or it tells of other models."""
    path, name = own_path(manifest.path), "own dynamics"
    how = f"delta-sgdml evaluate {manifest.path} --own RUN"
    if not path.is_file():
        return Check(name, True, f"never tested on it: {how}", warning=True)
    try:
        record = read_own(path)
    except InputError as error:
        return Check(name, True, str(error), warning=True)
    if record.models != digests_of(manifest):
        return Check(name, True, f"{path.name} tells of other models than these: {how}", warning=True)
    totals = [row for row in record.own if row.part == "total"]
    at = ", ".join(f"{row.energy_mae:.2g} at {row.temperature or 0:g} K" for row in totals if row.temperature)
    return Check(name, True, f"{record.frames} frames of {record.run}; energy MAE (kcal/mol) {at}")


def read_own(path: Path) -> OwnRecord:
    """The record in a file. Raises InputError for one that is none."""
    from pydantic import ValidationError

    text = read_text(path, "record", "JSON", InputError, 2**20)
    try:
        return OwnRecord.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}; evaluate --own writes it anew") from None
