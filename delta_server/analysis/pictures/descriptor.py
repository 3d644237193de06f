"""Pictures of why a Δ-model works: what moves in the descriptor, and which forces are to be learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.dataset import Dataset
from ...data.inspect import lengths
from ..descriptor_statistics import Descriptors, PairKind, traces
from .canvas import BLACK, BLUE, GREY, ORANGE, new_figure, save

_FORCES = {
    "isolated": ("fragments alone", BLUE, "-"),
    "binding": ("binding", ORANGE, "-"),
    "total": ("total", BLACK, ":"),
}
_MOST = 10  # parts in a picture
_FEW = 6  # that are written large
_DIM = "#555555"
_SHORTEST = 1e-3  # kcal/mol/Å: where a logarithmic axis of forces begins at the latest


def plot_descriptor(data: Dataset, found: Descriptors, path: Path) -> None:
    """Entries along the trajectory, parts of z², differences of entries and lengths of forces (arXiv 2511.01913,
    Figs. 3A, 3B, 3C and 1), as PNG, SVG or PDF by the path's ending.

    Raises InputError where matplotlib is missing or the path cannot be written.
    """
    figure = new_figure(12.5, 8)
    ((along, parts), (differences, forces)) = figure.subplots(2, 2)
    figure.suptitle(f"{found.name}: {found.configurations} configurations, {found.pairs} pairs of them")
    _traces(along, data, found)
    _shares(parts, found)
    _differences(differences, found)
    _forces(forces, data, found)
    save(figure, path)


def _colour(part: PairKind) -> str:
    return BLUE if part.within else ORANGE


def _largest(found: Descriptors) -> Any:
    """Numbers of the parts that there is room for, in their order."""
    return np.sort(np.argsort([-part.contribution for part in found.parts], kind="stable")[:_MOST])


def _traces(axis: Any, data: Dataset, found: Descriptors) -> None:
    """A heat map, one row for each entry, and at its left which kind of pair each is."""
    shown = traces(data)
    rows = np.isin(shown.part, _largest(found))
    there, counts = np.unique(shown.part[rows], return_counts=True)
    heights = np.maximum(counts / counts.sum(), 0.08)  # of few pairs the rows are made higher
    heights /= heights.sum()
    tops = np.cumsum(heights)
    edges = [np.zeros(1)]
    for top, height, count in zip(tops, heights, counts, strict=True):
        edges.append(top - height + height * np.arange(1, count + 1) / count)
    limit = 2 * max(found.sigma_inter, found.sigma_intra or 0.0) / np.sqrt(2)  # σ of an entry, not of a difference
    n = len(shown.frames)
    every = found.configurations / n
    map_ = axis.pcolormesh(
        every * np.arange(n + 1), np.concatenate(edges), shown.deviations[rows],
        cmap="PuOr_r", vmin=-limit, vmax=limit, rasterized=True,
    )  # fmt: skip
    for number, top, height in zip(there, tops, heights, strict=True):
        part = found.parts[number]
        axis.add_patch(_rectangle((-0.025, top - height), 0.02, height, _colour(part), axis.get_yaxis_transform()))
        axis.axhline(top, color=BLACK, lw=1)
    for border in np.flatnonzero(np.diff(shown.run)) + 1:
        axis.axvline(every * border, color=BLACK, lw=1, ls=":")
    few = len(there) <= _FEW
    text = "{0.name}\n{0.entries} pairs" if few else "{0.name}, {0.entries}"
    names = [text.format(found.parts[k]) for k in there]
    axis.set_yticks(tops - heights / 2, names, fontsize="medium" if few else "small")
    axis.tick_params(axis="y", length=0, pad=12)
    runs = " (dotted: another run)" if np.ptp(shown.run) else ""
    axis.set(xlim=(0, found.configurations), ylim=(1, 0), xlabel=f"configuration, in the order of time{runs}")
    axis.set_title("A   entries of the descriptor, a sample; near pairs on top", fontsize="medium")
    axis.figure.colorbar(map_, ax=axis, label="1/r − mean (1/Å)", extend="both")


def _rectangle(corner: tuple[float, float], width: float, height: float, colour: str, transform: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, color=colour, lw=0, transform=transform, clip_on=False)


def _shares(axis: Any, found: Descriptors) -> None:
    numbers, squared = _largest(found), found.contributions.sum(1)
    shown, y = [found.parts[k] for k in numbers], np.arange(len(numbers))
    each = 100 * found.contributions[squared > 0][:, numbers] / squared[squared > 0, None]
    low, high = np.percentile(each, (5, 95), axis=0)
    share = np.array([100 * part.share for part in shown])
    total = sum(part.entries for part in found.parts)
    entries = [100 * part.entries / total for part in shown]
    axis.barh(y - 0.19, share, 0.36, color=[_colour(part) for part in shown])
    axis.hlines(y - 0.19, low, high, color=BLACK, lw=1.2)
    axis.barh(y + 0.21, entries, 0.28, color=GREY, alpha=0.6)
    for k in y:
        right = max(share[k], high[k]) + 1.5
        axis.text(right, k - 0.19, f"{share[k]:.1f} % of z²", va="center", fontsize="small")
        axis.text(
            entries[k] + 1.5, k + 0.21, f"{entries[k]:.1f} % of pairs", va="center", fontsize="small", color=_DIM
        )
    axis.set_yticks(y, [part.name for part in shown], fontsize="medium" if len(shown) <= _FEW else "small")
    axis.set(xlim=(0, 125), ylim=(len(y) - 0.5, -0.5), xlabel="share (%); line: 5 to 95 % of compared pairs")
    axis.set_xticks(range(0, 101, 20))
    of = "" if len(shown) == len(found.parts) else f", {len(shown)} largest of {len(found.parts)}"
    axis.set_title(f"B   parts of z² = |x − x'|²{of}", fontsize="medium")


def _differences(axis: Any, found: Descriptors) -> None:
    kinds = [("between fragments", "inter", found.between, found.sigma_inter, ORANGE)]
    if found.sigma_intra is not None:
        kinds.insert(0, ("within fragments", "intra", found.within, found.sigma_intra, BLUE))
    limit = 5 * max(sigma for *_, sigma, _ in kinds)
    bins = np.linspace(-limit, limit, 122)
    for label, index, values, sigma, colour in kinds:
        both = np.concatenate([values, -values])  # each pair counts in both directions
        density = np.histogram(both, bins)[0] / (len(both) * np.diff(bins))
        text = f"{label}, σ_{index} = {sigma:.4f} 1/Å"
        axis.stairs(density, bins, color=colour, lw=1.5, label=text)
        axis.stairs(density, bins, color=colour, alpha=0.15, fill=True)
    axis.set_yscale("log")
    axis.set(xlim=(-limit, limit), xlabel="x_k − x'_k (1/Å)", ylabel="density (Å)")
    low, high = axis.get_ylim()
    axis.set_ylim(low, high * 12)  # room for the legend
    axis.legend(fontsize="small", frameon=False, loc="upper left")
    ratio = "" if found.ratio is None else f": σ_inter/σ_intra = {found.ratio:.2f}"
    axis.set_title(f"C   differences of entries{ratio}", fontsize="medium")


def _forces(axis: Any, data: Dataset, found: Descriptors) -> None:
    values = {
        "total": lengths(data.forces),
        "isolated": lengths(data.isolated()[2]),
        "binding": lengths(data.binding_forces()),
    }
    low = max(_SHORTEST, float(np.quantile(values["binding"], 0.005)))
    bins = np.geomspace(low, max(float(values["total"].max()), 2 * low), 80)
    for kind, (label, colour, style) in _FORCES.items():
        median = found.forces[kind].median
        share = np.histogram(values[kind], bins)[0] * 100 / values[kind].size
        axis.stairs(share, bins, color=colour, lw=1.5, ls=style, label=f"{label}, median {median:#.3g}")
        if kind != "total":  # which all but hides the fragments' own
            axis.stairs(share, bins, color=colour, alpha=0.15, fill=True)
        if median > low:
            axis.axvline(median, 0, 0.78, color=colour, lw=1, ls="--")
    axis.set_xscale("log")
    axis.set(xlabel="force on an atom (kcal/mol/Å); dashed: median", ylabel="atoms (% in a bin)")
    axis.set_ylim(0, 1.25 * axis.get_ylim()[1])  # room for the legend
    axis.legend(fontsize="small", loc="upper left", framealpha=1, edgecolor="none")
    axis.set_title("D   forces", fontsize="medium")


def plot_overview(found: Sequence[Descriptors], path: Path) -> None:
    """Several systems: shares of z² beside shares of the pairs, σ of both kinds, and forces, median and 5 to 95 %.

    PNG, SVG or PDF by the path's ending. Raises InputError where matplotlib is missing or the path cannot be written.
    """
    figure = new_figure(12.5, 1.6 + 0.6 * len(found))
    shares, sigmas, forces = figure.subplots(1, 3, sharey=True)
    y = np.arange(len(found))
    share = np.array([100 * one.share(False) for one in found])
    pairs = np.array([100 * one.entries(False) / (one.entries(False) + one.entries(True)) for one in found])
    shares.barh(y, share, 0.55, color=ORANGE, label="z² between")
    shares.barh(y, 100 - share, 0.55, left=share, color=BLUE, label="z² within fragments")
    shares.vlines(pairs, y - 0.38, y + 0.38, color=BLACK, lw=2, label="pairs of atoms between")
    for k, one in enumerate(share):
        shares.text(one - 1.5, k, f"{one:.0f} %", ha="right", va="center", color="white", fontsize="small")
    shares.set(xlim=(0, 100), xlabel="share (%)")
    shares.set_yticks(y, [one.name for one in found])
    for kind, colour, marker in (("intra", BLUE, "o"), ("inter", ORANGE, "s")):
        values = [getattr(one, f"sigma_{kind}") or np.nan for one in found]
        sigmas.plot(values, y, marker, color=colour, label=f"σ_{kind}")
    for k, one in enumerate(found):
        if one.sigma_intra:
            sigmas.hlines(k, one.sigma_intra, one.sigma_inter, color=GREY, lw=1, zorder=0)
            middle = (one.sigma_intra + one.sigma_inter) / 2
            sigmas.text(middle, k - 0.12, f"× {one.ratio:.1f}", ha="center", fontsize="small")
    sigmas.set_xlim(left=0)
    sigmas.set_xlabel("σ of differences of entries (1/Å)")
    for shift, kind in zip((-0.22, 0.0, 0.22), ("total", "isolated", "binding"), strict=True):
        of, (label, colour, _) = [one.forces[kind] for one in found], _FORCES[kind]
        low, high = ([max(getattr(f, p), _SHORTEST) for f in of] for p in ("p5", "p95"))
        forces.hlines(y + shift, low, high, color=colour, lw=1.5)
        forces.plot([f.median for f in of], y + shift, "o", color=colour, ms=5, label=label)
    forces.set_xscale("log")
    forces.set_xlim(left=max(_SHORTEST, 0.5 * min(one.forces["binding"].p5 for one in found)))
    forces.set_xlabel("force on an atom (kcal/mol/Å), median, 5 to 95 %")
    for axis in (shares, sigmas, forces):
        axis.set_ylim(len(y) - 0.5, -0.5)
        axis.legend(
            fontsize="small",
            frameon=False,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
            columnspacing=1.2,
            handlelength=1.2,
        )
    save(figure, path)
