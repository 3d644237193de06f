"""Serving an address for as long as there is a server, and one process that serves many.

Each server has a thread with a connection of its own; they meet only in the `Batcher`. What one of them does wrong
ends its own thread.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from ..errors import InputError, ProtocolError, ServerError
from .address import Address
from .batcher import Batcher
from .connect import connect
from .driver import Driver, Ending, Stats
from .wire import Interrupted

log = logging.getLogger("delta-driver")

_PAUSE = 1.0  # s
_TICK = 0.25  # s


def keep_serving(
    driver: Driver,
    address: Address,
    *,
    retry: float = 60.0,
    reconnect: bool = False,
    say: Callable[[str], None] = log.info,
    on_left: Callable[[], None] = lambda: None,
) -> Ending | ServerError:
    """Serve the server at an address; with `reconnect` also those that come after it, each within `retry` seconds.

    Returns how the last connection ended. on_left: called whenever one has. Raises NoServerError or InputError if
    there never was a server, Interrupted if stopped while waiting for one, GeometryError or NonFiniteError.
    """
    ending: Ending | ServerError | None = None
    while True:
        served = driver.stats.requests
        try:
            sock = connect(
                address, retry, driver.should_stop, lambda reason: say(f"waiting for the server: {reason}")
            )
        except (ServerError, InputError):
            if ending is None:
                raise
            return ending  # there was a server and no other came: the last ending counts
        say("connected")
        try:
            ending = driver.serve(sock, address.mode)
        except ServerError as error:
            ending = error
        finally:
            on_left()
        if ending is Ending.STOPPED or isinstance(ending, ProtocolError) or not reconnect:
            return ending  # a server that was misunderstood would be so again
        say(f"{ending.value if isinstance(ending, Ending) else ending}; waiting for the next server")
        if driver.stats.requests == served:
            time.sleep(_PAUSE)  # a server that hangs up on everybody is not worth a busy loop


class Daemon:
    """Serves several servers at once."""

    def __init__(
        self,
        lines: Sequence[tuple[Address, Driver]],
        batcher: Batcher,
        *,
        retry: float = 60.0,
        reconnect: bool = False,
    ) -> None:
        """lines: each server's address and a driver of its own that evaluates through the batcher."""
        self.lines, self.batcher = tuple(lines), batcher
        self.retry, self.reconnect = retry, reconnect
        self.serving = len(self.lines)
        self._wall = 0.0

    @property
    def stats(self) -> Stats:
        """Of all servers together; the kernel's time counts once for all that were evaluated together."""
        total = Stats(kernel=self.batcher.seconds, wall=self._wall)
        for _, driver in self.lines:
            total.requests += driver.stats.requests
            total.structures += driver.stats.structures
            total.wire += driver.stats.wire
            total.cpu += driver.stats.cpu
            total.cpu_kernel += driver.stats.cpu_kernel
        return total

    def summary(self) -> str:
        """One line."""
        stats = self.stats
        if not stats.requests:
            return stats.summary()
        each = stats.structures / max(1, self.batcher.evaluations)
        return f"{stats.summary()}; {each:.1f} structures evaluated at once"

    def run(
        self, on_end: Callable[[Address, Ending | Exception], None], on_tick: Callable[[], None] = lambda: None
    ) -> None:
        """Serve until every server is gone.

        on_end: told, in the caller's thread, how it went with each, at once. An exception that is raised in that
        thread (by a second signal) leaves the others where they are: end the process then, and the guardians
        leave the connections in order.
        """
        began = time.perf_counter()
        ended: queue.SimpleQueue[tuple[Address, Ending | Exception]] = queue.SimpleQueue()
        for address, driver in self.lines:
            threading.Thread(target=self._serve, args=(address, driver, ended), daemon=True).start()
        while self.serving:
            try:
                address, ending = ended.get(timeout=_TICK)
            except queue.Empty:
                on_tick()
                continue
            self.serving -= 1
            self._wall = time.perf_counter() - began
            on_end(address, ending)

    def _serve(
        self, address: Address, driver: Driver, ended: queue.SimpleQueue[tuple[Address, Ending | Exception]]
    ) -> None:
        def say(text: str) -> None:
            log.info("%s: %s", address, text)

        ending: Ending | Exception
        try:
            ending = keep_serving(driver, address, retry=self.retry, reconnect=self.reconnect, say=say)
        except Interrupted:
            ending = Ending.STOPPED
        except Exception as error:  # whatever it is, it is this server's alone
            ending = error
        ended.put((address, ending))
