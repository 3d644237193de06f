"""A molecular crystal: frames to learn from, and models beside the method that they learned.

python run/crystal.py frames CRYSTAL DATASET -o frames.extxyz
python run/crystal.py compare MANIFEST CRYSTAL -o crystal.json

frames: molecules of a crystal (extended xyz, one species, each molecule's atoms together and whole), with geometries
of the fragments of a data set, moved and turned at random about their places, in cells of several sizes: what
`delta-sgdml dataset bodies` takes pairs from. compare: cell and molecules are relaxed with the models, in the
manifest's supercell, and with GFN2-xTB (tblite's, periodic); edges, and lattice energies against relaxed molecules.
Beside crystal.json, crystal.extxyz is GFN2-xTB's, with its lattice energy (REF_lattice_energy, kcal/mol a molecule).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import LBFGS
from scipy.spatial.transform import Rotation

from delta_server.calculator import DeltaCalculator
from delta_server.data.dataset import Dataset, load_dataset
from delta_server.files.whole import json_text, write_whole
from delta_server.methods import Method
from delta_server.units import KCAL_MOL

STRAINS = (0.96, 1.06)  # of each edge, in the frames
SHIFT, TURN = 0.12, 5.0  # Å and degrees: standard deviations along and about each axis
TIGHT = 0.004  # eV/Å


def frames(crystal: Atoms, data: Dataset, repeat: Sequence[int], count: int, seed: int) -> list[Atoms]:
    """Frames of the crystal with its molecules, the fragments of a data set drawn at random, moved and turned."""
    rng = np.random.default_rng(seed)
    geometries = np.concatenate([data.positions[:, data.atoms_of(k)] for k in range(data.n_fragments)])
    size = geometries.shape[1]
    sites = (crystal * tuple(repeat)).positions.reshape(-1, size, 3)
    cell = (crystal * tuple(repeat)).cell.array
    made = []
    for _ in range(count):
        strain = rng.uniform(*STRAINS, 3)
        molecules = []
        for site in sites:
            x = geometries[rng.integers(len(geometries))]
            x = x - x.mean(0)
            centre = site.mean(0)
            turned, _ = Rotation.align_vectors(site - centre, x)
            random = Rotation.from_rotvec(np.radians(TURN) * rng.normal(size=3))
            molecules.append((random * turned).apply(x) + centre * strain + SHIFT * rng.normal(size=3))
        numbers = np.tile(crystal.numbers[:size], len(sites))
        made.append(Atoms(numbers, np.concatenate(molecules), cell=cell * strain[:, None], pbc=True))
    return made


def relaxed(atoms: Atoms, calculator: Calculator) -> Atoms:
    """The molecules relaxed, and where there is a cell its edges too (right angles stay)."""
    atoms.calc = calculator
    free = FrechetCellFilter(atoms, mask=[1, 1, 1, 0, 0, 0], exp_cell_factor=5.0) if atoms.pbc.any() else atoms
    LBFGS(free, logfile=None).run(fmax=TIGHT, steps=300)
    return atoms


def single(manifest: Path, molecule: Atoms, folder: Path) -> DeltaCalculator:
    """The manifest's only species, alone."""
    entries = yaml.safe_load(manifest.read_text())
    write(folder / "molecule.xyz", molecule)
    (species,) = entries["species"].values()
    species |= {"model": str((manifest.parent / species["model"]).resolve()), "count": 1}
    path = folder / "molecule.yaml"
    kept = {key: entries[key] for key in ("format", "name", "species")}
    path.write_text(yaml.safe_dump(kept | {"structure": "molecule.xyz", "periodic": False}))
    return DeltaCalculator(path)


def compare(manifest: Path, crystal: Atoms, size: int) -> tuple[dict[str, Any], Atoms]:
    """Edges of the crystal's cell (Å) and lattice energy (kcal/mol a molecule) with the manifest's models in its own
    supercell, and with GFN2-xTB in two cells along the first edge, which is given too. size: atoms of a molecule."""
    box = read(manifest.parent / yaml.safe_load(manifest.read_text())["structure"])
    molecule, twice = Atoms(box[:size], pbc=False, cell=np.zeros((3, 3))), crystal * (2, 1, 1)
    method = Method("gfn2-xtb")
    with tempfile.TemporaryDirectory() as folder:
        alone = relaxed(molecule.copy(), single(manifest, molecule, Path(folder)))
        found = {"models": (relaxed(box, DeltaCalculator(manifest)), alone)}
        found["GFN2-xTB"] = relaxed(twice, method.make()), relaxed(molecule.copy(), method.make())
        result = {}
        for name, (solid, gas) in found.items():
            energy = solid.get_potential_energy() / (len(solid) / size) - gas.get_potential_energy()
            # the supercell has as many cells along each edge as fit the crystal's
            repeats = np.rint(solid.cell.lengths() / crystal.cell.lengths())
            edges = (solid.cell.lengths() / repeats).tolist()
            result[name] = {"edges": edges, "lattice_energy": energy / KCAL_MOL}
    twice.calc = None
    twice.info["REF_lattice_energy"] = result["GFN2-xTB"]["lattice_energy"]
    return result, twice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    make = commands.add_parser("frames", help="frames to take pairs from")
    make.add_argument("crystal", type=Path)
    make.add_argument("dataset", type=Path, help="of complexes of the molecule, its atoms in the crystal's order")
    make.add_argument("--repeat", type=int, nargs=3, default=(3, 2, 3))
    make.add_argument("--count", type=int, default=20)
    make.add_argument("--seed", type=int, default=0)
    beside = commands.add_parser("compare", help="lattice energy and cell, beside GFN2-xTB's")
    beside.add_argument("manifest", type=Path)
    beside.add_argument("crystal", type=Path)
    beside.add_argument("--size", type=int, default=12, help="atoms of a molecule")
    for command in (make, beside):
        command.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    crystal = read(options.crystal)
    if options.command == "frames":
        data = load_dataset(options.dataset)
        write(options.output, frames(crystal, data, options.repeat, options.count, options.seed))
        return
    result, reference = compare(options.manifest, crystal, options.size)
    for name, values in result.items():
        edges = ", ".join(f"{edge:.3f}" for edge in values["edges"])
        print(f"{name:10} {edges} Å, {values['lattice_energy']:.2f} kcal/mol a molecule")
    write_whole(options.output, json_text(result))
    write(options.output.with_suffix(".extxyz"), reference)


if __name__ == "__main__":
    main()
