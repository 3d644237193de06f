"""Forces in i-PI's own process: an input whose ``<ffsocket>`` become ``<ffdirect>``, and back.

An ``<ffdirect>`` evaluates a batch when it is full, and waits for ever for one that is not (i-PI 3.3): how many
structures are asked for at once must be known beforehand. Dynamics asks for all beads of a system together, and
systems that are moved by threads of their own ask together, each once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement

from ..errors import InputError
from .input import is_wrapped

PLUG_IN = "ipi_pes.py"
"""The name of this project's plug-in for i-PI, by which its ``<ffdirect>`` are known."""

_DYNAMICS = ("nve", "nvt", "npt", "nst")  # one evaluation of all beads for each step
_SMOTIONS = ("dummy", "remd", "metad")  # ask for no forces themselves
_KEPT = ("latency", "offset")
_TIMEOUT = 600  # s, of a socket that an <ffdirect> becomes


def batch_sizes(root: Element) -> dict[str, int]:
    """How many structures are asked for at once of each ``<ffsocket>``, by its name.

    Raises InputError, in a few words, where that cannot be known, or drivers have to be reached through the socket.
    """
    sockets = root.findall("ffsocket")
    if len(sockets) < len(list(root.iter("ffsocket"))):
        raise InputError("an <ffsocket> within another force field")
    for socket in sockets:
        if socket.get("mode", "inet").strip() == "inet":
            raise InputError("mode='inet': drivers may connect from elsewhere")
        if socket.find("activelist") is not None:
            raise InputError("an <activelist>, which i-PI's <ffdirect> ignores")
    systems = list(_systems(root))
    return {name: _batch(root, systems, name) for name in (socket.get("name", "").strip() for socket in sockets)}


def _systems(root: Element) -> Iterator[Element]:
    """Every system, those of templates too, as often as they are made."""
    yield from root.iterfind("system")
    for template in root.iterfind("system_template"):
        for _ in template.iterfind("instance"):
            yield from template.iterfind("template/system")


def _batch(root: Element, systems: list[Element], name: str) -> int:
    counts = [_requests(system, name) for system in systems]
    together = [n for some in counts for n in some]
    if len(systems) == 1 and max(together, default=1) == 1:
        return 1
    for system in systems:
        motion, dynamics = system.find("motion"), system.find("motion/dynamics")
        mode = "" if motion is None else motion.get("mode", "").strip()
        if mode != "dynamics" or dynamics is None or dynamics.get("mode", "nve").strip() not in _DYNAMICS:
            raise InputError("more than one structure, and a motion that does not ask for all of them at once")
    if len(systems) == 1 or root.get("threading", "True").strip().lower() == "false":
        return math.gcd(*together)  # one system after the other, all beads of each at once
    smotion = root.find("smotion")
    same = {" ".join((system.findtext("motion/dynamics/nmts") or "").split()) for system in systems}
    alike = all(len(some) == 1 for some in counts) and len(same) == 1
    if not alike or (smotion is not None and smotion.get("mode", "").strip() not in _SMOTIONS):
        raise InputError("systems that do not ask for their forces together")
    return sum(together)


def _requests(system: Element, name: str) -> list[int]:
    """How many beads each ``<force>`` of a force field in this system is computed on."""
    ring = system.find("beads")
    ring = system.find("initialize") if ring is None else ring
    beads = _number("1" if ring is None else ring.get("nbeads", "1"))
    forces = [force for force in system.iter("force") if force.get("forcefield", "").strip() == name]
    if len(forces) > len([f for f in system.iterfind("forces/force") if f.get("forcefield", "").strip() == name]):
        raise InputError("forces that are a bias")
    contracted = [_number(force.get("nbeads", "0")) for force in forces]
    return [n if 0 < n < beads else beads for n in contracted]


def _number(text: str) -> int:
    if not text.strip().isdigit():
        raise InputError(f"{text.strip()!r} beads")
    return int(text)


def make_direct(
    root: Element, sizes: Mapping[str, int], plug_in: Path, parameters: Callable[[str], Mapping[str, object]]
) -> None:
    """Put an ``<ffdirect>`` in the place of each ``<ffsocket>``. sizes: of `batch_sizes`; parameters: of the plug-in,
    by the name of the force field."""
    for i, socket in enumerate(root):
        if socket.tag == "ffsocket":
            name = socket.get("name", "").strip()
            direct = Element("ffdirect", name=name, pbc=socket.get("pbc", "False"))
            _add(direct, pes="custom", pes_path=plug_in, batch_size=sizes[name])
            told = {**parameters(name), "wrapped": is_wrapped(socket)}
            _add(direct, parameters="{" + ", ".join(f"{k}: {v}" for k, v in told.items()) + "}")
            direct.extend(element for element in socket if element.tag in _KEPT)
            root[i] = direct


def make_sockets(root: Element) -> bool:
    """Put an ``<ffsocket>`` in the place of each ``<ffdirect>`` of this project's plug-in; whether there was one."""
    changed = False
    for i, direct in enumerate(root):
        path, parameters = direct.findtext("pes_path") or "", direct.findtext("parameters") or ""
        if direct.tag == "ffdirect" and Path(path.strip()).name == PLUG_IN and "uncertainty" not in parameters:
            name = direct.get("name", "").strip()
            socket = Element("ffsocket", name=name, mode="unix", pbc=direct.get("pbc", "False"))
            _add(socket, address="delta_" + re.sub(r"\W+", "_", name), timeout=_TIMEOUT)
            if (size := (direct.findtext("batch_size") or "1").strip()) != "1":
                socket.set("matching", "any")
                _add(socket, batch_size=size)
            socket.extend(element for element in direct if element.tag in _KEPT)
            root[i], changed = socket, True
    return changed


def _add(element: Element, **children: object) -> None:
    for tag, text in children.items():
        SubElement(element, tag).text = f" {text} "


def as_parameter(path: Path) -> str:
    """A path as i-PI's ``<parameters>`` can hold it, in which commas and braces mean something."""
    text = str(path)
    return text if re.fullmatch(r"[\w/.+@=~-]+", text) else f"file:{quote(text)}"
