"""delta-sgdml dataset split: training, validation and test configurations."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..options import DatasetArg, JsonOption, OverwriteOption, check_new, check_suffix
from .options import OutputOption, save

_SIDES = ("training", "validation", "test")


def split(
    dataset: DatasetArg,
    output: OutputOption,
    train: Annotated[str, typer.Option(metavar="N", help="Configurations, or a fraction such as 0.6.")] = "0.6",
    validation: Annotated[str, typer.Option(metavar="N", help="Likewise.")] = "0.2",
    test: Annotated[str, typer.Option(metavar="N", help="Likewise, or 'rest'.")] = "rest",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random choice.")] = 0,
    gap: Annotated[int, typer.Option(min=0, help="Steps of the trajectory between two sides, if enough remain.")] = 2,
    block: Annotated[
        int | None,
        typer.Option(
            min=1, help="Neighbours in time that stay together.", show_default="a hundredth of the configurations"
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Divide a data set into training, validation and test.

    The three are alike in energy, and of different stretches of time.

    Example: delta-sgdml dataset split h2o_benzene.npz -o split.npz --train 400 --validation 200 --test 1000
    """
    from dataclasses import replace

    import numpy as np

    from ...data.dataset import load_dataset
    from ...data.split import UNUSED, distance_in_time
    from ...data.split import split as choose

    check_suffix(output, ".npz")
    check_new(output, overwrite)
    data = load_dataset(dataset)
    n = len(data)
    n_train, n_validation = _count(train, n, "--train"), _count(validation, n, "--validation")
    n_test = max(0, n - n_train - n_validation) if test == "rest" else _count(test, n, "--test")
    sides = choose(data, n_train, n_validation, n_test, seed, gap=gap, block=block)
    kept = np.flatnonzero(sides != UNUSED)
    chosen = replace(data.take(kept), split=sides[kept], name=output.stem)
    save(output, chosen)

    away = distance_in_time(data, sides)
    rows = []
    for side, name in enumerate(_SIDES):
        here = sides == side
        if here.any():
            energies, steps = data.energies[here], away[here]
            near = float(steps.min()) if side and np.isfinite(steps.min()) else None
            rows.append((name, int(here.sum()), float(energies.mean()), float(energies.std()), near))
    if as_json:
        keys = ("side", "configurations", "mean_energy", "std_energy", "steps_from_training")
        print(json.dumps({"output": str(output), "energy_unit": "kcal/mol", "seed": seed,
                          "sides": [dict(zip(keys, row, strict=True)) for row in rows]}))  # fmt: skip
        return
    for name, count, mean, std, near in rows:
        apart = "" if near is None else f", {near:.0f} step{'s' if near != 1 else ''} or more from training"
        print(f"{name:10} {count:6d}  E {mean:.2f} ± {std:.2f} kcal/mol{apart}")
    left = n - len(kept)
    print(f"→ {output}" + (f" ({left} of {n} configurations left out)" if left else ""))


def _count(text: str, n: int, option: str) -> int:
    """``"200"`` → 200, ``"0.1"`` → a tenth of n."""
    from ...errors import InputError

    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 < value < 1 and not text.strip().isdigit():
        return round(value * n)
    if not text.strip().isdigit():
        raise InputError(f"{option} {text!r}: expected a number of configurations, or a fraction between 0 and 1")
    return int(text)
