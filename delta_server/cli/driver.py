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

from .options import DeviceOption, ManifestArg, ThreadsOption
from .process import Stop, complain, run, set_threads

if TYPE_CHECKING:
    from ..server.address import Address
    from ..server.daemon import Daemon
    from ..server.driver import Driver, Ending, Stats

log = logging.getLogger("delta-driver")

EPILOG = """\
Example: delta-driver models/h2o_benzene/manifest.yaml --socket unix:delta

Several servers at once: delta-driver models/h2o_benzene/manifest.yaml --socket unix:a --socket unix:b. Each ends on
its own, with a line that says why if it was not EXIT; the exit code is that of the first failure.

Exit codes: 0 the server sent EXIT · 1 internal error · 2 bad input · 3 no server before the deadline ·
4 the server closed without EXIT · 5 connection lost · 6 the geometry cannot be this molecule · 7 forces that are not
finite · 8 not i-PI's protocol · 130/143 stopped by SIGINT/SIGTERM
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=EPILOG)
def driver(
    manifest: ManifestArg,
    socket: Annotated[
        list[str] | None,
        typer.Option(
            help="unix:NAME, inet:HOST:PORT or shm:NAME (default: unix:delta). Repeated, it serves several servers "
            "at once: what they ask while the models are busy is evaluated as one batch.",
            metavar="ADDRESS",
        ),
    ] = None,
    input: Annotated[
        list[Path] | None,
        typer.Option(help="i-PI input to read the address from; may be repeated like --socket.", metavar="XML"),
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
        float, typer.Option(min=0.0, help="Wait this long for a server that is not there yet.", metavar="SECONDS")
    ] = 60.0,
    reconnect: Annotated[
        bool, typer.Option("--reconnect", help="When the server is gone, wait for the next one (up to --retry).")
    ] = False,
    no_geometry_check: Annotated[
        bool, typer.Option("--no-geometry-check", help="Accept any first geometry.")
    ] = False,
    sockets_prefix: Annotated[
        str | None, typer.Option(help="Prefix of unix sockets (default: i-PI's /tmp/ipi_).", metavar="PREFIX")
    ] = None,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="How much to say.")
    ] = "info",
    log_file: Annotated[Path | None, typer.Option(help="Log here instead of stderr.", metavar="FILE")] = None,
) -> None:
    """Serve the forces of a Δ-sGDML model to i-PI over its socket."""
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
    stop = Stop(second=lambda number: SystemExit(128 + number))
    began = time.perf_counter()
    potential = load_potential(manifest, threads=threads, device=device)
    line = _ProgressLine(enabled=sys.stderr.isatty() and log_file is None and log_level in ("debug", "info"))
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
            should_stop=stop,
            on_request=line if alone else lambda stats: None,
            evaluate=batcher,
        )
        for i, _ in enumerate(addresses, start=1)
    ]
    drivers[0].warm_up()
    gc.freeze()  # what is loaded stays: the collector need not look at it again and again
    log.info("%s", potential.describe())
    log.info("loaded in %.2f s; connecting to %s", time.perf_counter() - began, ", ".join(map(str, addresses)))
    if batcher is None:
        _serve_one(drivers[0], addresses[0], retry, reconnect, stop, line)
    else:
        lines = list(zip(addresses, drivers, strict=True))
        _serve_several(Daemon(lines, batcher, retry=retry, reconnect=reconnect), stop, line)


def _serve_one(
    server: Driver, address: Address, retry: float, reconnect: bool, stop: Stop, line: _ProgressLine
) -> None:
    from ..errors import ServerError
    from ..server.daemon import keep_serving
    from ..server.driver import Ending
    from ..server.wire import Interrupted

    try:
        ending = keep_serving(server, address, retry=retry, reconnect=reconnect, on_left=line.clear)
    except Interrupted:
        raise SystemExit(stop.exit_code) from None
    log.info("%s", server.stats.summary())
    if isinstance(ending, ServerError):
        raise ending
    if ending is Ending.STOPPED:
        log.info("stopped by a signal")
        raise SystemExit(stop.exit_code)
    log.info("EXIT received")


def _serve_several(daemon: Daemon, stop: Stop, line: _ProgressLine) -> None:
    import traceback

    from ..errors import DeltaError
    from ..server.driver import Ending

    codes: list[int] = []
    stopped = False

    def ended(address: Address, ending: Ending | Exception) -> None:
        nonlocal stopped
        line.clear()
        stopped = stopped or ending is Ending.STOPPED
        if not isinstance(ending, Exception):
            log.info("%s: %s", address, "EXIT received" if ending is Ending.EXIT else "stopped by a signal")
            return
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
        line.clear()
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


class _ProgressLine:
    """A line on a terminal that is rewritten twice a second; nothing in a batch job."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._shown_at = self._requests = self._kernel = self._wire = 0.0

    def __call__(self, stats: Stats, counted: str = "step") -> None:
        if not self.enabled:
            return
        now = time.perf_counter()
        n = stats.requests - self._requests
        if not self._shown_at or not n:
            self._remember(now, stats)
        if now - self._shown_at < 0.5:
            return
        rate = n / (now - self._shown_at)
        energies = "  ".join(f"{name} {value[-1]:.4f}" for name, value in stats.energies.items())
        text = (
            f"{counted} {stats.requests}  {rate:.0f}/s  kernel {1e3 * (stats.kernel - self._kernel) / n:.2f} ms  "
            f"wire {1e3 * (stats.wire - self._wire) / n:.2f} ms"
        ) + (f"  {energies} eV" if energies else "")
        self._remember(now, stats)
        from shutil import get_terminal_size

        sys.stderr.write("\r\x1b[K" + text[: get_terminal_size().columns - 1])
        sys.stderr.flush()

    def _remember(self, now: float, stats: Stats) -> None:
        self._shown_at, self._requests = now, stats.requests
        self._kernel, self._wire = stats.kernel, stats.wire

    def clear(self) -> None:
        if self.enabled and self._shown_at:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _configure_log(level: str, path: Path | None) -> None:
    """Log to a file or stderr. A full disk costs the log, never the run."""
    from ..errors import InputError

    try:
        handler = logging.FileHandler(path, encoding="utf-8") if path else logging.StreamHandler()
    except OSError as error:
        raise InputError(f"--log-file {path}: {error.strerror}") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    handler.handleError = _LogTrouble()  # type: ignore[method-assign]
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


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
