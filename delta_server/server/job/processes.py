"""Starting and ending the programs of a run, and where the run is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import GeometryError, InputError, NonFiniteError, ProtocolError, RunError

FATAL = {
    InputError.exit_code: "bad input",
    GeometryError.exit_code: "a geometry that cannot be this molecule",
    NonFiniteError.exit_code: "forces that are not finite",
    ProtocolError.exit_code: "a server that does not speak i-PI's protocol",
}
"""Exit codes after which another start would end the same way."""


@dataclass
class RunProgress:
    """Where the run is."""

    step: int = 0
    total_steps: int = 0
    timestep: float | None = None  # fs
    restarted_drivers: int = 0
    rate: float | None = None  # steps per second since i-PI first told its step

    @property
    def picoseconds(self) -> float | None:
        return None if self.timestep is None else self.step * self.timestep / 1e3

    @property
    def ns_per_day(self) -> float | None:
        return None if self.rate is None or self.timestep is None else self.rate * self.timestep * 86400 / 1e6


class DriverError(RunError):
    """A driver, or the potential in i-PI's process, ended for good; `code` is the exit code of that, and where the
    geometry or the models were to blame that of the run too."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        if code in (GeometryError.exit_code, NonFiniteError.exit_code):
            self.exit_code = code


def script(name: str) -> list[str]:
    """A console script of this environment. (`python -m` would look for modules in the run's folder first.)"""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise InputError(f"{name} is not installed here: pip install 'delta-server[ipi]'")
    return [sys.executable, path]


def end(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM, and SIGKILL for one that does not listen within `grace` seconds, or when the wait is interrupted."""
    if process.poll() is not None:
        return
    if grace:
        process.terminate()
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(grace)
            return
    process.kill()
    process.wait()
