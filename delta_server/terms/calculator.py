"""Calculators of ase as terms: molecules alone, or what binds them.

In the part of the fragments a calculator gives the energy of a fragment alone; in that of the binding

    E_b(X) = E(X) − Σ_f E_f(x_f),

what the complex has and its isolated fragments have not, as labels of a binding are defined (arXiv 2511.01913, Sec.
IV). Both together are the energy of the complex.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import ManifestError, NonFiniteError
from ..methods import Method
from .base import Contribution, Frames, Side


class Molecule(NamedTuple):
    """A fragment as a calculator sees it. atoms: (n,) among those of the complex."""

    name: str
    atoms: IntArray
    charge: int = 0
    multiplicity: int = 1


class Answer(NamedTuple):
    """What a calculator says of F geometries: (F,) eV, (F, n, 3) eV/Å, and the virial (F, 3, 3) eV."""

    energies: FloatArray
    forces: FloatArray
    virials: FloatArray


class Computer:
    """Energies of one molecule by a calculator, geometry after geometry, each as if it were the first.

    What it was asked last is remembered: fragments count in their own part and in the binding.
    """

    def __init__(self, method: Method, numbers: IntArray, charge: int, multiplicity: int, home: Path) -> None:
        """home: the folder which files among the options are relative to. Raises InputError, and what the calculator
        raises."""
        if method.tblite:  # or a density would start from the one before
            method = replace(method, options={"cache_api": False} | dict(method.options))
        if method.by_files:  # of its own: another process may be at work in this folder
            self._scratch = TemporaryDirectory(prefix="delta-sgdml-", ignore_cleanup_errors=True)
            method = replace(method, options=dict(method.options) | {"directory": self._scratch.name})
        self.method, self.numbers, self._electrons, self._home = method, numbers, (charge, multiplicity), home
        self._calculator = method.make(charge, multiplicity, home)
        self._last: tuple[Frames, Answer] | None = None

    def __call__(self, frames: Frames) -> Answer:
        """All frames, of this molecule's atoms; those whose cell has no volume are isolated.

        Raises NonFiniteError, with frame and reason, where the calculator fails.
        """
        count, n = frames.positions.shape[:2]
        if n == 1 and frames.cells is None and (count > 1 or frames.positions.any()):  # the same everywhere
            return Answer(*(np.repeat(array, count, axis=0) for array in self(Frames(np.zeros((1, 1, 3))))))
        if self._last is None or not _same(self._last[0], frames):
            answer = Answer(np.empty(count), np.empty((count, n, 3)), np.empty((count, 3, 3)))
            for i, x in enumerate(frames.positions):
                try:
                    self._compute(x, None if frames.cells is None else frames.cells[i], i, answer)
                except Exception as error:  # calculators raise whatever they like
                    self._calculator = self.method.make(*self._electrons, self._home)
                    what = " ".join(str(error).split())[:300] or type(error).__name__
                    raise NonFiniteError(f"frame {i}: {self.method.name} gives no forces: {what}") from error
            cells = None if frames.cells is None else frames.cells.copy()
            self._last = Frames(frames.positions.copy(), cells), answer
        return Answer(*(array.copy() for array in self._last[1]))

    def _compute(self, x: FloatArray, cell: FloatArray | None, i: int, answer: Answer) -> None:
        """One geometry, into row i."""
        from ase import Atoms

        in_cell = cell is not None and abs(np.linalg.det(cell)) > 0
        atoms = Atoms(self.numbers, x, cell=cell if in_cell else None, pbc=in_cell)
        self.method.prepare(atoms, *self._electrons)
        if hasattr(self._calculator, "reset"):
            self._calculator.reset()
        atoms.calc = self._calculator
        with redirect_stdout(StringIO()):  # where some of ase's readers print warnings, into the JSON of a command
            forces = answer.forces[i] = atoms.get_forces()
            answer.energies[i] = atoms.get_potential_energy()
            stress = atoms.get_stress(voigt=False) if in_cell else None
        if stress is not None:
            answer.virials[i] = -atoms.get_volume() * stress
        else:  # about the centre: a net force, as integration grids leave one, is no pressure
            answer.virials[i] = (x - x.mean(0)).T @ forces


def _same(a: Frames, b: Frames) -> bool:
    if a.cells is None or b.cells is None:
        return a.cells is b.cells and np.array_equal(a.positions, b.positions)
    return np.array_equal(a.positions, b.positions) and np.array_equal(a.cells, b.cells)


@dataclass(frozen=True, eq=False)
class CalculatorTerm:
    """What a calculator says of a molecule, less what it says of parts of it alone.

    less: the places of each such part among the atoms of the site, and its computer. periodic: the whole is in the
    frame's cell, where there is one; its parts are isolated.
    """

    names: tuple[str, ...]
    part: Side
    sites: IntArray
    whole: Computer
    less: tuple[tuple[IntArray, Computer], ...] = ()
    periodic: bool = False
    slack: ClassVar[float] = 100.0  # numbers of an iteration that ended, or of single precision

    def evaluate(self, frames: Frames) -> Contribution:
        """See `Term`. Raises NonFiniteError where the calculator fails."""
        x = frames.positions[:, self.sites[0]]
        energies, forces, virials = self.whole(Frames(x, frames.cells if self.periodic else None))
        for places, computer in self.less:
            answer = computer(Frames(x[:, places]))
            energies -= answer.energies
            forces[:, places] -= answer.forces
            virials -= answer.virials
        return Contribution(energies[:, None], forces[:, None], virials[:, None])

    def expected_error(self, frames: Frames) -> FloatArray:
        """See `Term`. None is to be expected: a calculator is taken as it is, and models learn what it leaves."""
        return np.zeros((len(frames.positions), 1))


def calculator_terms(
    names: Mapping[str, str],
    part: Side | Literal["all"],
    method: Method,
    molecules: Sequence[Molecule],
    numbers: IntArray,
    home: Path,
    periodic: bool = False,
) -> Iterator[CalculatorTerm]:
    """A term for each fragment, one for their binding, or all of these.

    names: of the terms, by the fragments' names and ``binding``. numbers: (N,) of the complex. home: the folder which
    files among the options are relative to.

    Raises ManifestError where the method is no calculator of ase, or would run a command that the manifest gives;
    InputError for what it cannot compute; what the calculator raises when it is made.
    """
    from ase.calculators.abc import GetPropertiesMixin

    made = method.load()
    if ":" in method.name and not (isinstance(made, type) and issubclass(made, GetPropertiesMixin)):
        raise ManifestError(
            f"{method.name} is no class of an ase calculator, which a manifest and a baseline take (not a function)"
        )
    if "command" in method.options:
        raise ManifestError(f"{method.name}: a manifest runs no commands: `command` belongs in ase's configuration")
    computers = []
    for molecule in molecules:
        method.check(numbers[molecule.atoms], molecule.charge, molecule.multiplicity, f"fragment {molecule.name}")
        computer = Computer(method, numbers[molecule.atoms], molecule.charge, molecule.multiplicity, home)
        computers.append(computer)
        if part != "binding":
            yield CalculatorTerm((names[molecule.name],), "fragments", molecule.atoms[None], computer)
    if part != "fragments":
        atoms = np.concatenate([molecule.atoms for molecule in molecules])
        ends = np.cumsum([len(molecule.atoms) for molecule in molecules])
        charge = sum(molecule.charge for molecule in molecules)
        multiplicity = 1 + sum(molecule.multiplicity - 1 for molecule in molecules)
        whole = Computer(method, numbers[atoms], charge, multiplicity, home)
        less = tuple(zip(np.split(np.arange(len(atoms)), ends[:-1]), computers, strict=True))
        yield CalculatorTerm((names["binding"],), "binding", atoms[None], whole, less, periodic)
