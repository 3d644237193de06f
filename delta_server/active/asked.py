"""What a round asks to be labelled: frames of the complex with its fragments, and frames of a molecule alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..data.labels import LabelTask
from ..data.structures import Structures
from ..errors import InputError
from ..files.npz import open_arrays
from ..files.whole import save_arrays
from ..units import KCAL_MOL
from .dynamics import Sampled
from .settings import Settings

APART = 0.0  # K
_KEYS = "members, R, temperature, replica, step, expected"


@dataclass(frozen=True, eq=False)
class Asked:
    """Geometries to be labelled, and where they are from.

    name: ``first``, ``test``, ``picked``, or ``alone_NAME``. members: the fragments, by number, that are labelled
    alone; where it is only one, there is no complex. positions: (n, N, 3) Å. temperature (n,) K, replica, step (n,),
    expected: (n,) kcal/mol/Å, error of what chose them. Where no model's dynamics made them, replica and step are −1;
    where the fragments were placed, the temperature is `APART`.
    """

    name: str
    members: tuple[int, ...]
    positions: FloatArray
    temperature: FloatArray
    replica: IntArray
    step: IntArray
    expected: FloatArray

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def alone(self) -> bool:
        """Whether it is a molecule alone."""
        return len(self.members) == 1

    def task(self, settings: Settings) -> LabelTask:
        """How it is labelled. Frames of dynamics are of run 0, placed ones of a run of their own each."""
        atoms = [settings.atoms[k] for k in self.members]
        order = atoms[0] if self.alone else np.arange(len(settings.numbers))
        fragment = np.zeros(len(order), dtype=np.intp) if self.alone else np.array(settings.fragment, dtype=np.intp)
        structures = Structures(
            numbers=np.array(settings.numbers, dtype=np.intp)[order],
            positions=self.positions,
            index=np.arange(len(self)),
            run=np.where(self.temperature == APART, 1 + np.arange(len(self)), 0),
            fragment=fragment,
            charges=tuple(settings.charges[k] for k in self.members),
            names=tuple(settings.names[k] for k in self.members),
            theory=settings.theory,
        )
        spins = tuple(settings.multiplicities[k] for k in self.members)
        return LabelTask(structures, settings.method, structures.charges, spins, afresh=True)

    def __add__(self, other: Asked) -> Asked:
        arrays = {
            key: np.concatenate([getattr(self, key), getattr(other, key)])
            for key in ("positions", "temperature", "replica", "step", "expected")
        }
        return replace(self, **arrays)

    @classmethod
    def plain(
        cls, name: str, members: Iterable[int], positions: FloatArray, temperature: float, errors: FloatArray
    ) -> Asked:
        """Frames that no model's dynamics made. errors: expected, eV/Å."""
        n = len(positions)
        none = np.full(n, -1, dtype=np.intp)
        return cls(name, tuple(members), positions, np.full(n, temperature), none, none, errors / KCAL_MOL)

    @classmethod
    def of(
        cls,
        name: str,
        members: Iterable[int],
        seen: Sampled,
        which: IntArray,
        positions: FloatArray,
        errors: FloatArray,
    ) -> Asked:
        """Frames `which` of some dynamics, or a molecule of each, at `positions`. errors: of all frames, eV/Å."""
        return cls(
            name, tuple(members), positions, seen.temperature[which], seen.replica[which], seen.step[which],
            errors[which] / KCAL_MOL,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write it whole. Raises OSError."""
        save_arrays(
            path,
            {
                "members": np.array(self.members), "R": self.positions, "temperature": self.temperature,
                "replica": self.replica, "step": self.step, "expected": self.expected,
            },
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path, name: str) -> Asked:
        """Read what `save` wrote. Raises InputError."""
        with open_arrays(path, "list of what is asked", _KEYS, InputError) as arrays:
            members = tuple(arrays.get("members", None, "iu").tolist())
            n = arrays.shape("R")[0]
            return cls(
                name, members, arrays.floats("R", arrays.shape("R")), arrays.floats("temperature", (n,)),
                arrays.get("replica", (n,), "iu"), arrays.get("step", (n,), "iu"), arrays.floats("expected", (n,)),
            )  # fmt: skip
