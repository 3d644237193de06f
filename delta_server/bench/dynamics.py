"""What a step of dynamics costs: i-PI, the wire, the models."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import RunError
from ..files.scratch import socket_folder
from ..potential import Potential
from ..server.address import parse_address
from ..server.connect import connect
from ..server.driver import Driver
from ..server.job.processes import script


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
