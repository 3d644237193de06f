"""A driver of a run: started, and started again when it dies of something that another start may mend."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import RunError
from ..leash import leashed
from .processes import FATAL, DriverError, RunProgress, script

DRIVER_GRACE = 10.0  # s for a driver to end, or for i-PI after its driver has
_MAX_DEATHS = 5  # of one driver while the run does not advance


class DriverProcess:
    """One driver, started again when it dies of something that another start may mend."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        """name: of its log; command: options of `delta-driver`, which runs in `directory`."""
        self.name, self.directory, self.log = name, directory, directory / f"{name}.log"
        self.command = [*script("delta-driver"), *command]
        self._step_at_start = self._deaths = 0
        self._ended_at: float | None = None
        self.log.unlink(missing_ok=True)  # of an earlier run
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._ended_at = None
        with self.log.open("ab") as log:
            return subprocess.Popen(
                leashed(self.command),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def look_after(self, progress: RunProgress, on_event: Callable[[str], None]) -> None:
        """Start again if it died. Raises RunError when that is of no use."""
        code = self.process.poll()
        if code is None:
            return
        if code in FATAL:
            raise DriverError(f"driver {self.name} ended, {FATAL[code]}: {self._last_words()}", code)
        now = time.monotonic()
        self._ended_at = self._ended_at or now
        if code == 0 and now - self._ended_at < DRIVER_GRACE:
            return  # i-PI sent EXIT and is about to end itself
        self._deaths = self._deaths + 1 if progress.step == self._step_at_start else 0
        if self._deaths == _MAX_DEATHS:
            raise RunError(
                f"driver {self.name} died {_MAX_DEATHS} times and the run did not advance, last with code {code}: "
                f"{self._last_words()}"
            )
        self._step_at_start = progress.step
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        on_event(f"driver {self.name} {how} near step {progress.step}; it is started again")
        self.process = self._start()
        progress.restarted_drivers += 1

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "its log is empty"
