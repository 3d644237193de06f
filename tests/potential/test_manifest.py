"""Manifests: what they may say, and one line on the file and the place for everything else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delta_server.errors import ManifestError
from delta_server.manifest import Manifest, load_manifest
from delta_server.molecule.ranges import format_atoms, parse_atoms

VALID = """\
format: delta-sgdml/1
name: pair
structure: geometry.xyz
fragments:
- {name: a, atoms: 0:3, model: a.npz}
- {name: b, atoms: 3:15, model: b.npz}
binding: {model: c.npz}
"""
ION = "energy: 122.5, energy_unit: kcal/mol"
WITH_ION = VALID.replace("0:3, model: a.npz", f"0:1, {ION}").replace("3:15", "1:15")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the valid manifest with one piece replaced by another."""

    def to(old: str = "", new: str = "", *, text: str | bytes = VALID) -> Path:
        path = tmp_path / "manifest.yaml"
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            assert old in text
            path.write_text(text.replace(old, new, 1) if old else text + new, encoding="utf-8")
        return path

    return to


def refused(path: Path, *words: str) -> None:
    """Loading raises one printable line that names the file and holds the words, and soon."""
    began = time.perf_counter()
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1200
    for word in (str(path), *words):
        assert word in message
    assert time.perf_counter() - began < 10.0


def atoms_of(path: Path) -> list[tuple[int, ...]]:
    return [fragment.atoms for fragment in load_manifest(path).fragments]


def test_a_valid_manifest(write: Write, tmp_path: Path) -> None:
    manifest = load_manifest(str(write()))
    assert (manifest.name, manifest.n_atoms, manifest.theory) == ("pair", 15, "")
    assert manifest.resolve(manifest.structure) == tmp_path / "geometry.xyz"
    assert [f.name for f in manifest.fragments] == ["a", "b"]
    assert [b.name for b in manifest.binding] == ["binding"]


# Atoms


@pytest.mark.parametrize(
    ("value", "atoms"),
    [
        ("0:3", (0, 1, 2)),
        ("0:3,7:9", (0, 1, 2, 7, 8)),
        (" 0 : 2 , 5 ", (0, 1, 5)),
        ("3", (3,)),
        (3, (3,)),
        ("5:7,0:2", (5, 6, 0, 1)),
        ([4, 2], (4, 2)),
        ((0,), (0,)),
        ("010", (10,)),
    ],
)
def test_atoms(value: object, atoms: tuple[int, ...]) -> None:
    assert parse_atoms(value) == atoms


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "expected ranges"),
        ("0:", "expected ranges"),
        (":3", "expected ranges"),
        ("0:3,", "expected ranges"),
        ("0:3:2", "expected ranges"),
        ("0-3", "expected ranges"),
        ("-1", "expected ranges"),
        ("0:-1", "expected ranges"),
        ("1.5", "expected ranges"),
        ("0x3", "expected ranges"),
        ("٣", "expected ranges"),
        ("9" * 40, "expected ranges"),
        ("3:3", "empty"),
        ("5:3", "empty"),
        ([], "at least one"),
        (-1, "counted from 0"),
        ([0, -1], "counted from 0"),
        (True, "True"),
        ([0, True], "True"),
        (1.0, "1.0"),
        ([0, 1.0], "1.0"),
        (["0:3"], "'0:3'"),
        (None, "None"),
        ({0: 1}, "{0: 1}"),
        ("0:3,2", "atom 2 appears twice"),
        ([7, 7], "atom 7 appears twice"),
        ("0:999999999", "more than 100000"),
        ("999999999", "more than 100000"),
        (10**30, "more than 100000"),
        (",".join(["0:60000"] * 1000), "more than 100000"),
        ([*range(90_000), 5], "atom 5 appears twice"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_no_atoms(value: object, words: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ValueError, match="atoms") as caught:
        parse_atoms(value)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300
    assert time.perf_counter() - began < 10.0


@given(st.lists(st.integers(0, 40), min_size=1, unique=True).map(tuple))
def test_atoms_there_and_back(atoms: tuple[int, ...]) -> None:
    assert parse_atoms(format_atoms(atoms)) == atoms
    assert parse_atoms(list(atoms)) == atoms


@pytest.mark.parametrize(
    ("written", "atoms"),
    [
        ("0:3", (0, 1, 2)),  # YAML 1.1 would read 3:15 as 195, and 1:20 as 80
        ("'0:3'", (0, 1, 2)),
        ("[0, 1, 2]", (0, 1, 2)),
        ("[2, 0, 1]", (2, 0, 1)),
        ("'0:2,2'", (0, 1, 2)),
        ("0:0000003", (0, 1, 2)),
    ],
)
def test_atoms_in_yaml(write: Write, written: str, atoms: tuple[int, ...]) -> None:
    assert atoms_of(write("0:3", written)) == [atoms, tuple(range(3, 15))]


def test_numbers_are_decimal_and_never_base_60(write: Write) -> None:
    assert atoms_of(write("0:3", "00", text=VALID.replace("3:15", "1:20"))) == [(0,), tuple(range(1, 20))]
    assert atoms_of(write("0:3", "02", text=VALID.replace("3:15", "0:2"))) == [(2,), (0, 1)]
    assert atoms_of(write("0:3", "[08, 09]", text=VALID.replace("3:15", "0:8"))) == [(8, 9), tuple(range(8))]


# What a manifest may say


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("binding: {model: c.npz}\n", "", []),
        ("{model: c.npz}", "", []),
        ("{model: c.npz}", "[]", []),
        ("{model: c.npz}", "[{model: c.npz}]", ["binding"]),
        ("c.npz}", "c.npz, between: [b, a]}", ["binding_b_a"]),
        ("{model: c.npz}", "[{model: c.npz, between: [a, b]}]", ["binding_a_b"]),
    ],
)
def test_bindings(write: Write, old: str, new: str, names: list[str]) -> None:
    assert [b.name for b in load_manifest(write(old, new)).binding] == names


