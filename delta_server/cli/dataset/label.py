"""delta-sgdml dataset label: energies and forces of a complex and of its isolated fragments."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..options import JsonOption, OverwriteOption, check_suffix
from ..process import set_threads
from .labelling import run_labelling, stopped, stopper
from .options import (
    CalculatorOption,
    CalculatorOptions,
    ChargesOption,
    FragmentsOption,
    MultiplicityOption,
    OutputOption,
    electrons_of,
    save,
)

_LISTED = 10  # failures that are told one by one


def label(
    structures: Annotated[
        Path,
        typer.Argument(
            help="Configurations: any file that ase reads (Å), or a data set.", metavar="FILE", show_default=False
        ),
    ],
    output: OutputOption,
    calculator: CalculatorOption = "gfn2-xtb",
    option: CalculatorOptions = [],  # noqa: B006
    fragments: FragmentsOption = None,
    charges: ChargesOption = None,
    multiplicity: MultiplicityOption = None,
    every: Annotated[int, typer.Option(min=1, help="Label every N-th configuration.")] = 1,
    maximum: Annotated[
        int | None, typer.Option("--max", min=1, help="Label at most N, evenly spread.", show_default="all")
    ] = None,
    skip_reactive: Annotated[
        bool, typer.Option("--skip-reactive", help="Leave out configurations whose fragments react or break.")
    ] = False,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="Label the complex anew where a data set has its labels already.")
    ] = False,
    fragments_only: Annotated[
        bool,
        typer.Option("--fragments-only", help="Keep the file's labels of the complex; label the fragments alone."),
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed configurations again.")] = False,
    processes: Annotated[
        int | None, typer.Option("-j", "--processes", min=1, help="Processes.", show_default="all cores")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label a complex and its isolated fragments (kcal/mol, Å).

    Energies and forces of the complex, and of each fragment alone at the same geometry. A data set whose fragments
    lack labels keeps those of its complex, which must be the same calculator's; --fragments-only does so with any
    labelled file. May be stopped (Ctrl-C) or killed:
    the same command goes on. Labels are kept in OUTPUT.working until then.

    Example: delta-sgdml dataset label trajectory.extxyz -o na_benzene.npz --charges 1,0
    """
    set_threads(1)
    from dataclasses import replace

    import numpy as np

    from ...data import labels
    from ...data.imports import import_files
    from ...data.structures import read_structures, say_reactions, structures_of
    from ...errors import InputError
    from ...methods import Method, parse_options

    check_suffix(output, ".npz")
    working = labels.working_file(output)
    if output.exists() and not working.exists() and not overwrite:
        raise InputError(f"{output}: exists and is complete; remove it, give --overwrite, or another -o")
    method = Method(calculator, parse_options(option))
    method.load()
    if fragments_only and relabel:
        raise InputError("--fragments-only keeps the labels of the complex, --relabel replaces them: give one")
    if fragments_only:
        try:
            labelled = import_files([structures])
        except InputError as error:
            raise InputError(f"{error} (say such things to `dataset import`, and label what that makes)") from None
        bare = replace(labelled, fragment_energies=None, fragment_forces=None)
        chosen = structures_of(bare).in_fragments(fragments)
    else:
        chosen = read_structures(structures).in_fragments(fragments)
    reactive = chosen.reactions()
    if reactive and not skip_reactive:
        raise InputError(
            f"{structures}: {say_reactions(reactive, len(chosen))}; a Δ-model needs fragments that stay whole: leave "
            "such configurations out (--skip-reactive), or say other --fragments"
        )
    kept = np.setdiff1d(np.arange(len(chosen)), [r.configuration for r in reactive])
    chosen = chosen.take(kept).thin(every, maximum)
    if not len(chosen):
        raise InputError(f"{structures}: fragments react in every configuration; say other --fragments")
    if relabel:
        chosen = chosen.without_labels()
    q, spins = electrons_of(chosen, charges, multiplicity)
    task = labels.LabelTask(chosen, method, q, spins)
    work, stop = partial(labels.label, task, output, retry_failed=retry_failed), stopper()
    outcome = run_labelling(work, len(chosen), "configurations", processes, stop)
    if outcome.data is None:
        raise stopped(stop, f"{outcome.done} of {len(chosen)} configurations are labelled in {working}")
    save(output, replace(outcome.data, name=output.stem))
    if not outcome.failures:
        working.unlink()

    data = outcome.data
    if as_json:
        failed = [{"configuration": int(chosen.index[f.index]), "reason": f.reason} for f in outcome.failures]
        print(json.dumps({"output": str(output), "labelled": len(data), "theory": data.theory, "failed": failed,
                          "fragments": chosen.names, "charges": q, "reactive": len(reactive)}))  # fmt: skip
        return
    named = ", ".join(
        f"{name} ({charge:+d})" if charge else name for name, charge in zip(chosen.names, q, strict=True)
    )
    print(f"{output}: {len(data)} configurations of {named}, {data.theory}")
    if task.keeps:
        print(f"the complex keeps its labels of {structures}; its fragments are labelled by {method.theory}")
    binding = data.binding_energies()
    print(f"binding energy {binding.mean():.2f} ({binding.min():.2f} to {binding.max():.2f}) kcal/mol")
    if reactive:
        print(f"left out: {say_reactions(reactive, len(reactive) + len(kept))}")
    if outcome.failures:
        print(f"failed: {len(outcome.failures)} of {len(chosen)} configurations; --retry-failed tries them again")
        for failure in outcome.failures[:_LISTED]:
            print(f"  configuration {chosen.index[failure.index]}: {failure.reason}")
        if len(outcome.failures) > _LISTED:
            print(f"  … and {len(outcome.failures) - _LISTED} more; --json lists them all")
