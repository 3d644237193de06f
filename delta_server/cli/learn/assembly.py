"""delta-sgdml learn assembly: pairs and triples of an assembly's molecules, from its own dynamics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..dataset.options import CalculatorOption, CalculatorOptions
from ..options import ManifestArg
from ..process import Stop, set_training_threads
from .run import Teller


def assembly(
    manifest: ManifestArg,
    datasets: Annotated[
        list[Path],
        typer.Argument(
            help="What its models of pairs and of triples were trained on.", metavar="DATASET...", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the learning.", metavar="DIR", show_default=False)
    ],
    temperatures: Annotated[
        str, typer.Option(help="At which the assembly's dynamics is to be right.", metavar="K,K,…")
    ] = "300",
    force: Annotated[
        float, typer.Option(min=1e-6, help="Largest MAE of the forces on an n-mer (kcal/mol/Å).", metavar="X")
    ] = 0.5,
    energy: Annotated[
        float, typer.Option(min=1e-6, help="Largest MAE of what n molecules bind (kcal/mol).", metavar="X")
    ] = 0.1,
    budget: Annotated[int, typer.Option(min=1, help="n-mers to label, at most.")] = 600,
    calculator: CalculatorOption = "gfn2-xtb",
    option: CalculatorOptions = [],  # noqa: B006
    test: Annotated[
        int, typer.Option(min=4, help="n-mers of each kind at each temperature that test the model in each round.")
    ] = 30,
    picks: Annotated[int, typer.Option(min=2, help="n-mers of each kind to learn from in each round, at most.")] = 60,
    replicas: Annotated[int, typer.Option(min=1, help="Trajectories at each temperature.")] = 2,
    time: Annotated[float, typer.Option(min=0.01, help="Of each trajectory (ps).", metavar="PS")] = 2.0,
    timestep: Annotated[float, typer.Option(min=0.01, max=5.0, help="Time step (fs).", metavar="FS")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn at random.")] = 0,
    processes: Annotated[
        int | None, typer.Option("-j", "--processes", min=1, help="Processes that label.", show_default="all cores")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads of a fit; 0: all cores.")] = 1,
) -> None:
    """Learn pairs and triples of molecules where the assembly goes.

    Dynamics with the models, in the structure's cell if they are periodic; n-mers of it are labelled and test them;
    those that they know least of are labelled, and train them. May be stopped (Ctrl-C) or killed: the same command
    goes on, and comes to the same end. Ends with 0 when errors are as asked in two rounds running, with 1 when the
    budget is spent; prints the manifest with the models that it has.

    Example: delta-sgdml learn assembly models/water/box.yaml models/water/bodies/*.npz -o demo/wetter --budget 300
    """
    set_training_threads(threads)
    from ...active.assemblies.loop import learn
    from ...active.assemblies.settings import AssemblySettings
    from ...active.loop import MET, SPENT
    from ...active.settings import kelvins
    from ...methods import Method, parse_options

    method = Method(calculator, parse_options(option))
    method.load()
    settings = AssemblySettings.made(
        manifest=str(manifest.resolve()), datasets=tuple(str(path.resolve()) for path in datasets),
        temperatures=kelvins(temperatures), force=force, energy=energy, budget=budget, calculator=calculator,
        options=dict(method.options), test=test, picks=picks, replicas=replicas, picoseconds=time, timestep=timestep,
        seed=seed,
    )  # fmt: skip
    settings.settle(output)
    stop = Stop(lambda number: KeyboardInterrupt(), "stopping (again to stop at once)")
    with Teller() as teller:
        ending = learn(output, settings, teller, processes=processes or len(os.sched_getaffinity(0)), stop=stop)
    print(f"{output}: {ending.line}")
    if ending.manifest is not None:
        print(ending.manifest)
    if ending.kind != MET:
        raise SystemExit(1 if ending.kind == SPENT else stop.exit_code)
