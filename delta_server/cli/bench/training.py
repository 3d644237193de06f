"""delta-sgdml bench-training: how fast models are fitted."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from ..options import DatasetArg, JsonOption
from ..process import set_training_threads


def bench_training(
    dataset: DatasetArg,
    n_train: Annotated[int, typer.Option("-n", "--n-train", min=2, help="Training points.")] = 20,
    term: Annotated[
        Literal["binding", "full"], typer.Option(help="What is fitted: the binding, or the whole.")
    ] = "full",
    symmetry: Annotated[
        Literal["graph", "none"], typer.Option(help="Permutations of the bond graph, or none.")
    ] = "none",
    sigma: Annotated[float, typer.Option(min=0.1, help="Length scale σ of the kernel.")] = 20.0,
    lam: Annotated[float, typer.Option("--lambda", min=0.0, help="Regularisation λ, absolute.")] = 1e-10,
    against: Annotated[Literal["sgdml"] | None, typer.Option(help="Train with stock sGDML too.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads, and sGDML's processes.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Time one fit, and measure its memory.

    Against sGDML's trainer if asked, on the same points, σ, λ and permutations.

    Example: delta-sgdml bench-training models/c60_buckycatcher/dataset.npz -n 20 --against sgdml
    """
    set_training_threads(threads)
    import numpy as np

    from ...bench.training import bench_training as bench
    from ...data.dataset import load_dataset
    from ...errors import InputError
    from ...training.databases import Complex
    from ...training.fit import Hyper

    data = load_dataset(dataset)
    if n_train + 2 > len(data):
        raise InputError(f"{dataset}: asked for {n_train} points and some to compare on, there are {len(data)}")
    order = np.random.default_rng(0).permutation(len(data))
    system = Complex.of(data, symmetry)
    make = system.binding_labels if term == "binding" else system.full_labels
    test = data.positions[order[n_train : n_train + 20]]
    hyper = Hyper(sigma, lam, absolute=True)
    found = bench(make(order[:n_train]), test, system.full.permutations, hyper, against == "sgdml", threads)
    if as_json:
        print(json.dumps({"name": data.name, "threads": threads, **asdict(found), "ratio": found.ratio}))
        return
    print(
        f"{data.name}, {term}: {found.atoms} atoms, {found.points} points, {found.permutations} permutations, "
        f"{found.rows} rows, {threads} thread{'s' * (threads > 1)}"
    )
    print(f"time    {found.seconds:9.2f} s   forecast {found.forecast:.2f} s")
    print(f"memory  {found.peak / 1e6:9.0f} MB  forecast {found.matrix / 1e6:.0f} MB")
    if found.sgdml_seconds is not None:
        print(f"sgdml   {found.sgdml_seconds:9.2f} s   {found.ratio:.1f} times as long")
        print(
            f"largest difference {found.energy_difference:.1e} kcal/mol, {found.force_difference:.1e} kcal/mol/Å, "
            f"on {len(test)} configurations"
        )
