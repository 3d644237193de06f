"""Model files: what is read, and everything that is refused, in one line that names the file and the array."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from made import made_model

from delta_server.errors import ModelFileError
from delta_server.gdml import load_model, save_model
from delta_server.units import BOHR, HARTREE

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
NEEDED = ("type", "z", "R_desc", "R_d_desc_alpha", "perms", "tril_perms_lin", "sig", "c")
FLOATS = ("R_desc", "R_d_desc_alpha", "sig", "std", "c", "alphas_E")

Write = Callable[..., Path]


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, Any]:
    """Arrays of a valid model of water: 2 permutations, 5 training points."""
    path = made_model(tmp_path / "valid.npz", [8, 1, 1], WATER, [[0, 1, 2], [0, 2, 1]], n_train=5, seed=0)
    with np.load(path) as data:
        return {key: data[key] for key in data.files}


@pytest.fixture
def write(tmp_path: Path, arrays: dict[str, Any]) -> Write:
    """Writes the valid model with arrays replaced, or left out where the replacement is None; bytes go in as such."""

    def to(*, compression: int = zipfile.ZIP_STORED, **changes: Any) -> Path:
        path = tmp_path / "model.npz"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for key, value in (arrays | changes).items():
                if value is not None:
                    archive.writestr(f"{key}.npy", value if isinstance(value, bytes) else npy(value))
        return path

    return to


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
    return stream.getvalue()


def header(text: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy file whose header holds any text."""
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text) + 1) + text.encode("latin1") + b"\n" + data


def claim(dtype: str, shape: object, data: bytes = b"") -> bytes:
    return header(repr({"descr": dtype, "fortran_order": False, "shape": shape}), data)


def refused(path: Path, *words: str, **options: Any) -> str:
    """The complaint: one line that names the file and holds the words."""
    with pytest.raises(ModelFileError) as caught:
        load_model(path, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1200
    for word in (str(path), *words):
        assert word in message
    return message


def test_a_valid_file_is_read_as_it_is(write: Write, arrays: dict[str, Any]) -> None:
    model = load_model(write())
    assert model.numbers.tolist() == [8, 1, 1]
    assert model.n_atoms == 3
    assert model.n_train == 5
    assert np.array_equal(model.descriptors, arrays["R_desc"].T)
    assert np.array_equal(model.weights, arrays["R_d_desc_alpha"])
    assert np.array_equal(model.permutations, arrays["perms"])
    assert (model.sigma, model.scale, model.offset) == (arrays["sig"], arrays["std"], arrays["c"])
    assert model.energy_weights is None
    assert (model.length_unit, model.energy_unit, model.name) == ("Ang", "kcal/mol", "made")


@pytest.mark.parametrize(
    "changes",
    [
        {"type": np.array(b"m")},
        {"type": np.array(["m"])},
        {"sig": np.array([10])},
        {"sig": np.float32(10.0)},
        {"std": None},
        {"dataset_name": None, "dataset_theory": None},
        {"f_err": np.array({"mae": 0.1}, dtype=object), "e_err": np.array([None, {}], dtype=object)},
        {"anything": b"not even an array"},
        {"z": np.array([8, 1, 1], dtype=">i4")},
        {"c": np.array(-100.0, dtype=">f8")},
        {"alphas_E": np.arange(5.0)},
    ],
    ids=lambda changes: ",".join(changes),
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_harmless_variants_are_read(write: Write, changes: dict[str, Any], compression: int) -> None:
    model = load_model(write(compression=compression, **changes))
    assert model.numbers.tolist() == [8, 1, 1]
    assert model.sigma == 10.0
    assert model.offset == -100.0
    assert model.scale == 1.0


def test_weights_of_energies_are_kept(write: Write) -> None:
    weights = load_model(write(alphas_E=np.arange(5.0))).energy_weights
    assert weights is not None
    assert weights.tolist() == [0, 1, 2, 3, 4]


# Files


def whole(path: Path) -> bytes:
    made_model(path, [8, 1, 1], WATER, [[0, 1, 2]], n_train=5, seed=0)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "no such model file"),
        (lambda p: (p.unlink(), p.mkdir()), "regular file"),
        (lambda p: (p.unlink(), os.mkfifo(p)), "regular file"),
        (lambda p: (p.unlink(), p.symlink_to("/dev/zero")), "regular file"),
        (lambda p: p.write_bytes(b""), "not a whole .npz"),
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), "not a whole .npz"),
        (lambda p: p.write_bytes(p.read_bytes()[:100]), "not a whole .npz"),
        (lambda p: p.write_bytes(p.read_bytes()[300:]), "not a whole .npz"),
        (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "is no .npz file, expected"),
        (lambda p: p.write_bytes(pickle.dumps({"type": "m"})), "is no .npz file, expected"),
        (lambda p: zipfile.ZipFile(p, "w").close(), "no sGDML file"),
    ],
    ids=[
        "missing",
        "directory",
        "pipe",
        "device",
        "empty",
        "cut-end",
        "cut-middle",
        "cut-start",
        "text",
        "pickle",
        "no-arrays",
    ],
)
@pytest.mark.parametrize("digest", [None, "0" * 64], ids=["", "sha256"])
def test_what_is_no_file_of_a_model(
    tmp_path: Path, spoil: Callable[[Path], object], words: str, digest: str | None
) -> None:
    path = tmp_path / "model.npz"
    whole(path)
    spoil(path)
    refused(path, *([] if digest else [words]), sha256=digest)


