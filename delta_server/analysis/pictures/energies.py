"""Pictures of series in time: energies, temperature and binding energy of a run."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..statistics import windows
from .canvas import BLACK, BLUE, FRAGMENT_COLOURS, GREEN, GREY, ORANGE, new_figure, save

if TYPE_CHECKING:
    from ..._types import FloatArray
    from ..energies import EnergyReport

_POINTS = 2000  # of a series


def draw_series(axis: Any, time: FloatArray, values: FloatArray, points: int = _POINTS, **style: Any) -> None:
    """A series (n,) against time (n,); of more values than points, means over windows and between which values they
    lie. style: of the line."""
    at, mean, low, high = windows(time, values, points)
    axis.plot(at, mean, **style)
    if len(at) < len(time):
        axis.fill_between(at, low, high, color=style["color"], alpha=0.18, lw=0, rasterized=len(at) > 1000)


def plot_energies(report: EnergyReport, path: Path) -> None:
    """Energies, temperature and binding energy against time, as PNG, SVG or PDF by the path's ending.

    Raises InputError where matplotlib is missing or the path cannot be written.
    """
    panels = [
        ("energy", True),
        ("temperature", report.temperature is not None),
        ("binding", report.binding is not None),
        ("fragments", bool(report.fragments)),
    ]
    shown = [name for name, there in panels if there]
    figure = new_figure(8, 2.3 * len(shown) + 0.5)
    axes = dict(zip(shown, figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0], strict=True))

    axis = axes["energy"]
    axis.set_title(report.title)
    draw_series(axis, report.time, report.potential - report.potential[0], color=BLUE, lw=1, label="potential")
    if report.conserved is not None:
        conserved = report.conserved - report.conserved[0]
        draw_series(axis, report.time, conserved, color=BLACK, lw=1.2, label="conserved")
    axis.set_ylabel("E − E(0) (eV)")
    axis.legend(loc="best", fontsize="small", ncols=2, frameon=False)
    if report.temperature is not None and report.mean_temperature is not None:
        axis, mean = axes["temperature"], report.mean_temperature
        draw_series(axis, report.time, report.temperature, color=ORANGE, lw=1)
        label = f"mean {mean.value:.0f} ± {mean.error:.0f} K"
        axis.plot([report.equilibrated, report.time[-1]], [mean.value] * 2, color=GREY, lw=1, ls="--", label=label)
        axis.set_ylabel("T (K)")
        axis.legend(loc="lower right", fontsize="small", frameon=False)
    if report.binding is not None:
        axis = axes["binding"]
        draw_series(axis, *report.binding, color=GREEN, lw=1)
        axis.axhline(0.0, color=GREY, lw=1, ls=":")
        axis.set_ylabel("binding (kcal/mol)")
    if report.fragments:
        axis = axes["fragments"]
        for (name, (time, energy)), colour in zip(report.fragments.items(), cycle(FRAGMENT_COLOURS), strict=False):
            draw_series(axis, time, energy - report.mean_fragments[name].value, color=colour, lw=1, label=name)
        axis.set_ylabel("E − mean (kcal/mol)")
        axis.legend(loc="best", fontsize="small", ncols=3, frameon=False)
    axis.set_xlabel("time (ps)")
    save(figure, path)
