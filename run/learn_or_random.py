"""Labels that `learn` needs for an error on the model's own dynamics, beside random frames of the reference's.

python run/learn_or_random.py models/h2o_benzene/geometry.xyz -o demo/labels --temperatures 100,300

The loop runs to its budget. Its rival gets as many labels as each of its rounds had: frames of GFN2-xTB's dynamics at
the same temperatures, drawn at random, of which a fifth validates, and a fifth of all with the fragments placed from
contact to 30 Å. Every model then runs its own dynamics, with a seed that chose nothing, and is tested on 40 of its
frames at each temperature; and in the end all models on the frames of all these runs, and on 80 with the fragments
placed. Started again, it goes on. Writes labels.json, labels.md and labels.png in OUTPUT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from delta_server import load_potential
from delta_server.data.apart import placed_in
from delta_server.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from delta_server.data.imports import concatenate
from delta_server.files.whole import write_whole
from delta_server.training import Recipe, evaluate, load_dataset, train
from delta_server.training.databases import Complex

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
ERRORS = {"force_mae": ("total", "force (kcal/mol/Å)"), "energy_mae": ("binding", "binding energy (kcal/mol)")}
APART = 0.2  # of the random labels
N_PLACED = 80  # configurations that test all models alike
SAME = ("all models on the same frames", "force", "binding, own dynamics", "binding, placed")
COLUMNS = ("labels", "K", "force, learn", "force, random", "binding, learn", "binding, random")


def sgdml(*words: object, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run([SGDML, *map(str, words)], stdout=subprocess.PIPE, text=True)
    if done.returncode not in codes:
        sys.exit(f"delta-sgdml {words[0]} {words[1]} ended with {done.returncode}")
    return done.stdout


def learned(geometry: Path, folder: Path, kelvins: str, budget: int) -> dict[int, Path]:
    """Manifests of the loop's models, by the labels that they had."""
    if not folder.exists():
        aim = ("--force", 1e-3, "--energy", 1e-4)  # more than can be: it ends with its budget
        sgdml("learn", "start", geometry, "-o", folder, "--temperatures", kelvins, "--budget", budget, *aim)
    sgdml("learn", "run", folder, codes=(0, 1))
    rounds = json.loads(sgdml("learn", "status", folder, "--json"))["rounds"]
    return {
        r["spent"]: folder / f"rounds/{r['round']:02d}/model/manifest.yaml"
        for r in rounds
        if r["model"] == r["round"]
    }


