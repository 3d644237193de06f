"""The picture of how long trajectories stayed the molecule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..stability import Stability, Survival
from .canvas import BLUE, GREY, ORANGE, new_figure, save
from .rotation import _STYLES, _colours


def plot_stability(found: Sequence[Stability], survivals: Sequence[Survival], path: Path) -> None:
    """How long each trajectory lasted (× where it failed, ▸ where it ended sound); beside it, where there are several
    at a temperature, which part of them still holds after a time.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """
    several = any(one.runs > 1 for one in survivals)
    figure = new_figure(10.5 if several else 6.4, max(2.2, 0.34 * len(found) + 1.2))
    axes = figure.subplots(1, 1 + several, squeeze=False)[0]
    lanes = axes[0]
    for k, one in enumerate(found):
        sound = one.failed is None
        colour = BLUE if sound else ORANGE
        lanes.plot([0, one.survived], [k, k], color=colour, lw=3, solid_capstyle="butt")
        lanes.plot([one.survived], [k], color=colour, marker=">" if sound else "X", ms=8, ls="")
        if not sound:
            lanes.plot([one.survived, one.length], [k, k], color=GREY, lw=1, ls=":")
    kelvin = [one.name if one.temperature is None else f"{one.name}, {one.temperature:g} K" for one in found]
    lanes.set_yticks(range(len(found)), kelvin, fontsize="small")
    lanes.set(xlabel="time (ps)", ylim=(-0.6, len(found) - 0.4), xlim=(0, None))
    for marker, colour, label in ((">", BLUE, "sound to its end"), ("X", ORANGE, "failed")):
        lanes.plot([], [], color=colour, marker=marker, lw=3, label=label)
    figure.legend(loc="outside upper center", ncols=2, numpoints=1, fontsize="small", frameon=False)
    if several:
        fractions = axes[1]
        for k, (curve, colour) in enumerate(zip(survivals, _colours(len(survivals)), strict=True)):
            x, y = np.append(0.0, curve.times), np.append(1.0, curve.fraction)
            label = "all" if curve.temperature is None else f"{curve.temperature:g} K"
            label += f", {curve.failed} of {curve.runs} failed"
            fractions.step(x, y, where="post", color=colour, ls=_STYLES[k % len(_STYLES)], label=label)
        fractions.set(xlabel="time (ps)", ylabel="part that holds", ylim=(-0.03, 1.05), xlim=(0, None))
        fractions.legend(fontsize="small", frameon=False, loc="lower left")
    save(figure, path)
