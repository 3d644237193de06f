"""Labels of a complex and of its isolated fragments, computed in parallel, interruptible and restartable."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..methods import Method
from ..units import KCAL_MOL
from .dataset import Dataset, load_dataset, save_dataset
from .fragments import formula
from .labelling.pool import run_pool
from .labelling.workfile import Failure, WorkFile, open_workfile
from .structures import Structures

_TRIALS = 5  # configurations that must all fail before the whole task is given up
_SAMPLES = 3  # configurations whose labels must be the method's before they are kept
_SAME_ENERGY, _SAME_FORCE = 0.5, 1.0  # kcal/mol and kcal/mol/Å by which a method may differ from its own labels


@dataclass(frozen=True, eq=False)
class LabelTask:
    """The configurations to label, and how.

    structures: with fragments; where they have labels of the complex, these are kept and the fragments alone are
    labelled. charges, multiplicities: (K,) of the fragments; the complex has the sum of the charges and of the
    unpaired electrons. A single fragment is a molecule alone, and is labelled once. home: the folder from which the
    method's options name files. afresh: every configuration gets calculators that remember nothing, so that its
    labels do not depend on which were labelled before it, nor on a stop in between. Raises InputError for electrons
    that cannot be.
    """

    structures: Structures
    method: Method
    charges: tuple[int, ...]
    multiplicities: tuple[int, ...]
    home: Path = field(default_factory=Path.cwd)
    afresh: bool = False

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

    @property
    def keeps(self) -> bool:
        """Whether the complex has its labels already."""
        return self.structures.energies is not None

    def digest(self) -> str:
        """Tells this task from every other: geometries, fragments, charges, method with its options and version."""
        s = self.structures
        method = [self.method.name, sorted(self.method.options.items()), self.method.theory]
        sha256 = hashlib.sha256(json.dumps([*method, self.charges, self.multiplicities]).encode())
        kept = () if s.energies is None or s.forces is None else (s.energies, s.forces)
        for array in (s.numbers, s.fragment, s.index, s.run, s.positions, *kept):
            sha256.update(hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest())
        return sha256.hexdigest()


class Labeller:
    """Labels configurations of a task, one calculator for the complex and one for each fragment.

    With the counterpoise correction (Boys and Bernardi, Mol. Phys. 19, 553 (1970)) the complex's labels lose what its
    fragments gain from the basis functions of the others, E − Σ_k [E_k(basis of all) − E_k(its own)], so that its
    binding is E(all) − Σ_k E_k(basis of all).

    apart: every calculation works in a new folder in the current one, where no calculator finds the files of the one
    before it.
    """

    def __init__(self, task: LabelTask, apart: bool = False) -> None:
        self.numbers, self.method, self.fragments = task.structures.numbers, task.method, task.molecules()
        self.keeps, self.home, self.apart = task.keeps, task.home if apart else None, apart
        self.whole = (np.arange(len(self.numbers)), *task.total)
        self.constants: dict[int, float] = {}  # energies of fragments that are one atom, kcal/mol
        corrected = self.method.counterpoise and not self.keeps and len(self.fragments) > 1
        among_ghosts = [(self.whole[0], charge, spin) for _, charge, spin in self.fragments if corrected]
        self.parts: list[tuple[IntArray, int, int]] = [self.whole, *self.fragments, *among_ghosts]
        self.afresh = task.afresh
        self.start()

    def start(self) -> None:
        """Calculators that remember nothing."""
        self.calculators = [self.method.make(charge, spin, self.home, labels=True) for _, charge, spin in self.parts]
        for (atoms, *_), calculator in zip(self.fragments, self.calculators[1 + len(self.fragments) :], strict=False):
            calculator.ghosts = ~np.isin(self.whole[0], atoms)  # type: ignore[attr-defined]

    def __call__(self, positions: FloatArray) -> FloatArray:
        """E, E_frag, F and F0, (LabelTask.width,) in kcal/mol and Å, at positions (N, 3) in Å; zeros for what the
        task keeps.

        Raises what the calculator raises.
        """
        if self.afresh:
            self.start()
        try:
            return self._label(positions)
        except Exception:  # a calculator that failed, or diverged from the geometry before: once more, from scratch
            self.start()
            return self._label(positions)

    def _label(self, positions: FloatArray) -> FloatArray:
        energy, forces = (0.0, np.zeros_like(positions)) if self.keeps else self._compute(0, positions)
        if len(self.fragments) == 1 and not self.keeps:
            return np.concatenate([[energy, energy], forces.ravel(), forces.ravel()])
        isolated, alone = np.empty(len(self.fragments)), np.zeros_like(positions)
        for k, (atoms, _, _) in enumerate(self.fragments):
            if len(atoms) > 1:
                isolated[k], alone[atoms] = self._compute(k + 1, positions[atoms])
                continue
            if k not in self.constants:
                self.constants[k], _ = self._compute(k + 1, np.zeros((1, 3)))
            isolated[k] = self.constants[k]
        for k, which in enumerate(range(1 + len(self.fragments), len(self.parts))):
            among_ghosts, pull = self._compute(which, positions)
            pull[self.fragments[k][0]] -= alone[self.fragments[k][0]]
            energy, forces = energy - (among_ghosts - isolated[k]), forces - pull
        return np.concatenate([[energy], isolated, forces.ravel(), alone.ravel()])

    def _compute(self, which: int, positions: FloatArray) -> tuple[float, FloatArray]:
        """Energy and forces of one of `parts`. Raises ValueError where the calculator answers something else than it
        was asked."""
        from ase import Atoms

        chosen, charge, multiplicity = self.parts[which]
        calculator = self.calculators[which]
        atoms = Atoms(self.numbers[chosen], positions, calculator=calculator)
        self.method.prepare(atoms, charge, multiplicity)
        with _new_folder() if self.apart else nullcontext():
            forces = np.asarray(atoms.get_forces(), dtype=np.float64)
            energy = np.asarray(atoms.get_potential_energy(), dtype=np.float64)
        if forces.shape != positions.shape:
            raise ValueError(f"the calculator gave forces of shape {forces.shape} for {len(positions)} atoms")
        if energy.size != 1 or not (np.isfinite(energy).all() and np.isfinite(forces).all()):
            raise ValueError("energy or forces are not finite")
        used = getattr(calculator, "atoms", None)
        if used is not None and not (
            np.array_equal(used.numbers, atoms.numbers) and np.allclose(used.positions, positions, rtol=0, atol=1e-6)
        ):
            raise ValueError("the calculator answered for other atoms, or other positions, than it was asked for")
        return float(energy.reshape(())) / KCAL_MOL, forces / KCAL_MOL


@contextmanager
def _new_folder() -> Iterator[None]:
    """Be in a new folder within the current one, which is removed afterwards."""
    before = Path.cwd()
    with TemporaryDirectory(dir=before, ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@dataclass(frozen=True)
class LabelOutcome:
    """What a run of labelling has: the data set, or None where it was stopped; what failed; how many are labelled."""

    data: Dataset | None
    failures: list[Failure]
    done: int


def working_file(output: Path) -> Path:
    """The file in which a run that writes `output` keeps what it has."""
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
    """Label what `working_file` does not hold yet.

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

        if not work.labels and task.keeps:
            try:
                _compare(task, stop)
            except InputError:
                with suppress(OSError):
                    path.unlink()
                raise
        if not work.labels and not stop():
            _try(task, work, take, stop)
        skip = set(work.labels) | (set() if retry_failed else set(work.failures))
        progress(len(work.labels), len(work.failures))
        todo = [i for i in range(n) if i not in skip]
        run_pool(_APART, task.without_positions(), task.structures.positions, todo, processes, take, stop)
        failures = sorted(work.failures.values(), key=lambda failure: failure.index)
        whole = len(work.labels) + len(failures) == n and not stop()
        return LabelOutcome(_assemble(task, work) if whole else None, failures, len(work.labels))


