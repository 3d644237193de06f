"""delta-sgdml dataset import: a data set from labelled files."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import JsonOption, OverwriteOption, check_new, check_suffix
from ..process import complain
from .options import (
    ChargesOption,
    EnergyKeyOption,
    EnergyUnitOption,
    ForcesKeyOption,
    FragmentsOption,
    LengthUnitOption,
    OutputOption,
    save,
)

if TYPE_CHECKING:
    from ...data.dataset import Dataset
    from ...data.imports import FileUnits, Keys


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files that ase reads with energies and forces, or .npz of sGDML's kind.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    output: OutputOption,
    fragments: FragmentsOption = None,
    fragment_labels: Annotated[
        list[Path],
        typer.Option(
            "--fragment-labels",
            help="Labels of an isolated fragment, at its geometries in the complex; once for each, in order.",
            metavar="FILE",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    charges: ChargesOption = None,
    energy_unit: EnergyUnitOption = "",
    length_unit: LengthUnitOption = "",
    energy_key: EnergyKeyOption = "",
    forces_key: ForcesKeyOption = "",
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Labels are of isolated molecules, whatever cell the files name.")
    ] = False,
    theory: Annotated[str, typer.Option(help="Level of theory, where no file says it.", show_default=False)] = "",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a data set (kcal/mol, Å) of labelled files.

    Each file is a trajectory of its own. Labels of the isolated fragments, one file each, go with it frame by frame
    and atom by atom.

    Example: delta-sgdml dataset import ab.extxyz --fragment-labels a.extxyz --fragment-labels b.extxyz -o ab.npz
    """
    from dataclasses import replace

    import numpy as np

    from ...data.consistency import check_dataset
    from ...data.fragments import find_fragments, formula, fragment_names, fragment_of, parse_fragments, reactions
    from ...data.imports import FileUnits, Keys, check_lengths, import_files, with_isolated
    from ...data.structures import say_reactions, structures_of
    from ...errors import InputError
    from ...methods import parse_integers

    check_suffix(output, ".npz")
    check_new(output, overwrite)
    warnings: list[str] = []
    units, keys = FileUnits(energy_unit, length_unit), Keys(energy_key, forces_key)
    data = import_files(files, units, keys, isolated=isolated, warn=warnings.append)
    check_lengths(data)
    if theory and data.theory and theory != data.theory:
        raise InputError(f"--theory {theory!r}: the files say {data.theory!r}")
    data = replace(data, name=output.stem, theory=data.theory or theory)

    if fragments is not None or data.fragment is None:
        if fragments is None:
            found = find_fragments(data.numbers, data.positions[0])
        else:
            found = parse_fragments(fragments, data.n_atoms)
        owner = fragment_of(found)
        if data.fragment is not None and not np.array_equal(owner, data.fragment) and data.labelled_fragments:
            raise InputError(f"--fragments {fragments!r}: the file's labels are of other fragments; label them anew")
        if len(found) > 1:
            names = fragment_names(data.numbers, found)
            data = replace(data, fragment=owner, fragment_names=names)
    if fragment_labels:
        alone = [_isolated(path, units, keys, isolated, warnings.append) for path in fragment_labels]
        data = with_isolated(data, alone, fragment_labels)
    if charges is not None:
        q = np.array(parse_integers(charges, data.n_fragments, "--charges"), dtype=np.intp)
        if data.charges is not None and not np.array_equal(q, data.charges):
            raise InputError(f"--charges {charges}: the files say {','.join(map(str, data.charges.tolist()))}")
        data = replace(data, charges=q)
    if data.n_fragments > 1 and (data.charges is not None or data.charge is not None):
        shares, _ = structures_of(data).electrons(() if data.charges is None else tuple(data.charges.tolist()), ())
        data = replace(data, charges=np.array(shares, dtype=np.intp))
    save(output, data)
    for warning in warnings:
        complain(f"warning: {warning}")

    runs = 0 if data.run is None else len(np.unique(data.run))
    reactive = [] if data.fragment is None else reactions(data.numbers, data.fragment, data.positions)
    said = say_reactions(reactive, len(data)) if reactive else ""
    if reactive:
        complain(f"warning: {said}; see `delta-sgdml dataset info {output}`")
    if failed := [check.name for check in check_dataset(data) if not check.passed and check.found != said]:
        complain(f"warning: checks of the labels fail ({'; '.join(failed)}); see `delta-sgdml dataset info {output}`")
    parts = {f"{k}": formula(data.numbers[data.atoms_of(k)]) for k in range(data.n_fragments)}
    if as_json:
        print(json.dumps({"output": str(output), "configurations": len(data), "atoms": data.n_atoms, "runs": runs,
                          "fragments": list(parts.values()), "labelled_fragments": data.labelled_fragments,
                          "reactive": [r.configuration for r in reactive]}))  # fmt: skip
        return
    what = ", ".join(parts.values()) or f"{formula(data.numbers)} (one molecule, no fragments)"
    print(f"{output}: {len(data)} configurations of {what} in {runs} run{'s' if runs > 1 else ''}, kcal/mol and Å")
    if data.n_fragments > 1 and not data.labelled_fragments:
        print(f"its fragments are not labelled; for a Δ-model: delta-sgdml dataset label {output} -o …")


def _isolated(path: Path, units: FileUnits, keys: Keys, isolated: bool, warn: Callable[[str], None]) -> Dataset:
    """Labels of a fragment, under the keys that are said or, where the file has none such, the usual ones."""
    from ...data.imports import Keys, import_files
    from ...errors import InputError

    try:
        return import_files([path], units, keys, isolated=isolated, warn=warn)
    except InputError:
        with suppress(InputError):
            return import_files([path], units, Keys(), isolated=isolated, warn=warn)
        raise
