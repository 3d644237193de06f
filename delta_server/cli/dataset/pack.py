"""delta-sgdml dataset pack: molecules put together, in a box or as a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import OverwriteOption, check_new, check_suffix


def pack(
    molecules: Annotated[
        list[str],
        typer.Argument(
            help="A file of one molecule (any format that ase reads), and how many of it: water.xyz=64.",
            metavar="FILE=N...",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Structure to write (extxyz).", show_default=False)],
    density: Annotated[float, typer.Option(min=1e-3, max=30.0, help="Density (g/cm³).", metavar="X")] = 1.0,
    cluster: Annotated[bool, typer.Option("--cluster", help="A round cluster without a cell, and no box.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of places and orientations.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Put molecules together, in a cubic box or as a cluster.

    They stand on a lattice, turned at random: a start for dynamics, which has to equilibrate first.

    Example: delta-sgdml dataset pack water.xyz=64 -o box.extxyz --density 1.0
    """
    from ase.io import write

    from ...data.pack import pack as packed
    from ...errors import InputError
    from ...files.whole import replacing
    from ...molecule.structures import read_structure

    check_suffix(output, ".extxyz", ".xyz")
    check_new(output, overwrite)
    kinds = []
    for text in molecules:
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal() or not 0 < int(number) <= 100_000:
            raise InputError(f"{text}: expected a file and how many of its molecule, as in water.xyz=64")
        kinds.append((read_structure(Path(name)), int(number)))
    atoms = packed(kinds, density, periodic=not cluster, seed=seed)
    with replacing(output) as part:
        write(part, atoms, format="extxyz")
    cell = "" if cluster else f", {atoms.cell.lengths()[0]:.3f} Å in each direction"
    print(f"{output}: {sum(count for _, count in kinds)} molecules, {len(atoms)} atoms{cell}")
