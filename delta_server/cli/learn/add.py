"""delta-sgdml learn add: energies and forces that were computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..dataset.options import EnergyKeyOption, EnergyUnitOption, ForcesKeyOption, LengthUnitOption
from .options import LearnArg


def add(
    directory: LearnArg,
    files: Annotated[
        list[Path],
        typer.Argument(help="Files that ase reads, with energies and forces.", metavar="FILE", show_default=False),
    ],
    energy_unit: EnergyUnitOption = "",
    length_unit: LengthUnitOption = "",
    energy_key: EnergyKeyOption = "",
    forces_key: ForcesKeyOption = "",
) -> None:
    """Take in labels of the geometries in DIR/to_label.

    Of the complex and of each molecule alone, in any order, in as many files and calls as you like: what comes is
    known by its atoms and positions. Labels that contradict each other, or the earlier ones, are refused.

    Example: delta-sgdml learn add learned results.extxyz
    """
    from ...active.elsewhere import add as take
    from ...data.conventions import FileUnits, Keys

    added = take(directory, files, FileUnits(energy_unit, length_unit), Keys(energy_key, forces_key))
    again = f", {added.again} again" if added.again else ""
    then = f"{added.missing} are still missing" if added.missing else f"go on: delta-sgdml learn run {directory}"
    print(f"{directory}: {added.taken} labels taken{again}; {then}")
