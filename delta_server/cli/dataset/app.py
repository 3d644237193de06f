"""delta-sgdml dataset: registers its commands, one file each."""

from __future__ import annotations

import typer

from . import fragments as dataset_fragments
from . import import_ as dataset_import
from . import info as dataset_info
from . import label as dataset_label
from . import sample as dataset_sample
from . import select as dataset_select
from . import split as dataset_split

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Data sets: make, label, look at, check and divide them."
)
app.command("import")(dataset_import.import_)
app.command()(dataset_sample.sample)
app.command()(dataset_label.label)
app.command()(dataset_info.info)
app.command()(dataset_fragments.fragments)
app.command()(dataset_split.split)
app.command()(dataset_select.select)
