"""The package's commands, and i-PI, in processes that are forked, not started: the interpreter and the imports, most
of a short command's time, are there already.

Such a process has its own memory, folder, environment, command line, output, signals, exit code and end. So have i-PI
and the commands that it starts itself. What an interpreter does before `main` (console script, site) is not tried: a
test of that starts a real one.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import multiprocessing.process
import multiprocessing.util
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TextIO

import ase.config
import typer.main
from ipi.utils.softexit import softexit

import delta_server
from delta_server.cli import driver, main
from delta_server.server import leash

COMMANDS = {
    "delta-sgdml": "delta_server.cli.main",
    "delta-driver": "delta_server.cli.driver",
    "i-pi": "ipi.engine.simulation",
}
BESIDES = (
    "ase.io", "ase.optimize", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
    "matplotlib.figure", "networkx", "scipy.integrate", "scipy.optimize", "scipy.stats", "tblite.ase",
    "typer._adapters", "yaml", COMMANDS["i-pi"],
)  # fmt: skip
ADDRESS = "WARM_SERVER"  # the variable of the environment that says where it is
INHERITED: list[object] = []  # of another process; it is not to be closed
STARTED = multiprocessing.util.spawnv_passfds  # type: ignore[attr-defined]


class Forked:
    """A child of the server's, with what is needed of a Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ended = os.pidfd_open(self.pid)
            try:
                select.select([ended], [], [], timeout)
            finally:
                os.close(ended)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    command: Sequence[object],
    folder: Path | None,
    out: Path,
    err: Path | None = None,
    env: dict[str, str] | None = None,
    session: bool = False,
) -> Forked:
    """Fork a process for one of COMMANDS, with an empty standard input. out, err: files for what it prints, or one
    for both. session: whether it leads a session, and so a group, of its own."""
    words = [*map(str, command)]
    task = [session, str(folder or Path.cwd()), words, env or dict(os.environ), str(out), str(err or out)]
    for path in task[-2:]:
        open(path, "wb").close()
    return Forked(_ask(task))


