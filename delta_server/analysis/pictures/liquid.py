"""Pictures of a liquid: density, radial distribution functions, mean squared displacement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..liquid.distribution import Distribution
from ..liquid.run import Liquid
from .canvas import FRAGMENT_COLOURS, GREY, new_figure, ramp, save

_STYLES = ("-", "--", ":", "-.")


def draw_distributions(axis: Any, distributions: Sequence[Distribution], style: str, label: str = "") -> None:
    """g(r) with bands of their errors, a colour each."""
    for k, g in enumerate(distributions):
        colour = FRAGMENT_COLOURS[k % len(FRAGMENT_COLOURS)]
        axis.plot(g.r, g.g, color=colour, lw=1.1, ls=style, label=f"{g.name}{label}")
        axis.fill_between(g.r, g.g - g.error, g.g + g.error, color=colour, alpha=0.2, lw=0)
    axis.axhline(1.0, color=GREY, lw=0.8, ls=":", zorder=0)
    axis.set(xlabel="r (Å)", ylabel="g(r)", ylim=(0, None))


def plot_liquids(liquids: Sequence[Liquid], path: Path) -> None:
    """Of each run: density against time, g(r) of elements and of centres of mass, MSD against τ.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """
    figure = new_figure(11, 7)
    (density, msd), (elements, centres) = figure.subplots(2, 2)
    for k, (liquid, colour) in enumerate(zip(liquids, ramp(len(liquids)), strict=True)):
        style, label = _STYLES[k % len(_STYLES)], f", {liquid.name}" if len(liquids) > 1 else ""
        mean = liquid.mean_density
        density.plot(liquid.time, liquid.density, color=colour, lw=0.8, label=f"{liquid.name}: {mean.value:.4f}")
        density.axhline(mean.value, color=colour, lw=0.8, ls=":")
        for d in liquid.diffusions:
            told = "" if d.d != d.d else f": D {d.d:.3f} ± {d.error:.3f} Å²/ps"
            msd.plot(d.lags, d.msd, color=colour, lw=1.1, ls=style, label=f"{d.species}{label}{told}")
        draw_distributions(elements, liquid.atoms, style, label)
        draw_distributions(centres, liquid.centres, style, label)
    density.set(xlabel="time (ps)", ylabel="density (g/cm³)")
    msd.set(xlabel="τ (ps)", ylabel="MSD of centres of mass (Å²)")
    centres.set(ylabel="g(r) of centres of mass")
    for axis in (density, msd, elements, centres):
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize="small", frameon=False)
    save(figure, path)
