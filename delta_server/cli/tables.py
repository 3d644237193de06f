"""Tables as the commands print them: plain columns, at most 100 characters wide where no terminal says otherwise."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 100  # columns


def table(*columns: str, left: Collection[str] | None = None) -> Table:
    """An empty table; left: the columns that hold text (default: the first), all others hold numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    for name in columns:
        text = name in (columns[:1] if left is None else left)
        made.add_column(name, justify="left" if text else "right", no_wrap=not text)
    return made


def show(*parts: Table | str) -> None:
    """Print tables and texts one under the other."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(*parts, sep="\n")


def blocks(first: Sequence[str], others: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table that is given by its columns, all aligned to the right.

    Columns that find no room stand in a block of their own beneath, with the first column again.
    """
    head, *columns = ([cell.rjust(max(map(len, column))) for cell in column] for column in (first, *others))
    while columns:
        fits = WIDTH - len(head[0])
        n = max(1, sum(width <= fits for width in accumulate(2 + len(column[0]) for column in columns)))
        yield from map("  ".join, zip(head, *columns[:n], strict=True))
        columns = columns[n:]
        if columns:
            yield ""
