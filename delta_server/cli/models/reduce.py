"""delta-sgdml reduce: a trained Δ-model with fewer pairs of atoms in its descriptors."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError
from ..options import DatasetArg, JsonOption, ManifestArg, picture
from ..process import set_threads

if TYPE_CHECKING:
    from ...training.reduce import Reduction
    from ...training.selection.reduction import ReductionStep


def reduce(
    manifest: ManifestArg,
    dataset: DatasetArg,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for models and manifest (none: only look).", show_default=False),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(min=0.001, max=1.0, help="Of each model's pairs, at most.", show_default=False),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=1.0, help="The fewest pairs whose validation force error grows at most so much.")
    ] = 1.05,
    only: Annotated[
        list[str], typer.Option("--only", metavar="MODEL", help="Such as binding; repeatable.", show_default="all")
    ] = [],  # noqa: B006  # typer's way
    fractions: Annotated[
        str, typer.Option(metavar="F,F,…", help="Of the pairs, tried one after the other.")
    ] = "0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2,0.1",
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Also the shortest pairs, random ones, and those within and between.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Draw errors, distances and pairs.", callback=picture, show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another training in the folder.")] = False,
    as_json: JsonOption = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads (0: all cores).")] = 0,
) -> None:
    """Leave out the pairs of atoms that the forces do not miss, train again on the same points, and say what it cost.

    Needs the data set and the training record (training.json) beside the manifest.

    Example: delta-sgdml reduce models/h2o_benzene/manifest.yaml models/h2o_benzene/dataset.npz --keep 0.4 -o demo/few
    """
    import os

    cores = threads or len(os.sched_getaffinity(0))
    set_threads(cores)
    os.environ["NUMBA_NUM_THREADS"] = str(cores)
    from ...training.record import RECORD
    from ...training.reduce import TRIED
    from ...training.reduce import reduce as reduce_models
    from .train import Terminal

    tried = _fractions(fractions, keep)
    if output is not None and output.resolve() == manifest.resolve().parent:
        raise InputError(f"{output}: holds the models that are to be reduced; choose another folder")
    if overwrite and output is not None:
        for name in (RECORD, TRIED):
            (output / name).unlink(missing_ok=True)
    terminal = Terminal()

    def log(term: str, ranking: str, step: ReductionStep) -> None:
        terminal.say(
            f"  {term:10} {ranking:11} {len(step.metric.pairs):6d} pairs ({100 * step.kept:3.0f} %)  "
            f"σ {step.sigma:6.3g}  force MAE {step.error:.4f}, "
            f"{'' if math.isnan(step.test) else f'on others {step.test:.4f} '}kcal/mol/Å"
        )

    found = reduce_models(
        manifest, dataset, output, terminal, log, keep=keep, tolerance=tolerance, rivals=rivals, fractions=tried,
        which=tuple(only),
    )  # fmt: skip
    if plot is not None:
        from ...analysis.pictures.reduction import plot_reduction

        plot_reduction(found, plot, tolerance)
    if as_json:
        written = {"manifest": str(found.manifest)} if found.manifest else {}
        print(json.dumps({"models": found.as_dict(), **written}))
        return
    _print(found)
    if found.manifest:
        print(found.manifest)


def _fractions(text: str, keep: float | None) -> tuple[float, ...]:
    """Falling; with the one that is asked for."""
    try:
        numbers = {float(part) for part in text.split(",")}
    except ValueError:
        raise InputError(f"--fractions {text!r}: expected numbers such as 0.8,0.6,0.4") from None
    if not all(0 < f < 1 for f in numbers):
        raise InputError(f"--fractions {text!r}: expected numbers between 0 and 1, such as 0.8,0.6,0.4")
    if keep is not None:
        numbers = {f for f in numbers if f > keep} | ({keep} if keep < 1 else set())
    return tuple(sorted(numbers, reverse=True))


def _print(found: Reduction) -> None:
    from rich.console import Console
    from rich.table import Table

    def number(value: float | None, digits: int, unit: str = "") -> str:
        return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}{unit}"

    table = Table(title="validation force MAE and, of configurations that chose nothing, test (kcal/mol/Å)")
    for column in ("model", "ranking", "pairs", "kept", "σ", "validation", "test", ""):
        table.add_column(column, justify="left" if column in ("model", "ranking", "") else "right")
    for name, rankings in found.terms.items():
        for ranking, steps in rankings.items():
            for step in steps:
                table.add_row(
                    name, ranking, str(len(step.metric.pairs)), f"{100 * step.kept:.0f} %", f"{step.sigma:.3g}",
                    f"{step.error:.4f}", number(step.test, 4), "chosen" if step is found.chosen[name] else "",
                )  # fmt: skip
    reached = Table(title="pairs of the chosen descriptors: mean distances, and the share of each kind that is kept")
    reached.add_column("model")
    for column in ("pairs", "an atom", "90 % up to (Å)", "largest (Å)", "within", "between fragments"):
        reached.add_column(column, justify="right")
    for name, step in found.chosen.items():
        reach = found.reach(name)
        within, between = (number(s and 100 * s, 0, " %") for s in (reach.within, reach.between))
        reached.add_row(
            name, str(len(step.metric.pairs)), number(reach.per_atom, 2), number(reach.most, 2),
            number(reach.largest, 2), within, between,
        )  # fmt: skip
    console = Console(file=sys.stdout)
    console.print(table)
    console.print(reached)
