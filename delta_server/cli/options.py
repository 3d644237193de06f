"""Arguments and options that mean the same in several commands, and what is asked of their values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import InputError

ManifestArg = Annotated[
    Path, typer.Argument(help="Manifest (YAML) of the Δ-model.", metavar="MANIFEST", show_default=False)
]
DatasetArg = Annotated[
    Path,
    typer.Argument(
        help="Data set (.npz), of `dataset import` or `dataset label`.", metavar="DATASET", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier command wrote there.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of a prediction, used where they pay.")]
BasisOption = Annotated[
    str,
    typer.Option(
        "--basis", help="Points that models keep, fitted to all training points; a number alone is for all.",
        metavar="NAME=N,…",
        show_default="all of them",
    ),
]  # fmt: skip
AllThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="Threads.", show_default="all cores")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda or cuda:N, or auto: a GPU where there is one.", metavar="DEVICE")
]
DriversOption = Annotated[int, typer.Option(min=1, max=256, help="Drivers for each socket of i-PI.")]
TransportOption = Annotated[
    Literal["auto", "direct", "socket"],
    typer.Option(
        help="Forces in i-PI's own process (direct), or by drivers on its socket, which may die; auto: direct where "
        "one process serves one i-PI. The first line of i-pi.log says which."
    ),
]
SweepArg = Annotated[Path, typer.Argument(help="Folder of a sweep.", metavar="DIR", show_default=False)]
WallTimeOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="Stop softly after so long (s); the same command goes on.", metavar="SECONDS"),
]
StretchOption = Annotated[float, typer.Option(min=1.01, help="Broken: a bond longer than this times its length.")]
EnergyMarginOption = Annotated[
    float, typer.Option(min=0.0, help="Broken: this much energy (eV) beyond what the temperature explains.")
]
MaxUncertaintyOption = Annotated[
    float, typer.Option(min=0.0, help="Broken: an expected force error (eV/Å) above this.")
]

StopOutsideOption = Annotated[
    bool, typer.Option("--stop-outside", help="Stop where a model leaves what it was trained on.")
]


def check_writable(path: Path) -> None:
    """Whether a file can be written there. Raises InputError."""
    if path.is_dir():
        raise InputError(f"{path}: is a directory, expected the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError(f"{path}: cannot be written: permission denied")


def check_new(path: Path | None, overwrite: bool) -> None:
    """Whether nothing is lost by writing there. Raises InputError where a file may not be replaced."""
    if path is not None and path.is_file() and not overwrite:
        raise InputError(f"{path}: exists; give --overwrite, or another name")


def check_suffix(path: Path, *suffixes: str) -> None:
    """Whether a file with this name can be written there. Raises InputError."""
    if path.suffix not in suffixes:
        raise InputError(f"{path}: expected a name that ends in {', '.join(suffixes)}")
    check_writable(path)


def picture(path: Path | None) -> Path | None:
    """An option's value, if a picture can be written there: told before anything is computed. Raises InputError."""
    if path is not None:
        check_suffix(path, ".png", ".svg", ".pdf")
    return path


def plot_option(help: str) -> typer.models.OptionInfo:
    """``--plot FILE``, of a command that draws a picture when asked; help: what it shows."""
    option: typer.models.OptionInfo = typer.Option("--plot", help=f"{help} (PNG, SVG, PDF).", callback=picture)
    return option


def by_name(option: str, text: str) -> dict[str, int]:
    """``"binding=100,benzene=400"`` → {binding: 100, benzene: 400}, as an option says it. Raises InputError."""
    pairs = [piece.strip().rpartition("=") for piece in text.split(",")]
    if not all(name and number.strip().isdigit() for name, _, number in pairs):
        raise InputError(f"{option} {text!r}: expected names of models with numbers, as in 'binding=100,benzene=400'")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise InputError(f"{option} {text!r}: a name comes twice")
    return {name.strip(): int(number) for name, _, number in pairs}


def bases_of(text: str) -> dict[str, Any]:
    """What --basis says, of all models or of some by name. Raises InputError."""
    return {"basis": int(text or 0)} if not text or text.isdigit() else {"bases": by_name("--basis", text)}