def label_in(
    folder: Path,
    stem: str,
    task: LabelTask,
    *,
    processes: int = 1,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, failed: None,
) -> tuple[Path, LabelOutcome]:
    """`label`, into a file ``STEM-….npz`` whose name tells the task, or the labels that are in it already."""
    file = folder / f"{stem}-{task.digest()[:12]}.npz"
    if file.is_file():
        data = load_dataset(file)
        return file, LabelOutcome(data, [], len(data))
    outcome = label(task, file, processes=processes, stop=stop, progress=progress)
    if outcome.data is not None:
        save_dataset(file, replace(outcome.data, name=file.stem))
        working_file(file).unlink(missing_ok=True)
    return file, outcome


_APART = partial(Labeller, apart=True)


def _compare(task: LabelTask, stop: Callable[[], bool]) -> None:
    """Label a few complexes, and raise InputError where the labels that are to be kept are not the method's own."""
    s = task.structures
    if s.energies is None or s.forces is None:
        return
    indices = np.unique(np.linspace(0, len(s) - 1, _SAMPLES).astype(int)).tolist()
    computed: dict[int, FloatArray | str] = {}
    whole = replace(task, structures=s.without_labels()).without_positions()
    run_pool(_APART, whole, s.positions, indices, 1, computed.__setitem__, stop)
    for index, labels in computed.items():
        if isinstance(labels, str):  # `_try` tells of calculators that fail
            continue
        start = 1 + task.n_fragments
        energy = float(labels[0] - s.energies[index])
        force = float(np.abs(labels[start : start + s.forces[index].size] - s.forces[index].ravel()).max())
        if abs(energy) > _SAME_ENERGY or force > _SAME_FORCE:
            cause = "its zero of energy is another" if force <= _SAME_FORCE else "labels of two methods do not mix"
            raise InputError(
                f"the data set's labels ({s.theory or 'theory not said'}) are not {task.method.theory}: in "
                f"configuration {index} energies of the complex differ by {energy:.4g} kcal/mol, the forces by up "
                f"to {force:.3g} kcal/mol/Å: {cause}; take the calculator and options that made them, or give "
                "--relabel (not --fragments-only) to label the complex anew as well"
            )


