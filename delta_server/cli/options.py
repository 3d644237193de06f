"""Arguments and options that mean the same in several commands, and what is asked of their values."""

from __future__ import annotations

import os
from collections.abc import Callable
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


def by_model(
    option: str, text: str, number: Callable[[str], float], example: str, *, auto: bool = False, every: bool = True
) -> dict[str, Any]:
    """What an option says of models by their names, ``"binding=60,benzene=100"``, and under the empty name of all
    models, ``"60"``. number: of a text, or ValueError. auto: whether ``auto`` may stand for a number; every: whether
    the empty name may. Raises InputError."""
    pieces = [piece.strip().rpartition("=") for piece in text.split(",")]
    try:
        told = {name.strip(): value if auto and value == "auto" else number(value) for name, _, value in pieces}
    except ValueError:
        told = {}
    if len(told) < len(pieces) or ("" in told and not every):
        what = "auto or a number" if auto else "a number"
        whose = "for all models or for some by name" if every else "for models by name"
        second = "auto" if auto else example
        raise InputError(
            f"{option} {text!r}: expected {what} such as {example}, {whose}, each once, as in "
            f"'binding={example},benzene={second}'"
        )
    return told


def count(text: str) -> int:
    """A number of points. Raises ValueError."""
    if not text.strip().isdigit():
        raise ValueError
    return int(text)
