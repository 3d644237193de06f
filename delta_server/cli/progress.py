"""A line of progress on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class Progress:
    """A line on stderr: rewritten on a terminal, every ten seconds elsewhere."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what
        self._terminal, self._shown = sys.stderr.isatty(), time.monotonic()
        self._start: tuple[float, int] | None = None

    def __call__(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = now, done
        if now - self._shown < (0.2 if self._terminal else 10.0):
            return
        self._shown = now
        since, before = self._start
        left = (self.total - done) * (now - since) / (done - before) if done > before else None
        text = f"{done} of {self.total} {self.what}{note}" + (f", {_time(left)} left" if left is not None else "")
        sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
    )
