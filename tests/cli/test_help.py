"""The help pages of every command of both programs: short lines, one vocabulary, sane defaults, examples."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from delta_server.cli import driver, main

METAVARS = {
    *("MANIFEST", "DATASET", "RUN", "DIR", "FILE", "N", "X", "TEXT", "NAME", "ADDRESS", "HOST:PORT", "DEVICE"),
    *("RANGES", "KEY=VALUE", "NAME=N", "NAME=X", "UNIT", "K", "PS", "FS", "SECONDS"),
}
WIDTH = 80
SECTIONS = ["Serve a model", "Make a model", "Run and analyze", "Tools"]


def walk(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every page: the words that lead to it, and its command or group."""
    yield " ".join(path), command
    for name, part in getattr(command, "commands", {}).items():
        yield from walk(part, *path, name)


PROGRAMS = {"delta-driver": driver.app, "delta-sgdml": main.app}
PAGES = [page for name, app in PROGRAMS.items() for page in walk(get_command(app), name)]
each_page = pytest.mark.parametrize(("words", "command"), PAGES, ids=[words for words, _ in PAGES])
GROUPS = [page for page in PAGES if hasattr(page[1], "commands")]
each_group = pytest.mark.parametrize(("words", "command"), GROUPS, ids=[words for words, _ in GROUPS])
LEAVES = [page for page in PAGES if not hasattr(page[1], "commands")]
each_command = pytest.mark.parametrize(("words", "command"), LEAVES, ids=[words for words, _ in LEAVES])


def page(words: str, command: Any) -> str:
    """As a terminal of 80 columns shows it."""
    return str(command.get_help(typer.Context(command, info_name=words, terminal_width=WIDTH - 2)))


def examples(text: str) -> list[list[str]]:
    """The command lines of a page, as a shell would see them."""
    found = re.findall(r"^  Example: ((?:.*\\\n)*.*)$", text, re.M)
    return [shlex.split(line.replace("\\\n", " ")) for line in found]


def test_there_are_pages() -> None:
    assert len(LEAVES) > 25
    assert {"delta-driver", "delta-sgdml dataset import", "delta-sgdml sweep md"} <= {words for words, _ in LEAVES}


@each_page
def test_lines_fit(words: str, command: Any) -> None:
    assert max(map(len, page(words, command).splitlines())) <= WIDTH


@each_group
def test_summaries_are_one_whole_sentence_on_one_line(words: str, command: Any) -> None:
    lines = page(words, command).splitlines()
    for name, part in command.commands.items():
        summary = part.help.split("\n\n")[0]
        assert summary.endswith(".")
        assert any(re.fullmatch(rf"  {name} +{re.escape(summary)}", line) for line in lines), summary


def test_commands_stand_in_the_order_of_the_road() -> None:
    group = dict(PAGES)["delta-sgdml"]
    text = page("delta-sgdml", group)
    assert [heading for heading in re.findall(r"^(\w.*):$", text, re.M) if heading != "Options"] == SECTIONS
    names = re.findall(r"^  ([a-z-]+) +[A-Z]", text.partition(SECTIONS[0])[2], re.M)
    assert sorted(names) == sorted(group.commands)
    road = ["predict", "dataset", "train", "evaluate", "run", "sweep", "analyze", "report", "bench"]
    assert [name for name in names if name in road] == road


@each_command
def test_metavariables_are_the_same_everywhere(words: str, command: Any) -> None:
    assert "<int" not in page(words, command)
    assert "<float" not in page(words, command)
    assert "<path>" not in page(words, command)
    for parameter in command.params:
        if parameter.metavar is not None and not parameter.metavar.startswith("["):  # words to choose from
            words_of_it = parameter.metavar.removesuffix("...").removesuffix(",…").split(",")
            assert set(words_of_it) <= METAVARS, parameter.name


@each_command
def test_defaults_are_sane(words: str, command: Any) -> None:
    """No sentinel is shown: a None is told in words or not at all, a 0 or −1 only where it is what it says."""
    shown = re.findall(r"\[default:\s+([^]]*)\]", page(words, command))
    assert not [text for text in shown if re.search(r"None|True|False|Path|-1\b|\[|\(", " ".join(text.split()))]
    for parameter in command.params:
        if parameter.show_default is True and type(parameter.default) in (int, float) and parameter.default <= 0:
            assert parameter.name in ("seed", "apart", "charge")
        assert parameter.help.endswith("."), parameter.name
        if isinstance(parameter.show_default, str):
            assert "default" not in parameter.help, parameter.name


@each_command
def test_every_command_has_an_example_that_parses(
    words: str, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where pictures can be written
    given = examples(page(words, command))
    assert given
    for example in given:
        if example[0] not in PROGRAMS:  # another program is given what the command prints
            assert words in " ".join(example)
            continue
        count = len(words.split())
        assert " ".join(example[:count]) == words
        command.make_context(words, example[count:])


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_for_pipes_and_narrow_terminals(program: str) -> None:
    """As a program, with no terminal to ask: plain text, no more than 80 columns."""
    path = Path(sys.executable).with_name(program)
    environment = os.environ | {"COLUMNS": "80"}
    done = subprocess.run([path, "--help"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() == page(program, dict(PAGES)[program]).strip()


def test_old_values_that_meant_automatic_are_still_taken() -> None:
    command = dict(LEAVES)["delta-sgdml train"]
    line = "dataset.npz -o out --n-validation 0 --sigma 0 --lambda 0 --n-far -1 --threads 0"
    values = command.make_context("train", line.split()).params
    assert [values[name] for name in ("n_validation", "sigma", "lam", "n_far", "threads")] == [0, 0, 0, -1, 0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("m.yaml -o out --walkers 0", "'--walkers': Input should be greater than or equal to 1, found '0'"),
        ("m.yaml -o out --pace often", "'--pace': .* integer.*, found 'often'"),
        ("m.yaml -o out --kind none", "'--kind': .*'none' is not one of .*'metadynamics'.$"),
    ],
)
def test_a_bad_value_is_told(line: str, words: str) -> None:
    command = dict(LEAVES)["delta-sgdml sweep write"]
    with pytest.raises(typer.BadParameter) as error:
        command.make_context("write", line.split())
    assert re.search(words, error.value.format_message())
