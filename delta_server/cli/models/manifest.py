"""delta-sgdml model manifest: a manifest for models that exist."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import JsonOption, OverwriteOption, check_new, check_suffix

if TYPE_CHECKING:
    from ase import Atoms

    from ...gdml import Model


def manifest(
    fragments: Annotated[
        list[Path],
        typer.Argument(help="Models of the fragments, in order.", metavar="FILE", show_default=False),
    ],
    binding: Annotated[Path, typer.Option("--binding", help="Model of the binding.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Manifest to write (.yaml).", show_default=False)],
    structure: Annotated[
        Path | None,
        typer.Option("--structure", help="A geometry of the complex.", show_default="the binding's first point"),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a manifest for models that exist.

    The atoms of the complex are those of the fragments, one after the other. Beside the manifest a geometry is
    written, NAME.xyz. Two equal molecules may share a file: name it twice.

    Example: delta-sgdml model manifest water.npz benzene.npz --binding binding.npz -o own.yaml
    """
    from itertools import pairwise

    import numpy as np
    import yaml

    from ...data.fragments import formula, fragment_names
    from ...errors import InputError
    from ...files.whole import sha256_of, write_whole
    from ...gdml import load_model
    from ...loading import load_potential
    from ...manifest import FORMAT
    from ...molecule.structures import write_structure

    check_suffix(output, ".yaml", ".yml")
    geometry = output.with_suffix(".xyz")
    check_new(output, overwrite)
    whole = load_model(binding)
    models = [load_model(path) for path in fragments]
    numbers = np.concatenate([model.numbers for model in models])
    if not np.array_equal(numbers, whole.numbers):
        raise InputError(
            f"{binding}: its atoms are {_chain(whole.numbers)}, those of the fragments one after the other "
            f"{_chain(numbers)}; give the fragments in its order"
        )
    theories = {model.theory for model in (*models, whole) if model.theory}
    if len(theories) > 1:
        raise InputError(f"models of {' and '.join(sorted(theories))}; energies of two theories do not add up")
    atoms = _geometry(whole, binding, structure)
    keep = structure is not None and geometry.exists() and structure.samefile(geometry)
    if not keep:
        check_new(geometry, overwrite)
    ends = np.cumsum([0, *(model.n_atoms for model in models)]).tolist()
    names = fragment_names(numbers, [np.arange(a, b) for a, b in pairwise(ends)])

    def entry(path: Path) -> dict[str, str]:
        return {"model": os.path.relpath(path, output.parent), "sha256": sha256_of(path)}

    body: dict[str, object] = {"format": FORMAT, "name": output.stem}
    if theories:
        body["theory"] = theories.pop()
    body["structure"] = geometry.name
    body["fragments"] = [
        {"name": name, "atoms": f"{a}:{b}", **entry(path)}
        for name, (a, b), path in zip(names, pairwise(ends), fragments, strict=True)
    ]
    body["binding"] = entry(binding)
    if not keep:
        write_structure(geometry, atoms)
    write_whole(output, yaml.safe_dump(body, sort_keys=False, allow_unicode=True))
    load_potential(output)
    if as_json:
        print(json.dumps({"manifest": str(output), "structure": str(geometry), "fragments": names}))
        return
    print(f"{output}: {formula(numbers)} of {', '.join(names)}; geometry: {geometry}")
    print(f"look at it: delta-sgdml check {output}")


def _geometry(model: Model, path: Path, structure: Path | None) -> Atoms:
    """A structure of the complex, in Å. Raises InputError where there is none, or it is of other atoms."""
    import numpy as np
    from ase import Atoms

    from ...errors import InputError
    from ...molecule.structures import read_structure
    from ...units import length_in_angstrom

    if structure is not None:
        atoms = read_structure(structure)
        if not np.array_equal(atoms.numbers, model.numbers):
            raise InputError(f"{structure}: {_chain(atoms.numbers)}, the binding model has {_chain(model.numbers)}")
        return atoms
    if model.training_positions is None:
        raise InputError(f"{path}: holds no training geometries; give one of the complex, --structure FILE")
    return Atoms(model.numbers, model.training_positions[0] * length_in_angstrom(model.length_unit))


def _chain(numbers: object) -> str:
    """Elements in the order of atoms: ``OH2C6H6``."""
    from ase.symbols import Symbols

    return Symbols(numbers).get_chemical_formula("reduce")