def test_three_fragments_bound_in_pairs(write: Write) -> None:
    text = VALID.replace("binding: {model: c.npz}", "")
    text += f"- {{name: c, atoms: [15], {ION}}}\nbinding:\n"
    text += "".join(f"- {{model: {p}.npz, between: [{p[0]}, {p[1]}]}}\n" for p in ("ab", "ac", "cb"))
    manifest = load_manifest(write(text=text))
    assert manifest.n_atoms == 16
    assert [b.name for b in manifest.binding] == ["binding_a_b", "binding_a_c", "binding_c_b"]
    assert manifest.fragments[2].energy == 122.5
    assert manifest.fragments[2].energy_unit == "kcal/mol"


@pytest.mark.parametrize(
    "text", [VALID.replace("\n", "\r\n"), "\ufeff" + VALID, "---\n" + VALID + "...\n", f"# ä\n{VALID}"]
)
def test_editors_of_all_kinds(write: Write, text: str) -> None:
    assert load_manifest(write(text=text.encode())).n_atoms == 15


@pytest.mark.parametrize("energy", ["-1", "1e2", "-.5", "+3.25E-2", "122.66904509206462"])
def test_energies(write: Write, energy: str) -> None:
    assert load_manifest(write("122.5", energy, text=WITH_ION)).fragments[0].energy == float(energy)


