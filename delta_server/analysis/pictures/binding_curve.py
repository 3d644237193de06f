"""Pictures of the binding energy between bound and free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..binding_curve import RELATIVE, TOLERANCE, Curve
from .canvas import BLACK, BLUE, GREY, new_figure, plain, save


def plot_curves(curves: Sequence[Curve], title: str, path: Path) -> None:
    """A panel for each curve: energies, and below them what is wrong, between the lines where it does not matter.

    Raises InputError where matplotlib is missing or the path cannot be written.
    """
    figure = new_figure(3.6 * len(curves), 4.6)
    axes = figure.subplots(2, len(curves), sharex="col", squeeze=False, height_ratios=(2, 1))
    for (above, below), curve in zip(axes.T, curves, strict=True):
        above.set_title(curve.name)
        if curve.reference is not None:
            above.plot(curve.distance, curve.reference, color=BLACK, lw=0, marker="o", ms=3, label="reference")
            limit = np.maximum(TOLERANCE, RELATIVE * np.abs(curve.reference))
            below.fill_between(curve.distance, -limit, limit, color=GREY, alpha=0.3, lw=0)
            below.plot(curve.distance, curve.errors, color=BLUE, lw=1)
        above.plot(curve.distance, curve.model, color=BLUE, lw=1.2, label="model")
        above.axhline(0.0, color=GREY, lw=1, ls=":")
        above.set_xscale("log")
        below.set_xlabel("distance of the centres (Å)")
        ticks = [t for t in (3, 4, 5, 6, 8, 10, 15, 20, 30) if curve.distance.min() <= t <= curve.distance.max()]
        below.set_xticks(ticks, [str(t) for t in ticks])
        below.minorticks_off()
    axes[0, 0].set_ylabel("binding (kcal/mol)")
    axes[1, 0].set_ylabel("error")
    axes[0, 0].legend(loc="best", fontsize="small", frameon=False)
    figure.suptitle(plain(title))
    save(figure, path)
