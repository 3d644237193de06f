#!/usr/bin/env python3
"""Train the shipped models with sGDML's own trainer, from data labelled per fragment.

    python run/make_models.py DATASET.npz -o models/NAME [-n 200]

DATASET holds `R, E, F, z` of a complex and `E_frag, F0, fragment` of its isolated fragments
(kcal/mol, Å). Written to the output directory: one sGDML model for each fragment of two or more atoms, one of the
binding (what the fragments leave), `geometry.xyz`, `manifest.yaml`, `reference.npz` (held-back
configurations with their labels) and `training.json` (what was tried).

sGDML's trainer forks workers and changes logging for its whole process: hence a script on its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import ase.io
import numpy as np
import yaml
from ase import Atoms

SIGMAS = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
LAMBDA = 1e-10
# With energies in the fit 1e-10 gives coefficients so large that energies are rounded to 1e-5 kcal/mol; with
# 1e-8 it is 1e-7 kcal/mol, and the best sigma halves at the same error.
LAMBDA_WITH_ENERGIES = 1e-8
FAR = (30.0, 40.0, 60.0, 100.0)  # Å, where the binding is nothing, whatever the method
# What a prediction needs, and where the model comes from; none of it is a pickled object.
KEPT = (
    "type", "code_version", "dataset_name", "dataset_theory", "z", "sig", "lam", "std", "c",
    "R_desc", "R_d_desc_alpha", "alphas_E", "perms", "tril_perms_lin", "idxs_train", "md5_train",
    "r_unit", "e_unit", "use_E",
)  # fmt: skip


def databases(data: dict[str, np.ndarray], names: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """W(1), W(2), ... of the isolated fragments and W(b) of the binding (arXiv 2511.01913, Sec. IV)."""
    fragment = data["fragment"]
    sets = {}
    for i, name in enumerate(names):
        atoms = fragment == i
        sets[name] = {
            "z": data["z"][atoms],
            "R": data["R"][:, atoms],
            "E": data["E_frag"][:, i],
            "F": data["F0"][:, atoms],
        }
    sets["binding"] = {
        "z": data["z"],
        "R": data["R"],
        "E": data["E"] - data["E_frag"].sum(1),
        "F": data["F"] - data["F0"],
    }
    return sets


def as_sgdml(part: dict[str, np.ndarray], name: str, theory: str) -> dict[str, np.ndarray]:
    from sgdml.utils import io

    dataset = {k: np.ascontiguousarray(v) for k, v in part.items()} | {
        "type": np.array("d"),
        "name": np.array(name),
        "theory": np.array(theory),
        "r_unit": np.array("Ang"),
        "e_unit": np.array("kcal/mol"),
    }
    dataset["md5"] = np.array(io.dataset_md5(dataset))
    return dataset


def apart(positions: np.ndarray, fragment: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same configurations with their fragments pulled apart to `FAR`, in random directions."""
    far = positions.copy()
    for i, x in enumerate(far):
        for f in range(1, fragment.max() + 1):
            direction = rng.standard_normal(3)
            shift = x[fragment == 0].mean(0) - x[fragment == f].mean(0)
            x[fragment == f] += shift + f * FAR[i % len(FAR)] * direction / np.linalg.norm(direction)
    return far


def train(dataset: dict[str, np.ndarray], n_train: int, n_valid: int, seed: int, fragment: np.ndarray, n_far: int):
    """Best model over `SIGMAS` by validation force MAE, with what every σ gave (kcal/mol/Å).

    `n_far` of the training points are configurations pulled apart, of no energy and no force, and
    energies enter the fit: forces alone cannot tie the bound and the separated complex to one zero.
    """
    from sgdml.predict import GDMLPredict
    from sgdml.train import GDMLTrain

    np.random.seed(seed)
    trainer = GDMLTrain(max_processes=2)
    task = trainer.create_task(
        dataset,
        n_train - n_far,
        dataset,
        n_valid,
        sig=SIGMAS[0],
        lam=LAMBDA_WITH_ENERGIES if n_far else LAMBDA,
        use_E_cstr=n_far > 0,
    )
    if n_far:
        far = apart(task["R_train"][:n_far], fragment, np.random.default_rng(seed))
        task["R_train"] = np.concatenate([task["R_train"], far])
        task["F_train"] = np.concatenate([task["F_train"], np.zeros_like(far)])
        task["E_train"] = np.concatenate([task["E_train"].ravel(), np.zeros(n_far)])
    valid = task["idxs_valid"]
    r, f = dataset["R"][valid].reshape(n_valid, -1), dataset["F"][valid].reshape(n_valid, -1)
    best, tried = None, {}
    for sigma in SIGMAS:
        task["sig"] = sigma
        model = trainer.train(task)
        predictor = GDMLPredict(model, max_processes=1)
        tried[sigma] = float(np.abs(predictor.predict(r)[1] - f).mean())
        print(f"  sigma {sigma:3d}: validation force MAE {tried[sigma]:.4f} kcal/mol/Å", flush=True)
        if tried[sigma] == min(tried.values()):
            best = model
        elif tried[sigma] > 1.5 * min(tried.values()):
            break
    return best, task["idxs_train"], valid, tried


