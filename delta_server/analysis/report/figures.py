"""The page's figures: narrow, so that they can be read on a phone and stand side by side elsewhere.

Sources differ by colour and by dashes, temperatures by colour along cividis; colours are Okabe and Ito's.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..free_energy.surface import Surface
from ..pictures.canvas import BLACK, BLUE, GREEN, GREY, ORANGE, finish, new_figure, ramp
from ..pictures.energies import draw_series
from ..pictures.free_energy import draw_convergence, draw_maps, draw_profile
from ..pictures.rotation import draw_correlations, draw_msad, draw_waits
from ..pictures.stability import FAILED, draw_lifetime
from .collect import Report, RunReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Named = tuple[str, Surface]  # and the source it is of

_WIDTH = 4.2  # inches: 400 px
_SIZE = 8  # points
_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", BLACK)
_DASHES = ("-", "--", "-.", ":")
_POINTS = 200  # of a series in time


@dataclass(frozen=True)
class Picture:
    """name: of its file, without an ending; caption: what is seen, for those who do not see it as well."""

    name: str
    caption: str
    figure: Figure

    @cached_property
    def svg(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None})
        self.figure.set_layout_engine("none")  # all has found its place
        return buffer.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """As SVG and as PNG. Raises OSError."""
        paths = [folder / f"{self.name}.{ending}" for ending in ("svg", "png")]
        paths[0].write_bytes(self.svg)
        self.figure.savefig(paths[1], dpi=250)
        return paths


def _done(name: str, caption: str, figure: Figure) -> Picture:
    for axis in figure.axes:
        axis.tick_params(labelsize=_SIZE)
        for text in (axis.xaxis.label, axis.yaxis.label, axis.title):
            text.set_fontsize(_SIZE)
    finish(figure)
    return Picture(name, caption, figure)


def _styles(report: Report) -> dict[str, dict[str, Any]]:
    """Of each source's lines."""
    return {
        source.name: {"color": _COLOURS[k % len(_COLOURS)], "ls": _DASHES[k % len(_DASHES)], "lw": 1.2}
        for k, source in enumerate(report.sources)
    }


def stability_picture(report: Report) -> Picture | None:
    """How long every trajectory was, and where it failed."""
    labels, styles = report.labels, _styles(report)
    if not any(part.stability for part in report.parts):
        return None
    figure = new_figure(_WIDTH, 0.26 * len(labels) * len(report.sources) ** 0.5 + 1.0)
    axis = figure.subplots()
    shift = 0.7 / len(styles)
    for k, label in enumerate(labels):
        for part in report.at(label):
            if part.stability is None:
                continue
            y = k + shift * (list(styles).index(part.source) - (len(styles) - 1) / 2)
            draw_lifetime(axis, part.stability, y, styles[part.source]["color"])
    axis.set(xlabel="time (ps)", xlim=(0, None), ylim=(-0.6, len(labels) - 0.4))
    axis.set_yticks(range(len(labels)), labels)
    handles = [axis.plot([], [], color=s["color"], lw=2.5, label=name)[0] for name, s in styles.items()]
    handles += axis.plot([], [], color=GREY, label="failed", **FAILED)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=_SIZE, frameon=False)
    return _done("stability", "How long each trajectory stayed the molecule; a cross marks where it failed.", figure)


def free_energy_pictures(report: Report, highest: float | None = None) -> list[Picture]:
    """One for each temperature (and one by MBAR), sources side by side on one grid and one scale, which
    ends at the highest of their bins or at `highest` (kcal/mol)."""
    states = [(f"{state.temperature:g} K", state) for state in report.states]
    groups = [
        (
            label,
            [(p.source, p.surface) for p in report.at(label) if p.surface is not None]
            + [(state.name, state) for at, state in states if at == label],
        )
        for label in dict.fromkeys([*report.labels, *(at for at, _ in states)])
    ]
    if report.ladders:
        label = f"{report.ladders[0].temperature:g} K from all temperatures"
        groups.append((label, [(one.name, one) for one in report.ladders]))
    groups = [(label, found) for label, found in groups if found]
    if not groups or report.choices.variables is None:
        return []
    units = [report.choices.variables.variables[name].unit for name in report.choices.over]
    axes = [f"{name} ({unit})" for name, unit in zip(report.choices.over, units, strict=True)]
    draw = _maps if len(axes) == 2 else _profiles
    styles = _styles(report)
    return [
        draw(label, found, axes, highest or max(float(np.nanmax(s.free_energy)) for _, s in found) or 1.0, styles)
        for label, found in groups
    ]


