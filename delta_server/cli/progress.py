"""The line of progress that every command shows."""

from __future__ import annotations

import sys
import time
from shutil import get_terminal_size
from types import TracebackType
from typing import TextIO, TypeVar

T = TypeVar("T")


class Line:
    """A line that is rewritten on a terminal; elsewhere one line now and then, or none."""

    def __init__(self, stream: TextIO | None = None, *, every: float = 0.2, elsewhere: float | None = 10.0) -> None:
        """every, elsewhere: seconds between two texts on a terminal and elsewhere; None: never there."""
        self._stream = stream or sys.stderr
        self.terminal = self._stream.isatty()
        self._interval = every if self.terminal else elsewhere
        self._shown = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for another text."""
        return self._interval is not None and time.monotonic() - self._shown >= self._interval

    def show(self, text: str) -> None:
        """The text of the line from now on, cut at the width of the terminal."""
        self._shown = time.monotonic()
        self._write(f"\r\x1b[K{text[: get_terminal_size().columns - 1]}" if self.terminal else f"{text}\n")

    def update(self, text: str) -> None:
        """Show a text if it is time for one."""
        if self.due():
            self.show(text)

    def say(self, text: str) -> None:
        """A line that stays, above the one that is rewritten."""
        self._write(f"\r\x1b[K{text}\n" if self.terminal else f"{text}\n")

    def end(self) -> None:
        """Take the line away."""
        if self.terminal:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def __enter__(self: T) -> T:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Progress(Line):
    """How many of a number of things are done, and how long the others will take."""

    def __init__(self, total: int, what: str) -> None:
        """total: 0 if nobody knows; what: their name in the plural."""
        super().__init__()
        self.total, self.what = total, what
        self._start: tuple[float, int] | None = None

    def __call__(self, done: int, note: str = "") -> None:
        if self._start is None:
            self._start = time.monotonic(), done
        if not self.due():
            return
        since, before = self._start
        text = f"{done} of {self.total} {self.what}{note}" if self.total else f"{done} {self.what}{note}"
        if done > before and self.total:
            left = (self.total - done) * (time.monotonic() - since) / (done - before)
            text += f", {duration(left)} left"
        self.show(text)


def duration(seconds: float) -> str:
    """Seconds as one reads them: ``"45 s"``, ``"2 min 05 s"``, ``"1 h 07 min"``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