def save(path: Path, model: dict[str, np.ndarray]) -> None:
    np.savez_compressed(path, **{k: np.asarray(model[k]) for k in KEPT if k in model})


def as_ranges(atoms: np.ndarray) -> str:
    """Half-open ranges of sorted indices: [0, 1, 2, 7] → "0:3,7:8"."""
    runs = np.split(atoms, np.flatnonzero(np.diff(atoms) > 1) + 1)
    return ",".join(f"{run[0]}:{run[-1] + 1}" for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-n", "--n-train", type=int, default=200)
    parser.add_argument("--n-far", type=int, default=20, help="binding points pulled apart (of -n)")
    parser.add_argument("--n-valid", type=int, default=200)
    parser.add_argument("--n-reference", type=int, default=50)
    parser.add_argument("--names", required=True, help="fragment names, e.g. water,benzene")
    parser.add_argument("--geometry", type=Path, help="start geometry (default: lowest energy)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    with np.load(args.dataset, allow_pickle=False) as archive:
        data = {k: archive[k] for k in archive.files}
    names, name, theory = args.names.split(","), str(data["name"]), str(data["theory"])
    args.output.mkdir(parents=True, exist_ok=True)

    used: set[int] = set()
    fragments, record = [], {}
    for i, (part, labels) in enumerate(databases(data, names).items()):
        if part == "binding":
            entry = {"model": "binding.npz"}
            binding = entry
        else:
            atoms = as_ranges(np.flatnonzero(data["fragment"] == i))
            if len(labels["z"]) == 1:  # an ion: constant energy, no force
                energy = float(labels["E"].mean())
                fragments.append({"name": part, "atoms": atoms, "energy": energy, "energy_unit": "kcal/mol"})
                continue
            entry = {"name": part, "atoms": atoms, "model": f"{part}.npz"}
            fragments.append(entry)
        print(f"{name}: {part}", flush=True)
        dataset = as_sgdml(labels, f"{name}_{part}", theory)
        n_far = args.n_far if part == "binding" else 0
        model, idxs, valid, tried = train(dataset, args.n_train, args.n_valid, args.seed, data["fragment"], n_far)
        used |= set(map(int, idxs)) | set(map(int, valid))
        save(args.output / entry["model"], model)
        entry["sha256"] = hashlib.sha256((args.output / entry["model"]).read_bytes()).hexdigest()
        record[part] = {
            "n_train": len(idxs) + n_far,
            "n_far": n_far,
            "n_valid": len(valid),
            "permutations": len(model["perms"]),
            "sigma": int(model["sig"]),
            "lambda": float(model["lam"]),
            "validation_force_mae_kcal_per_mol_per_angstrom": tried,
        }

    if args.geometry:
        atoms = ase.io.read(args.geometry, index=0)
        start = Atoms(atoms.numbers, atoms.positions)
    else:
        start = Atoms(data["z"], data["R"][data["E"].argmin()])
    comment = "# CELL(abcABC): 100 100 100 90 90 90 cell{angstrom} positions{angstrom}"  # i-PI starts from it too
    ase.io.write(args.output / "geometry.xyz", start, format="xyz", comment=comment)
    manifest = {
        "format": "delta-sgdml/1",
        "name": name,
        "theory": theory,
        "structure": "geometry.xyz",
        "fragments": fragments,
        "binding": binding,
    }
    (args.output / "manifest.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))

    free = np.setdiff1d(np.arange(len(data["E"])), sorted(used))
    held = np.sort(np.random.default_rng(args.seed).choice(free, args.n_reference, replace=False))
    np.savez_compressed(
        args.output / "reference.npz",
        **{k: data[k][held] for k in ("R", "E", "F", "E_frag", "F0")},
        z=data["z"], fragment=data["fragment"], index=held,
        theory=theory, r_unit="Ang", e_unit="kcal/mol",
    )  # fmt: skip
    record = {
        "dataset": args.dataset.name,
        "dataset_sha256": hashlib.sha256(args.dataset.read_bytes()).hexdigest(),
        "seed": args.seed,
        "sgdml": version("sgdml"),
        "models": record,
    }
    (args.output / "training.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
