"""delta-sgdml dataset: its commands, one file each."""

from __future__ import annotations

from ..help import App
from . import bodies, fragments, import_, info, label, pack, sample, select, split

app = App("Make, label, look at, check and divide data sets.")
app.add(
    "Commands",
    {
        "import": import_.import_,
        "pack": pack.pack,
        "sample": sample.sample,
        "label": label.label,
        "bodies": bodies.bodies,
        "info": info.info,
        "fragments": fragments.fragments,
        "split": split.split,
        "select": select.select,
    },
)
