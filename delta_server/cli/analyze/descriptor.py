"""delta-sgdml analyze descriptor: why a Δ-model works."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError
from ..options import JsonOption, picture
from ..progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

    from ...analysis.descriptor_statistics import Descriptors
    from ...data.dataset import Dataset

_WIDE = 160  # columns, where nothing says how many there are
_DRIFTS = 1.2  # of σ_inter, from which on it is told
_KINDS = (("total", "total"), ("isolated", "fragments alone"), ("binding", "binding"))


def descriptor(
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...", help="Data sets (.npz) with labels of the isolated fragments.", show_default=False
        ),
    ],
    pairs: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Pairs of configurations to compare, drawn at random.")
    ] = 10_000,
    apart: Annotated[
        int, typer.Option(min=0, help="Compare only what is so far apart in a trajectory, or more.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    plot: Annotated[
        Path | None,
        typer.Option(
            callback=picture,
            help="Draw it (PNG, SVG, PDF); several data sets side by side.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show why a Δ-model works on a data set.

    How much of the descriptor's distance z² comes from pairs of atoms within each fragment and between fragments, how
    widely entries of both kinds differ (σ_inter/σ_intra), and how strong total, isolated-fragment and binding forces
    are (Å⁻¹, kcal/mol/Å; arXiv 2511.01913, Figs. 1 and 3).

    Example: delta-sgdml analyze descriptor models/c60_buckycatcher/dataset.npz --plot descriptor.png
    """
    from ...analysis.pictures.descriptor import plot_descriptor, plot_overview

    found = []
    for k, path in enumerate(datasets):
        of = f" ({k + 1} of {len(datasets)})" if len(datasets) > 1 else ""
        data = _load(path)
        found.append(_examine(data, pairs, apart, seed, of))
    if plot is not None:
        if len(found) == 1:
            plot_descriptor(data, found[0], plot)
        else:
            plot_overview(found, plot)
    if as_json:
        units = {"z2": "1/Ang^2", "sigma": "1/Ang", "force": "kcal/mol/Ang"}
        rows = [{"file": str(path)} | one.as_dict() for path, one in zip(datasets, found, strict=True)]
        said = {"units": units, "datasets": rows, "picture": str(plot) if plot else None}
        print(json.dumps(said, allow_nan=False))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    console.print(*(_tables(found[0]) if len(found) == 1 else _summary(found)), sep="\n")
    if plot is not None:
        print(f"picture: {plot}")


def _load(path: Path) -> Dataset:
    from ...data.dataset import load_dataset

    data = load_dataset(path)
    if not data.labelled_fragments:
        raise InputError(
            f"{path}: no labels of isolated fragments (fragment, E_frag, F0); make them with "
            f"`delta-sgdml dataset label {path} -o labelled.npz`"
        )
    return data


def _examine(data: Dataset, pairs: int, apart: int, seed: int, of: str) -> Descriptors:
    from ...analysis.descriptor_statistics import describe

    progress = Progress(min(pairs, len(data) * (len(data) - 1) // 2), f"pairs of configurations, {data.name}{of}")
    try:
        return describe(data, pairs, apart, seed, progress)
    finally:
        progress.end()


def _tables(found: Descriptors) -> list[Table | str]:
    """One data set: its parts, then its forces."""
    parts = _table("pairs of atoms", "number", "% of all", "I (Å⁻²)", "% of z²", "σ (Å⁻¹)")
    everything = found.entries(True) + found.entries(False)
    squared = sum(part.contribution for part in found.parts)

    def row(name: str, entries: int, contribution: float, sigma: float | None, style: str = "") -> None:
        parts.add_row(
            name,
            str(entries),
            f"{100 * entries / everything:.1f}",
            f"{contribution:.4g}",
            f"{100 * contribution / squared:.1f}",
            "–" if sigma is None else f"{sigma:.4g}",
            style=style,
        )

    for within, kind, sigma in ((True, "within", found.sigma_intra), (False, "between", found.sigma_inter)):
        of_kind = found.of_kind(within)
        for part in of_kind:
            row(f"{kind} {part.name}", part.entries, part.contribution, part.sigma)
        if len(of_kind) > 1:
            row(f"all {kind}", found.entries(within), found.share(within) * squared, sigma, "bold")
    forces = _table("force (kcal/mol/Å)", "median", "mean", "5 %", "25 %", "75 %", "95 %")
    for kind, name in _KINDS:
        f = found.forces[kind]
        forces.add_row(name, *(f"{v:.3f}" for v in (f.median, f.mean, f.p5, f.p25, f.p75, f.p95)))
    ratio = "no pairs move within the fragments" if found.ratio is None else f"σ_inter/σ_intra = {found.ratio:.2f}"
    return [
        f"{found.name}: {found.configurations} configurations of {found.atoms} atoms, {found.pairs} pairs compared\n",
        parts,
        f"z² = |x − x'|² = {squared:.4g} Å⁻² on average; {ratio}\n",
        forces,
        *_drifting([found]),
    ]


def _summary(found: Sequence[Descriptors]) -> list[Table | str]:
    """Several data sets: a row for each."""
    rows = _table(
        "system", "between: % of pairs", "% of z²", "σ_intra", "σ_inter", "inter/intra", "|F|", "alone", "binding"
    )
    rows.add_column("% of z² within")
    for one in found:
        forces = (one.forces[kind].median for kind, _ in _KINDS)
        rows.add_row(
            one.name,
            f"{100 * one.entries(False) / (one.entries(False) + one.entries(True)):.1f}",
            f"{100 * one.share(False):.1f}",
            "–" if one.sigma_intra is None else f"{one.sigma_intra:.4f}",
            f"{one.sigma_inter:.4f}",
            "–" if one.ratio is None else f"{one.ratio:.2f}",
            *(f"{median:.3f}" for median in forces),
            ", ".join(f"{part.name} {100 * part.share:.1f}" for part in one.of_kind(True)),
        )
    said = "z² = |x − x'|² of inverse distances; σ of their differences in Å⁻¹; forces: medians in kcal/mol/Å"
    return [rows, said, *_drifting(found)]


def _drifting(found: Sequence[Descriptors]) -> list[str]:
    """Where a trajectory is too short for its fragments to have been everywhere."""
    return [
        f"{one.name}: σ_inter is {one.drift:.2f} times larger for configurations far apart in time (--apart): the "
        "fragments still move on, a longer trajectory may give more"
        for one in found
        if one.drift is not None and one.drift > _DRIFTS
    ]


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
