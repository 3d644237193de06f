"""What a training leaves in its folder beside its record: model files, the start geometry, manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.dataset import Dataset
from ..errors import InputError
from ..files.whole import sha256_of, write_whole
from ..gdml import Model, save_model
from ..manifest import FORMAT
from ..molecule.ranges import format_atoms
from ..molecule.structures import read_structure, write_structure
from .baselines.dispersion import Dispersion
from .baselines.electrostatics import FittedCharges
from .databases import Complex, Kind
from .tasks import Recipe

if TYPE_CHECKING:
    from ase import Atoms


def write_model(folder: Path, name: str, model: Model, data: Dataset) -> dict[str, str]:
    """Write ``NAME.npz``. Returns its ``file`` and ``sha256``, for the record."""
    path = folder / f"{name}.npz"
    save_model(path, replace(model, name=f"{data.name}_{name}"))
    return {"file": path.name, "sha256": sha256_of(path)}


def write_manifests(
    folder: Path,
    system: Complex,
    structure: Atoms,
    digests: Mapping[str, str],
    recipe: Recipe,
    made: Sequence[Dispersion | FittedCharges] = (),
) -> Path:
    """Write ``geometry.xyz``, ``full.yaml`` and the like for each global model, and last ``manifest.yaml``.

    structure: the start geometry, `start_of`. digests: SHA-256 of the model files by name. made: what the
    binding was trained above, of the data. Returns the manifest's path.
    """
    baseline = recipe.baseline
    data = system.data
    write_structure(folder / "geometry.xyz", structure)
    for name in recipe.full_models:
        whole = {"name": "complex", "atoms": f"0:{data.n_atoms}", **_model(name, digests)}
        _write(folder / f"{name}.yaml", data, {"fragments": [whole]})
    entries = {
        i: {
            "name": system.names[i],
            "atoms": format_atoms(tuple(atoms.tolist())),
            **_part(system, kind, digests),
            **({"charge": system.charge(i)} if baseline and system.charge(i) else {}),
        }
        for kind in system.kinds
        for i, atoms in kind.members
    }
    binding = _model("binding", digests) | (
        {"cutoff": recipe.cutoff, "switch": recipe.switch} if recipe.cutoff else {}
    )
    body = {"fragments": [entries[i] for i in sorted(entries)], "binding": binding}
    if terms := [below.entry() for below in (baseline, *made) if below]:
        body["terms"] = terms
    return _write(folder / "manifest.yaml", data, body)


def _part(system: Complex, kind: Kind, digests: Mapping[str, str]) -> dict[str, Any]:
    """An ion's energy, or a molecule's model."""
    if kind.is_ion:
        return {"energy": system.ion_energy(kind), "energy_unit": "kcal/mol"}
    return _model(kind.name, digests)


def _model(name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    return {"model": f"{name}.npz", "sha256": digests[name]}


def _write(path: Path, data: Dataset, body: Mapping[str, Any]) -> Path:
    import yaml

    head = {"format": FORMAT, "name": data.name, "theory": data.theory, "structure": "geometry.xyz"}
    known = {key: value for key, value in head.items() if value}
    write_whole(path, yaml.safe_dump(known | dict(body), sort_keys=False, allow_unicode=True))
    return path


def start_of(data: Dataset, given: Path | None) -> Atoms:
    """A start geometry, the configuration of lowest energy where none is given. Raises InputError where that is
    another molecule."""
    from ase import Atoms

    if given is None:
        return Atoms(data.numbers, data.positions[data.energies.argmin()])
    atoms = read_structure(given)
    if not np.array_equal(atoms.numbers, data.numbers):
        raise InputError(f"{given}: {atoms.get_chemical_formula('reduce')}, in another order than the data set")
    return atoms
