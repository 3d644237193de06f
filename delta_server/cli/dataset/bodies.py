"""delta-sgdml dataset bodies: pairs and triples of an assembly's molecules, labelled with all their parts."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import JsonOption, OverwriteOption
from ..process import set_threads
from ..progress import Progress
from .labelling import run_labelling, stopped, stopper
from .options import CalculatorOption, CalculatorOptions, save

if TYPE_CHECKING:
    from ...data.bodies import Bodies
    from ...gdml import Model

_CANDIDATES = 20  # times as many n-mers as are asked for are chosen from


def bodies(
    trajectories: Annotated[
        list[Path],
        typer.Argument(
            help="Frames of assemblies, with or without a cell: any file that ase reads, or i-PI's.",
            metavar="FILE...",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Folder for a data set of each kind (h2o_h2o.npz, …).", show_default=False
        ),
    ],
    count: Annotated[int, typer.Option("-n", min=1, help="n-mers of each kind, as many of each file.")] = 500,
    pairs: Annotated[
        float, typer.Option(min=0.0, help="Cut-off of the distance of two centres of mass (Å); 0: no pairs.")
    ] = 7.0,
    triples: Annotated[
        float,
        typer.Option(min=0.0, help="Cut-off of the sum of three such distances (Å).", show_default="no triples"),
    ] = 0.0,
    charge: Annotated[
        list[str],
        typer.Option("--charge", help="Net charge of a species; repeatable.", metavar="NAME=N", show_default="all 0"),
    ] = [],  # noqa: B006
    least_known: Annotated[
        list[Path],
        typer.Option(
            help="Model of the n-mers that there is: those it knows least of are taken; repeatable.",
            metavar="FILE",
            show_default="evenly by distance",
        ),
    ] = [],  # noqa: B006
    calculator: CalculatorOption = "gfn2-xtb",
    option: CalculatorOptions = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice.")] = 0,
    processes: Annotated[
        int | None, typer.Option("-j", "--processes", min=1, help="Processes.", show_default="all cores")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label pairs and triples of an assembly's molecules.

    They are what a many-body expansion is trained on.

    They are chosen evenly by distance, to a quarter beyond the cut-off, from all frames of each file, whose molecules
    are of the same species. With --least-known those are taken of twenty times as many of which a model that exists
    knows least, as from a trajectory that it has driven. Of a triple each pair is labelled too: its binding is what
    the pairs leave. `train` makes a model of each data set; the pairs' has those of the single molecules as well. May
    be stopped (Ctrl-C) or killed: the same command goes on.

    Example: delta-sgdml dataset bodies box.extxyz packed.extxyz -o water --pairs 6 --triples 11 -n 600
    """
    set_threads(1)
    from ...data.bodies import clear, find_bodies, join, label_bodies, read_assembly
    from ...data.structures import say_reactions
    from ...errors import InputError
    from ...gdml import load_model
    from ...methods import Method, parse_options

    method = Method(calculator, parse_options(option))
    method.load()
    if not pairs and not triples:
        raise InputError("--pairs 0 and no --triples: nothing to label")
    models = [(path, load_model(path)) for path in least_known]
    share = -(-count // len(trajectories)) * (_CANDIDATES if models else 1)
    parts, names = [], dict[str, None]()
    for trajectory in trajectories:
        assembly = read_assembly(trajectory)
        names |= dict.fromkeys(assembly.names)
        kinds = [
            kind
            for order, cutoff in ((2, pairs), (3, triples))
            if cutoff
            for kind in find_bodies(assembly, order, cutoff, share, seed)
        ]
        for kind in kinds:
            if reactive := kind.structures.reactions():
                raise InputError(
                    f"{trajectory}: {say_reactions(reactive, len(kind.structures))} of {kind.name}; molecules have "
                    "to stay what they are in the first frame"
                )
        parts.append(kinds)
    charges = _charges(charge, tuple(names))
    kinds = join(parts)
    if models:
        kinds = [_least_known(kind, models, count) for kind in kinds]
    paths = [output / f"{kind.name}.npz" for kind in kinds]
    if (there := [path for path in paths if path.exists()]) and not overwrite:
        raise InputError(f"{there[0]}: exists and is complete; remove it, give --overwrite, or another -o")
    output.mkdir(parents=True, exist_ok=True)
    stop, told = stopper(), []
    for kind, path in zip(kinds, paths, strict=True):
        work = partial(label_bodies, kind, method, path, charges)
        outcome = run_labelling(work, len(kind.structures), kind.name, processes, stop)
        if outcome.data is None:
            raise stopped(stop, f"what is labelled is kept in {output}")
        save(path, outcome.data)
        clear(kind, path)
        binding = outcome.data.binding_energies()
        cutoff = pairs if len(kind.species) == 2 else triples
        far = abs(binding[outcome.lengths > cutoff]).max(initial=0.0)
        told.append({"output": str(path), "labelled": len(binding), "failed": len(outcome.failures),
                     "binding": [binding.min(), binding.max()], "beyond": far})  # fmt: skip
        if not as_json:
            failed = f", {len(outcome.failures)} failed" * bool(outcome.failures)
            print(
                f"{path}: {len(binding)} of {kind.name}{failed}, {method.theory}; {len(kind.species)} bodies bind by "
                f"{binding.min():.3f} to {binding.max():.3f} kcal/mol, beyond {cutoff:g} Å by up to {far:.3f}"
            )
    if as_json:
        print(json.dumps(told))


def _least_known(kind: Bodies, models: list[tuple[Path, Model]], count: int) -> Bodies:
    """The n-mers of which the model of their atoms knows least. Raises InputError where there is no such model."""
    import numpy as np

    from ...active.acquisition import pick_for
    from ...errors import InputError

    positions = kind.structures.positions
    for _, model in models:
        if np.array_equal(kind.structures.numbers, model.numbers):
            with Progress(count, f"{kind.name} chosen") as progress:
                picks = pick_for(model, positions, count, progress)
            return kind.take(np.sort([pick.configuration for pick in picks]))
    given = ", ".join(str(path) for path, _ in models)
    raise InputError(
        f"--least-known {given}: none has the atoms of {kind.name}; give a model for each kind of n-mers, or leave "
        "the others out (--pairs 0, no --triples)"
    )


def _charges(texts: list[str], names: tuple[str, ...]) -> dict[str, int]:
    """Of species by name. Raises InputError."""
    from ...errors import InputError

    charges: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in names:
            raise InputError(f"--charge {text}: no species {name!r}; there are {', '.join(names)}")
        try:
            charges[name] = int(number)
        except ValueError:
            raise InputError(f"--charge {text}: expected a whole number, as in {name}=1") from None
    return charges
