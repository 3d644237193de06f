"""delta-sgdml dataset fragments: which molecules a complex is made of, and whether their atoms are in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import JsonOption, OverwriteOption, check_new, check_writable
from .options import FragmentsOption, save

if TYPE_CHECKING:
    from ..._types import IntArray


def fragments(
    structures: Annotated[
        Path,
        typer.Argument(
            help="A data set, or structures in any format that ase reads (Å).", metavar="FILE", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the file with its atoms in the proposed order."),
    ] = None,
    said: FragmentsOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the molecules of a complex and an order of its atoms.

    The molecules of the first configuration, and another order of atoms where theirs is unfit for a manifest.

    Example: delta-sgdml dataset fragments complex.xyz -o ordered.xyz
    """
    from ...data.fragments import find_fragments, formula, fragment_names, reorder
    from ...data.structures import read_structures
    from ...molecule.ranges import format_atoms

    if output is not None:
        check_writable(output)
        check_new(output, overwrite)
    found = read_structures(structures).in_fragments(said)
    molecules = found.molecules()
    graph = find_fragments(found.numbers, found.positions[0])
    order = reorder(found.numbers, found.positions[0], molecules)
    names = fragment_names(found.numbers, molecules)
    if output is not None:
        _write(structures, output, order.atoms, order.fragments, names)

    def ranges(molecules: list[IntArray]) -> list[str]:
        return [format_atoms(tuple(atoms.tolist())) for atoms in molecules]

    formulas = [formula(found.numbers[atoms]) for atoms in molecules]
    rows = list(zip(names, formulas, ranges(molecules), strict=True))
    said_charges = found.charges or (None,) * len(names)
    charges = [_charge(found.numbers[a], charge) for a, charge in zip(molecules, said_charges, strict=True)]
    proposed, bonded = ranges(order.fragments), ranges(graph)
    if as_json:
        keys = ("name", "formula", "atoms")
        found_is: dict[str, object] = {
            "fragments": [dict(zip(keys, row, strict=True)) for row in rows],
            "bonded": bonded,
        }
        found_is |= {"in_order": not order.reasons, "reasons": order.reasons, "order": order.atoms.tolist()}
        found_is |= {"proposed": proposed, "charges": said_charges, "output": str(output) if output else None}
        print(json.dumps(found_is))
        return
    for name, what, atoms in rows:
        print(f"{name:14} {what:14} {atoms}")
    if sorted(bonded) != sorted(row[2] for row in rows):
        print(f"the bond graph has other molecules: {'; '.join(bonded)}")
    for reason in order.reasons:
        print(f"unfit order: {reason}")
    if order.reasons and output is None:
        print(f"proposed order: {','.join(map(str, order.atoms.tolist()))} (write it with -o)")
    print(f"\nmanifest{' of the reordered file' if order.reasons else ''}:\nfragments:")
    for name, atoms in zip(names, proposed, strict=True):
        term = "energy: …, energy_unit: kcal/mol" if ":" not in atoms else f"model: {name}.npz"
        print(f'  - {{name: {name}, atoms: "{atoms}", {term}}}')
    print()
    for name, charge in zip(names, charges, strict=True):
        print(f"charge of {name}: {charge}")
    if output is not None:
        print(f"→ {output}")


def _charge(numbers: IntArray, charge: int | None) -> str:
    """What is known of it."""
    electrons = int(numbers.sum())
    if charge is not None:
        return f"{charge:+d}, says the file" if charge else "0, says the file"
    if electrons % 2:
        return f"neutral it has {electrons} electrons, an odd number: an ion? say its --charges to `label`"
    return "0, unless --charges says otherwise to `label`"


def _write(source: Path, output: Path, order: IntArray, molecules: list[IntArray], names: tuple[str, ...]) -> None:
    """The source with its atoms in `order`, whole or not at all."""
    from dataclasses import replace

    import ase.io

    from ...data.dataset import load_dataset
    from ...data.fragments import fragment_of
    from ...errors import InputError
    from ...files.whole import replacing
    from ...molecule.structures import iter_structures

    if (source.suffix == ".npz") != (output.suffix == ".npz"):
        raise InputError(f"{output}: a data set is written as .npz, structures in a format of ase's")
    if source.suffix == ".npz":
        data = load_dataset(source)
        alone = data.fragment_forces
        if data.fragment is not None and data.labelled_fragments:
            _same_fragments(data.fragment, order, molecules)
        ordered = replace(
            data,
            numbers=data.numbers[order],
            positions=data.positions[:, order],
            forces=data.forces[:, order],
            fragment=fragment_of(molecules),
            fragment_forces=None if alone is None else alone[:, order],
            fragment_names=data.fragment_names if data.labelled_fragments else names,
        )
        save(output, ordered)
        return
    frames = [atoms[order] for atoms in iter_structures(source)]
    try:
        with replacing(output, output.suffix) as part:
            ase.io.write(part, frames)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
    except Exception as error:  # ase's writers raise whatever their format makes them trip over
        raise InputError(f"{output}: ase cannot write it: {' '.join(str(error).split())[:200]}") from None


def _same_fragments(owner: IntArray, order: IntArray, molecules: list[IntArray]) -> None:
    """Labels of other fragments cannot be kept."""
    import numpy as np

    from ...data.fragments import fragment_of
    from ...errors import InputError

    if not np.array_equal(owner[order], fragment_of(molecules)):
        raise InputError("the file's labels are of other fragments than these; label it anew in the proposed order")
