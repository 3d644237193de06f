"""delta-sgdml learn report: a page about a learning."""

from __future__ import annotations

from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import LearnArg
from .status import HEADINGS, look, rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
td, th {{ padding: .15em .8em; text-align: right; border-bottom: 1px solid #ddd }}
svg {{ max-width: 100%; height: auto }}
</style></head><body>
{body}
</body></html>
"""


def report(
    directory: LearnArg,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Page.", show_default="report.html in the folder")
    ] = None,
) -> None:
    """Write one HTML page of a learning.

    It opens offline: errors on the models' own dynamics round by round, what was expected of them, how the
    trajectories ended, and which labels and choices each round made.

    Example: delta-sgdml learn report learned
    """
    from ...errors import InputError
    from ...files.whole import write_whole
    from ..options import check_suffix

    found = look(directory)
    if not found["rounds"][1:]:
        raise InputError(f"{directory}: no round is complete yet: {found['state']}")
    path = output or directory / "report.html"
    check_suffix(path, ".html")
    write_whole(path, page(found))
    print(f"{path}: {found['state']}")


def page(found: dict[str, Any]) -> str:
    """The page of a learning, of what `look` tells."""
    from ...active.honest import from_json
    from ...analysis.pictures.learning import draw_expected, draw_rounds

    tests = {record["round"]: from_json(record["test"]) for record in found["rounds"] if record.get("test")}
    kelvins = ", ".join(f"{kelvin:g}" for kelvin in found["temperatures"])
    title = f"{found['name']}: learned by its own dynamics"
    asked = f"Asked: MAE of at most {found['force']:g} kcal/mol/Å and {found['energy']:g} kcal/mol at {kelvins} K."
    theory = found["theory"] or "labels made elsewhere"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(f'{asked} Reference: {theory}.')} <b>{escape(found['state'])}</b></p>",
        "<h2>Errors on the models' own dynamics</h2>",
        "<p>Of random frames, labelled before anything was learned from them; ± is the standard error, the frames "
        "taken for independent. “Apart”: fragments placed from contact to 30 Å.</p>",
        _svg(draw_rounds(tests, found["force"], found["energy"])),
        _table(HEADINGS, rows(found)),
        "<p>MAE: kcal/mol/Å (force) and kcal/mol.</p>",
        "<h2>Expected errors</h2>",
        _svg(draw_expected(tests)),
        "<h2>Rounds</h2>",
        _table(
            ("round", "trained on (points)", "chosen anew", "labels so far", "ended early, and why"), _rounds(found)
        ),
    ]
    return _PAGE.format(title=escape(title), body="\n".join(body))


def _rounds(found: dict[str, Any]) -> list[list[str]]:
    made = []
    for record in found["rounds"]:
        early = [end for end in record.get("ends", []) if end["reason"] != "finished"]
        why = "; ".join(dict.fromkeys(f"{end['reason']}: {end['detail']}" for end in early))
        away = sum(end["dissociated"] for end in record.get("ends", []))
        words = [f"{len(early)} ({why})"] * bool(early) + [f"dissociated {away} times"] * bool(away)
        points = ", ".join(f"{name} {n}" for name, n in record.get("points", {}).items())
        made.append([
            str(record["round"]), points or "as before", ", ".join(record.get("chosen_anew", [])),
            str(record["spent"]), "; ".join(words),
        ])  # fmt: skip
    return made


def _table(headings: tuple[str, ...], lines: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>\n" for line in lines)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _svg(figure: Figure) -> str:
    from ...analysis.pictures.canvas import finish

    finish(figure)
    text = StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]
