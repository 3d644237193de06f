"""Reading i-PI's input files, and the states that it leaves."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputError

_MAX_INPUT_BYTES = 16 * 2**20


def read_input(path: str | Path) -> ElementTree.Element:
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


def whole_states(paths: Iterable[Path]) -> Iterator[tuple[Path, ElementTree.Element]]:
    """Of the states that i-PI left, those that it was not killed in the middle of writing."""
    for path in paths:
        try:
            root = read_input(path)
        except InputError:
            continue
        yield path, root
