"""A picture of a reduction: what fewer pairs of atoms cost, how far those that are kept reach, and which they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...molecule.bonds import symbols
from ...training.reduce import Reduction
from ...training.selection.reach import Pairs
from ...training.selection.reduction import ReductionStep
from .canvas import BLACK, BLUE, GREEN, GREY, ORANGE, new_figure, save

_RANKINGS = {  # colour, marker, what it is called
    "importance": (BLACK, "o", "importance"),
    "shortest": (GREEN, "s", "shortest"),
    "random": ("#CC79A7", "^", "random"),
    "within": (BLUE, "D", "all within fragments"),
    "between": (ORANGE, "D", "all between fragments"),
}
_LEFT_OUT = "#E6E6E6"
_LOCAL = 5.0  # Å, below which the paper calls features local
_FEW = 20  # atoms, whose symbols can be read along an axis
_BINS = 40


def plot_reduction(found: Reduction, path: Path, tolerance: float = 1.05) -> None:
    """A row for each model, as PNG, SVG or PDF by the path's ending (Kabylda et al., Nat. Commun. 14, 3562 (2023)).

    Force MAE against the share of pairs that is kept, ranking by ranking, with a line at `tolerance` times that of
    all; mean distances of all pairs and of those of the chosen descriptor; the matrix of the pairs, with those that
    are kept marked (arXiv 2511.01913, Fig. 2).

    Raises InputError where there is nothing to draw, matplotlib is missing or the path cannot be written.
    """
    if not found.terms:
        raise InputError(f"{path}: no model was reduced, there is nothing to draw")
    figure = new_figure(13.5, 0.4 + 3.8 * len(found.terms))
    rows = figure.subplots(len(found.terms), 3, squeeze=False, width_ratios=(1.15, 1.15, 1))
    drawn: dict[str, Any] = {}
    for (errors, distances, matrix), (name, rankings) in zip(rows, found.terms.items(), strict=True):
        pairs, chosen = found.pairs[name], found.chosen[name]
        errors.set_title(f"{name}: {len(chosen.metric.pairs)} of {len(pairs.distances)} pairs", fontsize="medium")
        _errors(errors, rankings, chosen, tolerance)
        _distances(distances, pairs, chosen)
        _matrix(matrix, pairs, chosen)
        drawn |= {label: handle for handle, label in zip(*errors.get_legend_handles_labels(), strict=True)}
    figure.legend(list(drawn.values()), list(drawn), loc="outside upper center", ncols=len(drawn), frameon=False)
    save(figure, path)


def _errors(
    axis: Any, rankings: Mapping[str, Sequence[ReductionStep]], chosen: ReductionStep, tolerance: float
) -> None:
    """Of configurations that chose nothing, and thin of those that chose; of these alone if there are no others."""
    tested = bool(np.isfinite(chosen.test))
    for ranking, steps in rankings.items():
        colour, marker, label = _RANKINGS[ranking]
        kept, validation = [100 * s.kept for s in steps], [s.error for s in steps]
        thick = [s.test for s in steps] if tested else validation
        axis.plot(kept, thick, color=colour, lw=1.6, marker=marker, ms=5, label=label)
        if tested:
            axis.plot(kept, validation, color=colour, lw=0.8, ls="--", marker=marker, ms=2)
    first = next(iter(rankings.values()))[0]
    limit = tolerance * (first.test if tested else first.error)
    axis.axhline(limit, color=GREY, lw=1.4, ls=":", label=f"{tolerance:g} × all pairs")
    if tested:
        axis.axhline(tolerance * first.error, color=GREY, lw=0.7, ls=":")
        axis.plot([], [], color=GREY, lw=0.8, ls="--", label="thin: validation")
    at = chosen.test if tested else chosen.error
    axis.plot(100 * chosen.kept, at, "o", ms=12, mfc="none", mec=BLACK, mew=1.2, label="chosen")
    axis.set_yscale("log")
    axis.set(xlim=(0, 103), xlabel="pairs kept (%)")
    axis.set_ylabel(f"{'test' if tested else 'validation'} force MAE (kcal/mol/Å)")
    _plain(axis.yaxis)


def _plain(axis: Any) -> None:
    """Numbers instead of powers on a logarithmic axis, which may be shorter than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high > 10 * low else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs) if high > 3 * low else MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _distances(axis: Any, pairs: Pairs, chosen: ReductionStep) -> None:
    """Histograms: pairs within fragments upwards, those between them downwards."""
    kept, reach = pairs.kept(chosen.metric), pairs.reach(chosen.metric)
    bins = np.linspace(0.0, 1.05 * float(pairs.distances.max()), _BINS + 1)
    for kind, colour, label, sign in ((pairs.within, BLUE, "within", 1), (~pairs.within, ORANGE, "between", -1)):
        if not kind.any():
            continue
        every, some = (np.histogram(pairs.distances[which], bins)[0] for which in (kind, kind & kept))
        text = f"{label} fragments: {some.sum()} of {every.sum()}"
        axis.stairs(sign * some, bins, color=colour, fill=True, alpha=0.75, label=text)
        axis.stairs(sign * every, bins, color=colour, lw=1.2)
    axis.axhline(0.0, color=BLACK, lw=0.8)
    for value, colour, style in ((_LOCAL, GREY, ":"), (reach.most, BLACK, "--"), (reach.largest, BLACK, "-")):
        axis.axvline(value, 0, 0.78, color=colour, lw=1, ls=style)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axis.set(xlim=(0, bins[-1]), xlabel=f"mean distance (Å); filled: kept; dotted: {_LOCAL:g} Å", ylabel="pairs")
    axis.legend(fontsize="small", frameon=False, loc="upper left")
    axis.set_title(
        f"kept: 90 % up to {reach.most:.1f} Å (dashed), all up to {reach.largest:.1f} Å", fontsize="medium"
    )


def _matrix(axis: Any, pairs: Pairs, chosen: ReductionStep) -> None:
    """Atoms sorted by fragment; which kept pairs are within, which between."""
    from matplotlib.colors import ListedColormap

    order = np.argsort(pairs.fragment, kind="stable")
    n = len(order)
    kept = pairs.kept(chosen.metric)
    square = pairs.metric.to_matrix(np.where(kept, np.where(pairs.within, 2.0, 3.0), 1.0))[np.ix_(order, order)]
    colours = ListedColormap(["white", _LEFT_OUT, BLUE, ORANGE])
    axis.imshow(square, cmap=colours, vmin=0, vmax=3, interpolation="nearest", rasterized=True)
    sizes = np.bincount(pairs.fragment)
    for border in np.cumsum(sizes)[:-1] - 0.5:
        axis.axhline(border, color=BLACK, lw=1)
        axis.axvline(border, color=BLACK, lw=1)
    axis.set_yticks(np.cumsum(sizes) - sizes / 2 - 0.5, pairs.names)
    if n <= _FEW:
        axis.set_xticks(range(n), symbols(pairs.numbers[order]), fontsize="small")
    else:
        axis.set_xticks(np.cumsum(sizes) - sizes / 2 - 0.5, pairs.names)
    axis.tick_params(length=0)
    axis.set_title(f"{kept.sum() / n:.1f} kept pairs an atom, of {len(kept) / n:.1f}", fontsize="medium")