def _maps(
    label: str, found: Sequence[Named], axes: Sequence[str], top: float, styles: dict[str, dict[str, Any]]
) -> Picture:
    columns = min(2, len(found))
    figure = new_figure(_WIDTH, 2.1 * -(-len(found) // columns) + 0.45 if columns > 1 else 3.0)
    titles = [f"{name}, {label}" if columns == 1 else name for name, _ in found]
    for axis in draw_maps(figure, [one for _, one in found], titles, axes, columns, top, aspect=25).flat:
        axis.locator_params(nbins=4)
    if columns > 1:
        figure.suptitle(label, fontsize=_SIZE + 1)
    caption = f"Free energy at {label} over {axes[0]} and {axes[1]}; the cross is its minimum."
    return _done(f"free_energy_{_slug(label)}", caption, figure)


def _profiles(
    label: str, found: Sequence[Named], axes: Sequence[str], top: float, styles: dict[str, dict[str, Any]]
) -> Picture:
    figure = new_figure(_WIDTH, 2.7)
    axis = figure.subplots()
    for name, one in found:
        style = next(style for source, style in styles.items() if name == source or name.startswith(f"{source} ("))
        draw_profile(axis, one, **style, label=name)
    low = min(0.0, *(float(np.nanmin(one.free_energy)) for _, one in found))  # of a mean force, zero in the bulk
    room = top - low
    axis.set(xlabel=axes[0], ylabel="F (kcal/mol)", ylim=(low - 0.06 * room, top + 0.35 * room))
    axis.set_title(label)
    axis.legend(fontsize=_SIZE, frameon=False)
    caption = f"Free energy at {label} along {axes[0]}, with bands of one standard error."
    return _done(f"free_energy_{_slug(label)}", caption, figure)


def binding_pictures(report: Report) -> list[Picture]:
    """ΔG° of the first and of the last part of each run, one for each biased source, temperatures side by side."""
    pictures = []
    for k, (source, found) in enumerate(report.binding.items()):
        known = [one for one in found if one.convergence is not None]
        if not known:
            continue
        figure = new_figure(max(_WIDTH, 2.4 * len(known)), 2.5)
        panels = figure.subplots(1, len(known), squeeze=False)[0]
        for axis, one in zip(panels, known, strict=True):
            draw_convergence(axis, one)
            axis.set_title(f"{source}, {one.temperature:g} K")
        panels[0].set_ylabel("ΔG°, 1 M (kcal/mol)")
        panels[0].legend(fontsize=_SIZE, frameon=False)
        caption = f"{source}: ΔG° by the first and by the last part of each run; the band is that of all."
        pictures.append(_done(f"binding_{k + 1}", caption, figure))
    return pictures


def rotation_pictures(report: Report) -> list[Picture]:
    """MSAD, then C_1 and C_2, then waits for turns, one panel for each source on common axes; then D_r against
    temperature."""
    shown = [part for part in report.parts if part.rotation is not None and len(part.rotation.lags)]
    if not shown:
        return []
    labels = report.labels
    colours = dict(zip(labels, ramp(len(labels)), strict=True))
    msad = _panels(report, shown, colours, draw_msad)
    msad.axes[0].set(xscale="log", yscale="log", ylabel="MSAD (rad²)")
    turned = _panels(report, shown, colours, draw_correlations)
    turned.axes[0].set(xscale="log", ylabel="orientational correlation", ylim=(-0.12, 1.03))
    waits = _panels(report, shown, colours, draw_waits)
    angle = f"{shown[0].rotation.turns[-1].angle:g}°" if shown[0].rotation else ""
    for axis in waits.axes:
        axis.set_xlabel("wait (ps)")
    waits.axes[0].set(xscale="log", yscale="log", ylabel=f"longer waits for {angle}", ylim=(0.01, 1.2))
    pictures = [
        _done("msad", "Mean squared angular displacement; thick where D_r is read off, dotted: slope 1.", msad),
        _done("correlation", "Orientational correlations, C_1 solid and C_2 dashed.", turned),
        _done("turns", f"Waits for a turn of {angle}, from turn to turn (solid), from any moment (dashed).", waits),
    ]
    return pictures + [picture for picture in (_diffusion(report, shown),) if picture is not None]


def _panels(report: Report, shown: Sequence[RunReport], colours: dict[str, Any], draw: Any) -> Figure:
    sources = [s.name for s in report.sources if any(part.source == s.name for part in shown)]
    columns = min(2, len(sources))
    rows = -(-len(sources) // columns)
    labels = [label for label in colours if any(part.label == label for part in shown)]
    figure = new_figure(_WIDTH, 2.4 * rows + 0.35 + 0.17 * -(-len(labels) // 5))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, name in zip(panels.flat, sources, strict=False):
        axis.set_title(name)
        axis.set_xlabel("τ (ps)")
        for part in shown:
            if part.source == name:
                draw(axis, part.rotation, colours[part.label])
    for axis in panels.flat[len(sources) :]:
        axis.set_axis_off()
    handles = [panels[0, 0].plot([], [], color=colours[label], lw=2, label=label)[0] for label in labels]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(5, len(labels)), fontsize=_SIZE, frameon=False,
        columnspacing=1.2, handlelength=1.4,
    )  # fmt: skip
    return figure


def _diffusion(report: Report, shown: Sequence[RunReport]) -> Picture | None:
    """D_r against temperature; hollow where a note doubts it."""
    points = [part for part in shown if part.rotation and part.rotation.d and part.temperature is not None]
    if not points:
        return None
    figure = new_figure(_WIDTH, 2.7)
    axis = figure.subplots()
    for k, (name, style) in enumerate(_styles(report).items()):
        for part in points:
            if part.source != name or part.temperature is None or not (part.rotation and part.rotation.d):
                continue
            face = "white" if part.rotation.notes else style["color"]
            axis.errorbar(
                part.temperature, part.rotation.d.value, part.rotation.d.error,
                color=style["color"], marker="osD^"[k % 4], mfc=face, ms=5, capsize=2, lw=1,
            )  # fmt: skip
        axis.plot([], [], color=style["color"], marker="osD^"[k % 4], ls="", label=name)
    axis.set(xlabel="temperature (K)", ylabel="D_r (rad²/ps)", ylim=(0, None))
    axis.legend(fontsize=_SIZE, frameon=False)
    return _done("diffusion", "D_r against temperature; hollow where a note in the table doubts it.", figure)


def energy_pictures(report: Report) -> list[Picture]:
    """The binding energy against temperature; then for each temperature energy, temperature and binding in time."""
    return [p for p in (_binding(report), *(_in_time(report, label) for label in report.labels)) if p is not None]


def _binding(report: Report) -> Picture | None:
    means = [
        (part, part.energies.mean_binding)
        for part in report.parts
        if part.energies is not None and part.energies.mean_binding is not None and part.temperature is not None
    ]
    if len({part.label for part, _ in means}) < 2:
        return None
    figure = new_figure(_WIDTH, 2.7)
    axis = figure.subplots()
    for k, (name, style) in enumerate(_styles(report).items()):
        mine = sorted(
            (part.temperature or 0.0, mean.value, mean.error) for part, mean in means if part.source == name
        )
        if mine:
            axis.errorbar(*np.array(mine).T, **style, marker="osD^"[k % 4], ms=4, capsize=2, label=name)
    axis.set(xlabel="temperature (K)", ylabel="mean binding energy (kcal/mol)")
    axis.legend(fontsize=_SIZE, frameon=False)
    return _done("binding", "Mean binding energy against temperature, with standard errors.", figure)


def _in_time(report: Report, label: str) -> Picture | None:
    parts = [part for part in report.at(label) if part.energies is not None]
    if not parts:
        return None
    panels = ["E − E(0) (eV)", "T (K)"]
    if any(part.energies is not None and part.energies.binding is not None for part in parts):
        panels.append("binding (kcal/mol)")
    figure = new_figure(_WIDTH, 1.15 * len(panels) + 0.7)
    axes = figure.subplots(len(panels), 1, sharex=True)
    styles = _styles(report)
    for part in parts:
        energies, style = part.energies, {**styles[part.source], "lw": 0.9, "label": part.source}
        assert energies is not None
        draw_series(axes[0], energies.time, energies.potential - energies.potential[0], _POINTS, **style)
        if energies.temperature is not None:
            draw_series(axes[1], energies.time, energies.temperature, _POINTS, **style)
            if part.temperature is not None:
                axes[1].axhline(part.temperature, color=GREY, lw=0.7, ls=":", zorder=0)
        if energies.binding is not None:
            draw_series(axes[2], *energies.binding, _POINTS, **style)
    for axis, name in zip(axes, panels, strict=True):
        axis.set_ylabel(name)
        axis.locator_params(axis="y", nbins=4)
    figure.align_ylabels(axes)
    axes[0].set_title(label)
    axes[-1].set_xlabel("time (ps)")
    if len(report.sources) > 1:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=_SIZE, frameon=False)
    caption = f"Potential energy, temperature (dotted: set) and binding energy at {label}."
    return _done(f"energies_{_slug(label)}", caption, figure)


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in label.replace(" K", "K"))
