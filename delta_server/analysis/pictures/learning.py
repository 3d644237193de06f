"""Pictures of a learning: errors round by round, and what was expected of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...active.honest import TermTest, Test, place_of
from .canvas import BLACK, FRAGMENT_COLOURS, GREY, new_figure, ramp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (
    ("total", "force_mae", "forces", "kcal/mol/Å"),
    ("total", "energy_mae", "energy", "kcal/mol"),
    ("binding", "energy_mae", "binding energy", "kcal/mol"),
)


def draw_rounds(tests: Mapping[int, Test], force: float, energy: float) -> Figure:
    """MAE on the model's own dynamics, by round, a line for each temperature. tests: by the number of their round.
    force, energy: what is asked for, kcal/mol/Å and kcal/mol."""
    figure = new_figure(11.0, 3.4)
    places = sorted({kelvin for test in tests.values() for kelvin in test})
    colours = dict(zip(places, ramp(len(places)), strict=True))
    for axes, (term, error, what, unit) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for kelvin in places:
            there = [(number, test[kelvin][term]) for number, test in tests.items() if kelvin in test]
            axes.errorbar(
                [number for number, _ in there], [getattr(row, error) for _, row in there],
                yerr=[getattr(row, f"{error}_error") for _, row in there],
                color=colours[kelvin], marker="o", capsize=2, label=place_of(kelvin),
            )  # fmt: skip
        axes.axhline(force if error == "force_mae" else energy, color=GREY, linestyle="--", label="asked")
        axes.set(xlabel="round", ylabel=f"MAE of the {what} ({unit})", yscale="log", xticks=[*tests])
    axes.legend(frameon=False)
    return figure


def draw_expected(tests: Mapping[int, Test]) -> Figure:
    """Expected against true RMSE of the forces, a point for each term, round and temperature."""
    figure = new_figure(4.6, 4.2)
    axes: Axes = figure.subplots()
    rows = [row for test in tests.values() for terms in test.values() for row in terms.values()]
    for part, colour in zip(dict.fromkeys(row.part for row in rows), (BLACK, *FRAGMENT_COLOURS), strict=False):
        _scatter(axes, [row for row in rows if row.part == part], part, colour)
    ends = [min(*axes.get_xlim(), *axes.get_ylim()), max(*axes.get_xlim(), *axes.get_ylim())]
    axes.plot(ends, ends, color=GREY, linewidth=0.8, zorder=0)
    axes.set(xlabel="expected RMSE of forces (kcal/mol/Å)", ylabel="true RMSE of forces (kcal/mol/Å)")
    axes.legend(frameon=False)
    return figure


def _scatter(axes: Axes, rows: Sequence[TermTest], part: str, colour: str) -> None:
    known = [(row.expected_rmse, row.force_rmse) for row in rows if row.expected_rmse and row.force_rmse]
    if known:
        axes.loglog(*zip(*known, strict=True), "o", color=colour, markersize=4, label=part)
