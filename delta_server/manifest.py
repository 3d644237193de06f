"""The manifest: which models make up the potential of a complex.

format: delta-sgdml/1
name: h2o_benzene
structure: geometry.xyz            # element order; a sane geometry that checks start from
fragments:
  - {name: water,   atoms: "0:3",  model: water.npz}
  - {name: benzene, atoms: "3:15", model: benzene.npz}
binding: {model: binding.npz}
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .errors import ManifestError
from .units import energy_in_ev, length_in_angstrom

FORMAT = "delta-sgdml/1"
_MAX_BYTES = 2**17
_MAX_ATOMS = 100_000
_PATH = "__path__"  # where a manifest was read from


def parse_atoms(value: Any) -> tuple[int, ...]:
    """Atoms from half-open ranges, ``"0:3,7:9"`` → 0 1 2 7 8, or from a list; order is kept.

    Raises ValueError on anything else, on an empty set and on an atom named twice.
    """
    said = f"atoms {_short(value)}"
    if isinstance(value, str):
        atoms: list[int] = []
        for piece in value.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?::\s*([0-9]{1,9})\s*)?", piece)
            if match is None:
                raise ValueError(f'{said}: expected ranges like "0:3,7:9", found {_short(piece.strip())}')
            first = int(match[1])
            last = int(match[2]) if match[2] else first + 1
            if last <= first:
                raise ValueError(f"{said}: range {piece.strip()!r} is empty: its end is not included")
            if last + len(atoms) > _MAX_ATOMS:
                raise ValueError(f"{said}: more than {_MAX_ATOMS} atoms")
            atoms.extend(range(first, last))
    elif isinstance(value, int) and not isinstance(value, bool):
        atoms = [value]
    elif isinstance(value, list | tuple) and all(isinstance(a, int) and not isinstance(a, bool) for a in value):
        atoms = list(value)
    else:
        raise ValueError(f'atoms: expected ranges like "0:3,7:9" or a list of integers, found {_short(value)}')
    if not atoms or min(atoms) < 0:
        raise ValueError(f"{said}: expected at least one atom, counted from 0")
    if max(atoms) >= _MAX_ATOMS:
        raise ValueError(f"{said}: more than {_MAX_ATOMS} atoms")
    if len(set(atoms)) < len(atoms):
        twice = next(atom for atom, times in Counter(atoms).items() if times > 1)
        raise ValueError(f"{said}: atom {twice} appears twice")
    return tuple(atoms)


def _short(value: Any) -> str:
    """What was found, for a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def format_atoms(atoms: tuple[int, ...]) -> str:
    """The inverse of `parse_atoms`: (0, 1, 2, 7) → "0:3,7"."""
    pieces: list[list[int]] = []
    for atom in atoms:
        if pieces and atom == pieces[-1][1]:
            pieces[-1][1] = atom + 1
        else:
            pieces.append([atom, atom + 1])
    return ",".join(f"{a}:{b}" if b > a + 1 else str(a) for a, b in pieces)


def _known(lookup: Any) -> AfterValidator:
    def check(unit: str) -> str:
        lookup(unit)
        return unit

    return AfterValidator(check)


def _file_path(path: Path) -> Path:
    try:
        usable = b"\0" not in os.fsencode(path) and path.name != ""
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise ValueError(f"expected the path of a file, found {_short(str(path))}")
    return path


