"""The documents: what they tell to type, to run and to open is there, and they stay short enough to be read."""

from __future__ import annotations

import re
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main
from conftest import ROOT, SYSTEMS
from made_ladder import made_ladder

from delta_server import errors
from delta_server.cli import driver, main

OURS = ("delta_server", "inputs", "models", "run", "tests")  # folders that hold documents, and that paths begin with
DOCUMENTS = [ROOT / "README.md", *sorted(path for folder in OURS for path in (ROOT / folder).rglob("README.md"))]
COMMANDS = {
    "delta-driver": typer.main.get_command(driver.app),
    "delta-sgdml": typer.main.get_command(main.app),
}
ENDS = {"&&", ";", "&", "|", ">", ">>"}
COLUMNS, LINES = 100, 150


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document: its language, its text, the line it begins on."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    fences = re.finditer(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[2], m[3], text.count("\n", 0, m.start()) + 1) for m in fences]


def prose(text: str) -> str:
    """The text without its fenced blocks; what is left stays on its line."""
    return re.sub(r"^( *)```.*?^ *```$", lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


def inline(text: str) -> list[str]:
    """What stands between single backticks; in a table an alternative's bar is written as \\|."""
    return [" ".join(code.replace("\\|", "|").split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def shell_lines(text: str) -> list[str]:
    """The command lines of the shell blocks, each put together from its pieces."""
    lines = []
    for block in blocks(text):
        if block.language == "bash":
            lines += block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


def commands(text: str) -> Iterator[tuple[list[str], bool]]:
    """Every call of our commands in a document, as words, and whether it is whole.

    Whole are those of the shell blocks. Inline code may leave out arguments (with a ``…`` or without a word), and
    `delta-sgdml` as well: `train --metric auto`.
    """
    for line in shell_lines(text):
        yield from ((words, True) for words in calls(line) if words[0] in COMMANDS)
    for code in inline(text):
        if code.split()[0] in COMMANDS["delta-sgdml"].commands:
            code = f"delta-sgdml {code}"
        if code.split()[0] in COMMANDS:
            yield from (([word for word in words if word != "…"], False) for words in calls(code))


def calls(line: str) -> Iterator[list[str]]:
    """What a line calls, one after the other, each as words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in ENDS:
            words.append(word)
        elif words:
            yield words
            words = []


def parse(words: list[str], whole: bool = True) -> str:
    """What the real command has against these words, or nothing; it parses, and does not run.

    Of alternatives, ``a|b|c``, each is tried. What is not whole gets the arguments that it lacks, so that the rest is
    looked at all the same.
    """
    for at, word in enumerate(words):
        if "|" in word:
            complaints = (parse([*words[:at], choice, *words[at + 1 :]], whole) for choice in word.split("|"))
            return next(filter(None, complaints), "")
    command: Any = COMMANDS[words[0]]
    rest = words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    if hasattr(command, "commands") and (rest or whole) and rest != ["--version"]:
        return f"{' '.join(words)}: expected one of {', '.join(command.commands)}"
    while rest or whole:
        try:
            command.make_context(words[0], list(rest))
        except typer.Exit:  # --help
            return ""
        except Exception as error:
            if whole or type(error).__name__ != "MissingParameter":
                return f"{' '.join(words)}: {getattr(error, 'message', error)}"
            lacking = error.param
            rest = [*rest, *([] if lacking.param_type_name == "argument" else lacking.opts[:1]), "PLACEHOLDER"]
            continue
        break
    return ""


def every_command() -> list[Any]:
    """The commands, those of the groups as well."""
    commands = list(COMMANDS.values())
    for command in commands:
        commands += getattr(command, "commands", {}).values()
    return commands


def paths_named(text: str, folders: Iterable[str]) -> set[str]:
    """Paths that begin with one of the folders, as a document names them in commands, Python and inline code."""
    code = " ".join([*inline(text), *(block.text for block in blocks(text) if block.language in ("bash", "python"))])
    return set(re.findall(rf"(?<![\w./-])((?:{'|'.join(folders)})/(?:[\w./*{{}},-]*[\w/*}}])?)", code))


def alternatives(path: str) -> list[str]:
    """A path for each of the names in its braces, and for each system in place of SYSTEM."""
    braces = re.search(r"\{([^}]*)\}", path)
    if braces:
        return [p for name in braces[1].split(",") for p in alternatives(path.replace(braces[0], name))]
    return [path.replace("SYSTEM", system) for system in SYSTEMS] if "SYSTEM" in path else [path]


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a document."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(text)}


def test_documents_are_where_a_reader_looks_for_them() -> None:
    rooms = (".", *(f"delta_server{room}" for room in ("", "/active", "/analysis", "/server", "/training")))
    others = ("delta_server/training/baselines", "models", "inputs", "inputs/c60_buckycatcher/result", "run", "tests")
    assert {path.parent.relative_to(ROOT).as_posix() for path in DOCUMENTS} == {*rooms, *others}


@each_document
def test_no_heading_comes_twice(path: Path) -> None:
    """As where a part of a page was pasted once more: links lead to the first alone."""
    found = headings(path.read_text(encoding="utf-8"))
    assert sorted(found) == sorted({*found})


@each_document
def test_every_command_line_is_one_that_the_commands_take(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder that has a demo/: where a picture or a log would go has to be there."""
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    complaints = [parse(words, whole) for words, whole in commands(path.read_text(encoding="utf-8"))]
    assert not list(filter(None, complaints))


def test_documents_have_command_lines() -> None:
    """What the test above looks at is not nothing."""
    lines = [line for path in DOCUMENTS for line in commands(path.read_text(encoding="utf-8"))]
    assert sum(whole for _, whole in lines) > 40
    assert sum(not whole and len(words) > 2 for words, whole in lines) > 20


@pytest.mark.parametrize(
    "text",
    [
        "```bash\ndelta-sgdml train data.npz -n 200\n```",  # no -o
        "```bash\ndelta-sgdml train data.npz -o folder \\\n    --many 200\n```",
        "```bash\ndelta-sgdml check  # MANIFEST\n```",
        "```bash\n. .venv/bin/activate && delta-driver --socket unix:delta\n```",
        "```bash\ndelta-sgdml dataset\n```",
        "`delta-sgdml train data.npz -o folder --recipe other`",
        "`train --recipe other`",
        "`reduce … --forget c60`",
        "`delta-sgdml sweep write manifest.yaml -o DIR --kind nvt|nve`",
        "`sweep stop DIR`",
        "`delta-sgdml teach`",
        "`delta-driver MANIFEST --port 31415`",
    ],
)
def test_a_line_that_the_commands_do_not_take_is_found(text: str) -> None:
    ((words, whole),) = commands(text)
    assert parse(words, whole)


@each_document
def test_options_that_stand_alone_are_options_of_some_command(path: Path) -> None:
    known = {option for command in every_command() for parameter in command.params for option in parameter.opts}
    alone = [code.split()[0] for code in inline(path.read_text(encoding="utf-8")) if code.startswith("-")]
    assert {*alone} <= known | {"--help"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples read: a shipped system, and in demo/ a run and a ladder."""
    folder = tmp_path_factory.mktemp("checkout")
    for shipped in ("models/h2o_benzene", "inputs/h2o_benzene"):
        shutil.copytree(ROOT / shipped, folder / shipped)
    ladder = made_ladder(folder / "demo/sweep", (280.0, 300.0, 320.0), n=600)
    shutil.copytree(ladder.members[0].folder, folder / "demo/h2o_benzene")
    return folder


@each_document
def test_python_examples_run(path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as a reader would type them."""
    monkeypatch.chdir(checkout)
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language == "python":
            lines = "\n" * block.line + textwrap.dedent(block.text)
            exec(compile(lines, name_of(path), "exec"), names)


@each_document
def test_paths_that_are_named_exist(path: Path) -> None:
    """From the root of the repository, and from the document's own folder."""
    text = path.read_text(encoding="utf-8")
    rooms = [folder.name for folder in path.parent.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    for start, folders in ((ROOT, OURS), (path.parent, {*rooms} - {*OURS, "demo", "build"})):
        named = {p for name in (paths_named(text, folders) if folders else ()) for p in alternatives(name)}
        assert not [name for name in sorted(named) if not list(start.glob(name))]


@each_document
def test_what_make_and_pip_are_told_exists(path: Path) -> None:
    """Targets, constraints, extras."""
    text = path.read_text(encoding="utf-8")
    extras = metadata("delta-server").get_all("Provides-Extra")
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    lines = [*shell_lines(text), *inline(text)]
    for words in (words for line in lines if line.startswith(("make", "pip")) for words in calls(line)):
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= {*targets}, words
        else:
            named = [name for word in words for group in re.findall(r"\[(.+)\]", word) for name in group.split(",")]
            assert {*named} <= {*extras}, words
            assert all((ROOT / file).exists() for flag, file in pairwise(words) if flag == "-c"), words


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", prose(text)) + re.findall(r'src="([^"]+)"', text)
    assert links
    for link in links:
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            page = target / "README.md" if target.is_dir() else target
            assert anchor in anchors(page.read_text(encoding="utf-8")), link


def test_every_document_can_be_reached_from_the_first_page() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8")
    reached = {(ROOT / link.partition("#")[0]).resolve() for link in re.findall(r"\]\(([^)]+)\)", first)}
    assert set(DOCUMENTS) - reached <= {ROOT / "README.md"}


@each_document
def test_lines_are_short(path: Path) -> None:
    """The first page throughout; elsewhere but for tables and code."""
    text = path.read_text(encoding="utf-8")
    if path.parent != ROOT:
        text = re.sub(r"^\|.*$", "", prose(text), flags=re.MULTILINE)
    assert not [line for line in text.splitlines() if len(line) > COLUMNS]


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LINES


def test_every_command_has_a_line_on_the_first_page() -> None:
    documented = set(inline((ROOT / "README.md").read_text(encoding="utf-8")))
    for name, command in COMMANDS["delta-sgdml"].commands.items():
        assert {f"delta-sgdml {name}", name} & documented, name
        assert set(getattr(command, "commands", {})) <= documented, name


def test_the_map_has_every_room_and_no_other() -> None:
    text = (ROOT / "delta_server/README.md").read_text(encoding="utf-8")
    table = text.partition("## Rooms")[2].partition("\n## ")[0]
    documented = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in inline(row)}
    rooms = {f"{p.name}/" for p in (ROOT / "delta_server").iterdir() if (p / "__init__.py").exists()}
    modules = {p.name for p in (ROOT / "delta_server").glob("*.py")} - {"__init__.py"}
    assert documented == rooms | modules


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "delta_server/server/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE)
    documented = {int(code) for row in rows for code in row.split(",")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DeltaError)]
    assert {kind.exit_code for kind in kinds} | {0, 1, 10, 75, 130, 143} <= documented