def test_digest(write: Write) -> None:
    path = write()
    digest = sha256(path.read_bytes()).hexdigest()
    assert load_model(path, sha256=digest.upper()).n_atoms == 3
    refused(path, "sha256 is " + digest, "f" * 64, sha256="F" * 64)


@pytest.mark.parametrize("at", ["R_desc", "perms"])
def test_a_flipped_bit_is_found(write: Write, arrays: dict[str, Any], at: str) -> None:
    path = write()
    data = bytearray(path.read_bytes())
    data[data.index(arrays[at].tobytes()) + 1] ^= 1
    path.write_bytes(data)
    refused(path, "CRC")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(write: Write, compression: int) -> None:
    refused(write(compression=compression), "'type'", "compressed")


def test_a_name_of_an_array_that_is_no_text_is_refused(write: Write) -> None:
    path = write()
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 9] |= 0x08  # names are UTF-8
    data[at + 46] = 0xFF
    path.write_bytes(data)
    refused(path, "not a whole .npz", "utf-8")


@pytest.mark.parametrize("seed", range(8))
def test_no_spoilt_byte_makes_it_trip(write: Write, seed: int) -> None:
    """Whatever a byte or a few are changed to, it loads or says why not."""
    rng = random.Random(seed)
    path = write(compression=zipfile.ZIP_DEFLATED if seed % 2 else zipfile.ZIP_STORED)
    good, complaints = path.read_bytes(), 0
    marks = [good.rfind(b"PK\x05\x06"), good.find(b"PK\x01\x02"), good.rfind(b"PK\x01\x02"), good.find(b"NUMPY") % 99]
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.choice((1, 2, 10))):
            at = rng.choice((rng.randrange(len(data)), rng.choice(marks) + rng.randrange(120)))
            data[min(at, len(data) - 1)] = rng.randrange(256)
        path.write_bytes(data)
        try:
            load_model(path)
        except ModelFileError:
            complaints += 1
    assert complaints > 30


# Arrays


@pytest.mark.parametrize("key", NEEDED)
def test_a_missing_array_is_named(write: Write, key: str) -> None:
    refused(write(**{key: None}), "type" if key == "type" else f"no array {key!r}")


@pytest.mark.parametrize(
    ("kind", "words"), [("d", "data set"), ("t", "training task"), ("x", "something else"), (b"d", "data set")]
)
def test_other_files_of_sgdml_are_told_apart(write: Write, kind: object, words: str) -> None:
    refused(write(type=np.array(kind)), words, "'m'")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("z", [8]),
        ("z", []),
        ("z", 8),
        ("z", [[8, 1, 1]]),
        ("z", [8, 1, 1, 1]),
        ("R_desc", np.ones(3)),
        ("R_desc", np.ones((5, 3))),
        ("R_desc", np.ones((3, 0))),
        ("R_desc", np.ones((3, 5, 1))),
        ("R_d_desc_alpha", np.ones((3, 5))),
        ("R_d_desc_alpha", np.ones((4, 3))),
        ("R_d_desc_alpha", np.ones((5, 9))),
        ("R_d_desc_alpha", 1.0),
        ("perms", [0, 1, 2]),
        ("perms", np.zeros((0, 3), int)),
        ("perms", [[0, 1, 2, 3]]),
        ("perms", np.arange(3).reshape(1, 3, 1)),
        ("tril_perms_lin", [0, 1, 2]),
        ("tril_perms_lin", np.zeros((2, 3), int)),
        ("tril_perms_lin", 0),
        ("sig", [10, 20]),
        ("sig", []),
        ("std", [1.0, 1.0]),
        ("c", [0.0, 0.0]),
        ("alphas_E", np.ones(4)),
        ("alphas_E", np.ones((5, 1))),
        ("type", ["m", "m"]),
        ("r_unit", ["Ang", "Ang"]),
    ],
)
def test_wrong_shapes(write: Write, key: str, value: object) -> None:
    shape = np.shape(value)
    blamed = "R_desc" if shape == (4,) and key == "z" else key  # a molecule too large shows in its descriptors
    refused(write(**{key: np.asarray(value)}), f"array {blamed!r} has shape")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("z", np.array([8.0, 1.0, 1.0])),
        ("z", np.array(["O", "H", "H"])),
        ("perms", np.array([[0.0, 1, 2], [0, 2, 1]])),
        ("tril_perms_lin", np.zeros(6)),
        ("R_desc", np.ones((3, 5), complex)),
        ("R_d_desc_alpha", np.ones((5, 3), bool)),
        ("sig", np.array("10")),
        ("sig", np.array(10j)),
        ("c", np.array(True)),
        ("r_unit", np.array(1)),
        ("type", np.array(109)),
        ("sig", np.zeros((), [("a", "f8")])),
        ("c", np.datetime64("2020-01-01")),
    ],
)
def test_wrong_dtypes(write: Write, key: str, value: np.ndarray) -> None:
    refused(write(**{key: value}), f"array {key!r} has dtype")