EnergyUnit = Annotated[str, _known(energy_in_ev)]
LengthUnit = Annotated[str, _known(length_in_angstrom)]
Atoms = Annotated[tuple[int, ...], BeforeValidator(parse_atoms)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
FilePath = Annotated[Path, AfterValidator(_file_path)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_\-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = [name for name, f in cls.model_fields.items() if f.alias is None]
            for key in data:
                if key not in known and key != _PATH:
                    near = difflib.get_close_matches(str(key)[:80], known, n=1, cutoff=0.5)
                    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
                    raise ValueError(f"unknown key {_short(key)}; {hint}")
        return data


class Units(_Strict):
    """Units of a model whose file carries none, or as a check on one that does."""

    length: LengthUnit | None = None
    energy: EnergyUnit | None = None


class ModelEntry(_Strict):
    """A model file and what is known of it."""

    model: FilePath
    units: Units = Units()
    sha256: Digest | None = None


class FragmentEntry(_Strict):
    """A molecule of the complex: a model, or for an ion a constant energy."""

    name: Name
    atoms: Atoms
    model: FilePath | None = None
    units: Units = Units()
    sha256: Digest | None = None
    energy: float | None = Field(default=None, strict=True, allow_inf_nan=False)
    energy_unit: EnergyUnit | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> FragmentEntry:
        if (self.model is None) == (self.energy is None):
            raise ValueError(f"fragment {self.name!r}: expected either `model` or `energy` (a constant, for an ion)")
        if self.energy is not None and len(self.atoms) > 1:
            raise ValueError(f"fragment {self.name!r}: `energy` is for a single ion; without forces atoms fly apart")
        if self.energy is not None and self.energy_unit is None:
            raise ValueError(f"fragment {self.name!r}: `energy` needs an `energy_unit`, say eV or kcal/mol")
        if self.model is None and (self.units != Units() or self.sha256):
            raise ValueError(f"fragment {self.name!r}: `units` and `sha256` go with a `model`")
        if self.model is not None and self.energy_unit is not None:
            raise ValueError(f"fragment {self.name!r}: `energy_unit` goes with `energy`; a model takes `units`")
        if self.name in ("binding", "total") or self.name.startswith("binding_"):
            raise ValueError(f"fragment {self.name!r}: 'total' and names that start with 'binding' are taken")
        return self


class BindingEntry(ModelEntry):
    """A binding model, of the whole complex or of the fragments in `between`, in that order."""

    between: tuple[Name, ...] | None = Field(default=None, min_length=2)

    @property
    def name(self) -> str:
        return "binding" if self.between is None else "binding_" + "_".join(self.between)


class TermEntry(_Strict):
    """A term of another kind (`delta_server.terms`), over the whole complex or over some fragments, in that order."""

    kind: Name
    name: Name
    part: Literal["fragments", "binding"] = "binding"
    over: Annotated[tuple[Name, ...] | None, BeforeValidator(lambda value: None if value == "all" else value)] = None
    options: dict[str, Any] = Field(default_factory=dict)


def _as_list(value: Any) -> Any:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


class Manifest(_Strict):
    """A validated manifest; paths as written, `resolve` makes them relative to the manifest's folder."""

    format: Literal["delta-sgdml/1"]
    name: str = Field(min_length=1, max_length=200)
    theory: str = ""
    structure: FilePath
    fragments: tuple[FragmentEntry, ...] = Field(min_length=1)
    binding: Annotated[tuple[BindingEntry, ...], BeforeValidator(_as_list)] = ()
    terms: tuple[TermEntry, ...] = ()
    path: Path = Field(default=Path(), alias="__path__", exclude=True)

    def resolve(self, path: Path) -> Path:
        return self.path.parent / path

    def models(self) -> dict[str, ModelEntry]:
        """The model files by the name of their term; ions have none."""
        entries = {
            f.name: ModelEntry(model=f.model, units=f.units, sha256=f.sha256) for f in self.fragments if f.model
        }
        return entries | {b.name: b for b in self.binding}

    @property
    def n_atoms(self) -> int:
        return sum(len(f.atoms) for f in self.fragments)

    @property
    def has_binding(self) -> bool:
        return bool(self.binding) or any(term.part == "binding" for term in self.terms)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        names = [f.name for f in self.fragments]
        if len(set(names)) < len(names):
            raise ValueError(f"fragment names must differ, found {', '.join(names)}")
        owner: dict[int, str] = {}
        for fragment in self.fragments:
            for atom in fragment.atoms:
                if atom in owner:
                    raise ValueError(f"atom {atom} is in fragment {owner[atom]!r} and in {fragment.name!r}")
                owner[atom] = fragment.name
        missing = sorted(set(range(max(owner) + 1)) - set(owner))
        if missing:
            raise ValueError(
                f"atoms {format_atoms(tuple(missing))} are in no fragment; each must be in one, counted from 0"
            )
        if len(self.binding) > 1 and any(b.between is None for b in self.binding):
            raise ValueError("binding: in a list each term needs `between: [a, b]`")
        for binding in self.binding:
            for name in binding.between or ():
                if name not in names:
                    raise ValueError(f"binding between {name!r}: no such fragment; there are {', '.join(names)}")
            if len(set(binding.between or ())) < len(binding.between or ()):
                raise ValueError(f"binding between {list(binding.between or ())}: a fragment is named twice")
        terms = [b.name for b in self.binding]
        if len(set(terms)) < len(terms):
            raise ValueError(f"binding: two terms would be called {max(terms, key=terms.count)!r}; rename a fragment")
        for term in self.terms:
            if term.name in ("binding", "total") or term.name.startswith("binding_"):
                raise ValueError(f"term {term.name!r}: 'total' and names that start with 'binding' are taken")
            for name in term.over or ():
                if name not in names:
                    raise ValueError(f"term over {name!r}: no such fragment; there are {', '.join(names)}")
            if len(set(term.over or ())) < len(term.over or ()) or term.over == ():
                raise ValueError(f"term over {list(term.over or ())}: expected fragments, each once, or all")
        others = [*names, *(term.name for term in self.terms)]
        if len(set(others)) < len(others):
            raise ValueError(f"terms: two would be called {max(others, key=others.count)!r}; rename one")
        sets = [frozenset(b.between or ()) for b in self.binding]
        if len(set(sets)) < len(sets):
            raise ValueError("binding: two terms are between the same fragments")
        return self


class _Loader(yaml.SafeLoader):
    """YAML 1.2's reading of ``3:15`` (a text, not 195 in base 60) and ``010`` (ten); no key twice; no tags, which
    PyYAML trips over, and no aliases, which let a small file hold a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            line = event.start_mark.line + 1
            raise yaml.YAMLError(f"line {line} has a tag or an alias, which manifests never need")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.YAMLError(f"key {_short(name)} appears twice (line {key.start_mark.line + 1})")
            seen.add(name)
        return dict(super().construct_mapping(node, deep))

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        try:
            return int(node.value)
        except ValueError:  # thousands of digits
            raise yaml.YAMLError(f"line {node.start_mark.line + 1} has a number that is too long") from None


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag.rpartition(":")[2] in ("bool", "null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)


def load_manifest(path: str | Path) -> Manifest:
    """Read and validate a manifest.

    Raises ManifestError: one line with the file, the place in it, what was expected and what was found.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ManifestError(f"{path}: is a directory, expected a manifest (YAML)")
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device read for ever
            raise ManifestError(f"{path}: is no regular file, expected a manifest (YAML)")
        if status.st_size > _MAX_BYTES:
            raise ManifestError(f"{path}: {status.st_size} bytes; a manifest is a page of YAML")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: is not text; expected a manifest (YAML)") from None
    try:
        data = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ManifestError(f"{path}: not YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(data, dict):
        raise ManifestError(f"{path}: expected a mapping that starts with `format: {FORMAT}`")
    if data.get("format") != FORMAT:
        raise ManifestError(f"{path}: format is {_short(data.get('format'))}, expected {FORMAT!r}")
    if _PATH in data:
        raise ManifestError(f"{path}: unknown key {_PATH!r}")
    try:
        return Manifest.model_validate({**data, _PATH: path})
    except ValidationError as error:
        raise ManifestError(f"{path}: {_first(error)}") from None


_EXPECTED = {
    "float_type": "expected a number",
    "model_type": "expected keys and values",
    "path_type": "expected the path of a file",
    "string_type": "expected text",
    "tuple_type": "expected a list",
}


def _first(error: ValidationError) -> str:
    """The first of pydantic's complaints as one line: where, what."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "is missing"
    elif first["type"] != "value_error":  # ours say what they found
        message = f"{_EXPECTED.get(first['type'], message)}, found {_short(first['input'])}"
    return f"{where}: {message}" if where else message
