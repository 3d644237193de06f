"""The files that an i-PI input names: what has to come along when it runs in another folder.

i-PI reads files in many places (``<file>``, ``<velocities mode="xyz">``, ``<plumed_dat>``, parameters of a force
field, a reference within a property, templates of systems), and those name more in turn. So whatever word is a file's
name is taken for one.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..errors import InputError
from .input import read_input
from .states import back_up

_WORD = re.compile(r"""[^\s,;=\[\](){}<>"'|]+""")
_NUMBER = re.compile(r"[-+]?[\d.]+([eEdD][-+]?\d+)?")
_READ_FROM = ("file", "positions", "velocities", "momenta", "masses", "labels", "cell", "gle")
_MODES = ("xyz", "pdb", "chk", "ase")
_LONGEST_NAME = 1000
_MAX_TEXT = 2**20  # bytes of a file that is searched for further names
_UP = "up"  # what a ".." of a name becomes in the copy


def copy_input(source: Path, folder: Path) -> Path:
    """Copy an input into another folder, with the files that it names by a relative path, and those that these name.

    What lies above the input's folder (``../start.xyz``) is copied to ``up/start.xyz``, and so named in the copy.
    Other files of these names are renamed there, as i-PI does with old files. Raises InputError.
    """
    home = source.parent
    names = [source.name]
    words = {source.name: set(_words_of_input(read_input(source)))}
    for name in names:  # which grows
        if name not in words:
            words[name] = set(_words(_text(home / name)))
        beside = os.path.dirname(name)
        for word in sorted(words[name]):
            for other in (word, os.path.join(beside, word)):
                names += [found for found in _files(other, home) if found not in names]
    for name in names:
        above = {word for word in words[name] if ".." in Path(word).parts and _files(word, home)}
        _copy(home / name, folder / _inside(name), {word: _inside(os.path.normpath(word)) for word in above})
    return folder / source.name


def refuse_missing(source: Path, root: Element) -> None:
    """Raise InputError where a file from which an input begins is not there."""
    in_templates = {element for template in root.iter("system_template") for element in template.iter()}
    for element in (element for element in root.iter() if element not in in_templates):
        name = (element.text or "").strip()
        mode = element.get("mode", "chk" if element.tag == "file" else "manual").strip()
        begins_from = element.tag in _READ_FROM and mode in _MODES and name and not glob.has_magic(name)
        if begins_from and not (source.parent / name).is_file():
            raise InputError(f"{source}: <{element.tag}> names {name}, no such file in {source.parent}")


def _inside(name: str) -> str:
    return os.path.join(*(_UP if part == ".." else part for part in Path(name).parts))


def _copy(source: Path, target: Path, renamed: dict[str, str]) -> None:
    try:
        content = source.read_bytes() if renamed else None
        for old, new in renamed.items():
            word = rb"(?<![\w./-])" + re.escape(os.fsencode(old)) + rb"(?![\w/-]|\.\w)"
            content = re.sub(word, os.fsencode(new).replace(b"\\", rb"\\"), content or b"")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        try:
            if content is None:
                shutil.copyfile(source, part)
            else:
                part.write_bytes(content)
            if target.exists() and not _same(part, target):
                back_up(target)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{target}: cannot be written as a copy of {source}: {error.strerror}") from None


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


def _words_of_input(root: Element) -> Iterator[str]:
    if root.find(".//ffplumed") is not None:
        yield "plumed.dat"  # i-PI's default
    for template in root.iter("system_template"):
        text = ElementTree.tostring(template, encoding="unicode")
        labels = _list(template.findtext("labels"))
        for instance in template.iter("instance"):
            one = text
            for label, value in sorted(zip(labels, _list(instance.text), strict=False), reverse=True):
                one = one.replace(label, value)
            yield from _words(one)
    for element in root.iter():
        if element.tag != "address":
            yield from _words(element.text)


def _list(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").strip().strip("[]").split(",")]


def _words(text: str | None) -> Iterator[str]:
    """What could be a name: the whole, if it is one line; each word, also behind a colon."""
    text = (text or "").strip()
    if "\n" not in text:
        yield text
    for match in _WORD.finditer(text):
        word = match[0]
        if not _NUMBER.fullmatch(word):
            yield word
            if ":" in word:
                yield from word.split(":")


def _text(path: Path) -> str:
    """A small text file; of others nothing."""
    with suppress(OSError, UnicodeDecodeError):
        if path.stat().st_size <= _MAX_TEXT:
            return path.read_text(encoding="utf-8")
    return ""


def _files(word: str, home: Path) -> list[str]:
    """The files that a word names by a path relative to `home`, as such paths: one, or several by wildcards."""
    if not word or len(word) > _LONGEST_NAME or "\0" in word or os.path.isabs(word):
        return []
    with suppress(OSError):
        if (home / word).is_file():
            return [os.path.normpath(word)]
        if glob.has_magic(word):
            return [name for name in glob.glob(word, root_dir=home) if (home / name).is_file()]
    return []
