"""delta-sgdml dataset info: what a data set holds, and whether it can be true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import DatasetArg, JsonOption, OverwriteOption, check_new, plot_option

if TYPE_CHECKING:
    from ...data.inspect import Spread, Summary


def info(
    dataset: DatasetArg,
    plot: Annotated[Path | None, plot_option("Draw histograms")] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show and check what a data set holds (kcal/mol, Å).

    Counts, energies, forces and their share of binding, and whether the labels can be true. Ends with 2 if a check
    fails.

    Example: delta-sgdml dataset info h2o_benzene.npz --plot h2o_benzene.png
    """
    from ...data.consistency import check_dataset
    from ...data.dataset import load_dataset
    from ...data.inspect import summarize

    check_new(plot, overwrite)
    data = load_dataset(dataset)
    summary = summarize(data)
    checks = list(check_dataset(data))
    if plot is not None:
        from ...analysis.pictures.dataset import plot_dataset

        plot_dataset(data, summary, plot)
    if as_json:
        said = summary.as_dict() | {"energy_unit": "kcal/mol", "length_unit": "Ang"}
        said |= {"checks": [check.as_dict() for check in checks], "picture": str(plot) if plot else None}
        print(json.dumps(said, allow_nan=False, default=float))
    else:
        _print(summary)
        print()
        for check in checks:
            mark = "FAIL" if not check.passed else "    " if check.found.startswith("not checked") else "pass"
            print(f"{mark}  {check.name:34s}  {check.found}")
        if plot is not None:
            print(f"picture: {plot}")
    if not all(check.passed for check in checks):
        raise typer.Exit(2)


def _print(summary: Summary) -> None:
    runs = f" in {summary.runs} runs" if summary.runs > 1 else ""
    print(
        f"{summary.name}: {summary.configurations} configurations{runs} of {summary.formula}, {summary.atoms} atoms"
    )
    print(f"theory    {summary.theory or 'not said'}")
    if summary.split:
        print("split     {} training, {} validation, {} test".format(*summary.split))
    print(f"E         {_spread(summary.energy)} kcal/mol")
    if summary.binding_energy is not None:
        print(f"E_b       {_spread(summary.binding_energy)} kcal/mol")
    print(f"mean |F|  {summary.mean_force:.3f} kcal/mol/Å")
    if summary.mean_binding_force is not None:
        print(f"mean |F_b| {summary.mean_binding_force:.3f} kcal/mol/Å, F_b/F {summary.force_ratio:.4f}")
    if not summary.fragments:
        print("fragments not said")
        return
    print(f"\n{'fragment':14} {'formula':14} {'atoms':>5} {'charge':>6} {'E alone':>12} {'|F0|':>8} {'|F_b|':>8}")
    for f in summary.fragments:
        charge = "?" if f.charge is None else f"{f.charge:+d}" if f.charge else "0"
        energy = "–" if f.energy is None else f"{f.energy.mean:.2f}"
        forces = ["–" if v is None else f"{v:.3f}" for v in (f.mean_force, f.mean_binding_force)]
        print(f"{f.name:14} {f.formula:14} {f.n_atoms:5d} {charge:>6} {energy:>12} {forces[0]:>8} {forces[1]:>8}")


def _spread(s: Spread) -> str:
    return f"{s.mean:.2f} ± {s.std:.2f} ({s.min:.2f} to {s.max:.2f})"
