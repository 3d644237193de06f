"""What a data set holds, in numbers: counts, energies, forces, and how much of the forces is binding."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from .._types import FloatArray
from .dataset import Dataset
from .fragments import formula, fragment_names


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation and range of one quantity over configurations."""

    mean: float
    std: float
    min: float
    max: float

    @classmethod
    def of(cls, values: FloatArray) -> Spread:
        """values: (n,), of one unit."""
        return cls(*(float(v) for v in (values.mean(), values.std(), values.min(), values.max())))


@dataclass(frozen=True)
class Fragment:
    """A fragment: its atoms, net charge (None: not said), energy alone and mean length of the force on its atoms."""

    name: str
    formula: str
    n_atoms: int
    charge: int | None
    energy: Spread | None  # kcal/mol
    mean_force: float | None  # kcal/mol/Å, alone
    mean_binding_force: float | None  # kcal/mol/Å


@dataclass(frozen=True)
class Summary:
    """A data set in numbers: energies in kcal/mol, forces in kcal/mol/Å; a mean force is the mean length of one
    atom's force vector.

    ``force_ratio``: mean |F_b| / mean |F| (arXiv 2511.01913, Fig. 5). None where fragments are not labelled.
    """

    name: str
    theory: str
    formula: str
    configurations: int
    atoms: int
    runs: int
    split: tuple[int, int, int] | None
    energy: Spread
    mean_force: float
    binding_energy: Spread | None
    mean_binding_force: float | None
    force_ratio: float | None
    fragments: tuple[Fragment, ...]

    def as_dict(self) -> dict[str, object]:
        """The summary for machines."""
        return asdict(self)


def lengths(forces: FloatArray) -> FloatArray:
    """(n, N) lengths of the force vectors of (n, N, 3)."""
    norms: FloatArray = np.linalg.norm(forces, axis=2)
    return norms


def names_of(data: Dataset) -> tuple[str, ...]:
    """Names of the fragments: the file's, or made from their formulas."""
    return data.fragment_names or fragment_names(data.numbers, [data.atoms_of(k) for k in range(data.n_fragments)])


def summarize(data: Dataset) -> Summary:
    """The summary of a data set. It needs no labels of isolated fragments, but says more with them."""
    force = float(lengths(data.forces).mean())
    binding = lengths(data.binding_forces()) if data.labelled_fragments else None
    return Summary(
        name=data.name,
        theory=data.theory,
        formula=formula(data.numbers),
        configurations=len(data),
        atoms=data.n_atoms,
        runs=1 if data.run is None else len(np.unique(data.run)),
        split=None if data.split is None else tuple(np.bincount(data.split, minlength=3).tolist()),
        energy=Spread.of(data.energies),
        mean_force=force,
        binding_energy=Spread.of(data.binding_energies()) if data.labelled_fragments else None,
        mean_binding_force=None if binding is None else float(binding.mean()),
        force_ratio=None if binding is None else float(binding.mean()) / force if force else 0.0,
        fragments=tuple(_fragment(data, k, name, binding) for k, name in enumerate(names_of(data))),
    )


def _fragment(data: Dataset, k: int, name: str, binding: FloatArray | None) -> Fragment:
    atoms = data.atoms_of(k)
    alone = None if data.fragment_forces is None else float(lengths(data.fragment_forces[:, atoms]).mean())
    return Fragment(
        name=name,
        formula=formula(data.numbers[atoms]),
        n_atoms=len(atoms),
        charge=None if data.charges is None else int(data.charges[k]),
        energy=None if data.fragment_energies is None else Spread.of(data.fragment_energies[:, k]),
        mean_force=alone,
        mean_binding_force=None if binding is None else float(binding[:, atoms].mean()),
    )
