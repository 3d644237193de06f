"""Who is told how a training goes."""

from __future__ import annotations

from typing import Protocol

from .selection.scales import ScalesIteration
from .selection.select import Trial


class Reporter(Protocol):
    """What a training tells while it runs."""

    def say(self, line: str) -> None:
        """A line of text: what begins, what was found, what was written."""

    def progress(self, stage: str, done: float) -> None:
        """The fraction of a stage, 0 to 1, that is done; called often."""

    def trial(self, trial: Trial) -> None:
        """A model that was tried in the search for σ, λ and symmetry."""

    def learning(self, iteration: ScalesIteration) -> None:
        """An iteration of the search for weights of pairs."""


class Silent:
    """A reporter that tells nobody."""

    def say(self, line: str) -> None:
        """Say nothing."""

    def progress(self, stage: str, done: float) -> None:
        """Show nothing."""

    def trial(self, trial: Trial) -> None:
        """Tell nothing."""

    def learning(self, iteration: ScalesIteration) -> None:
        """Tell nothing."""
