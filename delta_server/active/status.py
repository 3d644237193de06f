"""How far a learning is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.lock import is_locked
from .honest import Test
from .rounds import Round, rounds
from .settings import Settings, load_settings


@dataclass(frozen=True)
class Status:
    """What is known of a learning: its complete rounds, and what it does now."""

    settings: Settings
    records: list[dict[str, Any]]
    tests: list[Test]
    spent: int
    running: bool
    awaited: int
    line: str

    @property
    def rows(self) -> list[list[str]]:
        """A table of rounds and temperatures, as texts."""
        made = []
        for record, test in zip(self.records, self.tests, strict=True):
            ends = record.get("ends", [])
            stopped = sum(end["reason"] != "finished" for end in ends)
            for turn, (kelvin, terms) in enumerate(test.items()):
                total, binding = terms["total"], terms["binding"]
                made.append([
                    str(record["round"]) if turn == 0 else "", str(record.get("points", "")) if turn == 0 else "",
                    f"{kelvin:g}", str(total.n), f"{total.force:.3f} ± {total.force_error:.3f}",
                    f"{total.energy:.3f} ± {total.energy_error:.3f}",
                    f"{binding.energy:.3f} ± {binding.energy_error:.3f}",
                    f"{stopped} of {len(ends)}" if turn == 0 else "",
                ])  # fmt: skip
        return made

    def as_dict(self) -> dict[str, Any]:
        """The status for machines."""
        return {
            "name": self.settings.name, "temperatures": list(self.settings.temperatures),
            "force": self.settings.force, "energy": self.settings.energy, "budget": self.settings.budget,
            "spent": self.spent, "running": self.running, "awaited": self.awaited, "state": self.line,
            "rounds": self.records,
        }  # fmt: skip


def status(root: Path) -> Status:
    """How far a learning is. May be asked while it runs. Raises InputError."""
    settings = load_settings(root)
    *complete, now = rounds(root)
    records = [r.record() for r in complete]
    spent = sum(len(a) for r in (*complete, now) for a in r.asked() if not a.alone)
    running = is_locked(root)
    awaited = sum(len(a) for a in now.asked() if now.labels(a.name) is None)
    return Status(
        settings, records, [r.test() for r in complete], spent, running, awaited,
        _line(settings, records, now, spent, running, awaited),
    )  # fmt: skip


def _line(
    settings: Settings, records: list[dict[str, Any]], now: Round, spent: int, running: bool, awaited: int
) -> str:
    labels = f"{spent} of {settings.budget} labels"
    if records and (ending := records[-1].get("ending")):
        return f"{ending['line']}; {labels}"
    state = "is running" if running else "is to be gone on with"
    if awaited and settings.labels == "elsewhere" and not running:
        state = f"awaits labels of {awaited} frames from elsewhere"
    return f"round {now.number} {state}; {labels}"
