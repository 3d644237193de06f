"""delta-sgdml train: every model of a Δ-potential from one data set."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from ...errors import InputError
from ..options import AllThreadsOption, DatasetArg, DeviceOption, OverwriteOption, by_model, check_new, count
from ..process import set_training_threads
from ..progress import Line, duration

if TYPE_CHECKING:
    from ...training.selection.scales import ScalesIteration
    from ...training.selection.select import Trial
    from ...training.tasks import FullModel


_FARTHEST = 1000.0  # Å, of a cut-off


def train(
    dataset: DatasetArg,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder for models and manifest.", metavar="DIR", show_default=False),
    ],
    n_train: Annotated[int, typer.Option("-n", "--n-train", min=2, help="Training points of each model.")] = 200,
    points: Annotated[
        str | None,
        typer.Option(
            help="Training points of models by name, of fragments or the binding.",
            metavar="NAME=N,…",
            show_default="-n for each",
        ),
    ] = None,
    n_validation: Annotated[
        int,
        typer.Option(
            min=0,
            help="Configurations that choose σ, λ and the symmetry.",
            show_default="as many as training points, up to 200 and half of the rest",
        ),
    ] = 0,
    full: Annotated[
        str | None,
        typer.Option(
            "--full",
            help="Also single global models: by sGDML's defaults; with the bond graph's symmetry; with learned "
            "weights of pairs as well.",
            metavar="[sgdml,graph,auto]",
            show_default=False,
        ),
    ] = None,
    basis: Annotated[
        str,
        typer.Option(
            help="Points that models keep, fitted to all training points; auto: the fewest by --tolerance; a value "
            "alone is for all.",
            metavar="NAME=N,…",
            show_default="all of them",
        ),
    ] = "",
    reduce: Annotated[
        str,
        typer.Option(
            help="Fraction of the pairs of atoms that models keep, at most; auto: the fewest by --tolerance; a value "
            "alone is for all.",
            metavar="NAME=X,…",
            show_default="all of them",
        ),
    ] = "",
    tolerance: Annotated[
        float,
        typer.Option(min=1.0, help="Of auto: validation errors of forces and energies grow at most so much."),
    ] = 1.02,
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
            help="Descriptors: 1/r of all pairs, as sGDML; or the best of some laws, weights of pairs learned."
        ),
    ] = "inverse",
    trainer: Annotated[Literal["delta", "sgdml"], typer.Option(help="Who solves: ours, or stock sGDML's.")] = "delta",
    like: Annotated[
        Path | None,
        typer.Option(
            help="Manifest of models whose symmetry, σ, λ and metric are taken: nothing is searched.",
            metavar="MANIFEST",
            show_default=False,
        ),
    ] = None,
    sigma: Annotated[
        float, typer.Option(min=0.0, help="Length scale σ of the kernel.", show_default="chosen by validation")
    ] = 0.0,
    lam: Annotated[
        float,
        typer.Option("--lambda", min=0.0, help="Regularisation λ, relative.", show_default="chosen by validation"),
    ] = 0.0,
    n_far: Annotated[
        int,
        typer.Option(
            min=-1, help="Of the binding's training points, those pulled apart.", show_default="a tenth of them"
        ),
    ] = -1,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Calculator below the models, which learn what it leaves: gfn2-xtb, d4, a name that ase knows, or "
            "package.module:Class.",
            metavar="NAME",
            show_default="none",
        ),
    ] = None,
    baseline_option: Annotated[
        list[str],
        typer.Option(help="Of the baseline; repeatable.", metavar="KEY=VALUE", show_default=False),
    ] = [],  # noqa: B006
    baseline_part: Annotated[
        Literal["fragments", "binding", "all"], typer.Option(help="What the baseline is below of: one part, or both.")
    ] = "all",
    dispersion: Annotated[
        str,
        typer.Option(
            help="Below the binding: the D4 dispersion of a functional, as pbe0, or of gfn2-xtb, with constant "
            "coefficients.",
            metavar="NAME",
            show_default="none",
        ),
    ] = "",
    electrostatics: Annotated[
        bool,
        typer.Option(
            "--electrostatics",
            help="Point charges below the binding of two fragments, fitted to configurations placed far apart.",
        ),
    ] = False,
    cutoff: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Where the binding model ends, so that what is below it is left alone: Å between the centres of "
            "mass of two fragments.",
            metavar="X",
            show_default="nowhere",
        ),
    ] = 0.0,
    switch: Annotated[
        float | None,
        typer.Option(min=0.1, help="Last part of the cut-off, over which it ends, Å.", metavar="X", show_default="2"),
    ] = None,
    structure: Annotated[
        Path | None, typer.Option(help="Start geometry of the manifest.", show_default="that of the lowest energy")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn at random.")] = 0,
    overwrite: OverwriteOption = False,
    threads: AllThreadsOption = 0,
    device: DeviceOption = "cpu",
) -> None:
    """Train fragment and binding models and write their manifest.

    All from one data set with labels of isolated fragments. Configurations with the fragments placed (`dataset sample
    --apart`) are a quarter of the binding's points. A training that was stopped goes on where it was.

    Example: delta-sgdml train models/h2o_benzene/dataset.npz -n 200 -o demo/wet

    Example: delta-sgdml train models/h2o_benzene/dataset.npz -n 200 --metric auto --reduce auto --basis auto -o lean

    Example: delta-sgdml train pbe0.npz -n 60 -o above_xtb --baseline gfn2-xtb
    """
    set_training_threads(threads)
    from dataclasses import replace

    from ...training.choice import Like
    from ...training.record import RECORD
    from ...training.tasks import Recipe
    from ...training.trainer import train as train_all

    chosen = Recipe.of_the_paper(n_train) if recipe == "paper" else Recipe(n_train, symmetry=symmetry, n_far=n_far)
    chosen = replace(
        chosen, n_validation=n_validation, seed=seed, trainer=trainer, metric=metric, tolerance=tolerance
    )
    if basis:
        bases = by_model("--basis", basis, count, "100", auto=True)
        chosen = replace(chosen, basis=bases.pop("", 0), bases=bases)
    if reduce:
        keeps = by_model("--reduce", reduce, _fraction, "0.5", auto=True)
        chosen = replace(chosen, keep=keeps.pop("", 1.0), keeps=keeps)
    if full is not None:
        chosen = replace(chosen, full=_full(full))
    if baseline is not None:
        from ...methods import parse_options
        from ...training.baselines.calculator import Baseline

        below = Baseline(baseline, parse_options(baseline_option), baseline_part)
        below.method.load()
        chosen = replace(chosen, baseline=below)
    elif baseline_option:
        raise InputError("--baseline-option goes with --baseline")
    if switch is not None and not cutoff:
        raise InputError("--switch goes with --cutoff")
    chosen = replace(
        chosen, dispersion=dispersion, electrostatics=electrostatics, cutoff=cutoff, switch=switch or chosen.switch
    )
    if cutoff and not chosen.switch <= cutoff <= _FARTHEST:
        raise InputError(f"--cutoff {cutoff:g}: expected --switch, {chosen.switch:g} Å, to {_FARTHEST:g} Å")
    if points is not None:
        chosen = replace(chosen, points=by_model("--points", points, count, "100", every=False))
    if sigma:
        chosen = replace(chosen, sigmas=(sigma,))
    if not (math.isfinite(sigma) and math.isfinite(lam)):
        raise InputError(f"--sigma {sigma:g}, --lambda {lam:g}: expected finite numbers")
    if lam:
        chosen = replace(chosen, lams=(lam,))
    if not (output / RECORD).exists():
        check_new(output / "manifest.yaml", overwrite)
    told = Terminal()
    choose = Like(like, told) if like else None
    manifest = train_all(dataset, output, chosen, told, structure, choose, device=device, overwrite=overwrite)
    print(manifest)


def _fraction(text: str) -> float:
    """Of the pairs. Raises ValueError."""
    if not 0 < float(text) <= 1:
        raise ValueError
    return float(text)


def _full(text: str) -> tuple[FullModel, ...]:
    """Which global models. Raises InputError."""
    from ...training.tasks import FullModel

    kinds = [kind for kind in get_args(FullModel) if kind in text.split(",")]
    if len(kinds) < len(text.split(",")):
        raise InputError(f"--full {text!r}: expected some of {', '.join(get_args(FullModel))}")
    return tuple(kinds)


class Terminal(Line):
    """Tells how a training goes, on stderr."""

    def __init__(self) -> None:
        super().__init__(elsewhere=None)
        self._start, self._headed = time.monotonic(), False

    def say(self, text: str) -> None:
        """A line that stays; trials after it get a header of their own."""
        self._headed = False
        super().say(text)

    def trial(self, trial: Trial) -> None:
        if not self._headed:
            super().say(
                "  tried; MAE on validation configurations: of forces, and with equal atoms exchanged\n"
                "  (kcal/mol/Å), of energies (kcal/mol):\n"
                f"  {'symmetry':10} {'perms':>6} {'points':>6}  {'metric':13} {'σ':>6} {'λ':>7}  {'robust':6} "
                f"{'forces':>7} {'exchanged':>9} {'energies':>8} {'time (s)':>8}"
            )
            self._headed = True
        super().say(
            f"  {trial.group:10} {trial.permutations:6d} {trial.points:6d}  {trial.metric:13} {trial.sigma:6.3g} "
            f"{trial.lam:7.1e}  {'yes' if trial.robust else 'no':6} {trial.validation:7.4f} {trial.relabelled:9.4f} "
            f"{trial.energy:8.4f} {trial.seconds:8.1f}"
        )

    def learning(self, progress: ScalesIteration) -> None:
        self.say(
            f"  weights of pairs, iteration {progress.iteration:2d}: error of what is held out "
            f"{progress.held_out:.4f} (RMS), validation MAE {progress.validation:.4f} kcal/mol/Å"
        )

    def progress(self, stage: str, done: float) -> None:
        self.update(f"{stage} {100 * done:.0f} %  ({duration(time.monotonic() - self._start)})")
