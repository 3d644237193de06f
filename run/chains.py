#!/usr/bin/env python
"""How many pairs of atoms the descriptor of a chain needs, against its length.

    run/chains.py -o chains --plot chains.png

Linear alkanes, all-trans and relaxed, then Langevin dynamics with GFN2-xTB at 300 K. Of each, pairs are eliminated by
importance (delta_server.training.reduction), and those needed are the fewest whose test MAE of forces is at most 1.05
times that of all pairs: between the last step that has it and the next, by a line in log pairs and log error. The
question is that of Kabylda et al., Nat. Commun. 14, 3562 (2023).

Columns: atoms; all pairs; pairs needed (geometric mean of the splits), by what factor they spread, and for each atom;
at the last step that has the error, the largest distance, the one that 90 % of the pairs are within (Å), and pairs
beyond 5 Å for each atom; MAE of forces with all pairs and mean |F| (kcal/mol/Å); σ.

DIR keeps what is done already. One thread, unless OMP_NUM_THREADS and NUMBA_NUM_THREADS say otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import BFGS
from ase.units import fs
from scipy.stats import linregress

from delta_server.cli.process import run
from delta_server.cli.progress import Progress
from delta_server.data.labelling.workfile import open_workfile
from delta_server.gdml.descriptor.descriptor import Descriptor
from delta_server.gdml.descriptor.pairs import n_pairs
from delta_server.methods import Method
from delta_server.symmetry.bond_graph import molecule_group
from delta_server.training.fit import Hyper, fit, force_mae
from delta_server.training.labels import Labels
from delta_server.training.selection.reduction import Ranking, ReductionStep, Trials
from delta_server.units import KCAL_MOL

METHOD = Method("gfn2-xtb", {"accuracy": 0.1})  # forces to 5e-4 kcal/mol/Å
TEMPERATURE, TIMESTEP, FRICTION, EVERY = 300.0, 1.0, 0.005, 20  # K, fs, 1/fs, steps between frames
WARM_UP = 25  # frames: 0.5 ps
MOST = 10_000  # frames of a working file, so that it can be gone on with
HELD_OUT = 30  # configurations that validate, and as many that test
LAMBDA, SIGMAS = 1e-10, (4.0, 16.0, 64.0)
LOCAL = 5.0  # Å: pairs beyond are nonlocal, in the paper
COLUMNS = {
    "atoms": ("atoms", "d"), "all": ("all", "d"), "needed": ("needed", ".0f"), "spread": ("spread", ".2f"),
    "needed_per_atom": ("/atom", ".1f"), "largest": ("largest", ".1f"), "quantile_90": ("90 %", ".1f"),
    "nonlocal_per_atom": (">5 Å/atom", ".2f"), "test": ("MAE", ".2f"), "mean_force": ("|F|", ".2f"),
    "sigma": ("σ", ".0f"),
}  # fmt: skip

say = partial(print, file=sys.stderr, flush=True)


def alkane(n: int) -> Atoms:
    """CₙH₂ₙ₊₂, all-trans, about relaxed: carbons first, then the hydrogens of each."""
    half, open_ = np.deg2rad(112.0) / 2, np.deg2rad(106.0) / 2
    steps = np.arange(n)
    carbons = 1.53 * np.stack([steps * np.sin(half), steps % 2 * np.cos(half), 0.0 * steps], 1)
    ends, hydrogens = ((0, -1), (n - 1, 1)), []
    for i, carbon in enumerate(carbons):
        out = 2 * (i % 2) - 1
        bonds = [[0.0, out * np.cos(open_), side * np.sin(open_)] for side in (1, -1)]
        bonds += [[end * np.sin(half), -out * np.cos(half), 0.0] for at, end in ends if i == at]
        hydrogens += [carbon + 1.09 * np.array(bond) for bond in bonds]
    return Atoms(f"C{n}H{2 * n + 2}", np.concatenate([carbons, hydrogens]))


def trajectory(n: int, frames: int, folder: Path) -> Labels:
    """Frames of the dynamics of an alkane after the warm-up, those that are missing made first."""
    atoms = alkane(n)
    atoms.calc, last = METHOD.make(), WARM_UP + frames
    task = json.dumps([METHOD.theory, n, TEMPERATURE, TIMESTEP, FRICTION, EVERY])
    progress = Progress(last + 1, f"frames of C{n}")
    with open_workfile(folder / f"c{n}.frames", task, MOST, 1 + 9 * len(atoms)) as work:
        if work.labels:
            atoms.positions, momenta, _ = work.labels[max(work.labels)][1:].reshape(3, -1, 3)
            atoms.set_momenta(momenta)
        else:
            BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=0.05, steps=100)
            twice = 2 * TEMPERATURE  # half of it becomes potential energy
            MaxwellBoltzmannDistribution(atoms, temperature_K=twice, rng=np.random.default_rng(n))
        dynamics = Langevin(atoms, TIMESTEP * fs, temperature_K=TEMPERATURE, friction=FRICTION / fs, fixcm=False)
        for frame in range(max(work.labels, default=-1) + 1, last + 1):
            if frame:
                dynamics.rng = np.random.default_rng([n, frame])  # no noise twice after a restart
                dynamics.run(EVERY)
            state = np.stack([atoms.positions, atoms.get_momenta(), atoms.get_forces()])
            work.add(frame, np.r_[atoms.get_potential_energy(), state.ravel()])
            progress(frame + 1)
        progress.end()
        table = np.array([work.labels[i] for i in range(WARM_UP + 1, last + 1)])
    positions, _, forces = table[:, 1:].reshape(frames, 3, -1, 3).transpose(1, 0, 2, 3)
    return Labels(f"c{n}", atoms.numbers.astype(np.intp), positions, table[:, 0] / KCAL_MOL, forces / KCAL_MOL)


def eliminate(labels: Labels, points: int, ratio: float, ranking: Ranking, seed: int) -> list[dict[str, Any]]:
    """Steps of the elimination, each of `ratio` of the pairs of the one before, until they are fewer than 3N − 6."""
    cuts = np.cumsum([0, points, HELD_OUT, HELD_OUT])
    order = np.random.default_rng(seed).permutation(len(labels))
    train, validation, test = (labels.take(np.sort(order[a:b])) for a, b in pairwise(cuts))
    n = len(labels.numbers)
    permutations = molecule_group(labels.numbers, labels.positions[0], "skeleton").permutations
    errors = {}
    for sigma in SIGMAS:
        errors[sigma] = force_mae(fit(train, permutations, Hyper(sigma, LAMBDA)), validation)
        say(f"{labels.name}: σ {sigma:g}, validation MAE {errors[sigma]:.4f} kcal/mol/Å")
    least = np.log((3 * n - 6) / n_pairs(n)) / np.log(ratio)
    fractions = ratio ** np.arange(1.0, least + 1.0)

    def log(step: ReductionStep) -> None:
        say(f"{labels.name}: {len(step.metric.pairs)} pairs, σ {step.sigma:.3g}, test MAE {step.test:.4f} kcal/mol/Å")

    hyper = Hyper(min(errors, key=errors.__getitem__), LAMBDA)
    steps = Trials(train, validation, permutations, hyper, test, log).eliminate(tuple(fractions), ranking, seed)
    found = []
    for step in steps:
        r = Descriptor.of(train.positions, step.metric).distances().mean(0)
        said = {"mean_force": float(np.abs(test.forces).mean()), "nonlocal": int((r > LOCAL).sum())}
        said |= {"largest": float(r.max()), "quantile_90": float(np.quantile(r, 0.9))}
        found.append(step.as_dict() | said)
    return found


def kept(n: int, args: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """`eliminate`, or what an earlier run has found with the same settings."""
    path = args.output / f"c{n}-{args.ranking}-{args.points}-{args.frames}-{args.ratio:g}-{seed}.json"
    if path.exists():
        return list(json.loads(path.read_text()))
    steps = eliminate(trajectory(n, args.frames, args.output), args.points, args.ratio, args.ranking, seed)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(steps, indent=1))
    part.replace(path)
    return steps


def needed(steps: Sequence[dict[str, Any]], tolerance: float) -> tuple[float, dict[str, Any], bool]:
    """Pairs; the last step that has the error; whether a later one lacks it, without which the pairs are a bound."""
    limit = tolerance * steps[0]["test"]
    i = max(i for i, step in enumerate(steps) if step["test"] <= limit)
    if i + 1 == len(steps):
        return float(steps[i]["pairs"]), steps[i], False
    x, y = (np.log([step[key] for step in steps[i : i + 2]]) for key in ("pairs", "test"))
    return float(np.exp(np.interp(np.log(limit), y, x))), steps[i], True


def summary(chains: dict[int, list[list[dict[str, Any]]]], tolerance: float) -> dict[str, Any]:
    """One row for each chain, and the power law of the pairs needed by least squares of their logarithms."""
    rows = []
    for n, splits in chains.items():
        found = [needed(steps, tolerance) for steps in splits]
        atoms, logs = 3 * n + 2, np.log([pairs for pairs, _, _ in found])
        pairs = float(np.exp(logs.mean()))
        row = {"carbons": n, "atoms": atoms, "all": n_pairs(atoms), "needed": pairs, "needed_per_atom": pairs / atoms}
        row |= {"spread": float(np.exp(logs.std())), "bound": not all(bracketed for _, _, bracketed in found)}
        row |= {key: float(np.mean([step[key] for _, step, _ in found])) for key in ("largest", "quantile_90")}
        row |= {key: float(np.mean([steps[0][key] for steps in splits])) for key in ("test", "mean_force", "sigma")}
        rows.append(row | {"nonlocal_per_atom": float(np.mean([step["nonlocal"] for _, step, _ in found])) / atoms})
    law = {}
    if len(rows) > 2:
        line = linregress(*(np.log([row[key] for row in rows]) for key in ("atoms", "needed")))
        law = {"exponent": line.slope, "error": line.stderr, "prefactor": np.exp(line.intercept)}
    return {"tolerance": tolerance, "rows": rows, "law": law, "steps": chains}


def plot(found: dict[str, Any], path: Path) -> None:
    """Errors against pairs left for each atom; pairs needed against atoms."""
    from matplotlib import colormaps

    from delta_server.analysis.pictures.canvas import BLUE, GREY, ORANGE, new_figure, save

    figure = new_figure(9.0, 3.8)
    rows, (left, right) = found["rows"], figure.subplots(1, 2)
    for row, colour in zip(rows, colormaps["viridis"](np.linspace(0.0, 0.9, len(rows))), strict=True):
        for i, steps in enumerate(found["steps"][row["carbons"]]):
            pairs, error = (np.array([step[key] for step in steps]) for key in ("pairs", "test"))
            name = None if i else f"{row['atoms']} atoms"
            left.loglog(pairs / row["atoms"], error / error[0], "o-", ms=3, lw=1, color=colour, label=name)
    left.axhline(found["tolerance"], color=GREY, ls="--", lw=1)
    left.set(xlabel="pairs kept / atom", ylabel="test MAE of forces / that of all pairs", ylim=(0.5, 3.0))
    atoms, pairs, spread = (np.array([row[key] for row in rows]) for key in ("atoms", "needed", "spread"))
    right.loglog(atoms, atoms * (atoms - 1) / 2, "s:", color=GREY, label="all, $N(N-1)/2$")
    if law := found["law"]:
        name = f"$N^{{{law['exponent']:.2f} ± {law['error']:.2f}}}$"
        right.loglog(atoms, law["prefactor"] * atoms ** law["exponent"], "-", color=ORANGE, label=name)
    right.errorbar(atoms, pairs, pairs * (spread - 1), fmt="o", color=BLUE, capsize=3, label="needed")
    right.loglog(atoms, 3 * atoms - 6, "--", color=GREY, lw=1, label="$3N - 6$")
    right.set(xlabel="atoms $N$", ylabel="pairs of atoms")
    shown = {left.xaxis: (3, 5, 10, 20, 50), left.yaxis: (0.5, 0.7, 1.0, 1.5, 2.0, 3.0), right.xaxis: atoms}
    for axis, ticks in shown.items():
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
    for axes in (left, right):
        axes.legend(frameon=False, fontsize="small")
    save(figure, path)


def table(found: dict[str, Any]) -> str:
    lines = ["".join(f"{head:>10}" for head, _ in COLUMNS.values())]
    for row in found["rows"]:
        line = "".join(f"{format(row[key], form):>10}" for key, (_, form) in COLUMNS.items())
        lines.append(line + "  needed: at most" * row["bound"])
    if law := found["law"]:
        lines.append(f"needed ∝ N^{law['exponent']:.2f} ± {law['error']:.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="of dynamics and fits")
    parser.add_argument("--carbons", type=int, nargs="+", default=[6, 10, 16, 24, 32, 40])
    parser.add_argument("--points", type=int, default=40, help="training points")
    parser.add_argument("--frames", type=int, default=100, help="of each chain, 20 fs apart")
    parser.add_argument("--splits", type=int, default=1, help="ways to draw the points from the frames")
    parser.add_argument("--ratio", type=float, default=0.7, help="of the pairs that a step keeps")
    parser.add_argument("--tolerance", type=float, default=1.05, help="of the error of all pairs")
    parser.add_argument("--ranking", choices=get_args(Ranking), default="importance")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="PNG, SVG or PDF")
    parser.add_argument("--json", action="store_true", help="print JSON, with all steps")
    args = parser.parse_args()
    if not 1 < args.points <= args.frames - 2 * HELD_OUT < MOST - WARM_UP:
        parser.error(f"--points: expected 2 to {args.frames - 2 * HELD_OUT}, --frames but for {2 * HELD_OUT}")
    if min(args.carbons) < 2 or not 0 < args.ratio < 1 or args.tolerance < 1 or args.splits < 1:
        parser.error("expected --carbons from 2, --ratio between 0 and 1, --tolerance and --splits from 1")
    args.output.mkdir(parents=True, exist_ok=True)
    chains = {n: [kept(n, args, seed) for seed in range(args.splits)] for n in sorted(set(args.carbons))}
    found = summary(chains, args.tolerance)
    print(json.dumps(found, indent=1) if args.json else table(found))
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    run(main)
