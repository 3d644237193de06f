"""An input whose forces are computed in i-PI's own process: which can be, in which batches, and the way back."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from delta_server.errors import InputError
from delta_server.ipi.direct import as_parameter, batch_sizes, make_direct, make_sockets
from delta_server.ipi.input import force_field_sockets
from delta_server.ipi.simulation import Simulation, System

LADDER = [System(t, f"{t}K") for t in (100, 200, 300)]


def root_of(edit: tuple[str, str] = ("", ""), **options: object) -> Element:
    text = Simulation("made", ("a",), **options).xml()  # type: ignore[arg-type]
    assert edit[0] in text
    return ElementTree.fromstring(text.replace(*edit) if edit[0] else text)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, {"delta": 1}),
        ({"beads": 16, "batch": 4}, {"delta": 16}),
        ({"beads": 16, "contract": 4}, {"binding": 4, "fragments": 16}),
        ({"inner": 2, "systems": LADDER}, {"binding": 3, "fragments": 3}),
        ({"beads": 4, "systems": LADDER}, {"delta": 12}),
        ({"exchange": 20, "systems": LADDER}, {"delta": 3}),
    ],
    ids=["one", "beads", "contracted", "mts", "ladder", "exchange"],
)
def test_batches(options: dict, sizes: dict[str, int]) -> None:
    assert batch_sizes(root_of(**options)) == sizes


def test_systems_one_after_the_other_and_of_templates() -> None:
    serial = root_of(('threading="True"', 'threading="False"'), beads=4, systems=LADDER)
    assert batch_sizes(serial) == {"delta": 4}
    (first, *others) = serial.findall("system")
    template = ElementTree.SubElement(serial, "system_template")
    ElementTree.SubElement(template, "template").append(first)
    for _ in range(5):
        ElementTree.SubElement(template, "instance")
    for system in (first, *others):
        serial.remove(system)
    serial.set("threading", "True")
    assert batch_sizes(serial) == {"delta": 20}


@pytest.mark.parametrize(
    ("options", "edit", "why"),
    [
        ({"host": "localhost"}, ("", ""), "from elsewhere"),
        ({}, ("<latency>", "<activelist> [ 0 ] </activelist> <latency>"), "activelist"),
        ({"beads": 4}, ('motion mode="dynamics"', 'motion mode="instanton"'), "does not ask for all of them at once"),
        ({"exchange": 20, "systems": LADDER}, ('smotion mode="remd"', 'smotion mode="dmd"'), "together"),
        ({}, ("<ensemble>", '<ensemble> <bias> <force forcefield="delta"/> </bias>'), "bias"),
        ({"beads": 4}, ('nbeads="4"', 'nbeads="MANY"'), "'MANY' beads"),
    ],
    ids=["inet", "active", "instanton", "driven", "bias", "label"],
)
def test_what_needs_the_socket(options: dict, edit: tuple[str, str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        batch_sizes(root_of(edit, **options))


def test_there_and_back(tmp_path: Path) -> None:
    root = root_of(beads=4)
    make_direct(root, batch_sizes(root), tmp_path / "ipi_pes.py", lambda name: {"manifest": "m.yaml", "part": name})
    (direct,) = root.iter("ffdirect")
    assert direct.get("pbc") == "False"
    assert (direct.findtext("parameters") or "").strip() == "{manifest: m.yaml, part: delta, wrapped: False}"
    assert not force_field_sockets(root)
    assert make_sockets(root)
    assert force_field_sockets(root)["delta"].mode == "unix"
    assert batch_sizes(root) == {"delta": 4}
    assert not make_sockets(root)  # nothing is left to change


@pytest.mark.parametrize(("pbc", "wrapped"), [("True", True), (" true ", True), ("False", False)])
def test_whether_ipi_wraps_is_handed_on(tmp_path: Path, pbc: str, wrapped: bool) -> None:
    root = root_of(('pbc="False"', f'pbc="{pbc}"'))
    assert force_field_sockets(root)["delta"].wrapped is wrapped
    make_direct(root, batch_sizes(root), tmp_path / "ipi_pes.py", lambda name: {})
    assert root.findtext(".//parameters") == f" {{wrapped: {wrapped}}} "


def test_paths_that_mean_something_to_ipi() -> None:
    assert as_parameter(Path("/a/b-1.yaml")) == "/a/b-1.yaml"
    assert as_parameter(Path("/a, {b: c}/m.yaml")) == "file:/a%2C%20%7Bb%3A%20c%7D/m.yaml"
