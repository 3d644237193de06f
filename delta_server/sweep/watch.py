"""Looking at one trajectory while it grows: its newest record for the table, every record for its stability."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .._types import FloatArray
from ..errors import InputError, NonFiniteError
from ..ipi.records import Output, Tail, extra_of, positions_of, properties_of
from ..molecule.structures import iter_structures
from ..potential import Departure, Potential
from .stability import LiveStability
from .state import MemberState


class Watch:
    """Keeps the state of one temperature up to date with what i-PI has written for it."""

    def __init__(
        self,
        state: MemberState,
        stability: LiveStability,
        outputs: list[Output],
        on_left: Callable[[int, Departure], None] = lambda step, departure: None,
        stop_outside: bool = False,
    ) -> None:
        """on_left: is told of each term that leaves what its model knows, once; stop_outside: then it is broken."""
        self.state, self._stability = state, stability
        self._on_left, self._stop_outside = on_left, stop_outside
        since = state.checked
        self._properties = Tail(next(o for o in outputs if o.kind == "properties"), since)
        # a frame may have come to the disk after its row was looked at
        self._frames = [Tail(o, max(-1, since - o.lag)) for o in outputs if o.kind == "xyz"]
        self._binding = [Tail(o, since) for o in outputs if o.path.name.endswith(".energy_binding_0")]
        self.last_frame: FloatArray | None = None  # (N, 3) Å

    @property
    def broken(self) -> bool:
        return self.state.broken_step is not None

    def look(self) -> bool:
        """Take in the new records; true if there were any. Of several that are broken the first counts."""
        state, wrong = self.state, []
        rows = [(step, properties_of(text)) for step, text in self._properties.read()]
        for step, row in rows:
            if reason := self._stability.of_energies(row["temperature"], row["potential"]):
                wrong.append((step, reason))
        frames = [(step, positions_of(text)) for tail in self._frames for step, text in tail.read()]
        for step, positions in frames:
            reason, error, left = self._stability.of_geometry(positions)
            if error is not None and np.isfinite(error):
                state.uncertainty = error
            for departure in left:
                if departure.term not in state.left:
                    state.left[departure.term] = step
                    self._on_left(step, departure)
                if self._stop_outside:
                    reason = reason or f"left what the model was trained on, {departure}"
            if reason:
                wrong.append((step, reason))
                break  # what follows is no molecule
            self.last_frame = positions
        for tail in self._binding:
            for _, text in tail.read()[-1:]:
                state.binding = extra_of(text)
        if rows:
            state.step, newest = rows[-1]
            state.checked = state.step
            state.temperature, state.potential = _finite(newest["temperature"]), _finite(newest["potential"])
        if wrong and not self.broken:
            state.broken_step, state.reason = min(wrong)
        return bool(rows or frames)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def nearest(watches: list[Watch], dump: Path, potential: Potential) -> Watch | None:
    """Whose geometry it was that the potential gave no number for, of those that a driver left in the file `dump`:
    the one whose last frame is nearest to it."""
    distances: list[tuple[float, Watch]] = []
    try:
        for atoms in iter_structures(dump):
            try:
                potential.compute(atoms.positions)
            except NonFiniteError:
                for watch in watches:
                    if watch.last_frame is not None:
                        distances.append((float(np.linalg.norm(atoms.positions - watch.last_frame)), watch))
    except InputError:
        return None
    return min(distances, key=lambda pair: pair[0], default=(0.0, None))[1]
