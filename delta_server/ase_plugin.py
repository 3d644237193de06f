"""What ase finds under its entry points ``ase.plugins``: `DeltaCalculator`, as ``delta_sgdml``."""

from __future__ import annotations

import sys
from typing import Any

__ase_plugins__: set[Any] = set()
try:
    from ase._4.plugins.plugin import CalculatorPlugin
except ImportError:  # ase says of its plug-ins that they are experimental: another version lists none of ours
    pass
else:
    __ase_plugins__ |= {
        CalculatorPlugin(
            name="delta_sgdml",
            citation="Cázares-Trejo, Loreto-Silva, Sauceda, arXiv 2511.01913",
            module=sys.modules[__name__],
            implementation="delta_server.calculator.DeltaCalculator",
        )
    }
