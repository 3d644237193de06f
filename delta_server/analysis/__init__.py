"""What runs did, from Python: find them, and analyse their energies, free energy, rotation and stability.

    >>> from delta_server.analysis import analyze_energies, analyze_stability, find_runs
    >>> for run in find_runs("demo/h2o_benzene"):
    ...     print(analyze_energies(run).line())
    ...     print(analyze_stability(run).line())
    nvt: 14.99 ps; means over all: temperature 300 ± 0 K
    nvt: stable for 14.99 ps (bonds, energy, temperature)

Nothing is printed. What they return has numbers as attributes, `as_dict()` for JSON, and `line()` for people;
`delta_server.analysis.pictures` draws it. ``progress`` is called with a run and how many of its frames were read. The
names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .energies import EnergyReport, analyze_energies
    from .free_energy.run import FreeEnergies, analyze_free_energy
    from .rotation.diffusion import Rotation
    from .rotation.run import analyze_rotation
    from .rotation.turns import Turns
    from .runs import find_runs, made_with
    from .stability import StabilityReport, Survival, analyze_stability, survival
    from .trajectory import Run

__all__ = [
    "EnergyReport",
    "FreeEnergies",
    "Rotation",
    "Run",
    "StabilityReport",
    "Survival",
    "Turns",
    "analyze_energies",
    "analyze_free_energy",
    "analyze_rotation",
    "analyze_stability",
    "find_runs",
    "made_with",
    "survival",
]
_HOMES = {
    "energies": ("EnergyReport", "analyze_energies"),
    "free_energy.run": ("FreeEnergies", "analyze_free_energy"),
    "rotation.diffusion": ("Rotation",),
    "rotation.run": ("analyze_rotation",),
    "rotation.turns": ("Turns",),
    "runs": ("find_runs", "made_with"),
    "stability": ("StabilityReport", "Survival", "analyze_stability", "survival"),
    "trajectory": ("Run",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
