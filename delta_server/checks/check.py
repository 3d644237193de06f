"""What one check has to say."""

from __future__ import annotations

from dataclasses import asdict, dataclass


def rounding(energy: float, slack: float = 1.0) -> float:
    """eV that an energy may change by where nothing does; sums of large numbers cancel to a part of what they are."""
    return max(1e-6 * slack, 1e-10 * abs(energy))


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, whether it passed, what was found; warning: it passed, and yet there is
    something to know."""

    name: str
    passed: bool
    found: str
    warning: bool = False

    def as_dict(self) -> dict[str, object]:
        return asdict(self)
