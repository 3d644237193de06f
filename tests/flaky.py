"""GFN2-xTB that fails for some geometries, the same ones each time."""

from __future__ import annotations

from typing import Any

from ase import Atoms
from tblite.ase import TBLite


class Flaky(TBLite):  # type: ignore[misc]
    """Fails for one complex in five, for molecules alone never."""

    def __init__(self, **options: Any) -> None:
        super().__init__(method="GFN2-xTB", verbosity=0, **options)

    def calculate(self, atoms: Atoms, *args: Any, **kwargs: Any) -> None:
        if len(atoms) == 15 and int(abs(atoms.positions[0, 0]) * 1e6) % 5 == 0:
            raise RuntimeError("no convergence in 250 cycles")
        super().calculate(atoms, *args, **kwargs)
