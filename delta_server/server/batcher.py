"""Requests of several servers that wait together are evaluated as one batch; a lone one never waits for others.

There is no thread that collects: whoever finds nobody at work evaluates at once, in its own thread, all that waits at
that moment. What comes meanwhile waits, and its first is the next to evaluate. So an idle machine answers as fast as
without a batcher, and a busy one fills its batches by itself. The compiled loops run without Python's lock: meanwhile
the other threads read and write.

On a crowded machine those threads get neither the lock nor a core in time. So where others ask too, the core is
offered to them once before their requests are collected (`sched_yield`; microseconds where nobody wants it). Eight
servers that ask without a pause, on about one core: batches of 8 in place of 2 to 3, 1.5 times as many structures.

A structure's numbers are those that it would have alone, to the last bit where the sums are compiled
(`CompiledContraction`), so that a run on a daemon is as reproducible as one on a driver of its own; NumPy's matrix
products, and expected errors, keep to it up to rounding.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .._types import FloatArray
from ..potential import Part, Parts, Potential, Result
from ..terms.base import Frames


class Evaluation(NamedTuple):
    """What there is to say of F frames."""

    result: Result
    errors: dict[str, FloatArray]  # expected, (F,) eV/Å by term (`Potential.uncertainty`); empty if not asked for

    def frames(self, start: int, stop: int) -> Evaluation:
        """Some of them."""
        which = slice(start, stop)
        energy, forces, virial, parts = self.result
        binding = None if parts.binding_forces is None else parts.binding_forces[which]
        energies = {name: e[which] for name, e in parts.energies.items()}
        variables = {name: values[which] for name, values in parts.variables.items()}
        result = Result(energy[which], forces[which], virial[which], Parts(energies, binding, variables))
        return Evaluation(result, {name: e[which] for name, e in self.errors.items()})


Evaluate = Callable[[Frames], Evaluation]
"""Raises what `Potential.compute` raises."""


@dataclass(frozen=True)
class Evaluator:
    """A potential, or a part of it, as it is served."""

    potential: Potential
    part: Part = "all"
    uncertainty: bool = False

    def __call__(self, frames: Frames) -> Evaluation:
        positions, cells = frames
        result = self.potential.compute(positions, self.part, cells)
        errors = self.potential.uncertainty(positions, self.part, cells) if self.uncertainty else {}
        return Evaluation(result, errors)


def _together(requests: list[Frames]) -> Frames:
    """All as one batch; those without a cell have one of zeros where others have any."""
    positions = np.concatenate([frames.positions for frames in requests])
    if all(frames.cells is None for frames in requests):
        return Frames(positions)
    return Frames(
        positions, np.concatenate([np.zeros((len(x), 3, 3)) if cells is None else cells for x, cells in requests])
    )


def _closed() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class _Request:
    frames: Frames
    turn: threading.Lock = field(default_factory=_closed)  # opens when it is evaluated, or when it is to evaluate
    outcome: Evaluation | Exception | None = None


class Batcher:
    """Calls `evaluate` for any number of threads, one at a time, with all that they ask at that moment."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []
        self._busy = False
        self._last: int | None = None  # the thread that asked last, if it was alone
        self.evaluations = 0
        self.seconds = 0.0

    def __call__(self, frames: Frames) -> Evaluation:
        """frames: of any number. Raises what `evaluate` raises on these frames alone."""
        request = _Request(frames)
        with self._lock:
            self._waiting.append(request)
            waits, self._busy = self._busy, True
        if waits:
            request.turn.acquire()
        if request.outcome is None:
            self._lead()
        assert request.outcome is not None
        if isinstance(request.outcome, Exception):
            raise request.outcome
        return request.outcome

    def _lead(self) -> None:
        """Evaluate all that waits, and leave the lead to the first of those that came meanwhile."""
        me = threading.get_ident()
        if self._last != me:
            found = 0
            while found != len(self._waiting):  # not for what may come: for what came and was not read yet
                found = len(self._waiting)
                os.sched_yield()
        with self._lock:
            batch, self._waiting = self._waiting, []
        self._last = me if len(batch) == 1 else None
        try:
            self._answer(batch)
        finally:
            with self._lock:
                following = self._waiting[:1]
                self._busy = bool(following)
            for request in following + batch:
                request.turn.release()

    def _answer(self, batch: list[_Request]) -> None:
        if len(batch) > 1:
            try:
                whole = self._run(_together([request.frames for request in batch]))
            except Exception:  # one of them spoils it, or all need too much memory: each for itself
                whole = None
            if whole is not None:
                start = 0
                for request in batch:
                    stop = start + len(request.frames.positions)
                    request.outcome = whole.frames(start, stop)
                    start = stop
                return
        for request in batch:
            try:
                request.outcome = self._run(request.frames)
            except Exception as error:
                request.outcome = error

    def _run(self, frames: Frames) -> Evaluation:
        began = time.perf_counter()
        evaluation = self._evaluate(frames)
        self.seconds += time.perf_counter() - began
        self.evaluations += 1
        return evaluation
