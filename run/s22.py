"""What a Δ-model gains over single global models, for each kind of binding: the 22 complexes of S22.

python run/s22.py -o s22                                        # about a night on two cores
python run/s22.py -o s22 --only Water_dimer Methane_dimer -n 50 --frames 300

Each complex (ase.data.s22) is sampled, labelled with GFN2-xTB, trained as a Δ-model and as global ones, and evaluated
on configurations that none of them saw. Started again, it goes on. Writes s22.json, s22.md and s22.png in OUTPUT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.data.s22 import create_s22_system, s22

from delta_server import load_potential
from delta_server.errors import DeltaError
from delta_server.files.whole import write_whole
from delta_server.training import Recipe, evaluate, held_out, load_dataset, train

KINDS = {"hydrogen bond": s22[:7], "dispersion": s22[7:15], "mixed": s22[15:]}
GLOBAL = {"full": "sgdml", "full_graph": "graph"}
SGDML = str(Path(sys.executable).with_name("delta-sgdml"))


def dataset(*words: object) -> None:
    subprocess.run([SGDML, "dataset", *map(str, words)], check=True)


def result(name: str, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Errors (MAE in kcal/mol and kcal/mol/Å) of each model; what is there already is not made again."""
    done, frames, labels = folder / "result.json", folder / "frames.extxyz", folder / "labels.npz"
    if done.exists():
        return dict(json.loads(done.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    if not frames.exists():
        ase.io.write(folder / "start.xyz", create_s22_system(name))
        dataset(
            "sample", folder / "start.xyz", "-o", frames, "--frames", options.frames, "--temperature", options.kelvin
        )
    if not labels.exists() or labels.with_name(labels.name + ".working").exists():
        dataset("label", frames, "-o", labels, "--skip-reactive", "-j", options.processes)
    data = load_dataset(labels)
    manifest = train(data, folder / "models", Recipe(options.n_train, full=tuple(GLOBAL.values())))
    manifests = {"delta": manifest} | {model: manifest.with_name(f"{model}.yaml") for model in GLOBAL}
    unseen = held_out(data, list(manifests.values())).which
    errors = {}
    for model, path in manifests.items():
        total = evaluate(load_potential(path), data, unseen).total
        errors[model] = {"energy_mae": total.energy_mae, "force_mae": total.force_mae}
    binding = data.binding_energies()
    found = {"name": name, "binding": float(binding.mean()), "held_out": len(unseen), "errors": errors}
    write_whole(done, json.dumps(found, indent=1))
    return found


def kind_of(name: str) -> str:
    return next(kind for kind, names in KINDS.items() if name in names)


def gain(row: dict, model: str, label: str) -> float:
    """By how many percent the Δ-model's error is below that of another."""
    return 100 * (1 - row["errors"]["delta"][label] / row["errors"][model][label])


def markdown(rows: list[dict], n_train: int) -> str:
    lines = [
        f"{n_train} training points, GFN2-xTB; MAE in kcal/mol and kcal/mol/Å (energies / forces)\n",
        "| complex | binding | Δ | global, sGDML's | better by | global, bond graph's | better by |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["name"].replace("_", " "), kind_of(row["name"])]
        for model in ("delta", *GLOBAL):
            e = row["errors"][model]
            cells.append(f"{e['energy_mae']:.3f} / {e['force_mae']:.3f}")
            if model != "delta":
                cells.append(f"{gain(row, model, 'energy_mae'):.0f} / {gain(row, model, 'force_mae'):.0f} %")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(path: Path, rows: list[dict]) -> None:
    """Improvement of forces against the kind of binding; a point for each complex, a bar for the mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for offset, (model, label) in zip(
        (-0.18, 0.18), zip(GLOBAL, ("sGDML's", "bond graph's"), strict=True), strict=True
    ):
        for at, kind in enumerate(KINDS):
            gains = [gain(row, model, "force_mae") for row in rows if kind_of(row["name"]) == kind]
            if not gains:
                continue
            color = f"C{list(GLOBAL).index(model)}"
            axis.bar(at + offset, np.mean(gains), 0.32, color=color, alpha=0.4, label=label if at == 0 else None)
            axis.plot(np.full(len(gains), at + offset), gains, "o", ms=4, color=color)
    axis.axhline(0, color="0.5", lw=0.8)
    axis.set_xticks(range(len(KINDS)), list(KINDS))
    axis.set_ylabel("force MAE below the global model's (%)")
    axis.legend(title="global model")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=s22, choices=s22, metavar="COMPLEX")
    parser.add_argument("-n", "--n-train", type=int, default=200)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--kelvin", type=float, default=300.0)
    parser.add_argument("-j", "--processes", type=int, default=2)
    options = parser.parse_args()
    rows, failed = [], []
    for name in options.only:
        try:
            rows.append(result(name, options.output / name, options))
        except (subprocess.CalledProcessError, DeltaError) as error:
            failed.append(f"{name}: {error}")
            continue
        write_whole(options.output / "s22.json", json.dumps({"n_train": options.n_train, "rows": rows}, indent=1))
        write_whole(options.output / "s22.md", markdown(rows, options.n_train))
        draw(options.output / "s22.png", rows)
    print(markdown(rows, options.n_train) + "".join(f"failed: {line}\n" for line in failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
