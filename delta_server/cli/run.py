"""delta-sgdml run: i-PI and its drivers as one job."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DeltaError
from .options import DriversOption, ManifestArg, StopOutsideOption, ThreadsOption, TransportOption
from .process import Stop, complain, set_threads
from .progress import Line, duration

ENDED_EARLY = 10  # i-PI ended softly before its last step: an EXIT file, or total_time

if TYPE_CHECKING:
    from ..lookout import Left, Lookout
    from ..potential import Potential
    from ..server.job.processes import RunProgress
    from ..server.supervisor import Supervisor


def run(
    input_file: Annotated[Path, typer.Argument(help="i-PI input (.xml).", metavar="FILE", show_default=False)],
    manifest: ManifestArg,
    drivers: DriversOption = 1,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Run there, with a copy of the input and its files.",
            metavar="DIR",
            show_default="beside the input",
        ),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Go on from RESTART in the run's folder.")] = False,
    transport: TransportOption = "auto",
    threads: ThreadsOption = 1,
    stop_outside: StopOutsideOption = False,
) -> None:
    """Run i-PI with the forces of a manifest, and watch it.

    i-PI's output goes to i-pi.log. Forces are computed in its process, or by drivers on its socket (--transport),
    each with a log of its own; a driver that dies is started again, and when i-PI ends, so does the rest. Where a
    model leaves what it was trained on, by the geometries that i-PI records, a line says so and run.json keeps it.
    Ctrl-C ends it softly and leaves a RESTART for --restart; a second Ctrl-C kills.

    Example: delta-sgdml run inputs/h2o_benzene/nvt.xml models/h2o_benzene/manifest.yaml --dir nvt
    """
    set_threads(threads)
    from ..loading import load_potential
    from ..server.supervisor import Supervisor

    potential = load_potential(manifest)  # bad input is told before anything is started
    job = Supervisor(
        input_file, manifest, drivers=drivers, directory=directory, restart=restart, threads=threads,
        command=shlex.join(["delta-sgdml", *sys.argv[1:]]), transport=transport,
    )  # fmt: skip
    stop = Stop(second=lambda number: KeyboardInterrupt(), announce="stopping softly (again to kill)")
    with _Steps(job.progress) as show, _Watched(job, potential) as watched:

        def on_progress(progress: RunProgress) -> None:
            show(progress)
            watched()

        outcome = job.run(lambda: stop() or (stop_outside and bool(watched.left)), on_progress, complain)
    p = outcome.progress
    picoseconds = "" if p.picoseconds is None else f" ({p.picoseconds:.3f} ps)"
    speed = "" if p.ns_per_day is None else f", {p.ns_per_day:.2f} ns/day"
    restarts = f", driver restarts: {p.restarted_drivers}" if p.restarted_drivers else ""
    why = f": {outcome.why}" if outcome.why else ": --stop-outside" if stop_outside and watched.left else ""
    if outcome.finished:
        steps = f"{p.step} of {p.total_steps}" if p.step < p.total_steps else f"{p.total_steps}"
        print(f"finished: {steps} steps{picoseconds} in {outcome.wall:.1f} s{speed}{restarts}{why}; {job.directory}")
        return
    print(
        f"stopped at step {p.step} of {p.total_steps}{picoseconds}{restarts}{why}; go on with --restart; "
        f"{job.directory}"
    )
    raise SystemExit(stop.exit_code if stop() else ENDED_EARLY)


class _Watched:
    """Tells where a model of a run leaves what it knows, and keeps it in the run's record."""

    def __init__(self, job: Supervisor, potential: Potential) -> None:
        self._job, self._potential = job, potential
        self._lookout: Lookout | None = None
        self.left: list[Left] = []

    def __enter__(self) -> _Watched:
        return self

    def __call__(self) -> None:
        """Asked while the run goes on; the first time the run has made its folder ready."""
        from ..lookout import Lookout

        if self._lookout is None:
            self._lookout = Lookout(self._potential, self._job.outputs, self._job.progress.step or -1)
            self._lookout.start()
        self._tell(self._lookout.found())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._lookout is not None and (kind is None or issubclass(kind, DeltaError)):
            self._tell(self._lookout.finish())

    def _tell(self, found: Iterable[Left | str]) -> None:
        from ..server.record import LeftRange, note_left

        for item in found:
            complain(str(item))
            if not isinstance(item, str):
                self.left.append(item)
                term, error, limits = item.departure
                left = LeftRange(system=item.system, term=term, step=item.step, error=error, usual=limits.usual)
                note_left(self._job.directory, left)


class _Steps(Line):
    """Where i-PI is: all the time on a terminal, each tenth of the way in a file."""

    def __init__(self, progress: RunProgress) -> None:
        super().__init__(sys.stdout, every=0.5, elsewhere=0.0)
        self._told, self._began = progress.step, time.monotonic()

    def __call__(self, p: RunProgress) -> None:
        if not self.due() or (not self.terminal and p.step - self._told < max(1, p.total_steps // 10)):
            return
        self._told = p.step
        pieces = [f"step {p.step}/{p.total_steps}"]
        if p.picoseconds is not None:
            pieces.append(f"{p.picoseconds:.2f} ps")
        if p.ns_per_day is not None:
            pieces.append(f"{p.ns_per_day:.2f} ns/day")
        if p.restarted_drivers:
            pieces.append(f"driver restarts: {p.restarted_drivers}")
        pieces.append(duration(time.monotonic() - self._began))
        if p.rate:
            pieces.append(f"{duration((p.total_steps - p.step) / p.rate)} left")
        self.show("  ".join(pieces))
