"""ASE calculator over a Δ-model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from .errors import GeometryError
from .loading import load_potential
from .molecule.bonds import symbols
from .potential import Part, Potential
from .terms.base import Frames


class _Results(dict[str, Any]):
    """The properties that ase knows; what it does not know is found by its name, but not on a walk through all."""

    def __init__(self, more: Mapping[str, Any]) -> None:
        super().__init__()
        self._more = more

    def __missing__(self, name: str) -> Any:
        return self._more[name]


def _from_manifest(manifest: Path, part: Part) -> DeltaCalculator:
    return DeltaCalculator(manifest, part=part)


class DeltaCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and, where there is a cell, stress (eV/Å³) of a Δ-model.

        >>> atoms.calc = DeltaCalculator("models/h2o_benzene/manifest.yaml")   # doctest: +SKIP
        >>> atoms.get_potential_energy(), atoms.calc.results["parts"]

    ``results["parts"]`` holds the energy of each term in eV, ``results["binding_forces"]`` the forces of the
    binding; they are found by these names alone, for ase's tools stop at properties that it does not know. One that
    was made from a manifest can be pickled, for processes. Isolated terms, as sGDML models are, see no cell: it gives
    the stress a volume and nothing else.

    Molecules that wrapping cut (`atoms.wrap()`) are made whole; `atoms` stay as they are.

    Raises GeometryError when the atoms are not those of the manifest, in its order, or cut and without a cell.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")  # type: ignore[assignment]

    def __init__(self, potential: Potential | str | Path, *, part: Part = "all", **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._manifest = None if isinstance(potential, Potential) else Path(potential).resolve()
        self.potential = potential if isinstance(potential, Potential) else load_potential(potential)
        self._part = part

    @property
    def part(self) -> Part:
        """What is computed: all, the binding or the fragments."""
        return self._part

    @part.setter
    def part(self, part: Part) -> None:
        self._part = part
        self.reset()  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> DeltaCalculator:
        """A calculator of its own over the same models, which nothing changes."""
        return DeltaCalculator(self.potential, part=self.part)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._manifest is None:
            raise TypeError("a DeltaCalculator over a potential in memory cannot be pickled; make it from a manifest")
        return _from_manifest, (self._manifest, self.part)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        numbers = self.atoms.numbers
        if not np.array_equal(numbers, self.potential.numbers):
            raise GeometryError(
                f"{self.potential.name} is {''.join(symbols(self.potential.numbers))} in this order, "
                f"the atoms are {''.join(symbols(numbers))}"
            )
        if properties and "stress" in properties and self.atoms.cell.rank < 3:
            raise PropertyNotImplementedError("stress needs a cell")
        cells = self.atoms.cell.array[None] if self.atoms.cell.rank else None
        frames = Frames(self.atoms.positions[None], cells)
        positions = self.potential.whole(frames, self.atoms.pbc[None], lambda i: "the atoms").positions[0]
        result = self.potential.compute(positions, self.part, cells)
        more: dict[str, Any] = {"parts": {name: float(energy) for name, energy in result.parts.energies.items()}}
        if result.parts.binding_forces is not None:
            more["binding_forces"] = result.parts.binding_forces
        self.results = _Results(more)
        self.results |= {
            "energy": float(result.energy),
            "free_energy": float(result.energy),
            "forces": result.forces,
        }
        if self.atoms.cell.rank == 3:
            self.results["stress"] = full_3x3_to_voigt_6_stress(-result.virial / self.atoms.get_volume())
