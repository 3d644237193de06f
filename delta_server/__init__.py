"""Δ-server: a force server for i-PI that makes molecular complexes behave.

    >>> from delta_server import load_potential          # doctest: +SKIP
    >>> potential = load_potential("models/h2o_benzene/manifest.yaml")
    >>> result = potential.compute(positions)             # Å → eV, eV/Å
    >>> result.energy, result.forces, result.virial, result.parts

Importing the package costs next to nothing: the names below are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calculator import DeltaCalculator
    from .loading import load_potential
    from .potential import Potential, Result

__all__ = ["DeltaCalculator", "Potential", "Result", "__version__", "load_potential"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name == "DeltaCalculator":
        from .calculator import DeltaCalculator

        return DeltaCalculator
    if name == "load_potential":
        from .loading import load_potential

        return load_potential
    if name in ("Potential", "Result"):
        from . import potential

        return getattr(potential, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
