"""delta-sgdml learn status: how far a learning is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..options import JsonOption
from .options import LearnArg

HEADINGS = ("round", "points", "place", "n", "force", "energy", "binding", "stopped")


def status(directory: LearnArg, as_json: JsonOption = False) -> None:
    """Show how far a learning is, and how right its models are.

    Errors are mean absolute errors on random frames of the models' own dynamics, labelled before anything was learned
    from them; ± is their standard error. May be asked at any time.

    Example: delta-sgdml learn status learned
    """
    from ...active.settings import OF_ASSEMBLY
    from ..tables import show, table

    if (directory / OF_ASSEMBLY).exists():
        show_assembly(directory, as_json)
        return
    found = look(directory)
    if as_json:
        print(json.dumps(found, allow_nan=False))
        return
    made = table(*HEADINGS, left=("place",))
    for row in rows(found):
        made.add_row(*row)
    if found["rounds"][1:]:
        show(made, "MAE: kcal/mol/Å and kcal/mol")
    show(found["state"])


def show_assembly(root: Path, as_json: bool) -> None:
    """What is known of the learning of an assembly. Raises InputError."""
    from ...active.assemblies.settings import load_settings
    from ...active.rounds import rounds
    from ..tables import show, table

    settings = load_settings(root)
    records = [r.record() for r in rounds(root)[:-1]]
    if as_json:
        print(json.dumps({**settings.model_dump(mode="json"), "rounds": records}, allow_nan=False))
        return
    made = table("round", "of", "in", "K", "n", "force", "energy", left=("of", "in"))
    for record in records:
        for kind, tested in record.get("test", {}).items():
            for row in tested:
                made.add_row(
                    str(record["round"]), row["part"], kind, f"{row['temperature']:g}", str(row["n"]),
                    f"{row['force_mae']:.3f} ± {row['force_mae_error']:.3f}",
                    f"{row['energy_mae']:.4f} ± {row['energy_mae_error']:.4f}",
                )  # fmt: skip
    if records[1:]:
        show(made, "MAE: kcal/mol/Å and kcal/mol")
    ending = records[-1].get("ending") if records else None
    spent = records[-1]["spent"] if records else 0
    show(f"{ending['line'] if ending else f'round {len(records)} is next'}; {spent} of {settings.budget} labels")


def look(root: Path) -> dict[str, Any]:
    """All that is known of a learning, for machines. Raises InputError."""
    from ...active.rounds import rounds
    from ...active.settings import load_settings
    from ...files.lock import is_locked

    settings = load_settings(root)
    *complete, now = rounds(root)
    records = [r.record() for r in complete]
    spent = sum(len(a) for r in (*complete, now) for a in r.asked() if not a.alone)
    awaited = sum(len(a) for a in now.asked() if now.labels(a.name) is None)
    running = is_locked(root)
    if records and (ending := records[-1].get("ending")):
        state = ending["line"]
    elif awaited and settings.labels == "elsewhere" and not running:
        state = f"round {now.number} awaits labels of {awaited} frames from elsewhere"
    else:
        state = f"round {now.number} {'is running' if running else 'is next'}"
    return {
        **settings.model_dump(mode="json"), "spent": spent, "running": running, "awaited": awaited,
        "state": f"{state}; {spent} of {settings.budget} labels", "rounds": records,
    }  # fmt: skip


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Rounds and temperatures, as the texts of a table; points: the binding's, of the model that was tested."""
    from ...active.honest import from_json, place_of

    made, points = [], dict[str, int]()
    for record in found["rounds"]:
        ends = record.get("ends", [])
        stopped = sum(end["reason"] != "finished" for end in ends)
        for turn, (kelvin, terms) in enumerate(from_json(record.get("test", [])).items()):
            total, binding = terms["total"], terms["binding"]
            head = (
                [str(record["round"]), str(record.get("points", {}).get("binding", "–"))] if turn == 0 else ["", ""]
            )
            made.append([
                *head, place_of(kelvin), str(total.n), f"{total.force_mae:.3f} ± {total.force_mae_error:.3f}",
                f"{total.energy_mae:.3f} ± {total.energy_mae_error:.3f}",
                f"{binding.energy_mae:.3f} ± {binding.energy_mae_error:.3f}",
                f"{stopped} of {len(ends)}" if turn == 0 else "",
            ])  # fmt: skip
        points |= record.get("points", {})  # those of the models that the next round tests
    return made
