"""A picture of a model's errors: predictions against labels, and how the errors are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._types import FloatArray
from .canvas import BLACK, BLUE, GREEN, GREY, ORANGE, new_figure, save

if TYPE_CHECKING:
    from ...training.evaluation.evaluate import Evaluation

_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
_TOTAL, _BINDING = "-", "--"
_MANY = 3000  # points; more are drawn as a density
_LEVELS = np.linspace(0.0, 1.0, 401)


def plot_errors(evaluations: Sequence[Evaluation], title: str, path: Path) -> None:
    """The first evaluation's parity of energies and forces, total and binding, beside all evaluations' errors.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """

    mine = evaluations[0]
    parts = [mine.total] if mine.binding is None else [mine.total, mine.binding]
    columns = len(parts) + 1
    figure = new_figure(3.9 * columns, 7.7)
    figure.suptitle(f"{mine.name} on {len(mine.which)} configurations of {title}")
    axes = figure.subplots(2, columns, squeeze=False)
    for (above, below), part in zip(axes.T, parts, strict=False):
        binding = part is not mine.total
        mean = 0.0 if binding else float(part.energy_label.mean())
        symbol = "E_b" if binding else "E − mean"
        _parity(above, part.energy_label - mean, part.energy - mean, symbol, "kcal/mol", part.energy_mae)
        symbol = "F_b" if binding else "F"
        _parity(below, part.forces_label.ravel(), part.forces.ravel(), symbol, "kcal/mol/Å", part.force_mae)
        above.set_title(part.name, fontsize="medium")
    _curves(axes[0, -1], [(part.energy_error, colour, style) for _, part, colour, style in _lines(evaluations)])
    axes[0, -1].set(xlabel="|error| of the energy (kcal/mol)", ylabel="configurations with a smaller error")
    _curves(axes[1, -1], [(part.force_error, colour, style) for _, part, colour, style in _lines(evaluations)])
    axes[1, -1].set(xlabel="|error| of force components (kcal/mol/Å)", ylabel="components with a smaller error")
    axes[0, -1].set_title("errors", fontsize="medium")
    handles = axes[0, -1].get_lines()
    names = [name for name, *_ in _lines(evaluations)]
    figure.legend(handles, names, loc="outside lower right", ncols=3, fontsize="small", frameon=False)
    save(figure, path)


def _lines(evaluations: Sequence[Evaluation]) -> list[tuple[str, Any, str, str]]:
    """Name, part, colour, style: every total, and the binding of those that have one."""
    lines = []
    for i, evaluation in enumerate(evaluations):
        colour, name = _COLOURS[i % len(_COLOURS)], f"{evaluation.name}, " if len(evaluations) > 1 else ""
        lines.append((f"{name}total", evaluation.total, colour, _TOTAL))
        if evaluation.binding is not None:
            lines.append((f"{name}binding", evaluation.binding, colour, _BINDING))
    return lines


def _parity(axis: Any, label: FloatArray, predicted: FloatArray, symbol: str, unit: str, mae: float) -> None:
    low, high = min(label.min(), predicted.min()), max(label.max(), predicted.max())
    margin = 0.04 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axis.plot(limits, limits, color=GREY, lw=0.8, zorder=0)
    if len(label) > _MANY:
        axis.hexbin(label, predicted, gridsize=70, bins="log", cmap="viridis", mincnt=1, extent=limits * 2, lw=0.1)
        axis.text(
            0.97, 0.03, "colour: log of number", transform=axis.transAxes, ha="right", fontsize="small", color=GREY
        )
    else:
        axis.scatter(label, predicted, s=9, color=BLUE, alpha=0.5, linewidths=0)
    axis.set(xlim=limits, ylim=limits, aspect="equal")
    axis.locator_params(nbins=5)  # the same ticks on both axes
    axis.set_xlabel(f"{symbol}, label ({unit})")
    axis.set_ylabel(f"{symbol}, model ({unit})")
    axis.text(0.04, 0.96, f"MAE {mae:#.3g} {unit}", transform=axis.transAxes, va="top", fontsize="small", color=BLACK)


def _curves(axis: Any, lines: Sequence[tuple[FloatArray, str, str]]) -> None:
    """Which share of the errors is smaller than |error|, on a logarithmic axis, and the totals' mean."""
    largest, height = 0.0, 0.96
    for error, colour, style in lines:
        size = np.abs(error).ravel()
        values = np.maximum(np.quantile(size, _LEVELS), 1e-12)  # a logarithm has no zero
        axis.plot(values, 100 * _LEVELS, color=colour, ls=style, lw=1.4)
        largest = max(largest, float(size.max()))
        if style == _TOTAL:
            text = f"MAE {size.mean():#.3g}"
            axis.text(0.04, height, text, transform=axis.transAxes, va="top", fontsize="small", color=colour)
            height -= 0.07
    axis.set_xscale("log")
    if largest > 0:
        axis.set_xlim(largest / 1e4, largest * 1.3)
    axis.set_ylim(0, 102)
    axis.yaxis.set_major_formatter("{x:.0f} %")


def plot_curve(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Energy and force MAE of each part against the number of training points, which each evaluation is named by.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """

    figure = new_figure(8.0, 3.8)
    sizes = [int(e.name) for e in evaluations]
    panels = zip(figure.subplots(1, 2), ("energy_mae", "force_mae"), ("kcal/mol", "kcal/mol/Å"), strict=True)
    for axes, error, unit in panels:
        for i, part in enumerate(evaluations[0].parts):
            values = [getattr(e.parts[i], error) for e in evaluations]
            if any(values):
                axes.loglog(sizes, values, "o-", color=_COLOURS[i % len(_COLOURS)], label=part.name)
        axes.set(xlabel="training points", ylabel=f"{error.split('_')[0]} MAE ({unit})")
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.minorticks_off()
    axes.legend(frameon=False, fontsize="small")
    save(figure, path)
