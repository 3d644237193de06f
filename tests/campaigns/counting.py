"""ΔG° of a pair by counting, in unbiased copies that walk as one batch: windows and metadynamics have to agree.

python tests/campaigns/counting.py models/h2o_benzene/manifest.yaml             # a quarter of an hour of a core

Half of the copies begin bound, half apart in random directions; a wall holds them. Hydrogens weigh 3 u, steps are
2 fs. The error is that of the mean over copies, by bootstrap.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from delta_server import load_potential
from delta_server.cli.progress import Line
from delta_server.dynamics import Walkers
from delta_server.manifest import load_manifest
from delta_server.molecule.masses import repartitioned
from delta_server.potential import Potential
from delta_server.terms.bias import Restraint, restrain
from delta_server.units import KCAL_MOL
from delta_server.variables.definition import default_variables

STANDARD, GAS = 1660.539, 0.0019872041  # Å³ a molecule at 1 M; kcal/mol/K
EQUILIBRATION = 5.0  # ps
EVERY = 10  # steps


def standard(r: npt.NDArray[np.float64], bound: float, bulk: tuple[float, float], temperature: float) -> float:
    """ΔG° (kcal/mol) of distances."""
    inside, beyond = (r < bound).sum(), ((r >= bulk[0]) & (r < bulk[1])).sum()
    volume = 4 / 3 * math.pi * (bulk[1] ** 3 - bulk[0] ** 3)
    with np.errstate(divide="ignore"):
        return float(-GAS * temperature * (np.log(inside / beyond) + np.log(volume / STANDARD)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--copies", type=int, default=48)
    parser.add_argument("--ps", type=float, default=165.0, help="of each copy")
    parser.add_argument("--bound", type=float, default=7.0, help="Å")
    parser.add_argument("--bulk", type=float, nargs=2, default=(9.0, 11.0), help="Å; the wall is at its end")
    parser.add_argument("--seed", type=int, default=900)
    options = parser.parse_args()
    described, bare = load_manifest(options.manifest), load_potential(options.manifest)
    wall = Restraint(high=options.bulk[1], force_constant=10 * KCAL_MOL)
    bias = restrain("wall", default_variables(described), "R_CM", wall, bare.numbers, "the wall")
    potential = Potential(bare.numbers, bare.reference, bare.fragments, [*bare.terms, bias], likeness=bare.likeness)
    masses = repartitioned(potential.numbers, potential.reference, 3.0)
    first, second = (np.array(fragment.atoms) for fragment in described.fragments[:2])
    x, rng = np.repeat(potential.reference[None], options.copies, 0), np.random.default_rng(options.seed)
    centres = [np.average(potential.reference[atoms], axis=0, weights=masses[atoms]) for atoms in (first, second)]
    for k in range(options.copies // 2, options.copies):
        direction = rng.normal(size=3)
        distance = rng.uniform(options.bound, options.bulk[1] - 0.5)
        x[k, first] += centres[1] + distance * direction / np.linalg.norm(direction) - centres[0]
    kelvins, seeds = [options.temperature] * options.copies, range(options.seed, options.seed + options.copies)
    walkers = Walkers(potential, x, kelvins, list(seeds), timestep=2.0, masses=masses)
    found, steps = [], round(options.ps * 500)
    with Line() as line:
        for step in range(0, steps, EVERY):
            walkers.advance(EVERY)
            found.append(bias.variables["R_CM"].values(walkers.positions))
            line.update(f"{(step + EVERY) / 500:.1f} of {options.ps:g} ps")
    if not walkers.alive.all():
        sys.exit("a copy has no number any more")
    r = np.array(found)[round(EQUILIBRATION * 500 / EVERY) :]

    def of(part: npt.NDArray[np.float64]) -> float:
        return standard(part, options.bound, tuple(options.bulk), options.temperature)

    error = np.std([of(r[:, rng.integers(options.copies, size=options.copies)]) for _ in range(500)])
    half, copies = len(r) // 2, options.copies // 2
    sys.stdout.write(
        f"ΔG°(1 M, {options.temperature:g} K) = {of(r):.2f} ± {error:.2f} kcal/mol (halves {of(r[:half]):.2f}, "
        f"{of(r[half:]):.2f}; begun bound {of(r[:, :copies]):.2f}, apart {of(r[:, copies:]):.2f})\n"
    )


if __name__ == "__main__":
    main()
