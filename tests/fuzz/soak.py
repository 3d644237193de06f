"""One daemon, many sockets, very many requests: its memory and its descriptors have to stay where they are.

python tests/fuzz/soak.py --requests 1000000 --sockets 60
"""

from __future__ import annotations

import argparse
import selectors
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parents[1])]

from peer import header, listening, posdata  # noqa: E402

from delta_server.units import BOHR  # noqa: E402
from fuzz.files import POSITIONS, made_dimer  # noqa: E402

REQUEST = posdata(POSITIONS / BOHR) + header("GETFORCE")


def resident(pid: int) -> tuple[float, int]:
    """MB of memory, and open descriptors."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return 4096 * pages / 1e6, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def soak(requests: int, sockets: int) -> tuple[list[tuple[float, int]], int]:
    """Memory and descriptors at ten moments between the first tenth and the end; the daemon's exit code."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="soak")))
        manifest = made_dimer(folder)
        peers = [stack.enter_context(listening(folder / str(i))) for i in range(sockets)]
        options = [word for peer in peers for word in ("--socket", peer.address)]
        command = [sys.executable, "-m", "delta_server.cli.driver", str(manifest), "--log-level", "error", *options]
        daemon = subprocess.Popen(command)
        stack.callback(daemon.kill)
        selector = stack.enter_context(selectors.DefaultSelector())
        for peer in peers:
            connection = peer.accept()
            connection.handshake()
            connection.send(REQUEST)
            answer = connection.reply(len(POSITIONS))
            length = 12 + 8 + 4 + answer.forces.nbytes + 72 + 4 + len(answer.extras[0])
            connection.send(REQUEST)
            selector.register(connection.socket, selectors.EVENT_READ, [0])
        done, seen = sockets, [resident(daemon.pid)]
        while done < requests:
            for key, _ in selector.select(20):
                key.data[0] += len(key.fileobj.recv(65536))
                if key.data[0] >= length:
                    key.data[0] -= length
                    key.fileobj.sendall(REQUEST)
                    done += 1
                    if done % (requests // 10) == 0:
                        seen.append(resident(daemon.pid))
        for peer in peers:
            peer.connections[0].socket.sendall(header("EXIT"))
        return seen, daemon.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--sockets", type=int, default=60)
    asked = parser.parse_args()
    began = time.monotonic()
    seen, code = soak(asked.requests, asked.sockets)
    sys.stdout.write(f"{asked.requests} requests over {asked.sockets} sockets in {time.monotonic() - began:.0f} s\n")
    for memory, descriptors in seen:
        sys.stdout.write(f"{memory:.1f} MB, {descriptors} descriptors\n")
    flat = seen[-1][0] < 1.02 * seen[1][0] + 1 and len({descriptors for _, descriptors in seen}) == 1
    raise SystemExit(code or not flat)


if __name__ == "__main__":
    main()
