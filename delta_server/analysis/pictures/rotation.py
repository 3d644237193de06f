"""Pictures of what a molecule did: how it turned, and how long it lasted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..rotation.diffusion import Rotation
from .canvas import BLACK, BLUE, GREY, ORANGE, new_figure, save

_STYLES = ("-", "--", ":", "-.")


def plot_rotations(found: Sequence[Rotation], path: Path) -> None:
    """The MSAD against τ on logarithmic axes, its errors, and where D_r is read off (thick); beside it C_1 and C_2,
    and what D_r makes of C_1.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """
    figure = new_figure(10.5, 4.4)
    msad, correlation = figure.subplots(1, 2)
    shown = [one for one in found if len(one.lags)]
    for one, colour in zip(shown, _colours(len(shown)), strict=True):
        said = one.name if one.d is None else f"{one.name}: {one.d}"
        msad.plot(one.lags, one.msad, color=colour, lw=1.2, label=said)
        low = np.maximum(one.msad - one.msad_error, 0.2 * one.msad)  # a logarithm has no zero
        msad.fill_between(one.lags, low, one.msad + one.msad_error, color=colour, alpha=0.25, lw=0)
        if one.d is not None and one.window is not None:
            inside = (one.lags >= one.window[0]) & (one.lags <= one.window[1])
            msad.plot(one.lags[inside], one.msad[inside], color=colour, lw=3, alpha=0.6)
            correlation.plot(one.lags, np.exp(-2 * one.d.value * one.lags), color=GREY, lw=0.8, zorder=0)
        correlation.plot(one.lags, one.c1, color=colour, lw=1.2)
        correlation.plot(one.lags, one.c2, color=colour, lw=1.2, ls="--")
        correlation.fill_between(
            one.lags, one.c1 - one.c1_error, one.c1 + one.c1_error, color=colour, alpha=0.2, lw=0
        )
    if shown:
        _slope_1(msad, shown)
        msad.set(xscale="log", yscale="log")
        correlation.set(xscale="log", ylim=(min(-0.1, *(float(one.c2.min()) for one in shown)), 1.03))
        title = "D_r (rad²/ps)" if any(one.d is not None for one in shown) else "no D_r"
        msad.legend(fontsize="small", frameon=False, title=title, title_fontsize="small")
        key = [
            correlation.plot([], [], color=BLACK, ls=style, label=label)[0]
            for style, label in (("-", "C$_1$"), ("--", "C$_2$"))
        ]
        key += correlation.plot([], [], color=GREY, lw=0.8, label="C$_1$ of free diffusion with D_r")
        correlation.legend(handles=key, fontsize="small", frameon=False, loc="lower left")
    msad.set(xlabel="τ (ps)", ylabel="MSAD (rad²)")
    correlation.set(xlabel="τ (ps)", ylabel="orientational correlation")
    correlation.axhline(0.0, color=GREY, lw=0.8, ls=":")
    save(figure, path)


def _colours(n: int) -> Any:
    """Two far apart for two, else along cividis, without its lightest end."""
    if n <= 2:
        return (BLUE, ORANGE)[:n]
    from matplotlib import colormaps

    return colormaps["cividis"](np.linspace(0.0, 0.88, n))


def _slope_1(axis: Any, shown: Sequence[Rotation]) -> None:
    """A line of slope 1 over the curves, for the eye."""
    first = max(shown, key=lambda one: float(one.msad[-1]))
    x = first.lags[len(first.lags) // 2 :]
    axis.plot(x, 2.0 * first.msad[-1] * x / x[-1], color=GREY, lw=0.8, ls=":", label="slope 1")
