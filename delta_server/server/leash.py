"""A child that is asked to end when its parent is gone, however it went.

i-PI lives in a session of its own, so that Ctrl-C reaches its supervisor alone. A supervisor that is killed would
leave it running, unwatched. The kernel (Linux) sends it SIGTERM instead, upon which it ends softly.

Run as a program, with nothing but the standard library: `python -I -S leash.py PARENT_PID COMMAND…`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>; it survives exec


def leashed(command: list[str]) -> list[str]:
    """The command that runs `command` on a leash of this process."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), *command]


def main() -> None:
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):  # it died meanwhile
        os.kill(os.getpid(), signal.SIGTERM)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
