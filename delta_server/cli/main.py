"""delta-sgdml: registers the commands, one file each."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import check, input, pes, predict, report, run
from . import process as common
from .analyze import app as analyze
from .bench import prediction as bench
from .bench import training as bench_training
from .dataset import app as dataset
from .models import evaluate, model, reduce, train
from .sweep import app as sweep

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Δ-sGDML models of molecular complexes: label, train, evaluate, run.",
)
app.add_typer(dataset.app, name="dataset")
app.command()(train.train)
app.command()(reduce.reduce)
app.command()(evaluate.evaluate)
app.command()(check.check)
app.command()(predict.predict)
app.command("input")(input.write_input)
app.command()(run.run)
app.add_typer(sweep.app, name="sweep")
app.add_typer(analyze.app, name="analyze")
app.command()(report.report)
app.add_typer(model.app, name="model")
app.command()(bench.bench)
app.command("bench-training")(bench_training.bench_training)
app.command()(pes.pes)


def _version(value: bool) -> None:
    if value:
        print(f"delta-sgdml {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    common.run(app)
