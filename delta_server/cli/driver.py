"""delta-driver: serve a manifest to i-PI."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import printable
from .help import App
from .options import DeviceOption, ManifestArg, ThreadsOption
from .process import Stop, complain, run, set_threads
from .progress import Line

if TYPE_CHECKING:
    from ..server.address import Address
    from ..server.daemon import Daemon
    from ..server.driver import Driver, Ending, Stats

log = logging.getLogger("delta-driver")

_LONGEST = 4.5  # s after a signal; what is owed has had its time then, and so has the server that should be left

EXIT_CODES = """\
\b
Exit codes:
  0  the server sent EXIT, or        5  connection lost
     closed between two requests     6  not this molecule, or too small a cell
  1  internal error                  7  forces that are not finite
  2  bad input                       8  not i-PI's protocol
  3  no server before the deadline   130, 143  stopped by SIGINT, SIGTERM
  4  the server closed before it had an answer
"""

app = App()


@app.command(epilog=EXIT_CODES)
def driver(
    manifest: ManifestArg,
    socket: Annotated[
        list[str] | None,
        typer.Option(
            help="unix:NAME, inet:HOST:PORT or shm:NAME. Repeated, it serves several servers at once: what they ask "
            "while the models are busy is evaluated as one batch.",
            metavar="ADDRESS",
            show_default="unix:delta",
        ),
    ] = None,
    input: Annotated[
        list[Path] | None,
        typer.Option(help="i-PI input (.xml) to read the address from; repeatable like --socket.", metavar="FILE"),
    ] = None,
    ffsocket: Annotated[
        str | None, typer.Option(help="Which <ffsocket> of --input, by name.", metavar="NAME")
    ] = None,
    part: Annotated[
        Literal["all", "fragments", "binding"],
        typer.Option(help="Terms to serve, for multiple time stepping and ring-polymer contraction."),
    ] = "all",
    no_extras: Annotated[
        bool, typer.Option("--no-extras", help="Send no decomposition along with the forces.")
    ] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also send expected force errors as extras: error_FRAGMENT, error_binding and error_total (RMSE of "
            "components, eV/Å). The models must be calibrated (delta-sgdml model calibrate).",
        ),
    ] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="Answer the first STATUS with READY (for pysisyphus).")
    ] = False,
    retry: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds to wait for a server that is not there yet.", metavar="SECONDS"),
    ] = 60.0,
    reconnect: Annotated[
        bool, typer.Option("--reconnect", help="When the server is gone, wait for the next one (up to --retry).")
    ] = False,
    no_geometry_check: Annotated[
        bool, typer.Option("--no-geometry-check", help="Accept any first geometry.")
    ] = False,
    sockets_prefix: Annotated[
        str | None,
        typer.Option(help="Prefix of unix sockets.", metavar="TEXT", show_default="i-PI's, /tmp/ipi_"),
    ] = None,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="How much to say.")
    ] = "info",
    log_file: Annotated[Path | None, typer.Option(help="Log here instead of stderr.")] = None,
) -> None:
    """Serve the forces of a Δ-sGDML model to i-PI over its socket.

    With several sockets each server ends on its own, with a line that says why if it was not EXIT; the exit code is
    that of the first failure.

    Example: delta-driver models/h2o_benzene/manifest.yaml --socket unix:delta

    Example: delta-driver models/h2o_benzene/manifest.yaml --socket unix:a --socket unix:b
    """
    set_threads(threads)
    _configure_log(log_level, log_file)

    from ..errors import InputError
    from ..loading import load_potential
    from ..server.batcher import Batcher, Evaluator
    from ..server.daemon import Daemon
    from ..server.driver import Driver

    if uncertainty and no_extras:
        raise InputError("--uncertainty goes with extras: leave out --no-extras")
    addresses = _addresses(socket or [], input or [], ffsocket, sockets_prefix)
    alone = len(addresses) == 1
    stop = Stop(second=lambda number: SystemExit(128 + number), within=_LONGEST)
    stop.at_once = True  # nobody waits for anything yet
    began = time.perf_counter()
    potential = load_potential(manifest, threads=threads, device=device, part=part)
    line = _Requests(sys.stderr.isatty() and log_file is None and log_level in ("debug", "info"))
    batcher = None if alone else Batcher(Evaluator(potential, part, uncertainty))
    drivers = [
        Driver(
            potential,
            part=part,
            extras=not no_extras,
            uncertainty=uncertainty,
            ready=ready,
            check_geometry=not no_geometry_check,
            label="" if alone else f"-{i}",
            wrapped=address.wrapped,
            should_stop=stop,
            on_request=line if alone else lambda stats: None,
            evaluate=batcher,
        )
        for i, address in enumerate(addresses, start=1)
    ]
    if part != "all" and potential.unbiased is not potential:
        log.warning("--part %s leaves out the bias of %s", part, manifest)
    drivers[0].warm_up()
    gc.freeze()  # what is loaded stays: the collector need not look at it again and again
    log.info("%s", potential.describe())
    stop.at_once = False
    log.info("loaded in %.2f s; connecting to %s", time.perf_counter() - began, ", ".join(map(str, addresses)))
    if batcher is None:
        _serve_one(drivers[0], addresses[0], retry, reconnect, stop, line)
    else:
        lines = list(zip(addresses, drivers, strict=True))
        _serve_several(Daemon(lines, batcher, retry=retry, reconnect=reconnect), stop, line)


def _serve_one(server: Driver, address: Address, retry: float, reconnect: bool, stop: Stop, line: _Requests) -> None:
    from ..errors import ServerError
    from ..server.daemon import keep_serving
    from ..server.driver import Ending
    from ..server.wire import Interrupted

    try:
        ending = keep_serving(server, address, retry=retry, reconnect=reconnect, on_left=line.end)
    except Interrupted:
        raise SystemExit(stop.exit_code) from None
    log.info("%s", server.stats.summary())
    if isinstance(ending, ServerError):
        raise ending
    log.info(ending.value)
    if ending is Ending.STOPPED:
        raise SystemExit(stop.exit_code)


def _serve_several(daemon: Daemon, stop: Stop, line: _Requests) -> None:
    import traceback

    from ..errors import DeltaError, InputError
    from ..server.driver import Ending

    codes: list[int] = []
    stopped = False

    def ended(address: Address, ending: Ending | Exception) -> None:
        nonlocal stopped
        line.end()
        stopped = stopped or ending is Ending.STOPPED
        if not isinstance(ending, Exception):
            log.info("%s: %s", address, ending.value)
            return
        if isinstance(ending, MemoryError):
            ending = InputError(f"does not fit into memory: {ending}")
        if not isinstance(ending, DeltaError):
            traceback.print_exception(ending)
        codes.append(ending.exit_code if isinstance(ending, DeltaError) else 1)
        reason = str(ending)
        complain(reason if reason.startswith(str(address)) else f"{address}: {reason}")

    def tick() -> None:
        line(daemon.stats, f"{daemon.serving} of {len(daemon.lines)} servers  request")

    try:
        daemon.run(ended, tick)
    except SystemExit as second:
        # Threads may be in compiled code, where they do not survive that the interpreter is taken down.
        line.end()
        os._exit(int(second.code or 0))
    log.info("%s", daemon.summary())
    if codes or stopped:
        raise SystemExit(codes[0] if codes else stop.exit_code)


def _addresses(
    sockets: Sequence[str], inputs: Sequence[Path], ffsocket: str | None, prefix: str | None
) -> list[Address]:
    from ..errors import InputError
    from ..ipi.input import DEFAULT_PREFIX
    from ..server.address import address_from_input, parse_address

    if sockets and inputs:
        raise InputError("give --socket or --input, not both")
    if inputs:
        return [address_from_input(path, ffsocket, prefix) for path in inputs]
    if ffsocket:
        raise InputError("--ffsocket goes with --input")
    return [parse_address(text, prefix or DEFAULT_PREFIX) for text in sockets or ["unix:delta"]]


class _Requests(Line):
    """Requests and times of the models and of the wire since the last text, twice a second."""

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self._enabled = enabled
        self._before: tuple[float, int, float, float] | None = None

    def __call__(self, stats: Stats, counted: str = "step") -> None:
        if not self._enabled:
            return
        now = time.perf_counter(), stats.requests, stats.kernel, stats.wire
        if self._before is None or stats.requests == self._before[1]:
            self._before = now
        if now[0] - self._before[0] < 0.5:
            return
        seconds, n, kernel, wire = (a - b for a, b in zip(now, self._before, strict=True))
        self._before = now
        energies = "  ".join(f"{name} {value[-1]:.4f}" for name, value in stats.energies.items())
        self.show(
            f"{counted} {stats.requests}  {n / seconds:.0f}/s  kernel {1e3 * kernel / n:.2f} ms  "
            f"wire {1e3 * wire / n:.2f} ms" + (f"  {energies} eV" if energies else "")
        )


def _configure_log(level: str, path: Path | None) -> None:
    """Log to a file or stderr. A full disk costs the log, never the run."""
    from ..errors import InputError

    try:
        handler = logging.FileHandler(path, encoding="utf-8") if path else logging.StreamHandler()
    except OSError as error:
        raise InputError(f"--log-file {path}: {error.strerror}") from None
    handler.setFormatter(_Printable("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    handler.handleError = _LogTrouble()  # type: ignore[method-assign]
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _Printable(logging.Formatter):
    """Records of one line, whatever the names in them hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))


class _LogTrouble:
    """Says once that the log cannot be written, and no more."""

    def __init__(self) -> None:
        self.said = False

    def __call__(self, record: logging.LogRecord) -> None:
        if not self.said:
            self.said = True
            error = sys.exc_info()[1]
            try:
                sys.stderr.write(f"delta-driver: the log cannot be written ({error}); going on without\n")
            except OSError:  # stderr is on the same full disk
                return


def main() -> None:
    sys.argv[1:] = _with_default_socket(sys.argv[1:])
    run(app)


def _with_default_socket(arguments: list[str]) -> list[str]:
    """`--socket` without an address means unix:delta."""
    for i, argument in enumerate(arguments):
        if argument == "--socket" and (i + 1 == len(arguments) or arguments[i + 1].startswith("--")):
            return [*arguments[: i + 1], "unix:delta", *arguments[i + 1 :]]
    return arguments


if __name__ == "__main__":
    main()