def _try(
    task: LabelTask, work: WorkFile, take: Callable[[int, FloatArray | str], None], stop: Callable[[], bool]
) -> None:
    """The first configuration, and some others if it fails. Raises InputError where they all do."""
    n = len(task.structures)
    for index in dict.fromkeys(np.linspace(0, n - 1, _TRIALS).astype(int).tolist()):
        run_pool(_APART, task.without_positions(), task.structures.positions, [index], 1, take, stop)
        if work.labels or stop():
            return
    with suppress(OSError):
        work.path.unlink()
    failure = next(iter(work.failures.values()))
    charges = ",".join(map(str, task.charges))
    raise InputError(
        f"{task.method.name} cannot label {formula(task.structures.numbers)} (charges {charges}): {failure.reason}; "
        f"so for all {len(work.failures)} configurations that were tried; check geometry, charges, options and "
        f"--multiplicity{_oxygen(task)}"
    )


def _oxygen(task: LabelTask) -> str:
    """What the one common molecule with unpaired electrons wants to be told, where it was taken for a singlet."""
    numbers = task.structures.numbers
    spins = [3 if numbers[atoms].tolist() == [8, 8] else spin for atoms, _, spin in task.molecules()]
    return "" if spins == list(task.multiplicities) else f" (O2 is a triplet: {','.join(map(str, spins))})"


def _assemble(task: LabelTask, work: WorkFile) -> Dataset:
    s, k = task.structures, task.n_fragments
    which = np.array(sorted(work.labels), dtype=np.intp)
    table = np.array([work.labels[i] for i in which.tolist()])
    kept = s.take(which)
    forces, alone = np.split(table[:, 1 + k :], 2, axis=1)
    return Dataset(
        numbers=s.numbers,
        positions=kept.positions,
        energies=table[:, 0] if kept.energies is None else kept.energies,
        forces=forces.reshape(kept.positions.shape) if kept.forces is None else kept.forces,
        fragment=s.fragment,
        fragment_energies=table[:, 1 : 1 + k],
        fragment_forces=alone.reshape(kept.positions.shape),
        charges=np.array(task.charges, dtype=np.intp),
        multiplicities=None if task.total[1] == 1 else np.array(task.multiplicities, dtype=np.intp),
        multiplicity=None if task.total[1] == 1 else task.total[1],
        index=kept.index,
        run=kept.run,
        fragment_names=s.names,
        theory=s.theory or task.method.theory,
    )
