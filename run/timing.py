"""How long a call takes: of the standard library alone, for environments of rivals too."""

from __future__ import annotations

import time
from collections.abc import Callable


def cpu_time(call: Callable[[], object], seconds: float) -> float:
    """The least CPU time (s) of a call, made for so many seconds, three times at least after the first."""
    call()
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < deadline:
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)
