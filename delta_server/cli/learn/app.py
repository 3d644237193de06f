"""delta-sgdml learn: its commands, one file each."""

from __future__ import annotations

from ..help import App
from . import add, assembly, report, run, start, status

app = App("From a geometry to a model that is right in its dynamics.")
app.add(
    "Commands",
    {
        "start": start.start,
        "run": run.run,
        "status": status.status,
        "add": add.add,
        "report": report.report,
        "assembly": assembly.assembly,
    },
)
