"""What a sweep is: the record (sweep.json) in its folder, and where everything lies beside it.

DIR/sweep.json, start.xyz, 300K/{input.xml, init.xyz, state.json, result.json, 300K_md.*}, ladder/{input.xml, …}
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ..errors import InputError
from ..files.documents import Strict, first_error, read_text
from ..files.whole import sha256_of
from ..manifest import Manifest
from ..molecule.limits import Limits

Kind = Literal["nvt", "pimd", "mts", "remd"]
RECORD = "sweep.json"
PREFIX = "md"  # of the outputs, after the temperature's: 300K_md.out
_MAX_BYTES = 2**20


class Start(Strict):
    """How the start geometry was relaxed: energy in eV, the largest force left in eV/Å, optimiser's steps."""

    energy: float
    fmax: float
    steps: int


class Record(Strict):
    """The sweep as it was written. Temperatures in K, time step and tau in fs; paths are relative to its folder."""

    format: Literal["delta-sgdml-sweep/1"] = "delta-sgdml-sweep/1"
    name: str
    kind: Kind
    manifest: str
    sha256: dict[str, str]  # of the manifest and its models
    temperatures: tuple[float, ...] = Field(min_length=1)
    steps: int = Field(gt=0)
    timestep: float = Field(gt=0)
    tau: float = Field(gt=0)
    beads: int = Field(ge=1)
    stride: int = Field(ge=1)
    frames: int = Field(ge=1)
    checkpoint: int = Field(ge=1)
    seed: int
    limits: Limits
    start: Start
    versions: dict[str, str]
    command: str


@dataclass(frozen=True)
class Member:
    """One temperature (K) of a sweep: its name (``300K``), its folder, and the prefix of its outputs in the run's."""

    temperature: float
    name: str
    folder: Path


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder and its record."""

    folder: Path
    record: Record

    @property
    def manifest(self) -> Path:
        return (self.folder / self.record.manifest).resolve()

    @property
    def ladder(self) -> Path:
        """The folder of the one process that runs all temperatures."""
        return self.folder / ("remd" if self.record.kind == "remd" else "ladder")

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(Member(t, name_of(t), self.folder / name_of(t)) for t in self.record.temperatures)

    def member(self, folder: Path) -> Member:
        """The temperature whose folder it is. Raises InputError."""
        for member in self.members:
            if member.folder.resolve() == folder.resolve():
                return member
        raise InputError(
            f"{folder}: no temperature of the sweep; there are {', '.join(m.name for m in self.members)}"
        )


def name_of(temperature: float) -> str:
    return f"{temperature:g}K"


def prefix_of(temperature: float, run: str) -> str:
    """Of a system's outputs, seen from the folder of its run: beside the input for one temperature, in the
    temperature's folder for the ladder. Replicas that exchange keep theirs together, for `i-pi-remdsort`."""
    name = name_of(temperature)
    return f"../{name}/{name}" if run == "ladder" else name


def load_sweep(folder: Path) -> Sweep:
    """Raises InputError for a folder without a record, or a record that is none."""
    path = folder / RECORD
    if not path.is_file():
        raise InputError(f"{path}: no such file; {folder} is no sweep: `delta-sgdml sweep write` makes one")
    text = read_text(path, "record of a sweep", "JSON", InputError, _MAX_BYTES)
    try:
        return Sweep(folder, Record.model_validate_json(text))
    except InputError as error:
        raise InputError(f"{path}: {error}; write the sweep anew") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}; write the sweep anew") from None


def hashes(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of the manifest and of every model in it, by path relative to the manifest."""
    models = {str(entry.model): manifest.resolve(entry.model) for entry in manifest.models().values()}
    return {name: sha256_of(path) for name, path in {manifest.path.name: manifest.path, **models}.items()}


def relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path.resolve(), folder.resolve())
