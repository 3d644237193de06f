"""Everything that can be wrong with a potential, as a list of passes and failures."""

from .check import Check
from .manifest import check_manifest
from .potential import check_potential, check_term

__all__ = ["Check", "check_manifest", "check_potential", "check_term"]
