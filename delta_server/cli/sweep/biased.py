"""What `delta-sgdml sweep write` is told of biases: windows of a variable, or metadynamics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...units import KCAL_MOL

if TYPE_CHECKING:
    from ...sweep.metadynamics import Flooding, Walls
    from ...sweep.umbrella import Umbrella
    from ...variables.definition import Variables


def umbrella(
    manifest: Path, variable: str | None, windows: str | None, force_constant: str, variables: Path | None
) -> Umbrella | None:
    """The windows that are asked for, if any. Raises InputError."""
    from ...sweep.umbrella import Umbrella, parse_windows

    if variable is None and windows is None and variables is None and force_constant == "auto":
        return None
    if variable is None or windows is None:
        raise InputError("--kind umbrella goes with --variable and --windows")
    try:
        constant = None if force_constant == "auto" else float(force_constant) * KCAL_MOL
    except ValueError:
        constant = 0.0
    if constant is not None and not 0 < constant < 1e6:
        raise InputError(f"--force-constant {force_constant}: expected auto, or kcal/mol over Å² or degrees²")
    return Umbrella(variable, _known(manifest, variables), parse_windows(windows), constant)


def flooding(
    manifest: Path, variable: str | None, variables: Path | None, asked: bool, given: dict[str, Any]
) -> Flooding | None:
    """The metadynamics that is asked for, if it is. given: its other options, None where left out. Raises
    InputError."""
    from ...sweep.metadynamics import Flooding

    some = {name: value for name, value in given.items() if value is not None}
    if not asked:
        if some:
            raise InputError(f"--{next(iter(some)).replace('_', '-')} goes with --kind metadynamics")
        return None
    if variable is None:
        raise InputError("--kind metadynamics goes with --variable")
    if "height" in some:
        some["height"] *= KCAL_MOL
    if (width := some.pop("width", None)) is not None:
        some["widths"] = tuple(_positive(text, width) for text in width.split(","))
    if (walls := some.pop("walls", None)) is not None:
        some["walls"] = tuple(_wall(text, walls) for text in walls.split(","))
    names = tuple(name.strip() for name in variable.split(","))
    return Flooding(names, _known(manifest, variables), **some)


def _known(manifest: Path, variables: Path | None) -> Variables:
    from ...manifest import load_manifest
    from ...variables.definition import default_variables, load_variables

    described = load_manifest(manifest)
    return load_variables(variables, described) if variables else default_variables(described)


def _positive(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise InputError(f"--width {option}: expected a number for each variable, in its unit, as 0.2 or 0.1,0.2")
    return value


def _wall(text: str, option: str) -> Walls:
    ends = text.split(":")
    try:
        low, high = (float(end) if end.strip() else None for end in ends)
    except ValueError:
        raise InputError(f"--walls {option}: expected LOW:HIGH for each variable, as 2:12 or :12") from None
    return low, high
