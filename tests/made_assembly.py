"""Assemblies of waters: a box, models of one, two and three of them that know exchange, and the sum by hand."""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from ase import Atoms
from ase.io import write
from conftest import ROOT
from made import made_model

from delta_server import load_potential
from delta_server.molecule.structures import read_structure
from delta_server.potential import Result

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
CELL = np.array([[12.6, 0.0, 0.0], [2.0, 12.9, 0.0], [-1.5, 2.0, 13.1]])  # rows are lattice vectors, Å


def made_waters(count: int, cell: npt.ArrayLike | None = CELL, seed: int = 0) -> Atoms:
    """So many waters on a grid of 3.1 Å or a little more, each turned at random and its atoms moved a little."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    box = np.diag([3.1 * int(np.ceil(count ** (1 / 3)))] * 3) if cell is None else np.asarray(cell)
    edge = round(float(np.diag(box).min()) // 3.1)
    places = np.array(list(product(range(edge), repeat=3)))[:count] / edge @ box
    turns = Rotation.random(count, random_state=rng).as_matrix()
    x = places[:, None] + np.einsum("kab,nb->kna", turns, WATER) + 0.03 * rng.standard_normal((count, 3, 3))
    atoms = Atoms("OH2" * count, x.reshape(-1, 3))
    if cell is not None:
        atoms.set_cell(box)
        atoms.pbc = True
    return atoms


def start_of_runs(manifest: Path, molecules: int) -> Result:
    """What a shipped assembly says of the geometry that its inputs start from, which is its own."""
    potential = load_potential(manifest)
    assert len(potential.fragments) == molecules
    start = read_structure(ROOT / "inputs" / manifest.parent.name / "init.xyz")
    assert np.abs(start.positions - potential.reference).max() < 1e-6
    assert np.abs(start.cell.array - potential.cell).max() < 1e-4
    result = potential.compute(potential.reference, cells=potential.cell)
    assert np.abs(result.forces.sum(0)).max() < 1e-9
    return result


def exchanges(count: int) -> npt.NDArray[np.intp]:
    """(P, 3n) the whole group of n waters: hydrogens within each, and the waters among each other."""
    rows = []
    for order in permutations(range(count)):
        for flips in product(([0, 1, 2], [0, 2, 1]), repeat=count):
            rows.append(np.concatenate([3 * w + np.array(flip) for w, flip in zip(order, flips, strict=True)]))
    return np.array(rows)


def made_assembly(
    folder: Path, atoms: Atoms, pair: float = 6.0, triple: float = 0.0, switch: float = 1.0, **changes: Any
) -> Path:
    """The manifest of waters with these cut-offs, Å; no triples for 0. changes: of the manifest's keys."""
    folder.mkdir(exist_ok=True)
    waters = made_waters(3, None)
    binding = []
    for n, cutoff in ((2, pair), (3, triple)):
        if cutoff:
            name = f"{'w' * n}.npz"
            x, z = waters.positions[: 3 * n], waters.numbers[: 3 * n]
            made_model(folder / name, z, x, exchanges(n), 6, seed=n, noise=0.3, size=3.0, offset=-1.0 / n)
            binding.append({"between": ["water"] * n, "model": name, "cutoff": cutoff, "switch": switch})
    write(folder / "box.extxyz", atoms)
    entries = {
        "format": "delta-sgdml/1",
        "name": "waters",
        "structure": "box.extxyz",
        "species": {
            "water": {"model": str(ROOT / "models/h2o_benzene/water.npz"), "count": len(atoms) // 3},
        },
        "periodic": bool(atoms.pbc.all()),
        "binding": binding,
    } | changes
    path = folder / "manifest.yaml"
    given = {key: value for key, value in entries.items() if value is not None}
    path.write_text(yaml.safe_dump(json.loads(json.dumps(given)), sort_keys=False))  # without aliases
    return path
