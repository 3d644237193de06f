"""Whether a run stays within what its models know: its trajectory is looked at while it grows, in a thread beside.

Forces do not wait for it, and an input that records no geometries cannot be followed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np

from ._types import FloatArray
from .errors import DeltaError
from .ipi.frames import head_of, scale_of
from .ipi.records import Output, Tail, positions_of
from .molecule.structures import ipi_cell
from .potential import Departure, Potential
from .terms.base import Frames

_SHARE = 20  # times as long as it looks it waits
_EVERY = 1.0  # s between looks, at least
_MOST = 8  # frames of a file that are looked at each time
_GEOMETRIES = ("positions", "x_centroid")


class Left(NamedTuple):
    """A term that has left what its model knows: of which system (its prefix), and in the frame of which step."""

    system: str
    step: int
    departure: Departure

    def __str__(self) -> str:
        where = f"{self.system}, step {self.step}" if self.system else f"step {self.step}"
        return f"{where}: left what the model was trained on, {self.departure}"


class Lookout:
    """Follows the geometries that a run records. Each term of each system is told of once.

    outputs: of each system (`ipi.records.outputs_of`); step: where the run begins. With `start` its thread begins.
    """

    def __init__(self, potential: Potential, outputs: Mapping[str, Sequence[Output]], step: int = -1) -> None:
        self._potential = potential
        self._tails = [(name, Tail(o, step)) for name, some in outputs.items() for o in some if o.kind == "xyz"]
        self._told: set[tuple[str, str]] = set()
        self._queue: SimpleQueue[Left | str] = SimpleQueue()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def found(self) -> Iterator[Left | str]:
        """What was found since the last call; or, as a text and as the last, why no more can be told."""
        while True:
            try:
                yield self._queue.get_nowait()
            except Empty:
                return

    def finish(self) -> Iterator[Left | str]:
        """The same once all that lies on the disk was looked at."""
        self._done.set()
        self._thread.join()
        yield from self.found()

    def _run(self) -> None:
        try:
            self._potential.uncertainty(self._potential.reference)  # or there is nothing to look for
            last = False
            while not last:
                last = self._done.is_set()
                began = time.monotonic()
                for system, tail in self._tails:
                    while self._look(system, tail) and last:
                        pass
                self._done.wait(max(_EVERY, _SHARE * (time.monotonic() - began)))
        except (DeltaError, OSError) as error:
            self._queue.put(f"nothing tells whether this run stays within what its models know: {error}")

    def _look(self, system: str, tail: Tail) -> bool:
        """At what was written since the last look; false where there was nothing."""
        records = tail.read()
        if not records:
            return False
        head = head_of(tail.output.path)
        if head is not None and head.quantity in _GEOMETRIES and head.column == 1:
            some = [records[i] for i in np.unique(np.linspace(0, len(records) - 1, _MOST).astype(int))]
            positions = np.stack([positions_of(text) for _, text in some]) * scale_of(tail.output.path, head)
            self._judge(system, [step for step, _ in some], self._frames(positions, [text for _, text in some]))
        return True

    def _frames(self, positions: FloatArray, texts: Sequence[str]) -> Frames:
        """Positions with the cells that the records tell, where the potential is of a periodic assembly."""
        if self._potential.cell is None:
            return Frames(positions)
        told = [ipi_cell(text.split("\n", 2)[1]) for text in texts]
        cells = np.array([np.zeros((3, 3)) if cell is None else cell for cell in told])
        return self._potential.whole(Frames(positions, cells))

    def _judge(self, system: str, steps: list[int], frames: Frames) -> None:
        errors = self._potential.uncertainty(frames.positions, cells=frames.cells)
        for i, step in enumerate(steps):
            for departure in self._potential.departures({name: error[i] for name, error in errors.items()}):
                if (system, departure.term) not in self._told:
                    self._told.add((system, departure.term))
                    self._queue.put(Left(system, step, departure))
