"""delta-sgdml reduce: a trained Δ-model with fewer pairs of atoms in its descriptors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError
from ..options import AllThreadsOption, DatasetArg, JsonOption, ManifestArg, OverwriteOption, check_new, plot_option
from ..process import set_training_threads
from ..tables import show, table

if TYPE_CHECKING:
    from ...training.reduce import Reduction
    from ...training.selection.reduction import ReductionStep


def reduce(
    manifest: ManifestArg,
    dataset: DatasetArg,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder for models and manifest.", metavar="DIR", show_default="none: only look"
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1.0, help="Fraction of each model's pairs, at most.", show_default="by --tolerance"
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=1.0, help="The fewest pairs whose validation force error grows at most so much.")
    ] = 1.05,
    only: Annotated[
        list[str],
        typer.Option("--only", help="A model such as binding; repeatable.", metavar="NAME", show_default="all"),
    ] = [],  # noqa: B006  # typer's way
    fractions: Annotated[
        str, typer.Option(metavar="X,X,…", help="Fractions of the pairs, tried one after the other.")
    ] = "0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2,0.1",
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Also the shortest pairs, random ones, and those within and between.")
    ] = False,
    plot: Annotated[Path | None, plot_option("Draw errors, distances and pairs")] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    threads: AllThreadsOption = 0,
) -> None:
    """Leave out pairs of atoms that the forces do not miss.

    Trains again on the same points without them, and says what it cost. Needs the data set and the training record
    (training.json) beside the manifest.

    Example: delta-sgdml reduce models/h2o_benzene/manifest.yaml models/h2o_benzene/dataset.npz --keep 0.4 -o demo/few
    """
    set_training_threads(threads)
    from ...training.record import RECORD
    from ...training.reduce import TRIED
    from ...training.reduce import reduce as reduce_models
    from .train import Terminal

    tried = _fractions(fractions, keep)
    check_new(plot, overwrite)
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
    def number(value: float | None, digits: int, unit: str = "") -> str:
        return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}{unit}"

    errors = table("model", "ranking", "pairs", "kept", "σ", "validation", "test", "", left=("model", "ranking", ""))
    for name, rankings in found.terms.items():
        for ranking, steps in rankings.items():
            for step in steps:
                errors.add_row(
                    name, ranking, str(len(step.metric.pairs)), f"{100 * step.kept:.0f} %", f"{step.sigma:.3g}",
                    f"{step.error:.4f}", number(step.test, 4), "chosen" if step is found.chosen[name] else "",
                )  # fmt: skip
    kept = table("model", "pairs", "an atom", "90 % up to (Å)", "largest (Å)", "within", "between fragments")
    for name, step in found.chosen.items():
        reach = found.reach(name)
        within, between = (number(s and 100 * s, 0, " %") for s in (reach.within, reach.between))
        kept.add_row(
            name, str(len(step.metric.pairs)), number(reach.per_atom, 2), number(reach.most, 2),
            number(reach.largest, 2), within, between,
        )  # fmt: skip
    show(
        "validation force MAE and, of configurations that chose nothing, test (kcal/mol/Å)",
        errors,
        "\npairs of the chosen descriptors: mean distances, and the share of each kind that is kept",
        kept,
    )
