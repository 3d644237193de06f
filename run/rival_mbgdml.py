"""Many-body sums beside mbGDML's (Maldonado, Poltavsky, Vassilev-Galindo, Tkatchenko, Keith, J. Chem. Phys. 2023),
of the same models, at the same clusters: energies, forces, and how long they take.

python run/rival_mbgdml.py MANIFEST -o rival --python ENV/bin/python

MANIFEST is of a cluster of one species, whose models have sGDML's own descriptors (`train` without --metric). ENV is
an environment of its own: python -m venv ENV; ENV/bin/pip install mbgdml 'pydantic<2'. Both use one thread, the same
cut-offs, and no switch, which mbGDML does not have. Writes OUTPUT/rival.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from timing import cpu_time

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
SWITCH = 1e-9  # Å: as good as none


def sum_of_distances(Z: Any, R: Any, masses: Any) -> Any:
    """Of the centres of mass of all pairs of equal molecules (B,), which a cut-off is held against."""
    molecules = R.reshape(len(R), -1, len(masses), 3)
    centres = np.einsum("bkmx,m->bkx", molecules, masses) / masses.sum()
    first, second = np.triu_indices(centres.shape[1], 1)
    return np.linalg.norm(centres[:, first] - centres[:, second], axis=-1).sum(1)


def rival(folder: Path) -> None:
    """In mbGDML's environment: FOLDER/job.json, and for each cluster what it says of it, FOLDER/COUNT.out.npz."""
    from mbgdml.descriptors import Criteria
    from mbgdml.mbe import mbePredict
    from mbgdml.models import gdmlModel
    from mbgdml.predictors import predict_gdml

    job = json.loads((folder / "job.json").read_text())
    masses = np.array(job["masses"])
    models = []
    for order, (file, cutoff) in enumerate(job["models"], 1):
        far = None if cutoff is None else Criteria(sum_of_distances, {"masses": masses}, cutoff)
        models.append(gdmlModel(dict(np.load(file)), comp_ids=["molecule"] * order, criteria=far))
    predictor = mbePredict(models, predict_gdml)
    for count in job["counts"]:
        atoms = np.load(folder / f"{count}.npz")
        what = atoms["z"], atoms["R"], np.repeat(np.arange(count), len(masses)), np.array(["molecule"] * count)
        energy, forces = predictor.predict(*what)
        seconds = cpu_time(lambda what=what: predictor.predict(*what), job["seconds"])  # type: ignore[misc]
        np.savez(folder / f"{count}.out.npz", E=energy[0], F=forces[0], seconds=seconds)


def compared(path: Path, folder: Path, python: str, counts: list[int], seconds: float) -> list[dict[str, float]]:
    """Milliseconds of ours and theirs, with the largest differences of energies and forces, relative."""
    import yaml
    from ase.data import atomic_masses
    from clusters import packed, potentials

    from delta_server.gdml.file import load_model, save_model
    from delta_server.units import KCAL_MOL

    entries = yaml.safe_load(path.read_text())
    (species,) = entries["species"].values()
    bindings = sorted(entries["binding"], key=lambda binding: len(binding["between"]))
    models = []
    for part in (species, *bindings):
        file = (folder / f"{len(models) + 1}.npz").resolve()
        part["model"] = str((path.parent / part["model"]).resolve())
        save_model(file, load_model(part["model"]), form="sgdml")
        models.append((str(file), part.get("cutoff")))
    for binding in bindings:
        binding["switch"] = SWITCH
    unswitched = folder / "unswitched.yaml"
    unswitched.write_text(yaml.safe_dump(entries))
    ours = {}
    for count in counts:
        atoms = packed(path, count, 0.9)
        potential = potentials(unswitched, atoms, count, folder)[-1]
        x = atoms.positions[None]
        ours[count] = potential.compute(x), cpu_time(lambda p=potential, x=x: p.compute(x), seconds)  # type: ignore[misc]
        np.savez(folder / f"{count}.npz", z=atoms.numbers, R=atoms.positions)
    masses = atomic_masses[atoms.numbers[: len(atoms) // count]].tolist()
    job = {"masses": masses, "models": models, "counts": counts, "seconds": seconds}
    (folder / "job.json").write_text(json.dumps(job))
    subprocess.run([python, __file__, "--rival", folder], check=True, env=os.environ | ONE_THREAD)
    rows = []
    for count, (result, time) in ours.items():
        theirs = np.load(folder / f"{count}.out.npz")
        energy, forces = result.energy[0] / KCAL_MOL, result.forces[0] / KCAL_MOL
        rows.append(
            {
                "molecules": count,
                "ours_ms": 1e3 * time,
                "theirs_ms": 1e3 * float(theirs["seconds"]),
                "energy": float(abs(energy - theirs["E"]) / abs(energy)),
                "forces": float(np.abs(forces - theirs["F"]).max() / np.abs(forces).max()),
            }
        )
    return rows


def markdown(rows: list[dict[str, float]]) -> str:
    lines = [
        "Forces of a cluster, ms of CPU, one thread; largest differences, relative\n",
        "| molecules | ours | mbGDML | ratio | energy | forces |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = row["theirs_ms"] / row["ours_ms"]
        lines.append(
            f"| {row['molecules']} | {row['ours_ms']:.3g} | {row['theirs_ms']:.3g} | {ratio:.0f} "
            f"| {row['energy']:.0e} | {row['forces']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--python", help="of the environment that has mbGDML")
    parser.add_argument("--sizes", type=int, nargs="+", default=[6, 12, 24, 48])
    parser.add_argument("--seconds", type=float, default=2.0, help="spent on each cluster")
    parser.add_argument("--rival", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rival:
        rival(options.rival)
        return
    if not (options.manifest and options.output and options.python):
        parser.error("MANIFEST, -o and --python are needed")
    options.output.mkdir(exist_ok=True, parents=True)
    rows = compared(options.manifest, options.output, options.python, options.sizes, options.seconds)
    (options.output / "rival.json").write_text(json.dumps(rows, indent=1))
    (options.output / "rival.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    sys.exit(main())
