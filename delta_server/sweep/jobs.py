"""One job for each temperature on this machine: the command that an engine would call, several at once."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import RunError
from ..server.job.processes import script
from ..server.leash import leashed
from .record import Member, Sweep
from .session import Ending, RunOptions
from .state import load_states

NOT_FINISHED = 75  # EX_TEMPFAIL of <sysexits.h>: run the same command again
LOG = "sweep.log"
_LOOK = 0.5  # s
_GRACE = 90.0  # s for a job to end softly: longer than it gives its i-PI


def run_jobs(sweep: Sweep, members: Sequence[Member], jobs: int, options: RunOptions) -> Ending:
    """Run the temperatures as `jobs` processes at a time. A job that fails does not end the others; then RunError."""
    states = {state.name: state for state in load_states(sweep)}
    waiting = [member for member in members if not states[member.name].done]
    running: dict[str, tuple[Member, subprocess.Popen[bytes]]] = {}
    deadline = options.deadline()
    failed: list[str] = []
    stopping = unfinished = False
    try:
        while waiting or running:
            while waiting and len(running) < jobs and not stopping:
                member = waiting.pop(0)
                left = max(0.0, deadline - time.monotonic())
                running[member.name] = member, _start(member, options, left)
            time.sleep(_LOOK)
            if not stopping and (options.should_stop() or time.monotonic() > deadline):
                stopping = True
                unfinished = unfinished or bool(waiting)
                waiting = []
                for _, process in running.values():
                    process.send_signal(signal.SIGTERM)
            for name, (member, process) in list(running.items()):
                if (code := process.poll()) is None:
                    continue
                del running[name]
                unfinished = unfinished or code != 0
                if code not in (0, NOT_FINISHED) and not (stopping and code in (-signal.SIGTERM, 143)):
                    failed.append(name)
                    options.on_event(f"{name} failed (code {code}): {_last_words(member.folder / LOG)}")
            now = {state.name: state for state in load_states(sweep)}
            for name, state in now.items():
                if state.phase == "unstable" and states[name].phase != "unstable":
                    options.on_event(f"{name} is unstable at {state.broken_at or 0.0:.3f} ps: {state.reason}")
                for term in state.left.keys() - states[name].left:
                    options.on_event(f"{name}, step {state.left[term]}: {term} left what the model was trained on")
            states = now
            options.on_states(list(now.values()))
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
            if process.poll() is None:
                process.kill()
    if failed:
        raise RunError(f"{', '.join(failed)} failed; look into {LOG} and i-pi.log there; `sweep run` goes on")
    return "stopped" if unfinished else "finished"


def _start(member: Member, options: RunOptions, left: float) -> subprocess.Popen[bytes]:
    command = [*script("delta-sgdml"), "sweep", "md", str(member.folder), "--drivers", str(options.drivers)]
    command += ["--threads", str(options.threads), "--transport", options.transport]
    command += ["--stop-outside"] if options.stop_outside else []
    command += ["--wall-time", f"{left:.0f}"] if math.isfinite(left) else []
    with (member.folder / LOG).open("ab") as log:
        return subprocess.Popen(
            leashed(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then asks its jobs to stop
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "its log is empty"
