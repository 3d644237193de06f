"""Where a many-body expansion converges: sums of one, two and three bodies beside the method that they learned.

python run/clusters.py models/water/cluster.yaml -o clusters --sizes 6 8 10 12 14 16

MANIFEST is of a cluster of one species. For each size some clusters are packed, relaxed and walked a little with the
models at a temperature, and labelled whole. Errors are of energies, by molecule, and of forces, against the method.
Writes OUTPUT/clusters.json, .md and .png, and the labelled clusters as OUTPUT/SIZE.extxyz (REF_energy in eV,
REF_forces in eV/Å); started again, it goes on with the sizes that are missing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.io import write

from delta_server import Potential, load_potential
from delta_server.data.pack import geometries, pack
from delta_server.dynamics import Walkers, relax
from delta_server.files.whole import write_whole
from delta_server.methods import Method, parse_options
from delta_server.units import KCAL_MOL

ORDERS = ("1", "1 + 2", "1 + 2 + 3")


def packed(manifest: Path, count: int, density: float) -> Atoms:
    """A cluster of so many of the manifest's molecules, g/cm³."""
    structure = yaml.safe_load(manifest.read_text())["structure"]
    return pack([(geometries(manifest.parent / structure), count)], density, periodic=False, seed=count)


def potentials(manifest: Path, atoms: Atoms, count: int, folder: Path) -> list[Potential]:
    """Up to one, two and three bodies, with a structure of so many molecules in place of the manifest's."""
    entries = yaml.safe_load(manifest.read_text())
    write(folder / "assembly.extxyz", atoms)
    (species,) = entries["species"].values()
    bindings = sorted(entries["binding"], key=lambda binding: len(binding["between"]))
    for part in (species, *bindings):
        part["model"] = str((manifest.parent / part["model"]).resolve())
    entries["structure"], species["count"] = "assembly.extxyz", count
    loaded = []
    for k in range(len(bindings) + 1):
        path = folder / f"{k + 1}.yaml"
        path.write_text(yaml.safe_dump(entries | {"binding": bindings[:k] or None}))
        loaded.append(load_potential(path))
    return loaded


def walked(potential: Potential, frames: int, temperature: float, steps: int) -> np.ndarray:
    """(frames, N, 3) Å: relaxed a little, then each for itself for so many steps of 0.5 fs."""
    atoms = Atoms(potential.numbers, potential.reference)
    relax(atoms, potential, 100, fmax=0.05)
    starts = np.repeat(atoms.positions[None], frames, axis=0)
    walkers = Walkers(potential, starts, [temperature] * frames, range(frames))
    walkers.advance(steps)
    return walkers.positions[walkers.alive]


def labelled(numbers: np.ndarray, positions: np.ndarray, method: Method) -> list[Atoms]:
    """The clusters with the method's energies (eV) and forces (eV/Å)."""
    clusters = []
    for x in positions:
        atoms = Atoms(numbers, x, calculator=method.make())
        atoms.arrays["REF_forces"], atoms.info["REF_energy"] = atoms.get_forces(), atoms.get_potential_energy()
        atoms.calc = None
        clusters.append(atoms)
    return clusters


def errors_of(by_order: list[Potential], clusters: list[Atoms]) -> dict[str, Any]:
    """MAE by order, of energies (kcal/mol a molecule) and of forces (kcal/mol/Å); and the mean force."""
    count = len(by_order[0].fragments)
    positions = np.array([atoms.positions for atoms in clusters])
    forces = np.array([atoms.arrays["REF_forces"] for atoms in clusters]) / KCAL_MOL
    energies = np.array([atoms.info["REF_energy"] for atoms in clusters]) / KCAL_MOL
    errors: dict[str, Any] = {"molecules": count, "frames": len(positions), "force": float(np.abs(forces).mean())}
    for order, potential in zip(ORDERS, by_order, strict=False):
        result = potential.compute(positions)
        energy = float(np.abs(result.energy / KCAL_MOL - energies).mean()) / count
        errors[order] = [energy, float(np.abs(result.forces / KCAL_MOL - forces).mean())]
    return errors


def markdown(theory: str, rows: list[dict[str, Any]]) -> str:
    orders = [order for order in ORDERS if order in rows[0]]
    lines = [
        f"MAE against {theory}: energies (kcal/mol a molecule), forces (kcal/mol/Å)\n",
        f"| molecules | clusters | mean force | {' | '.join(f'bodies {order}' for order in orders)} |",
        f"|---|---|---|{'---|' * len(orders)}",
    ]
    for row in rows:
        errors = " | ".join(f"{row[order][0]:.3f}, {row[order][1]:.2f}" for order in orders)
        lines.append(f"| {row['molecules']} | {row['frames']} | {row['force']:.1f} | {errors} |")
    return "\n".join(lines) + "\n"


def draw(path: Path, theory: str, rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(8, 3.3), layout="constrained")
    sizes = [row["molecules"] for row in rows]
    names = "energy (kcal/mol a molecule)", "force (kcal/mol/Å)"
    for k, (axis, what) in enumerate(zip(figure.subplots(1, 2), names, strict=True)):
        for order in ORDERS:
            if order in rows[0]:
                axis.plot(sizes, [row[order][k] for row in rows], marker="o", label=order)
        axis.set(xlabel="molecules", ylabel=f"MAE of the {what}", yscale="log")
        axis.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter="")
    figure.legend(*axis.get_legend_handles_labels(), title="bodies", loc="outside right center")
    figure.suptitle(f"many-body sums beside {theory}", fontsize="medium")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[6, 8, 10, 12, 14, 16])
    parser.add_argument("--frames", type=int, default=3, help="clusters of each size")
    parser.add_argument("--steps", type=int, default=400, help="of 0.5 fs, that each walks")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--density", type=float, default=0.9, help="of the packed clusters, g/cm³")
    parser.add_argument("--calculator", default="gfn2-xtb")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    method = Method(options.calculator, parse_options(options.option))
    options.output.mkdir(exist_ok=True, parents=True)
    record = options.output / "clusters.json"
    rows = json.loads(record.read_text())["rows"] if record.exists() else []
    for size in sorted(set(options.sizes) - {row["molecules"] for row in rows}):
        atoms = packed(options.manifest, size, options.density)
        by_order = potentials(options.manifest, atoms, size, options.output)
        positions = walked(by_order[-1], options.frames, options.temperature, options.steps)
        clusters = labelled(by_order[-1].numbers, positions, method)
        write(options.output / f"{size}.extxyz", clusters)
        rows = sorted([*rows, errors_of(by_order, clusters)], key=lambda row: int(row["molecules"]))
        write_whole(record, json.dumps({"theory": method.theory, "rows": rows}, indent=1))
        print(markdown(method.theory, rows))
    write_whole(options.output / "clusters.md", markdown(method.theory, rows))
    draw(options.output / "clusters.png", method.theory, rows)


if __name__ == "__main__":
    main()