def test_a_model_of_2018(write: Write) -> None:
    refused(write(type=None), "an sGDML model of 2018")


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize("key", ["R_desc", "R_d_desc_alpha", "alphas_E"])
def test_single_precision_is_refused(write: Write, arrays: dict[str, Any], key: str, dtype: str) -> None:
    value = np.ones(5) if key == "alphas_E" else arrays[key]
    refused(write(**{key: value.astype(dtype)}), repr(key), "float64")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", FLOATS)
def test_what_is_not_finite_is_refused(write: Write, arrays: dict[str, Any], key: str, value: float) -> None:
    array = np.array(arrays.get(key, np.ones(5)), dtype=float)
    array.flat[-1] = value
    refused(write(**{key: array}), repr(key), "finite")


@pytest.mark.parametrize("value", [0.0, -1.0])
@pytest.mark.parametrize("key", ["sig", "std", "R_desc"])
def test_what_is_not_positive_is_refused(write: Write, arrays: dict[str, Any], key: str, value: float) -> None:
    array = np.array(arrays[key], dtype=float)
    array.flat[-1] = value
    refused(write(**{key: array}), repr(key), "positive")


@pytest.mark.parametrize(
    "numbers", [[0, 1, 1], [119, 1, 1], [-8, 1, 1], np.array([2**64 - 1, 1, 1], "u8"), np.array([2**63, 1, 1], "u8")]
)
def test_atomic_numbers_are_of_elements(write: Write, numbers: Any) -> None:
    refused(write(z=np.asarray(numbers)), "'z'", "1 to 118")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("perms", [[0, 1, 2], [0, 2, 2]], "row 1 is no permutation"),
        ("perms", [[0, 1, 3], [0, 2, 1]], "row 0 is no permutation"),
        ("perms", [[1, 2, 3], [1, 3, 2]], "row 0 is no permutation"),  # counted from 1
        ("perms", [[0, 1, 2], [0, -1, 1]], "row 1 is no permutation"),
        ("perms", [[0, 1, 2], [1, 0, 2]], "row 1 exchanges atoms of different elements"),
        ("perms", [[0, 2, 1], [0, 1, 2]], None),  # in another order than tril_perms_lin
        ("tril_perms_lin", [0, 0, 1, 1, 2, 2], None),
        ("tril_perms_lin", [0, 4, 1, 3, 2, 6], None),
        ("tril_perms_lin", [-(2**63), 4, 1, 3, 2, 5], None),
        ("tril_perms_lin", [10**18, 4, 1, 3, 2, 5], None),
    ],
)
def test_permutations_are_permutations(write: Write, key: str, value: object, words: str | None) -> None:
    refused(write(**{key: np.array(value)}), *(["'perms'", words] if words else ["'tril_perms_lin'", "'perms'"]))


@pytest.mark.parametrize("key", [*NEEDED, "std", "alphas_E", "r_unit", "e_unit", "dataset_name"])
def test_nothing_is_ever_unpickled(tmp_path: Path, write: Write, key: str) -> None:
    trace = tmp_path / "executed"
    message = refused(write(**{key: np.array(Hostile(trace), dtype=object)}), repr(key))
    assert "pickled" in message or "shape" in message
    array = np.array([Hostile(trace)] * 3, dtype=object)
    assert load_model(write(f_err=array, idxs_train=array)).n_atoms == 3
    assert not trace.exists()


