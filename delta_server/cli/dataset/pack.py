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
            help="File of a molecule, in any format that ase reads, and how many of it: water.xyz=64.",
            metavar="NAME=N...",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Structure to write (extxyz).", show_default=False)],
    density: Annotated[float, typer.Option(min=1e-3, max=30.0, help="Density (g/cm³).", metavar="X")] = 1.0,
    cluster: Annotated[bool, typer.Option("--cluster", help="A round cluster without a cell, and no box.")] = False,
    frames: Annotated[int, typer.Option(min=1, help="Structures to write, each packed anew.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of places and orientations.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Put molecules together, in a cubic box or as a cluster.

    They stand on a lattice, turned at random: a start for dynamics, which has to equilibrate first. A file may have
    many geometries, or many of the molecule, from which each copy takes one. Many packed frames show `dataset bodies`
    contacts that dynamics seldom does, and from which a model learns what repels.

    Example: delta-sgdml dataset pack water.xyz=64 -o box.extxyz --density 1.0
    """
    from ase.io import write

    from ...data.pack import geometries
    from ...data.pack import pack as packed
    from ...errors import InputError
    from ...files.whole import replacing

    check_suffix(output, ".extxyz", ".xyz")
    check_new(output, overwrite)
    kinds = []
    for text in molecules:
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal() or not 0 < int(number) <= 100_000:
            raise InputError(f"{text}: expected a file and how many of its molecule, as in water.xyz=64")
        kinds.append((geometries(Path(name)), int(number)))
    structures = [packed(kinds, density, periodic=not cluster, seed=(seed, k)) for k in range(frames)]
    with replacing(output) as part:
        write(part, structures, format="extxyz")
    cell = "" if cluster else f", {structures[0].cell.lengths()[0]:.3f} Å in each direction"
    many = f"{frames} frames, " * (frames > 1)
    print(f"{output}: {many}{sum(count for _, count in kinds)} molecules, {len(structures[0])} atoms{cell}")
