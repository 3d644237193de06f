"""delta-sgdml sweep: its commands, one file each."""

from __future__ import annotations

from ..help import App
from . import md, run, status, write

app = App("Write, run and watch many temperatures.")
app.add("Commands", {"write": write.write, "run": run.run, "md": md.md, "status": status.status})
