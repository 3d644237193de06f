"""Documents that people write and programs keep: read strictly, with one line for what is wrong; and plain values."""

from __future__ import annotations

import difflib
import math
import re
import stat
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ..errors import DeltaError

_MAX_BYTES = 2**17  # of a page that somebody wrote


class Strict(BaseModel):
    """A part of a document: no keys but its own, no NaN and no infinity, and unchanged once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = list(cls.model_fields)
            for key in data:
                if key not in known:
                    near = difflib.get_close_matches(str(key)[:80], known, n=1, cutoff=0.5)
                    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
                    raise ValueError(f"unknown key {short(key)}; {hint}")
        return data


class YamlLoader(yaml.SafeLoader):
    """YAML 1.2's reading of ``3:15`` (a text, not 195 in base 60) and ``010`` (ten); no key twice; no tags, which
    PyYAML trips over, and no aliases, which let a small file hold a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            line = event.start_mark.line + 1
            raise yaml.YAMLError(f"line {line} has a tag or an alias, which are never needed here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.YAMLError(f"key {short(name)} appears twice (line {key.start_mark.line + 1})")
            seen.add(name)
        return dict(super().construct_mapping(node, deep))

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        try:
            return int(node.value)
        except ValueError:  # thousands of digits
            raise yaml.YAMLError(f"line {node.start_mark.line + 1} has a number that is too long") from None


YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag.rpartition(":")[2] in ("bool", "null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
YamlLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
YamlLoader.add_constructor("tag:yaml.org,2002:int", YamlLoader.construct_decimal)


def read_text(path: Path, what: str, form: str, error: type[DeltaError], most: int = _MAX_BYTES) -> str:
    """The text of a file of at most so many bytes. what, form: as in "no such {what}, expected a {what} ({form})".

    Raises `error`: one line that names the file.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise error(f"{path}: is a directory, expected a {what} ({form})")
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device read for ever
            raise error(f"{path}: is no regular file, expected a {what} ({form})")
        if status.st_size > most:
            raise error(f"{path}: {status.st_size} bytes; a {what} is a page of {form}")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"{path}: no such {what}") from None
    except OSError as failure:
        raise error(f"{path}: cannot be read: {failure.strerror}") from None
    except UnicodeDecodeError:
        raise error(f"{path}: is not text; expected a {what} ({form})") from None


def read_yaml(path: Path, what: str, error: type[DeltaError]) -> Any:
    """What a page of YAML holds: dicts, lists, texts, numbers, bools and None. what: as in `read_text`.

    Raises `error`: one line that names the file.
    """
    text = read_text(path, what, "YAML", error)
    try:
        return yaml.load(text, Loader=YamlLoader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as failure:
        raise error(f"{path}: not YAML: {' '.join(str(failure).split())[:300]}") from None


_EXPECTED = {
    "float_type": "expected a number",
    "model_type": "expected keys and values",
    "path_type": "expected the path of a file",
    "string_type": "expected text",
    "tuple_type": "expected a list",
}


def first_error(error: ValidationError) -> str:
    """The first of pydantic's complaints as one line: where, what was expected, what was found."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "is missing"
    elif first["type"] != "value_error":  # ours say what they found
        message = f"{_EXPECTED.get(first['type'], message)}, found {short(first['input'])}"
    return f"{where}: {message}" if where else message


def short(value: Any) -> str:
    """What was found, for a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def plain(value: Any) -> Any:
    """A value as JSON has it: NumPy's arrays and numbers as lists and numbers, None for what is no finite number."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions(*packages: str, missing: str | None = None) -> dict[str, str]:
    """The versions of installed packages; those that are not installed have `missing`, or are left out."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if missing is not None:
                found[package] = missing
    return found
