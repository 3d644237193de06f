"""delta-sgdml: its commands in the order of the road, one file each."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import check, input, pes, predict, process, report, run
from .analyze import app as analyze
from .bench import prediction as bench
from .bench import training as bench_training
from .dataset import app as dataset
from .help import App
from .learn import app as learn
from .models import evaluate, model, reduce, train
from .sweep import app as sweep

app = App(
    "Δ-sGDML models of molecular complexes: label, train, evaluate, run.\n\n"
    "They are served to i-PI by another program: see `delta-driver --help`."
)
app.add("Serve a model", {"check": check.check, "predict": predict.predict, "pes": pes.pes})
app.add(
    "Make a model",
    {
        "dataset": dataset.app,
        "train": train.train,
        "learn": learn.app,
        "evaluate": evaluate.evaluate,
        "reduce": reduce.reduce,
    },
)
app.add(
    "Run and analyze",
    {
        "input": input.write_input,
        "run": run.run,
        "sweep": sweep.app,
        "analyze": analyze.app,
        "report": report.report,
    },
)
app.add(
    "Tools",
    {"model": model.app, "bench": bench.bench, "bench-training": bench_training.bench_training},
)


def _version(value: bool) -> None:
    if value:
        print(f"delta-sgdml {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    process.run(app)
