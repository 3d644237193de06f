"""The line of progress: rewritten on a terminal (the other end of which is read), a line now and then elsewhere."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from itertools import count
from typing import TextIO

import pytest

from delta_server.cli.progress import Line, Progress, duration
from delta_server.cli.sweep.states import line
from delta_server.sweep.state import MemberState

ERASE = "\r\x1b[K"


class Terminal:
    """A pseudo-terminal: what is written to `stream` can be read."""

    def __init__(self) -> None:
        self._reader, writer = os.openpty()
        self.stream: TextIO = open(writer, "w", encoding="utf-8")  # noqa: SIM115

    def text(self) -> str:
        self.stream.write("\0")
        self.stream.flush()
        read = b""
        while not read.endswith(b"\0"):
            read += os.read(self._reader, 10_000)
        return read.decode().replace("\r\n", "\n").rstrip("\0")

    def close(self) -> None:
        self.stream.close()
        os.close(self._reader)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_a_terminal_has_one_line(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with Line(terminal.stream, every=0.0) as line:
        line.update("half of it")
        line.say("a line that stays")
        line.update("all of it, and much more than there is room for")
    assert terminal.text() == f"{ERASE}half of it{ERASE}a line that stays\n{ERASE}all of it, and much{ERASE}"


def test_texts_do_not_come_faster_than_one_can_read(terminal: Terminal) -> None:
    line = Line(terminal.stream, every=3600.0)
    for i in range(1000):
        line.update(f"{i}")
    line.say("end")
    assert terminal.text() == f"{ERASE}end\n"


@pytest.mark.parametrize(("elsewhere", "expected"), [(0.0, "1\nsaid\n2\n"), (3600.0, "said\n"), (None, "said\n")])
def test_a_file_has_lines(elsewhere: float | None, expected: str) -> None:
    stream = io.StringIO()
    with Line(stream, elsewhere=elsewhere) as line:
        line.update("1")
        line.say("said")
        line.update("2")
    assert stream.getvalue() == expected


def test_the_line_goes_away_with_an_exception(terminal: Terminal) -> None:
    def fail() -> None:
        with Line(terminal.stream, every=0.0) as line:
            line.update("half of it")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert terminal.text() == f"{ERASE}half of it{ERASE}"


def test_counted_things_and_the_time_they_take(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal.stream)
    monkeypatch.setattr("time.monotonic", count(0.0, 10.0).__next__)
    with Progress(100, "frames") as progress:
        progress(20)
        progress(60, " (2 failed)")
    first, second = terminal.text().removeprefix(ERASE).removesuffix(ERASE).split(ERASE)
    assert first.startswith("20 of 100 frames")
    assert second.startswith("60 of 100 frames (2 failed), ")
    assert second.endswith("s left")


def test_where_nobody_knows_how_many(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal.stream)
    monkeypatch.setattr("time.monotonic", count(0.0, 10.0).__next__)
    with Progress(0, "structures") as progress:
        progress(64)
        progress(128)
    assert terminal.text() == f"{ERASE}64 structures{ERASE}128 structures{ERASE}"


TIMES = {0.4: "0 s", 45.0: "45 s", 59.9: "1 min 00 s", 125.0: "2 min 05 s", 4020.0: "1 h 07 min"}


@pytest.mark.parametrize(("seconds", "text"), TIMES.items())
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_long_sweep_is_one_line() -> None:
    states = [MemberState(f"300K_{k}", 300.0, 100, 500.0, "running", step=k) for k in range(112)]
    states[0].phase = "unstable"
    assert line(states) == "0.00 to 55.50 ps: 1 unstable, 111 running"
    assert line(states[1:3]) == "300K_1 0.50 ps running  300K_2 1.00 ps running"
