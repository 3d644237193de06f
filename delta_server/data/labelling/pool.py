"""Processes that label configurations, each with calculators of its own, and that may crash."""

from __future__ import annotations

import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.resource_tracker import ensure_running
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from ..._types import FloatArray

Result = FloatArray | str  # labels, or why there are none

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_ASK = 0.2  # s between two looks at `stop`


class _Worker:
    """One process, and the configuration it is at."""

    def __init__(self, make: Callable[[Any], Callable[[FloatArray], FloatArray]], task: object, folder: str) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, make, task, folder), daemon=True)
        self.index: int | None = None
        ensure_running()  # or `start` does, and unblocks the signals again
        # Blocked signals stay blocked in the child: Ctrl-C in a terminal goes to all, but the parent decides.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, index: int, positions: FloatArray) -> None:
        self.index = index
        with suppress(OSError):  # it died idle; `take` will say so
            self.pipe.send(positions)

    def take(self) -> tuple[int, Result]:
        """The result that is there to be read; what became of the process where it died."""
        assert self.index is not None
        index, self.index = self.index, None
        try:
            result: Result = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
            result = f"the calculator ended its process {how}"
        return index, result

    def end(self) -> None:
        self.pipe.close()  # an idle process ends by that; one at work is not worth waiting for
        self.process.kill()
        self.process.join()


def run_pool(
    make: Callable[[Any], Callable[[FloatArray], FloatArray]],
    task: object,
    positions: FloatArray,
    indices: Sequence[int],
    processes: int,
    take: Callable[[int, Result], None],
    stop: Callable[[], bool],
) -> None:
    """Calls ``make(task)(positions[i])`` for each i of `indices`, and `take` with what came of it, in this process.

    make: importable, as all of it is sent to spawned processes. Each works in a folder of its own, which is removed
    with it: calculators that run programs through files would overwrite each other's. A process that dies costs the
    configuration it was at. After `stop` says so nothing new is begun, and what has been begun is taken.
    """
    waiting = deque(indices)
    workers: list[_Worker] = []
    scratch = TemporaryDirectory(prefix="delta-sgdml-", ignore_cleanup_errors=True)
    try:
        while waiting or any(w.index is not None for w in workers):
            stopping = stop()
            while waiting and not stopping and any(w.index is None for w in workers):
                idle = next(w for w in workers if w.index is None)
                index = waiting.popleft()
                idle.give(index, positions[index])
            if waiting and not stopping and len(workers) < processes:
                workers.append(_Worker(make, task, scratch.name))
                continue
            busy = {w.pipe: w for w in workers if w.index is not None}
            if not busy:
                break
            for pipe in wait(list(busy), timeout=_ASK):
                worker = busy[pipe]  # type: ignore[index]
                take(*worker.take())
                if worker.process.exitcode is not None:
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.end()
        scratch.cleanup()


def _work(
    pipe: Connection, make: Callable[[Any], Callable[[FloatArray], FloatArray]], task: object, folder: str
) -> None:
    """A worker's life: until the parent closes the pipe, or dies; then its folder, in `folder`, is removed."""
    try:
        own = mkdtemp(dir=folder)
    except FileNotFoundError:  # the parent has died, and others have tidied up
        return
    os.chdir(own)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what calculators print is no answer of the command's
    try:
        _answer(pipe, make, task)
    finally:
        os.chdir(os.sep)
        shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):  # others are still there, or the parent was faster
            os.rmdir(folder)


def _answer(pipe: Connection, make: Callable[[Any], Callable[[FloatArray], FloatArray]], task: object) -> None:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    try:
        compute: Callable[[FloatArray], FloatArray] | str = make(task)
    except Exception as error:
        compute = _line(error)
    while True:
        try:
            positions = pipe.recv()
        except (EOFError, OSError):
            return
        result: Result
        try:
            result = compute if isinstance(compute, str) else compute(positions)
        except Exception as error:  # calculators raise whatever they like
            result = _line(error)
        try:
            pipe.send(result)
        except OSError:
            return


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    telling = type(error).__name__ in ("CalculationFailed", "InputError")  # of ase and of this package
    return text if telling and text else f"{type(error).__name__}: {text}"
