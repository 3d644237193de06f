"""Two pairs whose ΔG° quadrature tells, through i-PI: a Lennard-Jones pair, and a charge in a charged cage.

python tests/campaigns/binding.py                       # an hour of a busy core; --ps 240 for errors of 0.04
python tests/campaigns/binding.py --only cage --ps 100 --folder /tmp/binding   # longer, and what it ran is kept

`sweep write`, `run` and `analyze free-energy` of umbrella windows and of metadynamics, as a user types them. Exits
with 1 where one is more than 0.05 kcal/mol, and more than three of its own errors, off.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ase.calculators.calculator import Calculator, all_changes

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
KCAL_MOL, KT, STANDARD = 0.0433641, 300 * 0.001987204, 1660.539  # eV; kcal/mol; Å³
SHELL = (7.0, 8.5)  # Å, for the bulk: quadrature takes the same
CLOSE = 0.05  # kcal/mol

Array = npt.NDArray[np.float64]


def lennard_jones(r: Array) -> tuple[Array, Array]:
    """3 kcal/mol deep, 3.4 Å; eV and eV/Å."""
    sixth = (3.4 / r) ** 6
    return 0.52037 * (sixth**2 - sixth), -0.52037 * (12 * sixth**2 - 6 * sixth) / r


def cage(r: Array) -> tuple[Array, Array]:
    """A charge and a charged shell of 4 Å, screened after 1.5 Å, whose wall is 0.3 eV high and 0.4 Å thick; at its
    centre a hard core of about 1 Å."""
    size, screened, strength = 4.0, 1.5, -4.0 * 1.5 / 4.0
    near, far = np.exp(-size / screened), np.sinh(size / screened)
    shell = np.where(r < size, near * np.sinh(r / screened), far * np.exp(-r / screened))
    slope = np.where(r < size, near * np.cosh(r / screened), -far * np.exp(-r / screened)) / screened
    wall = 0.3 * np.exp(-0.5 * ((r - size) / 0.4) ** 2)
    core = 0.025 / r**12
    slope = strength * (slope / r - shell / r**2) - wall * (r - size) / 0.16 - 12 * core / r
    return strength * shell / r + wall + core, slope


FORMS = {"lennard_jones": lennard_jones, "cage": cage}
CASES = {  # start (Å), bound below (Å), windows
    "lennard_jones": (3.8, "6", "3.5:8.5:1"),
    "cage": (2.5, "4", "1.5,2.3,3,3.4,3.6,3.8,4,4.2,4.4,4.6,5,5.7,6.6,7.6,8.6"),
}


class Pair(Calculator):
    """Two atoms. form: of FORMS."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]  # type: ignore[misc]

    def __init__(self, form: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.form = FORMS[form]

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        if len(self.atoms) == 1:  # a fragment alone
            self.results = {"energy": 0.0, "forces": np.zeros((1, 3))}
            return
        apart = self.atoms.positions[1] - self.atoms.positions[0]
        r = np.linalg.norm(apart)
        energy, slope = self.form(np.array(r))
        pull = float(slope) * apart / max(float(r), 1e-6)
        self.results = {"energy": float(energy), "forces": np.array([pull, -pull])}


def exact(form: str) -> float:
    """ΔG° by quadrature, of the same shell as the bulk."""

    def weight(low: float, high: float) -> float:
        r = np.linspace(max(low, 0.3), high, 100_001)
        return float(np.trapezoid(r**2 * np.exp(-FORMS[form](r)[0] / KCAL_MOL / KT), r))

    volume = 4 / 3 * math.pi * (SHELL[1] ** 3 - SHELL[0] ** 3)
    return -KT * math.log(weight(0.0, float(CASES[form][1])) / weight(*SHELL) * volume / STANDARD)


def written(folder: Path, form: str) -> Path:
    """The manifest of a pair."""
    (folder / "pair.xyz").write_text(f"2\n\nHe 0 0 0\nHe {CASES[form][0]} 0 0\n")
    fragment = "energy: 0.0, energy_unit: eV"
    (folder / "manifest.yaml").write_text(
        "format: delta-sgdml/1\nname: pair\nstructure: pair.xyz\nfragments:\n"
        f'- {{name: first, atoms: "0", {fragment}}}\n- {{name: second, atoms: "1", {fragment}}}\n'
        "terms:\n- {kind: calculator, name: pair, part: binding, over: all, "
        f"calculator: 'binding:Pair', options: {{form: {form}}}}}\n"
    )
    return folder / "manifest.yaml"


def run(*words: object) -> str:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([SGDML, *map(str, words)], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stderr}")
    return done.stdout


def measured(folder: Path, form: str, kind: str, picoseconds: float, step: float) -> tuple[float, float, str]:
    """ΔG°, its error, and what is told of it."""
    _, bound, windows = CASES[form]
    dynamics = ("--temperatures", 300, "--timestep", step, "--stride", 10, "--frames", 10, "--no-relax")
    length = picoseconds if kind == "umbrella" else 2 * picoseconds
    flooding = ("--walkers", 4, "--pace", 50, "--fill", length / 4, "--walls", ":9", "--tau", 500)
    how = ("--windows", windows) if kind == "umbrella" else flooding
    sweep = folder / kind
    write = ("sweep", "write", folder / "manifest.yaml", "--kind", kind, "--variable", "R_CM", *how)
    run(*write, *dynamics, "--time", length, "--energy-margin", 1e6, "-o", sweep)
    record = json.loads((sweep / "sweep.json").read_text())
    record["limits"]["heat"] = 1e3  # of three degrees of freedom the temperature is often far from what was set
    (sweep / "sweep.json").write_text(json.dumps(record))
    began = time.monotonic()
    run("sweep", "run", sweep)
    wall = time.monotonic() - began
    bulk = f"{SHELL[0]}:{SHELL[1]}"
    asked = ("--over", "R_CM", "--bound", bound, "--bulk", bulk, "--json")
    found = json.loads(run("analyze", "free-energy", sweep, *asked))
    (binding,) = found["binding"]
    told = f"{binding['kcal_per_mol']:.3f} ± {binding['error']:.3f}, halves {binding['halves']}"
    return binding["kcal_per_mol"], binding["error"], f"{told}, {binding.get('by_negative_bias')}; {wall:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES), help="pairs, with commas")
    parser.add_argument("--kinds", default="umbrella,metadynamics")
    parser.add_argument("--ps", type=float, default=60.0, help="of each window; walkers run twice as long")
    parser.add_argument("--step", type=float, default=3.0, help="fs; the well's period is 113, the wall's 65")
    parser.add_argument("--folder", type=Path, help="keep what was run there")
    asked = parser.parse_args()
    bad = 0
    with TemporaryDirectory() as scratch:
        for form in asked.only.split(","):
            folder = (asked.folder or Path(scratch)) / form
            folder.mkdir(parents=True, exist_ok=True)
            written(folder, form)
            for kind in asked.kinds.split(","):
                value, error, told = measured(folder, form, kind, asked.ps, asked.step)
                off = abs(value - exact(form))
                bad += off > max(CLOSE, 3 * error)
                sys.stdout.write(f"{form}, {kind}: ΔG° {told}; by quadrature {exact(form):.3f} kcal/mol\n")
                sys.stdout.flush()
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
