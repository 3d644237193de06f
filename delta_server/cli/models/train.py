"""delta-sgdml train: every model of a Δ-potential from one data set."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..process import set_threads

if TYPE_CHECKING:
    from ...training.selection.scales import ScalesIteration
    from ...training.selection.select import Trial


def train(
    dataset: Annotated[
        Path, typer.Argument(help="Data set with labels of isolated fragments (.npz).", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for models and manifest.", show_default=False)
    ],
    n_train: Annotated[int, typer.Option("-n", "--n-train", min=2, help="Training points of each model.")] = 200,
    n_validation: Annotated[
        int, typer.Option(min=0, help="Configurations that choose σ, λ and the symmetry (0: as many, up to 200).")
    ] = 0,
    full: Annotated[bool, typer.Option("--full", help="Also the single global model, by sGDML's defaults.")] = False,
    symmetry: Annotated[
        Literal["graph", "skeleton", "sgdml", "none"],
        typer.Option(
            help="Permutations: of the bond graph; those that keep terminal atoms in order; as sGDML finds them."
        ),
    ] = "graph",
    recipe: Annotated[
        Literal["delta", "paper"], typer.Option(help="paper: sGDML's defaults throughout, as in arXiv 2511.01913.")
    ] = "delta",
    metric: Annotated[
        Literal["inverse", "auto"],
        typer.Option(
            help="Of descriptors: 1/r of all pairs, as sGDML; or the best of some laws, weights of pairs learned."
        ),
    ] = "inverse",
    trainer: Annotated[Literal["delta", "sgdml"], typer.Option(help="Who solves: ours, or stock sGDML's.")] = "delta",
    sigma: Annotated[float, typer.Option(min=0.0, help="Length scale of the kernel (0: chosen).")] = 0.0,
    lam: Annotated[float, typer.Option("--lambda", min=0.0, help="Regularisation, relative (0: chosen).")] = 0.0,
    n_far: Annotated[int, typer.Option(min=-1, help="Binding points pulled apart, of -n (-1: a tenth).")] = -1,
    structure: Annotated[
        Path | None, typer.Option(help="Start geometry (default: the one of lowest energy).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another training in the folder.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads (0: all cores).")] = 0,
) -> None:
    """Fragment models, binding model and manifest from one data set; a stopped training goes on where it was.

    Example: delta-sgdml train models/h2o_benzene/dataset.npz -n 200 -o demo/wet
    """
    import os

    cores = threads or len(os.sched_getaffinity(0))
    set_threads(cores)
    os.environ["NUMBA_NUM_THREADS"] = str(cores)
    from dataclasses import replace

    from ...training.record import RECORD
    from ...training.tasks import Recipe
    from ...training.trainer import train as train_all

    chosen = Recipe.of_the_paper(n_train) if recipe == "paper" else Recipe(n_train, symmetry=symmetry, n_far=n_far)
    chosen = replace(chosen, n_validation=n_validation, full=full, seed=seed, trainer=trainer, metric=metric)
    if sigma:
        chosen = replace(chosen, sigmas=(sigma,))
    if lam:
        chosen = replace(chosen, lams=(lam,))
    if overwrite and (output / RECORD).is_file():
        (output / RECORD).unlink()
    manifest = train_all(dataset, output, chosen, Terminal(), structure)
    print(manifest)


class Terminal:
    """Tells how a training goes, on stderr."""

    def __init__(self) -> None:
        self._last, self._start = 0.0, time.monotonic()

    def say(self, line: str) -> None:
        self._clear()
        print(line, file=sys.stderr, flush=True)

    def trial(self, trial: Trial) -> None:
        self.say(
            f"  {trial.group:10} {trial.permutations:5d} perms, {trial.points:4d} points  {trial.metric:8}  "
            f"σ {trial.sigma:7.3g}  λ {trial.lam:.1e}  "
            f"force MAE {trial.validation:.4f}, relabelled {trial.relabelled:.4f} kcal/mol/Å  "
            f"({trial.seconds:.1f} s)"
        )

    def learning(self, progress: ScalesIteration) -> None:
        self.say(
            f"  weights of pairs, iteration {progress.iteration:2d}: error of what is held out "
            f"{progress.held_out:.4f} (RMS), validation MAE {progress.validation:.4f} kcal/mol/Å"
        )

    def progress(self, stage: str, done: float) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._last > 0.2:
            self._last = now
            sys.stderr.write(f"\r\x1b[K{stage} {100 * done:.0f} %  ({now - self._start:.0f} s)")
            sys.stderr.flush()

    def _clear(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
