"""delta-sgdml model manifest: a manifest for models that exist."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ..options import JsonOption, OverwriteOption, check_new, check_suffix

if TYPE_CHECKING:
    from ase import Atoms

    from ..._types import IntArray
    from ...gdml import Model


def manifest(
    fragments: Annotated[
        list[str],
        typer.Argument(
            help="Models of the fragments, in order; of an ion its energy, Na=5.32eV.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Manifest to write (.yaml).", show_default=False)],
    binding: Annotated[
        Path | None, typer.Option("--binding", help="Model of the binding.", show_default="none")
    ] = None,
    structure: Annotated[
        Path | None,
        typer.Option(
            "--structure", help="A geometry of the complex.", show_default="the binding's point of lowest energy"
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a manifest for models that exist.

    The atoms of the complex are those of the fragments, one after the other. Beside the manifest a geometry is
    written, NAME.xyz. Two equal molecules may share a file: name it twice. An ion has no model but an energy, in eV
    or kcal/mol, at the level of theory of the others.

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
    whole = load_model(binding) if binding else None
    parts = [_fragment(word) for word in fragments]
    models = [part for part in parts if not isinstance(part, _Ion)]
    numbers = np.concatenate([part.numbers for part in parts])
    if whole and not np.array_equal(numbers, whole.numbers):
        raise InputError(
            f"{binding}: its atoms are {_chain(whole.numbers)}, those of the fragments one after the other "
            f"{_chain(numbers)}; give the fragments in its order"
        )
    theories = {model.theory for model in (*models, whole) if model and model.theory}
    if len(theories) > 1:
        raise InputError(f"models of {' and '.join(sorted(theories))}; energies of two theories do not add up")
    atoms = _geometry(numbers, whole, structure)
    keep = structure is not None and geometry.exists() and structure.samefile(geometry)
    if not keep:
        check_new(geometry, overwrite)
    ends = np.cumsum([0, *(len(part.numbers) for part in parts)]).tolist()
    names = fragment_names(numbers, [np.arange(a, b) for a, b in pairwise(ends)])

    def entry(path: Path) -> dict[str, object]:
        return {"model": os.path.relpath(path.resolve(), output.parent.resolve()), "sha256": sha256_of(path)}

    body: dict[str, object] = {"format": FORMAT, "name": output.stem}
    if theories:
        body["theory"] = theories.pop()
    body["structure"] = geometry.name
    body["fragments"] = [
        {"name": name, "atoms": f"{a}:{b}", **(part.entry if isinstance(part, _Ion) else entry(Path(word)))}
        for name, (a, b), word, part in zip(names, pairwise(ends), fragments, parts, strict=True)
    ]
    if binding:
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


class _Ion(NamedTuple):
    """A fragment of one atom, with no model."""

    numbers: IntArray  # (1,)
    energy: float
    unit: str

    @property
    def entry(self) -> dict[str, object]:
        return {"energy": self.energy, "energy_unit": self.unit}


def _fragment(word: str) -> Model | _Ion:
    """A model file, or an ion: ``Na=5.32eV``. Raises InputError."""
    import numpy as np
    from ase.data import atomic_numbers

    from ...errors import InputError
    from ...gdml import load_model

    if "=" not in word or Path(word).exists():
        return load_model(Path(word))
    found = re.fullmatch(r"(\w+)=(.+?)(eV|kcal/mol)", word)
    with suppress(ValueError):
        if found and found[1] in atomic_numbers and np.isfinite(float(found[2])):
            return _Ion(np.array([atomic_numbers[found[1]]]), float(found[2]), found[3])
    raise InputError(f"{word}: no such file; an ion is its element and its energy, as Na=5.32eV or Na=122.7kcal/mol")


def _geometry(numbers: IntArray, binding: Model | None, structure: Path | None) -> Atoms:
    """A structure of the complex, in Å. Raises InputError where there is none, or it is of other atoms."""
    import numpy as np
    from ase import Atoms

    from ...errors import InputError
    from ...gdml import make_predictor
    from ...molecule.structures import read_structure

    if structure is not None:
        atoms = read_structure(structure)
        if not np.array_equal(atoms.numbers, numbers):
            raise InputError(f"{structure}: {_chain(atoms.numbers)}, the models have {_chain(numbers)}")
        return atoms
    if binding is None or binding.training_positions is None:
        none = "no model of the binding" if binding is None else "no training geometries in the model of the binding"
        raise InputError(f"{none}, to take a geometry of the complex from; give one, --structure FILE")
    points = binding.training_positions * binding.angstrom
    lowest = make_predictor(binding).predict(points).energy.argmin()  # the first may be pulled apart
    return Atoms(numbers, points[lowest])


def _chain(numbers: object) -> str:
    """Elements in the order of atoms: ``OH2C6H6``."""
    from ase.symbols import Symbols

    return Symbols(numbers).get_chemical_formula("reduce")
