"""Pictures of how a molecule turned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..rotation.diffusion import Rotation
from .canvas import BLACK, BLUE, GREY, ORANGE, new_figure, ramp, save


def draw_msad(axis: Any, rotation: Rotation, colour: Any, label: str | None = None) -> None:
    """The MSAD (rad²) against τ (ps), for logarithmic axes, with a band of its error; thick where D_r is read off;
    dotted 6 D_r τ, of slope 1."""
    axis.plot(rotation.lags, rotation.msad, color=colour, lw=1.1, label=label)
    low = np.maximum(rotation.msad - rotation.msad_error, 0.2 * rotation.msad)  # a logarithm has no zero
    axis.fill_between(rotation.lags, low, rotation.msad + rotation.msad_error, color=colour, alpha=0.25, lw=0)
    if rotation.d is not None and rotation.window is not None:
        inside = (rotation.lags >= rotation.window[0]) & (rotation.lags <= rotation.window[1])
        axis.plot(rotation.lags[inside], rotation.msad[inside], color=colour, lw=3)
        axis.plot(rotation.lags, 6 * rotation.d.value * rotation.lags, color=GREY, lw=0.7, ls=":", zorder=0)


def draw_correlations(axis: Any, rotation: Rotation, colour: Any) -> None:
    """C_1 (solid, with a band of its error) and C_2 (dashed) against τ (ps)."""
    axis.plot(rotation.lags, rotation.c1, color=colour, lw=1.1)
    axis.plot(rotation.lags, rotation.c2, color=colour, lw=1.1, ls="--")
    low, high = rotation.c1 - rotation.c1_error, rotation.c1 + rotation.c1_error
    axis.fill_between(rotation.lags, low, high, color=colour, alpha=0.2, lw=0)


def draw_waits(axis: Any, rotation: Rotation, colour: Any) -> None:
    """What is left of waits for a turn against their time (ps), for logarithmic axes: exchange (solid), persistence
    (dashed)."""
    if rotation.turns:
        turns = rotation.turns[-1]
        for left, style in ((turns.exchange_left, "-"), (turns.persistence_left, "--")):
            axis.plot(turns.time, np.where(left > 0, left, np.nan), color=colour, lw=1.1, ls=style)


def plot_rotations(rotations: Sequence[Rotation], path: Path) -> None:
    """The MSAD against τ on logarithmic axes, its errors, and where D_r is read off (thick); beside it C_1 and C_2,
    and what D_r makes of C_1; then the waits for a turn.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """
    figure = new_figure(13.5, 4.2)
    msad, correlation, waits = figure.subplots(1, 3)
    shown = [rotation for rotation in rotations if len(rotation.lags)]
    colours = (BLUE, ORANGE)[: len(shown)] if len(shown) < 3 else ramp(len(shown))
    for rotation, colour in zip(shown, colours, strict=True):
        label = rotation.name if rotation.d is None else f"{rotation.name}: {rotation.d}"
        draw_msad(msad, rotation, colour, label)
        draw_correlations(correlation, rotation, colour)
        draw_waits(waits, rotation, colour)
        if rotation.d is not None:
            free = np.exp(-2 * rotation.d.value * rotation.lags)
            correlation.plot(rotation.lags, free, color=GREY, lw=0.8, zorder=0)
    if shown:
        msad.plot([], [], color=GREY, lw=0.8, ls=":", label="slope 1")
        msad.set(xscale="log", yscale="log")
        correlation.set(xscale="log", ylim=(min(-0.1, *(float(one.c2.min()) for one in shown)), 1.03))
        title = "D_r (rad²/ps)" if any(one.d is not None for one in shown) else "no D_r"
        msad.legend(fontsize="small", frameon=False, title=title, title_fontsize="small")
        key = [
            correlation.plot([], [], color=BLACK, ls=style, label=label)[0]
            for style, label in (("-", "C_1"), ("--", "C_2"))
        ]
        key += correlation.plot([], [], color=GREY, lw=0.8, label="C_1 of free diffusion with D_r")
        correlation.legend(handles=key, fontsize="small", frameon=False, loc="lower left")
        angle = f"{shown[0].turns[-1].angle:g}°"
        waits.set(xscale="log", yscale="log", ylim=(0.01, 1.2), ylabel=f"longer waits for {angle}")
        key = [
            waits.plot([], [], color=BLACK, ls=style, label=label)[0]
            for style, label in (("-", "from turn to turn (exchange)"), ("--", "from any moment (persistence)"))
        ]
        waits.legend(handles=key, fontsize="small", frameon=False, loc="lower left")
    msad.set(xlabel="τ (ps)", ylabel="MSAD (rad²)")
    correlation.set(xlabel="τ (ps)", ylabel="orientational correlation")
    waits.set(xlabel="wait (ps)")
    correlation.axhline(0.0, color=GREY, lw=0.8, ls=":")
    save(figure, path)
