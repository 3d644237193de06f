"""A calculator below the models: they learn what it leaves of the labels, and the manifest adds it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...data.dataset import Dataset
from ...data.fragments import fragment_names
from ...errors import InputError
from ...methods import Method, Option
from ...molecule.likeness import Likeness
from ...potential import Fragment, Potential
from ...terms.calculator import CalculatorTerm, Molecule, calculator_terms

NAME = "baseline"  # of its term in a manifest


@dataclass(frozen=True)
class Baseline:
    """A calculator that is taken off the labels: off those of the isolated fragments, of the binding, or of both."""

    calculator: str
    options: Mapping[str, Option] = field(default_factory=dict)
    part: Literal["fragments", "binding", "all"] = "all"

    @property
    def method(self) -> Method:
        return Method(self.calculator, self.options)

    def terms(self, data: Dataset) -> list[CalculatorTerm]:
        """The terms for the fragments of a data set, with their charges. Raises InputError."""
        molecules = _molecules(data)
        if data.multiplicity not in (None, 1) or any(molecule.multiplicity != 1 for molecule in molecules):
            raise InputError(f"{data.name}: unpaired electrons; a baseline is for closed shells")
        names = {name: f"{NAME}_{name}" for name, *_ in molecules} | {"binding": NAME}
        return list(calculator_terms(names, self.part, self.method, molecules, data.numbers, Path.cwd()))

    def entry(self) -> dict[str, Any]:
        """The term of a manifest."""
        known = {"options": dict(self.options)} if self.options else {}
        named = {"kind": "calculator", "name": NAME, "calculator": self.calculator, **known}
        return {**named, "over": "all", "part": self.part}

    def as_dict(self) -> dict[str, Any]:
        """What the record says: with the version of the package."""
        return {**asdict(self), "theory": self.method.theory}


def calculator_potential(method: Method, data: Dataset) -> Potential:
    """A calculator as a rival: of the fragments of a data set, with their charges and multiplicities, and of their
    binding; or of the whole where it has no fragments. Raises InputError."""
    whole = Molecule("complex", np.arange(data.n_atoms), data.charge or 0, data.multiplicity or 1)
    molecules = _molecules(data) or [whole]
    names = {molecule.name: molecule.name for molecule in molecules} | {"binding": "binding"}
    part: Literal["fragments", "all"] = "all" if len(molecules) > 1 else "fragments"
    terms = list(calculator_terms(names, part, method, molecules, data.numbers, Path.cwd()))
    return Potential(
        data.numbers,
        data.positions[0],
        [Fragment(molecule.name, molecule.atoms) for molecule in molecules],
        terms,
        name=method.name,
        theory=method.theory,
        likeness=Likeness(data.numbers, data.positions[0], np.empty((0, 2), dtype=np.intp)),
    )


def _molecules(data: Dataset) -> list[Molecule]:
    """The fragments of a data set, none where it has none."""
    atoms = [data.atoms_of(k) for k in range(data.n_fragments)]
    names = data.fragment_names or fragment_names(data.numbers, atoms)
    charges = [0] * len(atoms) if data.charges is None else data.charges.tolist()
    spins = [1] * len(atoms) if data.multiplicities is None else data.multiplicities.tolist()
    return [Molecule(*molecule) for molecule in zip(names, atoms, charges, spins, strict=True)]
