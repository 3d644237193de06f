"""What quantum nuclei add to a pair's ΔG°, from kinetic energies: windows of ring polymers have to agree.

python tests/campaigns/quantum.py models/h2o_benzene/manifest.yaml          # half an hour of a core

The free energy of heavier nuclei is lower by dF/d ln m = −⟨K⟩, and infinitely heavy ones are classical, so that

    F_quantum − F_classical = 2 ∫₀¹ dy/y (⟨K⟩_y − K_classical),    masses m/y²

(Ceriotti and Markland, J. Chem. Phys. 138, 014112 (2013)). Of the pair within --bound, less that of the pair in the
shell --bulk, K_classical drops out. The integrand goes like y, which Gauss and Jacobi's two points know: right to 1 %
for shifts of frequencies up to 3,700 cm⁻¹ at 300 K. ⟨K⟩ is i-PI's centroid-virial estimator.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml
from scipy.special import roots_jacobi

from delta_server.analysis.statistics import correlated_mean
from delta_server.ipi.simulation import Simulation
from delta_server.ipi.tables import read_properties
from delta_server.manifest import load_manifest
from delta_server.molecule.structures import read_structure, write_structure
from delta_server.units import KCAL_MOL

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
EQUILIBRATION = 2.0  # ps


def held(manifest: Path, folder: Path, low: float, high: float, start: float) -> Path:
    """The manifest with walls for R_CM, the first fragment moved so that R_CM is start; Å."""
    described = load_manifest(manifest)
    atoms = read_structure(described.resolve(described.structure))
    first, second = (list(fragment.atoms) for fragment in described.fragments)
    apart = atoms[first].get_center_of_mass() - atoms[second].get_center_of_mass()
    atoms.positions[first] += apart * (start / np.linalg.norm(apart) - 1)
    folder.mkdir()
    write_structure(folder / "init.xyz", atoms)
    plain = yaml.safe_load(manifest.read_text()) | {"structure": "init.xyz"}
    for model in (*plain["fragments"], plain["binding"]):
        if "model" in model:
            model["model"] = str(manifest.resolve().parent / model["model"])
    walls = {"low": low, "high": high, "force_constant": 10}
    options = {"variable": "R_CM", "flat_bottomed": walls, "energy_unit": "kcal/mol"}
    plain["terms"] = [*plain.get("terms", []), {"kind": "bias", "name": "walls", "options": options}]
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def kinetic(manifest: Path, y: float, beads: int, options: argparse.Namespace, seed: int) -> tuple[float, float]:
    """⟨K⟩ (eV) of nuclei of mass m/y², and its error."""
    step = 0.5 / y  # fs
    described = load_manifest(manifest)
    masses = read_structure(described.resolve(described.structure)).get_masses() / y**2
    simulation = Simulation(
        described.name, described.recorded, options.temperature, options.steps * step / 1000, step, beads=beads,
        seed=seed, stride=4, frames=2000, masses=tuple(masses.tolist()),
    )  # fmt: skip
    source, out = manifest.with_name(f"{y:.3f}.xml"), manifest.with_name(f"{y:.3f}")
    source.write_text(simulation.xml("init.xyz", "nuclei"))
    done = subprocess.run([SGDML, "run", source, manifest, "--dir", out], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    table = read_properties(out / "nuclei.out")
    mean = correlated_mean(table["kinetic_cv"][table["time"] > EQUILIBRATION])
    return mean.value, mean.error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--steps", type=int, default=160_000, help="of 0.5 fs, times the root of masses; four runs")
    parser.add_argument("--beads", type=int, default=16, help="with the nuclei's own masses; heavier ones take less")
    parser.add_argument("--bound", type=float, default=7.0, help="Å")
    parser.add_argument("--bulk", type=float, nargs=2, default=(9.0, 11.0), help="Å")
    parser.add_argument("--seed", type=int, default=700)
    options = parser.parse_args()
    roots, weights = roots_jacobi(2, 0, 1)
    shift = variance = 0.0
    with TemporaryDirectory() as scratch:
        near = held(options.manifest, Path(scratch, "bound"), 0.0, options.bound, 3.4)
        low, high = options.bulk
        far = held(options.manifest, Path(scratch, "free"), low, high, (low + high) / 2)
        for k, (root, weight) in enumerate(zip(roots, weights, strict=True)):
            y = float(root + 1) / 2
            beads = 2 * math.ceil(options.beads * math.sqrt(y) / 2)
            (bound, first), (free, second) = (
                kinetic(manifest, y, beads, options, options.seed + 2 * k + which)
                for which, manifest in enumerate((near, far))
            )
            factor = 2 * float(weight) / 4 / y**2 / KCAL_MOL
            sys.stdout.write(
                f"masses × {1 / y**2:.3f}, {beads} beads: ⟨K⟩ bound {bound:.4f} ± {first:.4f}, free {free:.4f} ± "
                f"{second:.4f} eV; adds {factor * (bound - free):.3f} ± {factor * math.hypot(first, second):.3f}\n"
            )
            sys.stdout.flush()
            shift += factor * (bound - free)
            variance += (factor * math.hypot(first, second)) ** 2
    sys.stdout.write(f"quantum nuclei: ΔG°({options.temperature:g} K) + {shift:.3f} ± {variance**0.5:.3f} kcal/mol\n")


if __name__ == "__main__":
    main()
