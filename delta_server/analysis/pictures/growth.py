"""A picture of how the time of a prediction grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .canvas import BLUE, GREY, new_figure, save

if TYPE_CHECKING:
    from ...bench.growth import Growth


def plot_growth(curves: Sequence[Growth], title: str, path: Path) -> None:
    """One panel for each axis, both logarithmic, with a line of slope 1 through the last point.

    Raises InputError where matplotlib is missing or the path cannot be written.
    """
    figure = new_figure(3.3 * len(curves), 3.2)
    figure.suptitle(f"{title}: time of a prediction")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, curve in zip(panels, curves, strict=True):
        last = curve.sizes[-1], curve.ms[-1]
        axes.loglog(curve.sizes, [last[1] * n / last[0] for n in curve.sizes], "--", color=GREY, label="linear")
        axes.loglog(curve.sizes, curve.ms, "o-", color=BLUE, label="measured")
        axes.set_xticks(curve.sizes, [str(n) for n in curve.sizes])
        axes.set_xticks([], minor=True)
        axes.set(xlabel=curve.axis, ylabel="ms")
    panels[0].legend(frameon=False, fontsize="small")
    save(figure, path)
