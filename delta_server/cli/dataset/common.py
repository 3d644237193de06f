"""What the commands on data sets share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError
from ..options import check_writable

if TYPE_CHECKING:
    from ...data.dataset import Dataset

OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Data set to write (.npz).", show_default=False)]
FragmentsOption = Annotated[
    str | None,
    typer.Option(
        metavar="RANGES",
        help="Atoms of the fragments, '0:3,3:15'; with semicolons between fragments commas join ranges, "
        "'0:3,7:9;3:7'. Default: those of the data set, or the molecules of the bond graph.",
    ),
]
CalculatorOption = Annotated[
    str, typer.Option("--calculator", help="gfn2-xtb, a name that ase knows (emt), or package.module:Class.")
]
CalculatorOptions = Annotated[
    list[str],
    typer.Option("--option", metavar="KEY=VALUE", help="Of the calculator; repeatable.", show_default=False),
]
ChargesOption = Annotated[
    str | None, typer.Option(metavar="Q,Q…", help="Net charge of each fragment, in order (default: all 0).")
]
MultiplicityOption = Annotated[
    str | None, typer.Option(metavar="M,M…", help="Spin multiplicity of each fragment, all 1 by default.")
]


def check_output(path: Path) -> None:
    """Whether a data set can be written there, before anything is computed. Raises InputError."""
    if path.suffix != ".npz":
        raise InputError(f"{path}: expected a name that ends in .npz")
    check_writable(path)


def save(path: Path, data: Dataset) -> None:
    """Raises InputError where it cannot be written."""
    from ...data.dataset import save_dataset

    try:
        save_dataset(path, data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
