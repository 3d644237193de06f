"""How long the forces of an assembly take, by the number of its molecules.

python run/molecules.py models/water/box.yaml -o molecules

MANIFEST is of an assembly of one species. A box is repeated, to two, four and eight times as many molecules; in place
of a cluster there are packed ones of 8 to 64. Forces of one body, of one and two, and so on are timed with one
thread: of one structure, and of eight in one batch. Times are of CPU, the least of several, which neighbours
disturb least. Writes OUTPUT/molecules.json and .md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from clusters import ORDERS, packed, potentials
from timing import cpu_time

from delta_server.files.whole import write_whole
from delta_server.manifest import load_manifest
from delta_server.molecule.structures import read_structure

BATCH = 8


def assemblies(path: Path) -> Iterator[tuple[int, Atoms]]:
    """Structures of more and more molecules, with their number."""
    manifest = load_manifest(path)
    if not manifest.periodic:
        yield from ((count, packed(path, count, 0.9)) for count in (8, 16, 32, 64))
        return
    box = read_structure(manifest.resolve(manifest.structure))
    (species,) = manifest.species.values()
    for times in ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2)):
        atoms = box.repeat(times)
        yield species.count * len(atoms) // len(box), atoms


def timed(manifest: Path, atoms: Atoms, count: int, folder: Path, seconds: float) -> dict[str, Any]:
    """Milliseconds of the forces of so many molecules, by order: of one structure, and of eight at once."""
    row: dict[str, Any] = {"molecules": count}
    for order, potential in zip(ORDERS, potentials(manifest, atoms, count, folder), strict=False):
        rng = np.random.default_rng(0)
        x = potential.reference + 0.02 * rng.standard_normal((BATCH, *potential.reference.shape))
        row[order] = [
            1e3 * cpu_time(lambda n=n, p=potential, x=x: p.compute(x[:n], cells=p.cell), seconds)  # type: ignore[misc]
            for n in (1, BATCH)
        ]
    return row


def markdown(rows: list[dict[str, Any]]) -> str:
    orders = [order for order in ORDERS if order in rows[0]]
    lines = [
        f"Forces, ms of CPU, one thread; in brackets the time of {BATCH} structures in one batch over that of one\n",
        f"| molecules | {' | '.join(f'bodies {order}' for order in orders)} |",
        f"|---|{'---|' * len(orders)}",
    ]
    for row in rows:
        times = " | ".join(f"{row[order][0]:.3g} ({row[order][1] / row[order][0]:.1f})" for order in orders)
        lines.append(f"| {row['molecules']} | {times} |")
    if len(rows) > 1:
        sizes = np.log([row["molecules"] for row in rows])
        exponents = (np.polyfit(sizes, np.log([row[order][0] for row in rows]), 1)[0] for order in orders)
        lines.append(f"| exponent | {' | '.join(f'{exponent:.2f}' for exponent in exponents)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=2.0, help="spent on each order of each count")
    options = parser.parse_args()
    options.output.mkdir(exist_ok=True, parents=True)
    rows: list[dict[str, Any]] = []
    for count, atoms in assemblies(options.manifest):
        rows.append(timed(options.manifest, atoms, count, options.output, options.seconds))
        write_whole(options.output / "molecules.json", json.dumps(rows, indent=1))
        write_whole(options.output / "molecules.md", markdown(rows))
        print(markdown(rows[-1:]).splitlines()[-1], flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()
