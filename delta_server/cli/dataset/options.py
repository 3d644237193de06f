"""Options that the commands on data sets share, and how they write one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError

if TYPE_CHECKING:
    from ...data.dataset import Dataset
    from ...data.structures import Structures

OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Data set to write (.npz).", show_default=False)]
FragmentsOption = Annotated[
    str | None,
    typer.Option(
        "--fragments",
        help="Atoms of the fragments, '0:3,3:15'; with semicolons between fragments commas join ranges, "
        "'0:3,7:9;3:7'.",
        metavar="RANGES",
        show_default="the file's, or the molecules of the bond graph",
    ),
]
CalculatorOption = Annotated[
    str,
    typer.Option(
        "--calculator", help="gfn2-xtb, pyscf, a name that ase knows (emt), or package.module:Class.", metavar="NAME"
    ),
]
CalculatorOptions = Annotated[
    list[str],
    typer.Option("--option", help="Of the calculator; repeatable.", metavar="KEY=VALUE", show_default=False),
]
ChargesOption = Annotated[
    str | None,
    typer.Option(help="Net charge of each fragment, in order.", metavar="N,N,…", show_default="the file's, or all 0"),
]
MultiplicityOption = Annotated[
    str | None,
    typer.Option(
        help="Spin multiplicity of each fragment, in order.", metavar="N,N,…", show_default="the file's, or all 1"
    ),
]
EnergyUnitOption = Annotated[
    str,
    typer.Option(
        "--energy-unit",
        metavar="UNIT",
        help="Where a file names none that is known.",
        show_default="of ase's formats: eV",
    ),
]
LengthUnitOption = Annotated[
    str,
    typer.Option(
        "--length-unit",
        metavar="UNIT",
        help="Where a file names none that is known.",
        show_default="of ase's formats: Ang",
    ),
]
EnergyKeyOption = Annotated[
    str,
    typer.Option(
        "--energy-key", metavar="NAME", help="What the energies are called.", show_default="the usual names"
    ),
]
ForcesKeyOption = Annotated[
    str,
    typer.Option("--forces-key", metavar="NAME", help="What the forces are called.", show_default="the usual names"),
]


def electrons_of(
    structures: Structures, charges: str | None, multiplicity: str | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Charges and spin multiplicities of the fragments, from the values of the two options. Raises InputError."""
    from ...methods import parse_integers

    k = len(structures.names)
    q = parse_integers(charges, k, "--charges") if charges else ()
    return structures.electrons(q, parse_integers(multiplicity, k, "--multiplicity") if multiplicity else ())


def save(path: Path, data: Dataset) -> None:
    """Raises InputError where it cannot be written."""
    from ...data.dataset import save_dataset

    try:
        save_dataset(path, data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
