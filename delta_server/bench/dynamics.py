"""What a step of dynamics costs: i-PI, the wire, the models; and by which transport."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ..errors import RunError
from ..files.scratch import socket_folder
from ..ipi.states import seconds_a_step
from ..potential import Potential
from ..server.address import parse_address
from ..server.connect import connect
from ..server.driver import Driver
from ..server.job.processes import script
from ..server.job.transport import Transport
from ..server.supervisor import Supervisor

TRANSPORTS: tuple[Transport, ...] = ("direct", "socket")


class StepCost(NamedTuple):
    """Milliseconds a step."""

    steps: int
    total: float
    models: float
    wire: float
    ipi: float  # all the rest: i-PI itself, and both waiting for each other


def time_dynamics(potential: Potential, write: Callable[[Path], Path], socket: str) -> StepCost:
    """A real i-PI run served by this process. write: puts an i-PI input for that unix socket into a folder.

    Raises RunError where i-PI is not installed or fails.
    """
    driver = Driver(potential)
    driver.warm_up()
    with tempfile.TemporaryDirectory(prefix="delta-") as name, socket_folder(socket) as (sockets, _):
        folder = Path(name)
        with (folder / "log").open("w", encoding="utf-8") as log:
            ipi = subprocess.Popen(
                [*script("i-pi"), "-S", f"{sockets}/", write(folder).name],
                cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        try:
            sock = connect(parse_address(f"unix:{socket}", f"{sockets}/"), 60.0, lambda: ipi.poll() is not None)
            began = time.perf_counter()
            driver.serve(sock)
            seconds = time.perf_counter() - began
        except BaseException as error:
            ipi.kill()
            words = (folder / "log").read_text(encoding="utf-8").strip().splitlines()[-3:]
            if isinstance(error, KeyboardInterrupt):
                raise
            raise RunError(f"i-PI did not run: {error}; {' '.join(words)}") from None
        finally:
            ipi.wait()
    n, stats = max(1, driver.stats.requests), driver.stats
    total, models, wire = (1e3 * t / n for t in (seconds, stats.kernel, stats.wire))
    return StepCost(n, total, models, wire, total - models - wire)


class TransportCost(NamedTuple):
    """A run by one transport: the median of the milliseconds that i-PI's log tells for each hundred steps, and the
    seconds of CPU of all its processes, their start included."""

    transport: Transport
    ms: float
    cpu: float


def time_transports(manifest: Path, write: Callable[[Path], Path], threads: int = 1) -> list[TransportCost]:
    """The same run in i-PI's own process and through the socket. write: puts an i-PI input of 200 steps or more into
    a folder. Raises RunError where i-PI is not installed or fails."""
    costs = []
    for transport in TRANSPORTS:
        with tempfile.TemporaryDirectory(prefix="delta-") as name:
            before = _children_cpu()
            Supervisor(write(Path(name)), manifest, threads=threads, transport=transport).run()
            log = (Path(name) / "i-pi.log").read_text(encoding="utf-8", errors="replace")
            costs.append(TransportCost(transport, 1e3 * median(seconds_a_step(log)[1:]), _children_cpu() - before))
    return costs


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