def drawn(geometry: Path, folder: Path, kelvins: list[float], counts: list[int]) -> dict[int, Path]:
    """Manifests of models of so many random frames, by their number."""
    folder.mkdir(exist_ok=True)
    pools, share = [], -(-max(counts) // len(kelvins))
    for kelvin in kelvins:
        frames, labels = folder / f"{kelvin:g}.extxyz", folder / f"{kelvin:g}.npz"
        n_apart = round(APART * share)
        if not frames.exists():
            numbers = ("--frames", share - n_apart, "--apart", n_apart, "--every", 100)
            sgdml("dataset", "sample", geometry, "-o", frames, "--temperature", kelvin, *numbers)
        if not labels.exists() or labels.with_name(labels.name + ".working").exists():
            sgdml("dataset", "label", frames, "-o", labels, "--skip-reactive")
        pools.append(load_dataset(labels))
    pool = concatenate(pools, [f"{kelvin:g} K" for kelvin in kelvins])
    placed, order = placed_in(pool), np.random.default_rng(0).permutation(len(pool))
    manifests = {}
    for n in counts:
        to = folder / f"models_{n}"
        manifests[n] = to / "manifest.yaml"
        if not manifests[n].exists():
            n_placed = round(APART * n)
            which = np.concatenate([order[placed[order]][:n_placed], order[~placed[order]][: n - n_placed]])
            _train(pool.take(np.sort(which)), to)
    return manifests


def _train(data: Dataset, folder: Path) -> None:
    """As `learn` does: what is placed teaches the binding, beside all that is bound and does not validate."""
    placed = placed_in(data)
    bound = np.flatnonzero(~placed)
    split = np.full(len(data), TEST)
    split[bound], split[bound[::5]] = TRAIN, VALIDATION
    more = {"binding": Complex.of(data).binding_labels(np.flatnonzero(placed))}
    n_validation = len(bound[::5])
    recipe = Recipe(len(bound) - n_validation, n_validation=n_validation)
    train(replace(data, split=split), folder, recipe, more=more)


def own_errors(manifest: Path, folder: Path, kelvins: str, picoseconds: float) -> list[dict[str, Any]]:
    """Errors of a model on its own dynamics, a row for each part and temperature."""
    if not folder.exists():
        run = ("--temperatures", kelvins, "--time", picoseconds, "--frames", 40, "--seed", 4711)
        sgdml("sweep", "write", manifest, *run, "-o", folder)
    sgdml("sweep", "run", folder, codes=(0, 1))  # 1: something broke, which ends that temperature
    return list(json.loads(sgdml("evaluate", manifest, "--own", folder, "--json"))["own"])


def same_frames(models: dict[str, Path], to: Path) -> str:
    """A table of the errors of all models on all frames of all their runs, and on the same placed ones."""
    frames, placed = to / "apart.extxyz", to / "apart.npz"
    if not placed.exists():
        bound = max((to / "random").glob("*.npz"), key=lambda file: float(file.stem))  # of the highest temperature
        sgdml("dataset", "sample", bound, "--frames", 0, "--apart", N_PLACED, "--seed", 99, "-o", frames)
        sgdml("dataset", "label", frames, "-o", placed, "--skip-reactive")
    runs = [load_dataset(file) for file in sorted(to.glob("own_*/own-*.npz"))]
    own = concatenate(runs, [data.name for data in runs])
    lines = [f"| {' | '.join(SAME)} |", "|---" * len(SAME) + "|"]
    for name, manifest in models.items():
        potential = load_potential(manifest)
        on_own, apart = (evaluate(potential, data, np.arange(len(data))) for data in (own, load_dataset(placed)))
        assert on_own.binding is not None
        assert apart.binding is not None
        cells = (on_own.total.force_mae, on_own.binding.energy_mae, apart.binding.energy_mae)
        lines.append(f"| {name} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return "\n".join(lines) + "\n"


def error(rows: list[dict[str, Any]], part: str, kelvin: float, key: str) -> tuple[float, float]:
    """The error of a part at a temperature, and how sure it is; NaN where no frame was left to test."""
    found = [row for row in rows if row["part"] == part and row["temperature"] == kelvin]
    return (found[0][key], found[0][f"{key}_error"]) if found else (np.nan, np.nan)


def markdown(rows: list[dict[str, Any]], kelvins: list[float]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        for kelvin in kelvins:
            cells = [str(row["labels"]), f"{kelvin:g}"]
            for key, (part, _) in ERRORS.items():
                for way in ("learn", "random"):
                    cells.append("{:.3f} ± {:.3f}".format(*error(row[way], part, kelvin, key)))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(path: Path, rows: list[dict[str, Any]], kelvins: list[float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for axis, (key, (part, label)) in zip(figure.subplots(1, 2), ERRORS.items(), strict=True):
        for at, kelvin in enumerate(kelvins):
            for way, style in (("learn", "o-"), ("random", "s--")):
                values = np.array([error(row[way], part, kelvin, key) for row in rows])
                axis.errorbar(
                    [row["labels"] for row in rows], *values.T, fmt=style, ms=4, color=f"C{at}",
                    label=f"{way}, {kelvin:g} K",
                )  # fmt: skip
        axis.set(xlabel="labels", ylabel=f"own dynamics: {label}", yscale="log")
    axis.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("geometry", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--temperatures", default="100,300", help="K, the lowest first")
    parser.add_argument("--budget", type=int, default=240, help="labels")
    parser.add_argument("--ps", type=float, default=10.0, help="of each model's own dynamics")
    options = parser.parse_args()
    kelvins = [float(kelvin) for kelvin in options.temperatures.split(",")]
    to = options.output
    to.mkdir(parents=True, exist_ok=True)
    loop = learned(options.geometry, to / "loop", options.temperatures, options.budget)
    random = drawn(options.geometry, to / "random", kelvins, list(loop))
    rows, models = [], dict[str, Path]()
    for n in loop:
        models |= {f"{n} labels, learn": loop[n], f"{n} labels, random": random[n]}
        tested = {
            way: own_errors(manifests[n], to / f"own_{way}_{n}", options.temperatures, options.ps)
            for way, manifests in (("learn", loop), ("random", random))
        }
        rows.append({"labels": n, **tested})
        write_whole(to / "labels.json", json.dumps(rows, indent=1))
        write_whole(to / "labels.md", markdown(rows, kelvins))
        draw(to / "labels.png", rows, kelvins)
    table = f"{markdown(rows, kelvins)}\n{same_frames(models, to)}"
    write_whole(to / "labels.md", table)
    print(table)


if __name__ == "__main__":
    main()