def run(
    command: Sequence[object], folder: Path | None = None, timeout: float = 200, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run with nothing on standard input and its output captured.

    Where `env` is given, or the command is none of COMMANDS, it is just that.
    """
    arguments = [str(argument) for argument in command]
    if env is not None or Path(arguments[0]).name not in COMMANDS:
        return subprocess.run(
            arguments, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
    with TemporaryDirectory() as outputs:
        paths = [Path(outputs, name) for name in ("out", "err")]
        process = start(arguments, folder, *paths)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, *(path.read_text("utf-8") for path in paths))


def _ask(task: Any) -> Any:
    """What the server says to it, see `serve`."""
    stream = _server()
    stream.write(json.dumps(task) + "\n")
    stream.flush()
    return json.loads(stream.readline())


@cache
def _server() -> TextIO:
    if ADDRESS not in os.environ:
        share()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[ADDRESS])
    return connection.makefile("rw")


def share() -> None:
    """Start a server for this process and its children, for as long as it lives."""
    folder, listener = TemporaryDirectory(), socket.socket(socket.AF_UNIX)
    os.environ[ADDRESS] = f"{folder.name}/warm"
    listener.bind(os.environ[ADDRESS])
    listener.listen()
    command = [sys.executable, __file__, "-" * 2000, str(listener.fileno())]  # room for the command lines of others
    server = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True)
    listener.close()
    atexit.register(folder.cleanup)
    atexit.register(server.communicate)


def serve(listener: socket.socket) -> None:
    """For each task of a line of a connection fork a process and say its number, or, of such a number, how it ended
    (null: it has not); until stdin ends."""
    for module in pkgutil.walk_packages(delta_server.__path__, "delta_server."):
        import_module(module.name)
    for name in BESIDES:
        import_module(name)
    typer.main.get_command = cache(typer.main.get_command)
    for app in (main.app, driver.app):
        typer.main.get_command(app)  # their commands and options, from annotations: 60 ms
    spare_collections()
    streams: dict[socket.socket, TextIO] = {}
    while 0 not in (ready := select.select([0, listener, *streams], [], [])[0]):
        for connection in ready:
            if connection is listener:
                new = listener.accept()[0]
                streams[new] = new.makefile("rw")
            elif line := streams[connection].readline():
                said = answer(json.loads(line), (listener, *streams))
                streams[connection].write(json.dumps(said) + "\n")
                streams[connection].flush()
            else:
                streams.pop(connection).close()


def answer(task: Any, own: Sequence[socket.socket]) -> int | None:
    """See `serve`. own: what is not the new process' concern."""
    if isinstance(task, int):
        ended, status = os.waitpid(task, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    if not (pid := os.fork()):
        session, folder, arguments, environment, *outputs = task
        if session:
            os.setsid()
        os.chdir(folder)
        for number, name in enumerate((os.devnull, *outputs)):
            os.dup2(os.open(name, os.O_RDWR | os.O_APPEND), number)
        for connection in own:
            os.close(connection.detach())
        end_with(partial(become, arguments, environment))
    return pid


def spare_collections() -> None:
    """Have the garbage collector leave alone what is there, and come less often: it took a twentieth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def become(arguments: list[str], environment: dict[str, str]) -> None:
    """What a shell and an interpreter do, then the command; it ends with SystemExit."""
    os.environ.clear()
    os.environ.update(environment)
    show(arguments)
    vars(ase.config.cfg).update(vars(ase.config.Config.read()))  # it was read when ase was imported
    subprocess.Popen = Popen  # type: ignore[misc]
    multiprocessing.util.spawnv_passfds = spawn  # type: ignore[attr-defined]
    at_once = bool(environment.get("PYTHONUNBUFFERED"))
    sys.stdin, sys.stdout, sys.stderr = stream(0, "rb"), stream(1, "wb", at_once), stream(2, "wb", at_once)
    sys.stderr.reconfigure(line_buffering=True, errors="backslashreplace")
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = arguments
    name = Path(arguments[0]).name
    if name == "i-pi":
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        import_module(COMMANDS[name]).main()


def stream(number: int, mode: str, at_once: bool = False) -> TextIOWrapper:
    return TextIOWrapper(open(number, mode, buffering=0 if at_once else -1, closefd=False), write_through=at_once)


def show(arguments: list[str]) -> None:
    """Have them in /proc/PID/cmdline, as far as there is room."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])  # arg_start, arg_end
    text = b"".join(argument.encode() + b"\0" for argument in [sys.executable, *arguments])
    ctypes.memmove(begin, text[: end - begin].ljust(end - begin, b"\0"), end - begin)


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """As the one of subprocess, but COMMANDS are forked, on their leash or without."""

    def __init__(self, args: Sequence[str | os.PathLike[str]], **options: Any) -> None:
        words = [os.fspath(word) for word in args]
        leashed = words[3:4] == [os.path.abspath(leash.__file__)]
        command = words[6:] if leashed else words[1:]  # without the interpreter
        if Path([*command, ""][0]).name in COMMANDS:
            options["preexec_fn"] = lambda: self._replace(words[3:5] * leashed, command, options)
        super().__init__(words, **options)

    def _replace(self, leashed: list[str], arguments: list[str], options: dict[str, Any]) -> NoReturn:
        """In the child, in place of exec."""
        forget(options.get("pass_fds", ()))
        if leashed:
            sys.argv, os.execvp = [*leashed, *arguments], lambda *ignored: None  # type: ignore[assignment]
            leash.main()
        end_with(lambda: become(arguments, dict(options.get("env") or os.environ)))


def spawn(path: bytes, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
    """As multiprocessing's for what it spawns, forked: a worker, or the one that tidies up after them.

    Where numba's OpenMP is at work nothing is: it ends what was forked from it.
    """
    if "numba.np.ufunc.omppool" in sys.modules:
        return int(STARTED(path, arguments, descriptors))
    pid = os.fork()
    if not pid:
        INHERITED.append(multiprocessing.process._children)  # type: ignore[attr-defined]
        multiprocessing.process._children = set()  # type: ignore[attr-defined]
        forget(descriptors)
        show(arguments[1:])
        code = arguments.index("-c") + 1
        sys.stdin, sys.argv = stream(0, "rb"), ["-c", *arguments[code + 1 :]]
        end_with(lambda: exec(arguments[code], {}))
    return pid


def forget(descriptors: Sequence[int]) -> None:
    """What an exec makes a process forget: open files but these, handlers of signals, what to do at its end."""
    gc.freeze()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in descriptors:
            with suppress(OSError):
                os.close(descriptor)
    atexit._clear()
    atexit.register(softexit._finish)  # of i-PI: else it ends while another thread writes its RESTART
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    multiprocessing.util._finalizer_registry.clear()  # type: ignore[attr-defined]


def end_with(main: Callable[[], object]) -> NoReturn:
    """Call it and end, as an interpreter does."""
    code: Any = 1
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for output in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # ValueError: it is closed
                output.flush()
    finally:
        os._exit(code if isinstance(code, int) else 1 if code else 0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[2])))
