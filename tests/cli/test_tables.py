"""Tables of the commands: no more than 100 columns where no terminal says otherwise."""

from __future__ import annotations

import pytest

from delta_server.cli.tables import WIDTH, blocks, show, table


@pytest.mark.parametrize("n", [1, 4, 5, 12])
def test_columns_without_room_stand_beneath(n: int) -> None:
    columns = [[f"energy_{k} (eV)", f"{1.5 * k:.8f}", f"{-2e5 * k:.8f}"] for k in range(n)]
    lines = list(blocks(["frame", "0", "1"], columns))
    assert max(map(len, lines)) <= WIDTH
    parts = "\n".join(lines).split("\n\n")
    assert len(parts) == (1 if n <= 5 else 3)
    rows = [[line.split("  ") for line in part.splitlines()] for part in parts]
    assert all(part[0][0].strip() == "frame" for part in rows)
    heads = [cell.strip() for part in rows for cell in part[0][1:] if cell.strip()]
    assert heads == [column[0] for column in columns]
    last = [cell for part in parts for cell in part.splitlines()[2].split()[1:]]
    assert last == [column[2] for column in columns]


def test_a_column_that_is_too_wide_stands_alone() -> None:
    lines = list(blocks(["n", "1"], [["a" * 120, "b"], ["c", "d"]]))
    assert [line.split() for line in lines] == [["n", "a" * 120], ["1", "b"], [], ["n", "c"], ["1", "d"]]


def test_a_long_text_is_folded_and_numbers_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    made = table("T set", "step", "state", left=("state",))
    made.add_row("10K", "1000000/1000000", "unstable: " + "a bond is much too long " * 10)
    show("title", made)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "title"
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) > 3
    assert "1000000/1000000" in lines[2]
