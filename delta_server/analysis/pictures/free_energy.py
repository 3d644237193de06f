"""Pictures of free energies: maps side by side, or curves with their errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError
from ..free_energy.binding import BindingFreeEnergy
from ..free_energy.surface import Surface
from .canvas import BLUE, FRAGMENT_COLOURS, GREY, ORANGE, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 4  # maps in a row


def plot_surfaces(
    surfaces: Sequence[Surface], units: Sequence[str], path: Path, highest: float | None = None
) -> None:
    """All surfaces over their common grid, on one colour scale from 0 to `highest` kcal/mol; of a single variable,
    all curves in one panel with bands of one standard error. units: of the variables.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """
    labels = [f"{name} ({unit})" for name, unit in zip(surfaces[0].variables, units, strict=True)]
    highest = highest or max(float(np.nanmax(s.free_energy)) for s in surfaces) or 1.0
    if len(labels) == 1:
        _curves(surfaces, labels[0], path)
        return
    columns = min(len(surfaces), _WIDE)
    figure = new_figure(3.2 * columns + 1.2, 2.9 * math.ceil(len(surfaces) / columns) + 0.3)
    titles = [f"{one.name}, {one.temperature:g} K" for one in surfaces]
    draw_maps(figure, surfaces, titles, labels, columns, highest)
    save(figure, path)


def draw_maps(
    figure: Figure,
    surfaces: Sequence[Surface],
    titles: Sequence[str],
    labels: Sequence[str],
    columns: int,
    highest: float,
    aspect: float = 20.0,
) -> Any:
    """Surfaces over two variables, which have these labels, side by side on one grid and one colour scale from 0 to
    `highest` kcal/mol, a cross at each minimum. aspect: of the colour bar. Returns the panels (rows, columns)."""
    panels = figure.subplots(math.ceil(len(surfaces) / columns), columns, sharex=True, sharey=True, squeeze=False)
    mesh: Any = None
    for k, (axis, one) in enumerate(zip(panels.flat, surfaces, strict=False)):
        x, y = one.edges
        mesh = axis.pcolormesh(x, y, one.free_energy.T, cmap="viridis", vmin=0.0, vmax=highest, rasterized=True)
        axis.plot(*one.lowest, marker="+", color="white", ms=9, mew=1.5)
        axis.set_title(titles[k], fontsize="medium")
        if one.of_one_bin:
            _say_one_bin(axis, one)
        if k % columns == 0:
            axis.set_ylabel(labels[1])
        if k + columns >= len(surfaces):
            axis.set_xlabel(labels[0])
            axis.tick_params(labelbottom=True)
    for axis in panels.flat[len(surfaces) :]:
        axis.set_axis_off()
    beyond = any(float(np.nanmax(one.free_energy)) > highest for one in surfaces)
    figure.colorbar(mesh, ax=panels, aspect=aspect, label="F (kcal/mol)", extend="max" if beyond else "neither")
    return panels


def draw_profile(axis: Any, surface: Surface, **style: Any) -> None:
    """F over one variable, with a band of one standard error. style: of the line."""
    (x,) = surface.centres
    axis.plot(x, surface.free_energy, **style)
    low, high = surface.free_energy - surface.error, surface.free_energy + surface.error
    axis.fill_between(x, low, high, color=style["color"], alpha=0.25, lw=0)
    known = np.concatenate([[False], np.isfinite(surface.free_energy), [False]])
    alone = known[1:-1] & ~known[:-2] & ~known[2:]  # a line through one point is none
    axis.errorbar(x[alone], surface.free_energy[alone], surface.error[alone], color=style["color"], fmt="o", ms=4)
    if surface.of_one_bin:
        _say_one_bin(axis, surface)


def _say_one_bin(axis: Any, surface: Surface) -> None:
    text = f"{surface.name}:\none bin alone is filled,\nso there is nothing to compare"
    axis.text(0.5, 0.97, text, transform=axis.transAxes, ha="center", va="top", fontsize="small", color=GREY)


def _curves(surfaces: Sequence[Surface], label: str, path: Path) -> None:
    figure = new_figure(6.4, 4.0)
    axis = figure.subplots()
    for one, colour in zip(surfaces, cycle((BLUE, ORANGE, *FRAGMENT_COLOURS[:3], GREY)), strict=False):
        for half in one.halves or ():
            axis.plot(one.centres[0], half, color=colour, lw=0.7, ls=":")
        if one.of_bias is not None:
            axis.plot(one.centres[0], one.of_bias, color=colour, lw=0.9, ls="--")
        draw_profile(axis, one, color=colour, lw=1.4, label=f"{one.name}, {one.temperature:g} K")
    axis.set(xlabel=label, ylabel="F (kcal/mol)")
    axis.legend(fontsize="small", frameon=False)
    save(figure, path)


def plot_convergence(binding: Sequence[BindingFreeEnergy], path: Path) -> None:
    """ΔG° of the first and of the last part of each run against the share of it, a panel for each temperature; the
    band is the whole's, with its error. Raises InputError where none of it is known, or as `plot_surfaces`."""
    known = [one for one in binding if one.convergence is not None]
    if not known:
        raise InputError("convergence is of ΔG°, and of none of these it is known")
    figure = new_figure(3.4 * len(known), 3.0)
    panels = figure.subplots(1, len(known), squeeze=False)[0]
    for axis, one in zip(panels, known, strict=True):
        draw_convergence(axis, one)
        axis.set_title(f"{one.name}\n{one.temperature:g} K", fontsize="small")
    panels[0].set_ylabel("ΔG°, 1 M (kcal/mol)")
    panels[0].legend(frameon=False, fontsize="small")
    save(figure, path)


def draw_convergence(axis: Axes, one: BindingFreeEnergy) -> None:
    """ΔG° of the first and of the last part of each run, where that is known."""
    if (parts := one.convergence) is None:
        return
    percent = 100 * parts.shares
    if math.isfinite(one.error):
        axis.axhspan(one.value - one.error, one.value + one.error, color=GREY, alpha=0.3, lw=0)
    axis.plot(percent, parts.forward, ">-", color=BLUE, ms=4, label="the first")
    axis.plot(percent, parts.backward, "<-", color=ORANGE, ms=4, label="the last")
    axis.set_xlabel("of each run (%)")
