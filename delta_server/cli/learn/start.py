"""delta-sgdml learn start: what is to be learned, and how well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..dataset.options import (
    CalculatorOption,
    CalculatorOptions,
    ChargesOption,
    FragmentsOption,
    MultiplicityOption,
    electrons_of,
)
from ..options import BasisOption, by_model, count


def start(
    source: Annotated[
        Path,
        typer.Argument(
            help="Geometry of the complex, in any format that ase reads, or a labelled data set (.npz).",
            metavar="FILE",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder of the learning.", metavar="DIR", show_default=False)
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="Manifest of a model that was trained on the data set, to begin with.", show_default=False),
    ] = None,
    temperatures: Annotated[
        str, typer.Option(help="At which the model's dynamics is to be right.", metavar="K,K,…")
    ] = "100,300",
    force: Annotated[
        float, typer.Option(min=1e-6, help="Largest MAE of the forces' components (kcal/mol/Å).", metavar="X")
    ] = 0.5,
    energy: Annotated[
        float, typer.Option(min=1e-6, help="Largest MAE of the energies, total and binding (kcal/mol).", metavar="X")
    ] = 0.3,
    budget: Annotated[int, typer.Option(min=1, help="Labels of the complex, at most.")] = 400,
    labels: Annotated[
        Literal["here", "elsewhere"],
        typer.Option(help="elsewhere: a round ends with geometries to label, for `learn add`."),
    ] = "here",
    calculator: CalculatorOption = "gfn2-xtb",
    option: CalculatorOptions = [],  # noqa: B006
    fragments: FragmentsOption = None,
    charges: ChargesOption = None,
    multiplicity: MultiplicityOption = None,
    first: Annotated[int, typer.Option(min=28, help="Labels that a geometry begins with.")] = 60,
    points: Annotated[int, typer.Option(min=20, help="Of a data set, those that are trained on first.")] = 200,
    basis: BasisOption = "",
    test: Annotated[
        int, typer.Option(min=4, help="Random frames at each temperature that test the model in each round.")
    ] = 12,
    picks: Annotated[
        int, typer.Option(min=1, help="Frames that each term may learn from in each round, at most.")
    ] = 24,
    replicas: Annotated[int, typer.Option(min=1, help="Trajectories at each temperature.")] = 8,
    time: Annotated[
        float, typer.Option(min=0.01, help="Of each trajectory in the first round (ps).", metavar="PS")
    ] = 2.0,
    timestep: Annotated[float, typer.Option(min=0.01, max=5.0, help="Time step (fs).", metavar="FS")] = 0.5,
    metric: Annotated[Literal["inverse", "auto"], typer.Option(help="Descriptors, as `train` has them.")] = "inverse",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn at random.")] = 0,
) -> None:
    """Say what is to be learned, and how well.

    From a geometry, the first labels are of short dynamics with the calculator. With --labels elsewhere it only makes
    these geometries; energies and forces come by `learn add`.

    Example: delta-sgdml learn start complex.xyz -o learned --temperatures 100,300 --budget 300
    """
    import numpy as np

    from ...active.first import begin_with
    from ...active.rounds import START_DATA, START_GEOMETRY
    from ...active.settings import SETTINGS, Settings, kelvins
    from ...data.dataset import load_dataset, save_dataset
    from ...data.labels import LabelTask
    from ...data.structures import read_structures
    from ...errors import InputError
    from ...methods import Method, parse_options
    from ...molecule.structures import read_structure, write_structure

    if (output / SETTINGS).exists():
        raise InputError(f"{output}: a learning is there already; go on with `delta-sgdml learn run {output}`")
    method = Method(calculator, parse_options(option))
    method.load()
    data = load_dataset(source) if source.suffix == ".npz" else None
    if data is not None:
        data.isolated()
    structures = read_structures(source).in_fragments(fragments)
    q, spins = electrons_of(structures, charges, multiplicity)
    bases = by_model("--basis", basis, count, "100") if basis else {}
    LabelTask(structures, method, q, spins)  # refuses electrons that cannot be
    settings = Settings.made(
        name=source.stem if source.stem != "dataset" else output.name, numbers=tuple(structures.numbers.tolist()),
        fragment=tuple(np.asarray(structures.fragment).tolist()), names=structures.names, charges=q,
        multiplicities=spins, temperatures=kelvins(temperatures), force=force, energy=energy, budget=budget,
        labels=labels, calculator=calculator, options=dict(method.options),
        theory=(data.theory if data else "") or ("" if labels == "elsewhere" else method.theory),
        first=first, points=points, test=test, picks=picks, replicas=replicas, picoseconds=time,
        timestep=timestep, basis=bases.pop("", 0), bases=bases, metric=metric, seed=seed,
    )  # fmt: skip
    needed = settings.test_labels + (0 if data is not None else first)
    if budget < needed:
        raise InputError(
            f"--budget {budget}: one round takes {needed} labels ({0 if data is not None else first} first ones, "
            f"{settings.test_labels} to test); say more, or a smaller --test or --first"
        )
    if model is not None and data is None:
        raise InputError(f"--model {model}: goes with the data set that it was trained on, not with a geometry")
    output.mkdir(parents=True, exist_ok=True)
    if data is not None:
        save_dataset(output / START_DATA, data if model is None else begin_with(output, model, data))
    else:
        write_structure(output / START_GEOMETRY, read_structure(source))
    settings.save(output)
    print(f"{output}: {settings.describe()}; run it: delta-sgdml learn run {output}")
