"""A second pair of hands on the connection, for a driver that is killed.

A client that dies with unread bytes resets its connection, and i-PI 3.3.1 then hangs for good. Nothing in the driver
can help against SIGKILL, the out-of-memory killer or a crash in a library. So a small process holds the same socket;
when the driver is gone, however it went, it reads what was left unread and closes: i-PI sees an orderly end and hands
the request to another client.

Run as a program, with nothing but the standard library: `python -I -S guardian.py SOCKET_FD PIPE_FD`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress

LINGER = 2.0  # s


def leave(sock: socket.socket, linger: float = LINGER) -> None:
    """Close a connection in order: say that nothing more comes, read on (and throw away) until the other end closes
    too or `linger` seconds have passed, then close."""
    deadline = time.monotonic() + linger
    try:
        sock.shutdown(socket.SHUT_WR)
        while (wait := deadline - time.monotonic()) > 0:
            sock.settimeout(wait)
            if not sock.recv(65536):
                break
    except OSError:  # gone already, or silent: nothing left to be polite to
        pass
    finally:
        sock.close()


class Guardian:
    """The process that holds a connection of this one; it ends with the connection."""

    def __init__(self, sock: socket.socket) -> None:
        """Raises OSError where no process can be started."""
        import subprocess  # here, for the program starts faster without

        read, self._write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", os.path.abspath(__file__), str(sock.fileno()), str(read)],
                pass_fds=(sock.fileno(), read),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is for the driver
            )
        except BaseException:
            os.close(self._write)
            raise
        finally:
            os.close(read)

    def release(self) -> None:
        """The connection was left in order: let the guardian go."""
        from subprocess import TimeoutExpired

        with suppress(BrokenPipeError):  # it is gone before us
            os.write(self._write, b"\0")
        os.close(self._write)
        try:
            self._process.wait(2 * LINGER)
        except TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    sock, pipe = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not os.read(pipe, 1):  # the driver's end was closed without a word: it is dead
        leave(sock)


if __name__ == "__main__":
    main()