# Headers that lie


@pytest.mark.parametrize(
    ("key", "member", "words"),
    [
        ("sig", claim("<f8", (10**30, 0)), "impossible shape"),
        ("sig", claim("<f8", (-1, -1), bytes(8)), "impossible shape"),
        ("sig", claim("<f8", (True,), bytes(8)), "impossible shape"),
        ("type", claim("<U0", (10**12,)), "shape"),
        ("c", claim("<f8", (10**9,), bytes(8)), "8 bytes, its header says 8000000000"),
        ("R_desc", claim("<f8", (3, 10**9), bytes(80)), "80 bytes, its header says 24000000000"),
        ("R_desc", claim("<f8", (3, 5), bytes(119)), "119 bytes, its header says 120"),
        ("R_desc", claim("<f8", (3, 5), bytes(121)), "121 bytes, its header says 120"),
        ("sig", b"", "no readable header"),
        ("sig", b"\x93NUMPY\x01\x00", "no readable header"),
        ("sig", header("('" * 4000), "no readable header"),
        ("sig", header("-" * 9000 + "1"), "no readable header"),
        ("sig", header("'''"), "no readable header"),
        ("sig", header("{'descr': '<f8,,', 'fortran_order': False, 'shape': ()}"), "no readable header"),
        (
            "sig",
            header("{'descr': __import__('os').getcwd(), 'fortran_order': 0, 'shape': ()}"),
            "no readable header",
        ),
        ("sig", header(repr({"descr": "<f8", "fortran_order": False, "shape": (9**3000,)})), "impossible shape"),
        ("sig", header(repr({"descr": "<f8", "fortran_order": False, "shape": ()}), bytes(8), (9, 9)), "'sig'"),
        ("dataset_name", npy("x" * 20_000), "absurdly large"),
    ],
)
def test_headers_that_lie(write: Write, key: str, member: bytes, words: str) -> None:
    refused(write(**{key: member}), f"array {key!r}", words)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_lying_length_of_a_member_is_found(write: Write, compression: int) -> None:
    """The archive's directory says that a member is larger than what it holds."""
    path = write(compression=compression)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"R_desc.npy")) + 24
    data[at : at + 4] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    refused(path, "R_desc")


