"""Which collective variables a free energy is over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from ...manifest import Manifest
from ...variables.definition import Variables, default_variables, load_variables


def choose(
    manifest: Manifest | None,
    variables: str | Path | Variables | None = None,
    over: str | Sequence[str] | None = None,
) -> tuple[Variables, list[str]]:
    """All variables, and the one or two that F is over.

    variables: themselves or their file in YAML, by default those of the manifest's fragments. over: names, by default
    the first two. Raises InputError.
    """
    if isinstance(variables, Variables):
        known = variables
    elif variables is not None:
        known = load_variables(Path(variables), manifest)
    elif manifest is not None:
        known = default_variables(manifest)
    else:
        raise InputError("which variables? give --variables YAML, or --manifest for R_CM between its fragments")
    chosen = over.split(",") if isinstance(over, str) else over or list(known.variables)[:2]
    names = [name.strip() for name in chosen]
    unknown = [name for name in names if name not in known.variables]
    if unknown or len(names) > 2 or len(set(names)) < len(names):
        raise InputError(f"--over {','.join(chosen)}: expected one or two of {', '.join(known.variables)}")
    return known, names
