"""delta-sgdml sweep: registers its commands, one file each."""

from __future__ import annotations

import typer

from . import sweep_md, sweep_run, sweep_status, sweep_write

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Many temperatures: write their inputs, run them, look at them."
)
app.command()(sweep_write.write)
app.command()(sweep_run.run)
app.command()(sweep_md.md)
app.command()(sweep_status.status)
