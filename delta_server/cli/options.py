"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError

if TYPE_CHECKING:
    pass


ManifestArg = Annotated[
    Path, typer.Argument(help="Manifest (YAML) of the Δ-model.", metavar="MANIFEST", show_default=False)
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def check_writable(path: Path) -> None:
    """Whether a file can be written there. Raises InputError."""
    if path.is_dir():
        raise InputError(f"{path}: is a directory, expected the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError(f"{path}: cannot be written: permission denied")


def picture(path: Path | None) -> Path | None:
    """An option's value, if a picture can be written there: told before anything is computed. Raises InputError."""
    if path is not None:
        if path.suffix not in (suffixes := (".png", ".svg", ".pdf")):
            raise InputError(f"{path}: expected a name that ends in {', '.join(suffixes)}")
        check_writable(path)
    return path


ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of a prediction, used where they pay.")]


StretchOption = Annotated[float, typer.Option(min=1.01, help="Broken: a bond longer than this times its length.")]


EnergyMarginOption = Annotated[float, typer.Option(min=0.0, help="Broken: eV beyond what the temperature explains.")]


MaxUncertaintyOption = Annotated[float, typer.Option(min=0.0, help="Broken: expected force error above this, eV/Å.")]


DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda or cuda:N, or auto: a GPU where there is one.", metavar="DEVICE")
]


DatasetArg = Annotated[
    Path,
    typer.Argument(help="Data set (.npz) of `import` or `label`.", metavar="DATASET", show_default=False),
]
