"""delta-sgdml analyze curve: the binding energy from contact to 30 Å."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..dataset.labelling import run_labelling, stopped, stopper
from ..dataset.options import CalculatorOptions, ChargesOption, MultiplicityOption, electrons_of
from ..options import JsonOption, ManifestArg, picture
from ..process import set_threads
from ..tables import show, table

if TYPE_CHECKING:
    from ..._types import FloatArray
    from ...analysis.binding_curve import Curve
    from ...data.labels import LabelTask
    from ...potential import Potential


def curve(
    manifest: ManifestArg,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Picture (default: curve.png beside the manifest).", callback=picture),
    ] = None,
    fragment: Annotated[
        str | None, typer.Option(help="Fragment that is moved.", metavar="NAME", show_default="the last")
    ] = None,
    calculator: Annotated[
        str | None,
        typer.Option(help="Reference: gfn2-xtb, a name that ase knows, or package.module:Class.", metavar="NAME"),
    ] = None,
    option: CalculatorOptions = [],  # noqa: B006
    charges: ChargesOption = None,
    multiplicity: MultiplicityOption = None,
    processes: Annotated[
        int | None, typer.Option("-j", "--processes", min=1, help="Processes that label.", show_default="all cores")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the binding energy between bound and free.

    One fragment is moved, as it is, from its place in the manifest's structure: along the line between its centre and
    that of the others, from 0.3 Å inside the minimum on, and in two directions across, to 30 Å. With --calculator a
    reference beside it, and where the model leaves it by more than 0.03 kcal/mol or 2 %. Its labels are kept beside
    the picture (curve-….npz): the same command goes on after Ctrl-C, and asks for none twice.

    Example: delta-sgdml analyze curve models/h2o_benzene/manifest.yaml --calculator gfn2-xtb
    """
    set_threads(1)
    from ...analysis.binding_curve import binding_curves
    from ...analysis.pictures.binding_curve import plot_curves
    from ...loading import load_potential

    potential = load_potential(manifest)
    path = output or manifest.parent / "curve.png"
    reference = None
    if calculator is not None:
        task = _task(potential, calculator, option, charges, multiplicity)
        reference = partial(_labelled, task, path.parent, processes)
    curves = binding_curves(potential, fragment, reference)
    plot_curves(curves, potential.name, path)
    if as_json:
        units = {"energy": "kcal/mol", "distance": "Ang"}
        print(json.dumps({"units": units, "curves": [c.as_dict() for c in curves], "picture": str(path)}))
        return
    _print(curves, calculator)
    print(f"picture: {path}")


def _task(
    potential: Potential, calculator: str, option: list[str], charges: str | None, multiplicity: str | None
) -> LabelTask:
    """The complex and its isolated fragments, for a calculator."""
    import numpy as np

    from ...data.fragments import fragment_of
    from ...data.labels import LabelTask
    from ...data.structures import Structures
    from ...methods import Method, parse_options

    zero = np.zeros(1, dtype=np.intp)
    structures = Structures(
        potential.numbers, potential.reference[None], zero, zero,
        fragment_of([f.atoms for f in potential.fragments]), names=tuple(f.name for f in potential.fragments),
    )  # fmt: skip
    method = Method(calculator, parse_options(option))
    return LabelTask(structures, method, *electrons_of(structures, charges, multiplicity))


def _labelled(task: LabelTask, folder: Path, processes: int | None, positions: FloatArray) -> FloatArray:
    """Binding energies (n,), kcal/mol, at positions (n, N, 3), Å; NaN where the calculator fails."""
    import numpy as np

    from ...data.labels import label_in, working_file

    n = len(positions)
    structures = replace(task.structures, positions=positions, index=np.arange(n), run=np.zeros(n, dtype=np.intp))
    stop = stopper()
    work = partial(label_in, folder, "curve", replace(task, structures=structures))
    file, outcome = run_labelling(work, n, "points", processes, stop)
    if outcome.data is None:
        raise stopped(stop, f"{outcome.done} labels are in {working_file(file)}")
    energies = np.full(n, np.nan)
    energies[slice(None) if outcome.data.index is None else outcome.data.index] = outcome.data.binding_energies()
    return energies


def _print(curves: list[Curve], calculator: str | None) -> None:
    import numpy as np

    rows = table("line", "centres (Å)", "binding", "reference", "error", left=("line",))
    for each in curves:
        for n in range(0, len(each.distance), 3):
            reference = "–" if each.reference is None else f"{each.reference[n]:.3f}"
            error = "–" if each.reference is None else f"{each.errors[n]:+.3f}"
            rows.add_row(each.name, f"{each.distance[n]:.2f}", f"{each.model[n]:.3f}", reference, error)
    show("binding energy (kcal/mol), every third point", rows)
    for each in curves if calculator else []:
        if each.reference is None or not np.isfinite(each.excess).any():
            print(f"{each.name}: {calculator} gave no energy")
            continue
        worst = int(np.nanargmax(each.excess))
        print(
            f"{each.name}: {int((each.excess <= 1).sum())} of {int(np.isfinite(each.excess).sum())} points within "
            f"0.03 kcal/mol or 2 %; the worst {each.errors[worst]:+.3f} of {each.reference[worst]:.3f} kcal/mol "
            f"at {each.distance[worst]:.2f} Å"
        )
