"""Documents: what is read, what is refused and in which words, and values as JSON has them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from pydantic import ValidationError

from delta_server.errors import InputError
from delta_server.files.documents import Strict, first_error, plain, read_text, read_yaml, versions


class Inner(Strict):
    size: float


class Page(Strict):
    name: str
    parts: tuple[Inner, ...] = ()


def yaml_of(folder: Path, text: str) -> object:
    (folder / "page.yaml").write_text(text)
    return read_yaml(folder / "page.yaml", "page", InputError)


def test_yaml_is_read_as_1_2_has_it(tmp_path: Path) -> None:
    text = "{a: 3:15, b: 010, c: 1e-3, d: [true, ~, x], e: 2026-01-02}"
    expected = {"a": "3:15", "b": 10, "c": 1e-3, "d": [True, None, "x"], "e": "2026-01-02"}
    assert yaml_of(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "page.yaml: not YAML"),
        ("a: 1\na: 2", "key 'a' appears twice .line 2."),
        ("a: !!python/name:os.system", "line 1 has a tag or an alias"),
        ("a: &x [1]\nb: *x", "line 2 has a tag or an alias"),
        (f"a: {'1' * 5000}", "line 1 has a number that is too long"),
        ("a: " + "x" * 2**17, "a page is a page of YAML"),
    ],
    ids=["broken", "twice", "tag", "alias", "number", "size"],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        yaml_of(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such page"),
        (Path.mkdir, "is a directory, expected a page .JSON."),
        (os.mkfifo, "is no regular file, expected a page .JSON."),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not text"),
        (lambda path: path.write_text("12345"), "5 bytes; a page is a page of JSON"),
    ],
    ids=["missing", "directory", "pipe", "bytes", "size"],
)
def test_files_that_are_no_text(tmp_path: Path, make: object, words: str) -> None:
    make(tmp_path / "page.json")  # type: ignore[operator]
    with pytest.raises(InputError, match=words):
        read_text(tmp_path / "page.json", "page", "JSON", InputError, 4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "x", "prats": []}, "unknown key 'prats'; did you mean 'parts'?"),
        ({"name": "x", "z" * 99: 1}, "known keys: name, parts"),
        ({}, "name: is missing"),
        ({"name": 3}, "name: expected text, found 3"),
        ({"name": "x", "parts": [{"size": 1}, {"size": "wide"}]}, "parts[1].size: "),
        ({"name": "x", "parts": [{"size": float("nan")}]}, "parts[0].size: "),
        ({"name": "x", "parts": [3]}, "parts[0]: expected keys and values, found 3"),
    ],
)
def test_the_first_mistake_is_one_line(data: object, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Page.model_validate(data)
    line = first_error(caught.value)
    assert words in line
    assert "\n" not in line


class Pair(NamedTuple):
    a: object
    b: float


def test_plain_values_are_json(tmp_path: Path) -> None:
    value = {
        1: np.array([[1.0, np.nan], [np.inf, 2.0]]),
        "pair": Pair(np.float64(0.5), -np.inf),
        "n": np.int64(3),
        "yes": np.bool_(True),
        "text": "x",
        "none": None,
    }
    expected = {
        "1": [[1.0, None], [None, 2.0]], "pair": [0.5, None], "n": 3, "yes": True, "text": "x", "none": None
    }  # fmt: skip
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_versions() -> None:
    assert versions("numpy", "no-such-package") == {"numpy": np.__version__}
    assert versions("no-such-package", missing="not installed") == {"no-such-package": "not installed"}
    assert set(versions("delta-server")) == {"delta-server"}
