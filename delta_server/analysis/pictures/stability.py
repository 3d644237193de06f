"""Pictures of how long trajectories stayed the molecule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..stability import StabilityReport, Survival
from .canvas import BLUE, GREY, ORANGE, new_figure, ramp, save

_DASHES = ("-", "--", ":", "-.")
FAILED: dict[str, Any] = {"marker": "X", "ms": 8, "mec": "white", "mew": 0.6, "ls": ""}


def draw_lifetime(axis: Any, report: StabilityReport, y: float, colour: str) -> None:
    """One trajectory along time (ps) at height y: a bar as long as it held, then × where it failed, and dots to its
    end, or ▸ where it ended sound."""
    axis.plot([0, report.survived], [y, y], color=colour, lw=2.5, solid_capstyle="butt")
    end = {"marker": ">", "ms": 6, "ls": ""}
    if report.failed is not None:
        axis.plot([report.survived, report.length], [y, y], color=GREY, lw=1, ls=":")
        end = FAILED
    axis.plot([report.survived], [y], color=colour, clip_on=False, zorder=3, **end)


def draw_survival(axis: Any, survivals: Sequence[Survival]) -> None:
    """Which part of the trajectories at each temperature still holds after a time (ps)."""
    colours = (BLUE, ORANGE)[: len(survivals)] if len(survivals) < 3 else ramp(len(survivals))
    for k, (curve, colour) in enumerate(zip(survivals, colours, strict=True)):
        x, y = np.append(0.0, curve.times), np.append(1.0, curve.fraction)
        label = "all" if curve.temperature is None else f"{curve.temperature:g} K"
        label += f", {curve.failed} of {curve.runs} failed"
        axis.step(x, y, where="post", color=colour, ls=_DASHES[k % len(_DASHES)], label=label)
    axis.set(xlabel="time (ps)", ylabel="part that holds", ylim=(-0.03, 1.05), xlim=(0, None))
    axis.legend(fontsize="small", frameon=False, loc="lower left")


def plot_stability(reports: Sequence[StabilityReport], survivals: Sequence[Survival], path: Path) -> None:
    """How long each trajectory lasted (× where it failed, ▸ where it ended sound); beside it, where there are several
    at a temperature, which part of them still holds after a time.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """
    several = any(group.runs > 1 for group in survivals)
    figure = new_figure(10.5 if several else 6.4, max(2.2, 0.34 * len(reports) + 1.2))
    axes = figure.subplots(1, 1 + several, squeeze=False)[0]
    lanes = axes[0]
    for k, report in enumerate(reports):
        draw_lifetime(lanes, report, k, BLUE if report.failed is None else ORANGE)
    names = [r.name if r.temperature is None else f"{r.name}, {r.temperature:g} K" for r in reports]
    lanes.set_yticks(range(len(reports)), names, fontsize="small")
    lanes.set(xlabel="time (ps)", ylim=(-0.6, len(reports) - 0.4), xlim=(0, None))
    lanes.plot([], [], color=BLUE, marker=">", lw=2.5, label="sound to its end")
    lanes.plot([], [], color=ORANGE, lw=2.5, label="failed", **{**FAILED, "ls": "-"})
    figure.legend(loc="outside upper center", ncols=2, numpoints=1, fontsize="small", frameon=False)
    if several:
        draw_survival(axes[1], survivals)
    save(figure, path)