# What it may not


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("binding:", "bindng:", ["unknown key 'bindng'", "did you mean 'binding'?"]),
        ("model: a", "modle: a", ["fragments[0]", "'modle'", "did you mean 'model'?"]),
        ("c.npz}", "c.npz, units: {lenght: Ang}}", ["binding[0].units", "'lenght'", "'length'?"]),
        ("c.npz}", "c.npz, sha265: x}", ["binding[0]", "did you mean 'sha256'?"]),
        ("", "zebra: 1\n", ["'zebra'", "known keys: format, name"]),
        ("", "__path__: /etc\n", ["unknown key '__path__'"]),
        ("", "path: /etc\n", ["unknown key 'path'"]),
        ("", "5: 1\n", ["unknown key 5"]),
        ("", "~: 1\n", ["unknown key None"]),
        ("", "<<: {theory: x}\n", ["unknown key '<<'"]),
        ("", "x" * 900 + ": 1\n", ["unknown key 'xxx"]),
        ("", '"\\e[31m\\n": 1\n', ["unknown key"]),
        ("", "name: other\n", ["'name' appears twice", "line 8"]),
        ("name: a,", "name: a, 'name': c,", ["'name' appears twice", "line 5"]),
        ("format: delta-sgdml/1\n", "", ["format is None", "delta-sgdml/1"]),
        ("sgdml/1", "sgdml/2", ["'delta-sgdml/2'", "expected 'delta-sgdml/1'"]),
        ("delta-sgdml/1", "1", ["format is 1"]),
        ("delta-sgdml/1", "y" * 5000, ["format is 'yyy"]),
        ("name: pair\n", "", ["name: is missing"]),
        ("structure: geometry.xyz\n", "", ["structure: is missing"]),
        ("atoms: 0:3, ", "", ["fragments[0].atoms: is missing"]),
        ("name: a, ", "", ["fragments[0].name: is missing"]),
        ("model: c.npz", "", ["binding[0].model: is missing"]),
        ("name: pair", "name: 5", ["name: expected text, found 5"]),
        ("name: pair", "name: no", ["name: expected text, found False"]),
        ("name: pair", "name: ''", ["name: ", "found ''"]),
        ("name: pair", f"name: {'x' * 300}", ["name: ", "found 'xxx"]),
        ("name: pair", 'name: "\\ud800"', ["name: "]),
        ("geometry.xyz", "[]", ["structure: expected the path of a file, found []"]),
        ("geometry.xyz", "", ["structure: expected the path of a file, found None"]),
        ("geometry.xyz", "''", ["structure: expected the path of a file"]),
        ("geometry.xyz", '"a\\0b"', ["structure: expected the path of a file"]),
        ("a.npz", '"\\ud800"', ["fragments[0].model: expected the path of a file"]),
        ("c.npz", "/", ["binding[0].model: expected the path of a file"]),
        ("name: a", "name: '../a'", ["fragments[0].name", "'../a'"]),
        ("name: a", "name: 'a b'", ["fragments[0].name", "'a b'"]),
        ("name: a", 'name: "a\\n"', ["fragments[0].name"]),
        ("name: a", "name: b", ["names must differ", "b, b"]),
        ("name: a", "name: binding", ["'binding' are taken"]),
        ("name: a", "name: binding_b", ["'binding' are taken"]),
        ("0:3", "0:4", ["atom 3", "'a'", "'b'"]),
        ("0:3", "0:2", ["atoms 2 are in no fragment"]),
        ("0:3", "1:3", ["atoms 0 are in no fragment"]),
        ("3:15", "5:15", ["atoms 3:5 are in no fragment"]),
        ("0:3", "3:0", ["fragments[0].atoms", "empty"]),
        ("3:15", "99999", ["are in no fragment"]),
        ("0:3", "9" * 5000, ["line 5", "too long"]),
        ("0:3", "0:3, sha256: abc", ["fragments[0].sha256", "'abc'"]),
        ("0:3", "0:3, sha256: 123", ["fragments[0].sha256", "expected text, found 123"]),
        (", model: a.npz", "", ["'a'", "`model`, `calculator` or `energy`"]),
        ("a.npz", f"a.npz, {ION}", ["'a'", "`model`, `calculator` or `energy`"]),
        ("a.npz", "a.npz, energy_unit: eV", ["'a'", "`units`"]),
        ("c.npz}", "c.npz, units: eV}", ["binding[0].units", "'eV'"]),
        ("c.npz}", "c.npz, units: {length: furlong}}", ["binding[0].units.length", "'furlong'", "Ang"]),
        ("c.npz}", "c.npz, between: [a, q]}", ["between 'q'", "there are a, b"]),
        ("c.npz}", "c.npz, between: [a, a]}", ["named twice"]),
        ("c.npz}", "c.npz, between: [a]}", ["binding[0].between"]),
        ("c.npz}", "c.npz, between: ab}", ["binding[0].between", "'ab'"]),
        ("{model: c.npz}", "c.npz", ["binding[0]", "'c.npz'"]),
        ("{model: c.npz}", "[{model: c.npz}, {model: c.npz}]", ["between"]),
        ("{model: c.npz}", "[{model: c.npz}, {model: d.npz, between: [a, b]}]", ["between"]),
        (
            "{model: c.npz}",
            "[{model: c.npz, between: [a, b]}, {model: d.npz, between: [b, a]}]",
            ["same fragments"],
        ),
    ],
    ids=lambda value: value[:32].strip() if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(write: Write, old: str, new: str, words: list[str]) -> None:
    refused(write(old, new), *words)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("energy: 1.0", ["'a'", "energy_unit"]),
        ("energy_unit: eV", ["'a'", "`model`, `calculator` or `energy`"]),
        ("energy: 1.0, energy_unit: kcal", ["fragments[0].energy_unit", "'kcal'", "kcal/mol"]),
        ("energy: 1.0, energy_unit: 1", ["fragments[0].energy_unit: expected text, found 1"]),
        (f"{ION}, units: {{energy: eV}}", ["'a'", "`units`"]),
        (f"{ION}, sha256: {'a' * 64}", ["'a'", "`sha256`"]),
        ("energy: .nan, energy_unit: eV", ["fragments[0].energy", "nan"]),
        ("energy: 1e999, energy_unit: eV", ["fragments[0].energy", "inf"]),
        ("energy: true, energy_unit: eV", ["fragments[0].energy", "True"]),
        ("energy: '5', energy_unit: eV", ["fragments[0].energy", "'5'"]),
        ("energy: 1_000.0, energy_unit: eV", ["fragments[0].energy", "'1_000.0'"]),
        ("energy: 1:30, energy_unit: eV", ["fragments[0].energy", "'1:30'"]),
    ],
)
def test_what_is_wrong_with_an_ion_is_named(write: Write, entry: str, words: list[str]) -> None:
    refused(write(ION, entry, text=WITH_ION), *words)


