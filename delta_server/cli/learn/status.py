"""delta-sgdml learn status: how far a learning is."""

from __future__ import annotations

import json

from ..options import JsonOption
from .options import LearnArg


def status(directory: LearnArg, as_json: JsonOption = False) -> None:
    """Show how far a learning is, and how right its models are.

    Errors are mean absolute errors on random frames of the models' own dynamics, labelled before anything was learned
    from them; ± is their standard error.

    Example: delta-sgdml learn status learned
    """
    from ...active.status import status as look

    found = look(directory)
    if as_json:
        print(json.dumps(found.as_dict(), allow_nan=False))
        return
    from ..tables import show, table

    made = table("round", "points", "K", "n", "force", "energy", "binding", "stopped", left=())
    for row in found.rows:
        made.add_row(*row)
    show(made, "errors: kcal/mol/Å and kcal/mol", found.line)
