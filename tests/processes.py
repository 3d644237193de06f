"""The real `delta-driver` and the real i-PI as child processes. Every wait has a deadline."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import warm
from ase.data import chemical_symbols

BIN = Path(sys.executable).parent
DEADLINE = 60.0  # s; a hang takes this long to be noticed, nothing else does

_TICK = os.sysconf("SC_CLK_TCK")
_LOG_LINE = re.compile(r"\d\d:\d\d:\d\d delta-driver: ")


def wait_until(condition: Callable[[], bool], what: str, pause: float = 0.005) -> None:
    """Wait for something that nobody announces. Fails at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {DEADLINE:g} s for {what}")
        time.sleep(pause)


class Process:
    """A child process; what it says, on stdout and stderr, is in one file.

    It is forked where `warm` can do that, unless it is to be started like a user's.
    """

    def __init__(self, command: Sequence[str], folder: Path, log: str, *, started: bool = False) -> None:
        self.folder, self._log = folder, folder / log
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # i-PI's words when it says them
        self._process: warm.Forked | subprocess.Popen[bytes]
        if Path(command[0]).name in warm.COMMANDS and not started:
            self._process = warm.start(command, folder, self._log, env=environment)
            return
        with self._log.open("wb") as file:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def cpu(self) -> float:
        """CPU time used so far, s; also of a process that has ended and was not waited for."""
        return (int(self._stat[11]) + int(self._stat[12])) / _TICK

    @property
    def _stat(self) -> list[str]:
        """From the state on, see proc(5)."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()

    @property
    def memory(self) -> int:
        """Bytes of address space."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[0]) * resource.getpagesize()

    @property
    def running(self) -> bool:
        """Asked without reaping, so that `cpu` can still be read."""
        return self._stat[0] not in "ZX"

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the process has said `text`."""
        wait_until(lambda: self.said.count(text) >= count or not self.running, repr(text))
        assert self.said.count(text) >= count, self.said

    def wait_busy(self, since: float) -> None:
        """Wait until it computes: until it has used CPU time beyond what `cpu` was."""
        wait_until(lambda: self.cpu > since + 0.04, f"process {self.pid} to use its CPU")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code; negative after a signal that nobody handled."""
        try:
            return self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {DEADLINE:g} s; it said:\n{self.said}") from None

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Driver(Process):
    """`delta-driver` with a manifest, a socket (if not among the options) and options."""

    def __init__(
        self,
        manifest: Path,
        address: str | None,
        *options: str,
        folder: Path,
        log: str,
        wrapper: Sequence[str] = (),
        started: bool = False,
    ) -> None:
        """wrapper: the start of the command line, for something that runs another command."""
        command = [*wrapper, str(BIN / "delta-driver"), str(manifest)]
        command += [*(["--socket", address] if address else []), *options]
        super().__init__(command, folder, log, started=started)

    def ended(self, *codes: int) -> list[str]:
        """Wait for an ending with one of the codes; the lines that it said beside its log, no traceback in them."""
        code = self.wait()
        assert code in codes, f"exit code {code}, expected {codes}; it said:\n{self.said}"
        assert "Traceback" not in self.said, self.said
        return [line for line in self.said.splitlines() if not _LOG_LINE.match(line)]

    def failed(self, *codes: int) -> str:
        """Wait for a failure with one of the codes; the one line that gives the reason."""
        lines = self.ended(*codes)
        assert len(lines) == 1, f"expected one line that says why, found {len(lines)}:\n{self.said}"
        return lines[0]

    def finished(self, code: int = 0) -> None:
        """Wait for an ending that is no failure: nothing but log lines."""
        assert self.ended(code) == [], self.said


INPUT = """\
<simulation verbosity='medium' safe_stride='1'>
  <output prefix='run'>
    <properties stride='1' filename='out'> [ step, potential{{electronvolt}} ] </properties>
    <trajectory stride='1' filename='pos' format='xyz' cell_units='angstrom'> positions{{angstrom}} </trajectory>
    {outputs}
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 1 </seed> </prng>
  <ffsocket name='delta' pbc='False' {socket}>
    <address> {address} </address> <latency> 1e-3 </latency> {options}
  </ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='xyz'> init.xyz </file> <velocities mode='thermal' units='kelvin'> 10 </velocities>
    </initialize>
    <forces> <force forcefield='delta'/> </forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 0.1 </timestep> </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> 10 </temperature> </ensemble>
  </system>
</simulation>
"""


class Ipi(Process):
    """i-PI running a few steps; sockets are at `prefix` + ``delta``."""

    def __init__(
        self,
        numbers: npt.ArrayLike,
        positions: npt.ArrayLike,
        *,
        folder: Path,
        prefix: str,
        steps: int = 3,
        beads: int = 1,
        mode: str = "unix",
        socket: str = "",
        options: str = "<timeout> 600 </timeout>",
        unit: str = "angstrom",
        extras: Sequence[str] = (),
        started: bool = False,
    ) -> None:
        """positions: (N, 3) in `unit`. socket, options: more attributes and elements of <ffsocket>."""
        self.steps, self.beads = steps, beads
        self.address = f"{mode}:{prefix}delta"
        atoms = zip(np.asarray(numbers), np.asarray(positions), strict=True)
        lines = [f"{chemical_symbols[z]} {x:.12f} {y:.12f} {w:.12f}" for z, (x, y, w) in atoms]
        comment = f"# CELL(abcABC): 300 300 300 90 90 90 cell{{angstrom}} positions{{{unit}}}"
        (folder / "init.xyz").write_text("\n".join([str(len(lines)), comment, *lines, ""]))
        outputs = "".join(f"<trajectory filename='{key}' extra_type='{key}'> extras </trajectory>" for key in extras)
        (folder / "input.xml").write_text(
            INPUT.format(
                outputs=outputs,
                steps=steps,
                socket=f"mode='{mode}' {socket}",
                address="delta",
                options=options,
                beads=beads,
            )
        )
        super().__init__([str(BIN / "i-pi"), "-S", prefix, "input.xml"], folder, "i-pi.log", started=started)

    def finished(self) -> None:
        """Wait for the end of the run: every step must be in the output and in the trajectory of every bead."""
        assert self.wait() == 0, self.said
        rows = np.atleast_2d(np.loadtxt(self.folder / "run.out"))
        assert rows[:, 0].tolist() == list(range(self.steps + 1)), self.said
        assert np.isfinite(rows).all()
        for bead in range(self.beads):
            text = (self.folder / f"run.pos_{bead}.xyz").read_text()
            found = [int(step) for step in re.findall(r"Step:\s+(\d+)", text)]
            assert found == list(range(self.steps + 1)), self.said

    def stopped(self) -> None:
        """End the run from outside: it must leave a RESTART."""
        self.send(signal.SIGTERM)
        assert self.wait() == 0, self.said
        assert (self.folder / "RESTART").stat().st_size > 0
