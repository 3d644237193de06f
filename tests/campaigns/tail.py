"""The tail of a potential of mean force from the reference itself, beside the model's at the same geometries.

python tests/campaigns/tail.py models/h2o_benzene/manifest.yaml models/h2o_benzene/dataset.npz      # three minutes

w(R) = −kT ln ⟨exp(−E_b/kT)⟩ over directions and orientations, of fragments as they are in the frames of the data set;
kcal/mol, zero where nothing binds. The error is a bootstrap's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import atomic_masses
from scipy.spatial.transform import Rotation

from delta_server import load_potential
from delta_server.data.dataset import load_dataset
from delta_server.methods import Method
from delta_server.units import BOLTZMANN, KCAL_MOL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--calculator", default="gfn2-xtb")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--distances", type=float, nargs="+", default=(5, 5.5, 6, 6.5, 7, 8, 9, 10, 11), help="Å")
    parser.add_argument("--samples", type=int, default=400, help="at each distance")
    options = parser.parse_args()
    potential, frames = load_potential(options.manifest), load_dataset(options.dataset).positions
    one, other = (fragment.atoms for fragment in potential.fragments)
    everyone = np.arange(potential.n_atoms)
    calculators = [Method(options.calculator).make() for _ in range(3)]
    rng, kt = np.random.default_rng(0), BOLTZMANN * options.temperature / KCAL_MOL

    def centred(x: npt.NDArray[np.float64], atoms: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        return x[atoms] - np.average(x[atoms], axis=0, weights=atomic_masses[potential.numbers[atoms]])

    def mean_force(energies: npt.NDArray[np.float64]) -> float:
        return float(-kt * np.log(np.exp(-energies / kt).mean()))

    sys.stdout.write("R (Å)  reference  ±  model (kcal/mol)\n")
    for distance in options.distances:
        x = np.empty((options.samples, potential.n_atoms, 3))
        energies = np.empty(options.samples)
        for i in range(options.samples):
            frame = frames[rng.integers(len(frames))]
            away = rng.standard_normal(3)
            turned = centred(frame, one) @ Rotation.random(random_state=rng).as_matrix().T
            x[i, one] = turned + distance * away / np.linalg.norm(away)
            x[i, other] = centred(frame, other)
            whole, *alone = (
                Atoms(potential.numbers[atoms], x[i, atoms], calculator=calculator).get_potential_energy()
                for atoms, calculator in zip((everyone, one, other), calculators, strict=True)
            )
            energies[i] = (whole - sum(alone)) / KCAL_MOL
        model = potential.compute(x, "binding").energy / KCAL_MOL
        again = [mean_force(rng.choice(energies, options.samples)) for _ in range(200)]
        row = mean_force(energies), np.std(again), mean_force(model)
        sys.stdout.write(f"{distance:5g}  " + "  ".join(f"{value:.3f}" for value in row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
