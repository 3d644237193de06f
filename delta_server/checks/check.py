"""What one check has to say."""

from __future__ import annotations

from dataclasses import asdict, dataclass


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
