"""delta-sgdml sweep: registers its commands, one file each."""

from __future__ import annotations

import typer

from . import md as sweep_md
from . import run as sweep_run
from . import status as sweep_status
from . import write as sweep_write

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Many temperatures: write their inputs, run them, look at them."
)
app.command()(sweep_write.write)
app.command()(sweep_run.run)
app.command()(sweep_md.md)
app.command()(sweep_status.status)
