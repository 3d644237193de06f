"""The package's commands in processes that are forked, not started: the interpreter and the imports, most of a
short command's time, are there already.

Such a process has its own memory, folder, environment, output, exit code and end. What an interpreter does before
`main` (console script, PYTHONPATH) is not tried: a test of that starts a real one.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import delta_server

COMMANDS = {"delta-sgdml": "delta_server.cli.main", "delta-driver": "delta_server.cli.driver"}
BESIDES = ("ase.io", "matplotlib.figure", "networkx", "scipy.integrate", "scipy.optimize", "yaml")


def run(
    command: Sequence[object], folder: Path | None = None, timeout: float = 200, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run with nothing on standard input and its output captured.

    Where `env` is given, or the command is neither delta-sgdml nor delta-driver, it is just that.
    """
    arguments = [str(argument) for argument in command]
    if env is not None or Path(arguments[0]).name not in COMMANDS:
        return subprocess.run(
            arguments, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
    with TemporaryDirectory() as outputs:
        paths = [Path(outputs, name) for name in ("out", "err")]
        task = [str(folder or Path.cwd()), arguments, dict(os.environ), *map(str, paths)]
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], timeout)[0]:
            _server.cache_clear()
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()
            raise subprocess.TimeoutExpired(arguments, timeout)
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, *(path.read_text("utf-8") for path in paths))


@cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    atexit.register(server.communicate)
    return server


def serve() -> None:
    """Fork a process for each line of stdin, and say how it ended."""
    for module in pkgutil.walk_packages(delta_server.__path__, "delta_server."):
        import_module(module.name)
    for name in BESIDES:
        import_module(name)
    gc.freeze()  # or every end of a process would go through all that was imported
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            become(*json.loads(line))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


def become(folder: str, arguments: list[str], environment: dict[str, str], out: str, err: str) -> None:
    """What a shell and an interpreter do, then the command; it ends with SystemExit."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate((os.devnull, out, err)):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    sys.argv = arguments
    import_module(COMMANDS[Path(arguments[0]).name]).main()


if __name__ == "__main__":
    serve()
