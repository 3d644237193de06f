"""Where the forces of a run are computed: in i-PI's own process, or by drivers on its sockets."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element

from ...errors import InputError
from ...ipi.direct import PLUG_IN, as_parameter, batch_sizes, make_direct

Transport = Literal["auto", "direct", "socket"]

_LEAST = (3, 3)  # i-PI whose <ffdirect> takes batches
_PLUG_IN_PATH = Path(__file__).parents[1] / PLUG_IN


class Forces(NamedTuple):
    """batches: structures in one evaluation by force field, in i-PI's process; None: drivers on sockets, and why."""

    batches: Mapping[str, int] | None
    why: str

    def __str__(self) -> str:
        """The first line of a run's log."""
        where = "through the socket" if self.batches is None else "in i-PI's own process"
        return f"delta-sgdml: forces {where} ({self.why})"

    def resolved(self, root: Element, manifest: Path, threads: int) -> None:
        """Put the plug-in in the place of the sockets of an input, where forces are computed by it."""

        def parameters(name: str) -> dict[str, object]:
            return {"manifest": as_parameter(manifest), "part": part_of(name), "threads": threads}

        if self.batches is not None:
            make_direct(root, self.batches, _PLUG_IN_PATH, parameters)


def part_of(name: str) -> str:
    """The part of the potential that a force field of this name is served."""
    return name if name in ("fragments", "binding") else "all"


def choose(transport: Transport, path: Path, root: Element, drivers: int) -> Forces:
    """What a run of this input takes. path: for messages. Raises InputError where it cannot be what was asked for."""
    if transport == "socket":
        return Forces(None, "--transport socket")
    try:
        _refuse_old_ipi()
        if drivers > 1:
            raise InputError(f"--drivers {drivers}")
        return Forces(batch_sizes(root), f"--transport {transport}")
    except InputError as error:
        if transport == "direct":
            raise InputError(f"{path}: --transport direct is not for {error}; leave it out") from None
        return Forces(None, str(error))


def _refuse_old_ipi() -> None:
    try:
        found = version("ipi")
    except PackageNotFoundError:
        return  # starting it says so
    if tuple(int(number) for number in found.split(".")[:2] if number.isdigit()) < _LEAST:
        raise InputError(f"i-PI {found}, older than {'.'.join(map(str, _LEAST))}")
