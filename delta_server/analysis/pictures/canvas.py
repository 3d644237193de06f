"""An empty picture, its colours (Okabe and Ito's), and how it is written: matplotlib without a display or a global
state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#999999", "#000000"
FRAGMENT_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#0072B2", "#D55E00", "#009E73")


def new_figure(width: float, height: float) -> Figure:
    """width, height: inches. Raises InputError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("matplotlib is not installed here: pip install 'delta-server[analysis]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """PNG, SVG or PDF by the path's ending. Raises InputError where it cannot be written."""
    finish(figure)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the picture cannot be written: {error}") from None


def finish(figure: Figure) -> None:
    """No frame; and texts as they stand, for names are the users': no formula, what cannot be printed is escaped."""
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    for text in figure.findobj(Text):
        words = text.get_text()
        if words and not words.startswith(r"$\mathdefault"):  # of an axis' own ticks
            text.set_parse_math(False)
            text.set_text("\n".join(map(printable, words.split("\n"))))


def ramp(n: int) -> Any:
    """n colours in an order, as of temperatures: cividis without its lightest end; of a single one, blue."""
    import numpy as np
    from matplotlib import colormaps

    return colormaps["cividis"](np.linspace(0.0, 0.88, n)) if n > 1 else [BLUE] * n