def test_an_ion_is_one_atom(write: Write) -> None:
    refused(write("model: a.npz", ION), "fragments[0]", "'a'", "single ion")


@pytest.mark.parametrize("fragments", ["[]", "{}", "a", "~", "[a]", "[[]]", "[~]"])
def test_no_fragments(write: Write, fragments: str) -> None:
    refused(write(text=f"format: delta-sgdml/1\nname: x\nstructure: g.xyz\nfragments: {fragments}\n"), "fragments")


# What is hardly YAML


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a mapping"),
        ("- a\n", "expected a mapping"),
        ("hello\n", "expected a mapping"),
        (VALID + "---\n" + VALID, "single document"),
        ("format: [\n", "not YAML"),
        ("\tformat: x\n", "not YAML"),
        ("format: 'x\n", "not YAML"),
        (VALID + "? [a, b]\n: 5\n", "not YAML"),
        ("format: \0\n", "not YAML"),
        (b"format: \xff\xfe\n", "not text"),
        (VALID.encode("utf-16"), "not text"),
        (VALID.replace("pair", "Bär").encode("latin-1"), "not text"),
        ("[" * 100_000, "not YAML"),
        ("{a: " * 20_000, "not YAML"),
        (VALID + "#" * 2**17, "a page of YAML"),
        (VALID.replace("pair", "!!python/object/apply:os.abort []"), "line 2 has a tag"),
        (VALID.replace("pair", "!!python/name:os.system"), "line 2 has a tag"),
        (VALID.replace("0:3", "!!int ''"), "line 5 has a tag"),
        (VALID.replace("0:3", "!!timestamp x"), "line 5 has a tag"),
        (VALID.replace("0:3", "!!bool x"), "line 5 has a tag"),
        (VALID.replace("0:3", "!x 0"), "line 5 has a tag"),
        (LAUGHS + VALID.replace("pair", "*k"), "alias"),
        (LAUGHS + VALID.replace("delta-sgdml/1", "*k"), "alias"),
        (VALID.replace("{model: c.npz}", "&x [*x]"), "alias"),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_what_is_hardly_yaml(write: Write, text: str | bytes, words: str) -> None:
    refused(write(text=text), words)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such manifest"),
        (Path.mkdir, "directory"),
        (os.mkfifo, "regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "regular file"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ],
    ids=["missing", "directory", "pipe", "device", "loop"],
)
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "manifest.yaml"
    make(path)
    refused(path, words)


def test_a_file_used_as_a_folder(write: Write) -> None:
    refused(write() / "manifest.yaml", "Not a directory")


def test_shipped_manifests(h2o_benzene: Path, na_benzene: Path) -> None:
    pair, ion = load_manifest(h2o_benzene), load_manifest(na_benzene)
    assert isinstance(pair, Manifest)
    assert (pair.n_atoms, ion.n_atoms) == (15, 13)
    assert ion.fragments[0].energy is not None