def bomb(path: Path, arrays: dict[str, Any], key: str, start: bytes, size: int) -> Path:
    """The model with one member replaced by `start` and many zeros, compressed a thousand times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            if name != key:
                archive.writestr(f"{name}.npy", npy(value))
        with archive.open(f"{key}.npy", "w") as stream:
            stream.write(start)
            for _ in range(size // 2**20):
                stream.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    return path


@pytest.mark.parametrize("key", ["R_desc", "sig", "f_err"])
def test_a_bomb_is_not_unpacked(tmp_path: Path, arrays: dict[str, Any], key: str) -> None:
    size = 96 * 2**20
    starts = {"R_desc": claim("<f8", (3, size // 24)), "sig": b"\x93NUMPY\x02\x00" + struct.pack("<I", size - 12)}
    path = bomb(tmp_path / "bomb.npz", arrays, key, starts.get(key, b""), size)
    tracemalloc.start()
    try:
        if key == "f_err":  # of no use, never looked at
            assert load_model(path).n_atoms == 3
        else:
            refused(path, repr(key), "packed")
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_names_of_arrays_do_not_write_on_the_terminal(write: Write) -> None:
    refused(write(**{"a\nb\x1b[31m": np.zeros(1), "sig": None}), "no array 'sig'")


# What is asked of a model beyond its arrays


def test_periodic_models_are_refused_by_name(write: Write) -> None:
    refused(write(lattice=np.eye(3)), "'lattice'", "periodic")


def test_a_single_atom_is_no_model(write: Write) -> None:
    refused(write(z=np.array([11])), "`energy`")


@pytest.mark.parametrize(
    ("in_file", "given"),
    [
        (("Ang", "kcal/mol"), (None, None)),
        (("Ang", "kcal/mol"), ("Angstrom", "kcal/mol")),
        (("Å", "KCAL/MOL"), ("a", "kcal/mol")),
        ((None, None), ("Ang", "kcal/mol")),
        ((b"Ang", b"kcal/mol"), (None, None)),
        (("bohr", "Hartree"), ("a0", "Ha")),
    ],
)
def test_units_from_the_file_or_from_outside(write: Write, in_file: Any, given: Any) -> None:
    r, e = (None if unit is None else np.array(unit) for unit in in_file)
    model = load_model(write(r_unit=r, e_unit=e), length_unit=given[0], energy_unit=given[1])
    atomic = "bohr" in in_file
    assert model.angstrom == (BOHR if atomic else 1.0)
    assert model.electronvolt == (HARTREE if atomic else pytest.approx(0.0433641, rel=1e-6))


@pytest.mark.parametrize(
    ("changes", "given", "words"),
    [
        ({"r_unit": None}, {}, ["length", "r_unit", "--length-unit Ang", "manifest"]),
        ({"e_unit": None}, {}, ["energy", "e_unit", "manifest"]),
        ({"e_unit": None}, {"length_unit": "Ang"}, ["energy", "e_unit", "manifest"]),
        ({}, {"length_unit": "bohr"}, ["'Ang'", "'bohr'"]),
        ({}, {"energy_unit": "eV"}, ["'kcal/mol'", "'eV'"]),
        ({"r_unit": "furlong"}, {}, ["furlong", "Ang"]),
        ({"e_unit": ""}, {}, ["energy unit ''"]),
        ({"e_unit": "eV\nkcal/mol"}, {}, ["unknown energy unit"]),
        ({}, {"energy_unit": "kcal"}, ["'kcal'", "kcal/mol"]),
    ],
)
def test_units_that_are_missing_unknown_or_contradict(
    write: Write, changes: dict[str, Any], given: dict[str, str], words: list[str]
) -> None:
    arrays = {key: None if value is None else np.array(value) for key, value in changes.items()}
    refused(write(**arrays), *words, **given)


def test_one_permutation_that_is_not_the_identity_is_refused(tmp_path: Path) -> None:
    """Stock sgdml applies it; read as the identity it would give other energies."""
    model = load_model(ROOT / "models/methane_dimer/methane.npz")
    for form in ("native", "sgdml"):
        save_model(tmp_path / "m.npz", replace(model, permutations=model.permutations[5:6]), form)  # type: ignore[arg-type]
        refused(tmp_path / "m.npz", "perms", "one permutation that is not the identity")
        identity = np.arange(5)[None]
        save_model(tmp_path / "m.npz", replace(model, permutations=identity), form)  # type: ignore[arg-type]
        assert np.array_equal(load_model(tmp_path / "m.npz").permutations, identity)


@pytest.mark.parametrize(("use_e", "expected"), [(None, True), (True, True), (False, False)])
def test_whether_energies_have_a_zero(write: Write, use_e: bool | None, expected: bool) -> None:
    assert load_model(write(use_E=None if use_e is None else np.array(use_e))).has_energies is expected


# Small files that would take much memory


@pytest.mark.parametrize(
    ("n_atoms", "rows", "most"),
    [(3, 7, 6), (8, 50_000, 40_320), (200, 1700, 1686), (2000, 20, 16)],
    ids=["more than there are", "of eight atoms", "many atoms", "very many atoms"],
)
def test_permutations_times_pairs_are_bounded(tmp_path: Path, n_atoms: int, rows: int, most: int) -> None:
    """Refused from the shape alone: a page of zeros packs into nothing."""
    path = tmp_path / "small.npz"
    np.savez_compressed(
        path,
        type="m",
        format="delta-sgdml-model/1",
        z=np.ones(n_atoms, dtype=np.uint8),
        R_train=np.zeros((1, n_atoms, 3)),
        alphas_F=np.zeros((1, n_atoms, 3)),
        perms=np.zeros((rows, n_atoms), dtype=np.uint16),
    )
    assert path.stat().st_size < 100_000
    refused(path, f"'perms' has {rows} rows, expected at most {most}")


def test_inverse_distances_that_leave_the_others_no_digits(write: Write, arrays: dict[str, Any]) -> None:
    descriptors = arrays["R_desc"].copy()
    descriptors[1, 2] = 9.2e18
    refused(write(R_desc=descriptors), "'R_desc'", "no atoms are so close")


@pytest.mark.parametrize("key", ["dataset_name", "dataset_theory", "r_unit", "type"])
def test_characters_that_do_not_exist(write: Write, key: str) -> None:
    refused(write(**{key: np.frombuffer(b"\xff\xff\xff\x7f" * 2, dtype="<U2")}), f"'{key}'", "do not exist")


def test_half_characters_are_replaced(write: Write) -> None:
    name = np.frombuffer("a\ud800".encode("utf-32-le", "surrogatepass"), dtype="<U2")
    assert load_model(write(dataset_name=name)).name == "a?"
