"""Labels of a complex and of its isolated fragments, computed in parallel, interruptible and restartable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..units import KCAL_MOL
from .calculators import Method
from .dataset import Dataset
from .fragments import formula
from .pool import run_pool
from .structures import Structures
from .workfile import Failure, WorkFile, open_workfile

_TRIALS = 5  # configurations that must all fail before the whole task is given up


@dataclass(frozen=True, eq=False)
class LabelTask:
    """What to label, and how.

    structures: with fragments. charges, multiplicities: (K,) of the fragments; the complex has the sum of the
    charges and of the unpaired electrons. Raises InputError for electrons that cannot be.
    """

    structures: Structures
    method: Method
    charges: tuple[int, ...]
    multiplicities: tuple[int, ...]

    def __post_init__(self) -> None:
        self.method.load()
        for name, (atoms, charge, multiplicity) in zip(self.structures.names, self.molecules(), strict=True):
            self.method.check(self.structures.numbers[atoms], charge, multiplicity, f"fragment {name}")

    def molecules(self) -> list[tuple[IntArray, int, int]]:
        """Atoms, charge and multiplicity of each fragment."""
        return list(zip(self.structures.molecules(), self.charges, self.multiplicities, strict=True))

    @property
    def total(self) -> tuple[int, int]:
        """Charge and multiplicity of the complex."""
        return sum(self.charges), 1 + sum(multiplicity - 1 for multiplicity in self.multiplicities)

    @property
    def n_fragments(self) -> int:
        return len(self.charges)

    @property
    def width(self) -> int:
        """Numbers to a configuration: E, E_frag (K,), F (N, 3), F0 (N, 3)."""
        return 1 + self.n_fragments + 6 * len(self.structures.numbers)

    def without_positions(self) -> LabelTask:
        """The same for a process that is sent the positions one by one."""
        return replace(self, structures=self.structures.take(np.arange(0)))

    def digest(self) -> str:
        """Tells this task from every other: geometries, fragments, charges, method with its options and version."""
        s = self.structures
        said = [self.method.name, sorted(self.method.options.items()), self.method.theory]
        sha256 = hashlib.sha256(json.dumps([*said, self.charges, self.multiplicities]).encode())
        for array in (s.numbers, s.fragment, s.index, s.run, s.positions):
            sha256.update(hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest())
        return sha256.hexdigest()


class Labeller:
    """Labels configurations of a task, one calculator for the complex and one for each fragment."""

    def __init__(self, task: LabelTask) -> None:
        self.numbers, self.method, self.fragments = task.structures.numbers, task.method, task.molecules()
        self.whole = (np.arange(len(self.numbers)), *task.total)
        self.constants: dict[int, float] = {}  # energies of fragments that are one atom, kcal/mol
        self.start()

    def start(self) -> None:
        """Calculators that remember nothing."""
        self.calculators = [self.method.make(charge, spin) for _, charge, spin in (self.whole, *self.fragments)]

    def __call__(self, positions: FloatArray) -> FloatArray:
        """E, E_frag, F and F0, (LabelTask.width,) in kcal/mol and Å, at positions (N, 3) in Å.

        Raises what the calculator raises.
        """
        try:
            return self._label(positions)
        except Exception:  # a calculator that failed, or diverged from the geometry before: once more, from scratch
            self.start()
            return self._label(positions)

    def _label(self, positions: FloatArray) -> FloatArray:
        energy, forces = self._compute(0, self.whole[0], positions)
        isolated, alone = np.empty(len(self.fragments)), np.zeros_like(positions)
        for k, (atoms, _, _) in enumerate(self.fragments):
            if len(atoms) > 1:
                isolated[k], alone[atoms] = self._compute(k + 1, atoms, positions[atoms])
                continue
            if k not in self.constants:
                self.constants[k], _ = self._compute(k + 1, atoms, np.zeros((1, 3)))
            isolated[k] = self.constants[k]
        labels = np.concatenate([[energy], isolated, forces.ravel(), alone.ravel()])
        if not np.isfinite(labels).all():
            raise ValueError("energy or forces are not finite")
        return labels

    def _compute(self, which: int, chosen: IntArray, positions: FloatArray) -> tuple[float, FloatArray]:
        from ase import Atoms

        atoms = Atoms(self.numbers[chosen], positions, calculator=self.calculators[which])
        forces: FloatArray = atoms.get_forces()
        return float(atoms.get_potential_energy()) / KCAL_MOL, forces / KCAL_MOL


@dataclass(frozen=True)
class LabelOutcome:
    """data: the labelled configurations, None where the run was stopped before the last."""

    data: Dataset | None
    failures: list[Failure]
    done: int


def working_file(output: Path) -> Path:
    """Where a run that writes `output` keeps what it has."""
    return output.with_name(output.name + ".working")


def label(
    task: LabelTask,
    output: Path,
    *,
    processes: int = 1,
    retry_failed: bool = False,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, failed: None,
) -> LabelOutcome:
    """Labels what `working_file` does not hold yet.

    stop: asked often; true ends softly. progress: told of the configurations done so far, and of those that failed.
    Scripts that call this need ``if __name__ == "__main__":``, as the processes are spawned. Raises InputError where
    nothing can be labelled, or the working file is another task's.
    """
    path = working_file(output)
    n = len(task.structures)
    with open_workfile(path, task.digest(), n, task.width) as work:

        def take(index: int, result: FloatArray | str) -> None:
            if isinstance(result, str):
                work.fail(index, result)
            else:
                work.add(index, result)
            progress(len(work.labels), len(work.failures))

        if not work.labels:
            _try(task, work, take, stop)
        skip = set(work.labels) | (set() if retry_failed else set(work.failures))
        progress(len(work.labels), len(work.failures))
        todo = [i for i in range(n) if i not in skip]
        run_pool(Labeller, task.without_positions(), task.structures.positions, todo, processes, take, stop)
        failures = sorted(work.failures.values(), key=lambda failure: failure.index)
        whole = len(work.labels) + len(failures) == n and not stop()
        return LabelOutcome(_assemble(task, work) if whole else None, failures, len(work.labels))


def _try(
    task: LabelTask, work: WorkFile, take: Callable[[int, FloatArray | str], None], stop: Callable[[], bool]
) -> None:
    """The first configuration, and some others if it fails. Raises InputError where they all do."""
    n = len(task.structures)
    for index in dict.fromkeys(np.linspace(0, n - 1, _TRIALS).astype(int).tolist()):
        run_pool(Labeller, task.without_positions(), task.structures.positions, [index], 1, take, stop)
        if work.labels or stop():
            return
    with suppress(OSError):
        work.path.unlink()
    failure = next(iter(work.failures.values()))
    charges = ",".join(map(str, task.charges))
    raise InputError(
        f"{task.method.name} cannot label {formula(task.structures.numbers)} (charges {charges}): {failure.reason}; "
        f"so for all {len(work.failures)} configurations that were tried; check geometry, charges and options"
    )


def _assemble(task: LabelTask, work: WorkFile) -> Dataset:
    s, k = task.structures, task.n_fragments
    which = np.array(sorted(work.labels), dtype=np.intp)
    table = np.array([work.labels[i] for i in which.tolist()])
    kept = s.take(which)
    forces, alone = np.split(table[:, 1 + k :], 2, axis=1)
    return Dataset(
        numbers=s.numbers,
        positions=kept.positions,
        energies=table[:, 0],
        forces=forces.reshape(kept.positions.shape),
        fragment=s.fragment,
        fragment_energies=table[:, 1 : 1 + k],
        fragment_forces=alone.reshape(kept.positions.shape),
        charges=np.array(task.charges, dtype=np.intp),
        index=kept.index,
        run=kept.run,
        fragment_names=s.names,
        theory=task.method.theory,
    )
