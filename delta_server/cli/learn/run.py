"""delta-sgdml learn run: rounds of dynamics, labels and training, until the model is right."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ..process import Stop, set_training_threads
from ..progress import Line
from .options import LearnArg

if TYPE_CHECKING:
    from ...training.selection.scales import ScalesIteration
    from ...training.selection.select import Trial

WAITING = 75
"""Exit code where labels are awaited from elsewhere."""


def run(
    directory: LearnArg,
    processes: Annotated[
        int | None, typer.Option("-j", "--processes", min=1, help="Processes that label.", show_default="all cores")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads of a fit; 0: all cores.")] = 1,
) -> None:
    """Learn, round by round, until errors are as asked.

    May be stopped (Ctrl-C) or killed at any time: the same command goes on, and comes to the same end. Ends with 0
    when errors on the model's own dynamics are as asked in two rounds running, with 1 when the budget is spent, with
    75 when labels are awaited from elsewhere, with 130 or 143 when a signal stopped it.

    Example: delta-sgdml learn run learned
    """
    set_training_threads(threads)
    from ...active.loop import SPENT, STOPPED, learn
    from ...active.loop import WAITING as AWAITED

    stop = Stop(lambda number: KeyboardInterrupt(), "stopping (again to stop at once)")
    with Teller() as teller:
        ending = learn(directory, teller, processes=processes or len(os.sched_getaffinity(0)), stop=stop)
    print(f"{directory}: {ending.line}")
    if ending.manifest is not None:
        print(ending.manifest)
    if ending.kind != "met":
        raise SystemExit({SPENT: 1, AWAITED: WAITING, STOPPED: stop.exit_code}[ending.kind])


class Teller(Line):
    """Tells how a learning goes, on stderr."""

    def trial(self, trial: Trial) -> None:
        self.update(f"σ {trial.sigma:.3g}, λ {trial.lam:.0e}, {trial.group}: {trial.relabelled:.3f} kcal/mol/Å")

    def learning(self, iteration: ScalesIteration) -> None:
        self.update(f"weights of pairs: {iteration.validation:.3f} kcal/mol/Å")

    def progress(self, stage: str, done: float) -> None:
        self.update(f"{stage} {100 * done:.0f} %")
