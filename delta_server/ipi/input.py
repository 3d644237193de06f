"""Reading i-PI's input files: what is run, for how long, and where its force fields are served."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from ..errors import InputError

DEFAULT_PREFIX = "/tmp/ipi_"
"""What i-PI puts before the name of a unix socket."""

_MAX_INPUT_BYTES = 16 * 2**20
_HILLS = re.compile(r"\bhills\s*:\s*([^\s,}]+)")  # in an <ffdirect>'s <parameters>
_START = re.compile(r"\bstart\s*:\s*\d+")
_FEMTOSECONDS = {"femtosecond": 1.0, "picosecond": 1e3, "atomic_unit": 0.02418884326505, "second": 1e15}


def read_input(path: str | Path) -> Element:
    """The root of an i-PI input file. Raises InputError.

    Entities are refused: i-PI inputs have none, and they are how an XML file eats memory.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no file, expected an i-PI input (XML)")
        if path.stat().st_size > _MAX_INPUT_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes is no i-PI input")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text, expected an i-PI input (XML)") from None
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise InputError(f"{path}: has a DOCTYPE or an ENTITY, which i-PI inputs never need")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not well-formed XML: {error}") from None
    if root.tag != "simulation":
        raise InputError(f"{path}: the root element is <{root.tag}>, expected i-PI's <simulation>")
    return root


class ForceFieldSocket(NamedTuple):
    """One ``<ffsocket>``: where i-PI listens. address: a host, or the name of a socket file after the prefix;
    wrapped: whether i-PI puts positions into its cell (pbc) before it sends them."""

    name: str
    mode: str
    address: str
    port: str
    prefix: str
    wrapped: bool


def is_wrapped(element: Element) -> bool:
    """Whether i-PI puts positions into its cell before this force field gets them."""
    return element.get("pbc", "False").strip().lower() == "true"


def force_field_sockets(root: Element) -> dict[str, ForceFieldSocket]:
    """Every ``<ffsocket>`` of an input by its name, with i-PI's defaults for what it leaves out."""
    prefix = root.get("sockets_prefix", DEFAULT_PREFIX).strip()
    sockets = (
        ForceFieldSocket(
            element.get("name", "").strip(),
            element.get("mode", "inet").strip(),
            (element.findtext("address") or "localhost").strip(),
            (element.findtext("port") or "65535").strip(),
            prefix,
            is_wrapped(element),
        )
        for element in root.iter("ffsocket")
    )
    return {socket.name: socket for socket in sockets}


def refuse_double_counting(path: Path, root: Element) -> None:
    """Raise InputError where forces are a sum of sockets that would each be served the whole potential."""
    sockets = set(force_field_sockets(root))
    for forces in root.iter("forces"):
        summed = {force.get("forcefield", "").strip() for force in forces.iter("force")} & sockets
        whole = sorted(summed - {"fragments", "binding"})
        if whole and len(summed) > 1:
            raise InputError(
                f"{path}: <ffsocket name={whole[0]!r}> would serve the whole potential beside another socket, and "
                "energies would count twice; name the two 'fragments' and 'binding'"
            )


def parts_of(root: Element) -> set[str]:
    """Which of the sockets ``fragments`` and ``binding``, that are served a part of the potential, forces are of."""
    return {"fragments", "binding"} & set(force_field_sockets(root)) & _force_fields(root)


class Schedule(NamedTuple):
    """Where an input begins and ends; the time step is in fs, None in a unit that is not known here."""

    step: int
    total_steps: int
    timestep: float | None


def read_schedule(path: Path, root: Element) -> Schedule:
    """The schedule of an input or a state. path: for messages. Raises InputError on a number that is none."""

    def number(where: str, default: float) -> float:
        text = (root.findtext(where) or str(default)).strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{path}: <{where.rpartition('/')[2]}> is {text!r}, expected a number")
        return value

    element = root.find(".//timestep")
    unit = (element.get("units", "") if element is not None else "") or "atomic_unit"
    known = element is not None and unit in _FEMTOSECONDS
    return Schedule(
        int(number("step", 0)),
        int(number("total_steps", 1000)),
        number(".//timestep", 0) * _FEMTOSECONDS[unit] if known else None,
    )


def keep_systems(root: Element, prefixes: Collection[str]) -> None:
    """Drop the systems with other prefixes, and with them their share of each batch and the hills that only they put
    somewhere. Raises InputError if none is left."""
    systems = root.findall("system")
    dropped = [system for system in systems if system.get("prefix", "").strip() not in prefixes]
    if len(dropped) == len(systems):
        raise InputError("i-PI's input has none of the systems that are left to run")
    for system in dropped:
        root.remove(system)
    for batch in root.iter("batch_size") if dropped else ():
        size = int(batch.text or 1)
        if size % len(systems) == 0:  # it held all systems
            batch.text = f" {size // len(systems) * (len(systems) - len(dropped))} "
    for name in hills_of(root).keys() - _force_fields(root):
        root.remove(next(direct for direct in root.findall("ffdirect") if direct.get("name", "").strip() == name))


class HillsFile(NamedTuple):
    """Where a force field of metadynamics keeps its hills: a path as the input has it; the prefixes of the systems
    that it acts on."""

    path: str
    prefixes: tuple[str, ...]


def hills_of(root: Element) -> dict[str, HillsFile]:
    """Every ``<ffdirect>`` with hills (`delta_server/sweep/bias_pes.py`), by its name."""
    files = {}
    for direct in root.findall("ffdirect"):
        if (found := _HILLS.search(direct.findtext("parameters") or "")) is not None:
            name = direct.get("name", "").strip()
            at = [s.get("prefix", "").strip() for s in root.iter("system") if name in _force_fields(s)]
            files[name] = HillsFile(found[1], tuple(at))
    return files


def _force_fields(element: Element) -> set[str]:
    """Names of those that forces within it are of."""
    return {force.get("forcefield", "").strip() for force in element.iter("force")}


def start_hills(root: Element, step: int) -> bool:
    """Tell each force field with hills at which step the run begins or goes on; whether there is one."""
    names = hills_of(root)
    for direct in root.findall("ffdirect") if names else ():
        parameters = direct.find("parameters")
        if direct.get("name", "").strip() in names and parameters is not None:
            parameters.text = _START.sub(f"start: {step}", parameters.text or "")
    return bool(names)
