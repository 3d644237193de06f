"""Reading sGDML's ``.npz`` model files without trusting them.

Only the arrays that a prediction needs are touched, never unpickled, and each one's header is held
against what the others say before its data are read: a file may carry pickled error tables, or claim
any size, and neither matters.
"""

from __future__ import annotations

import errno
import hashlib
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._types import IntArray
from ..errors import ModelFileError
from ..units import energy_in_ev, length_in_angstrom
from .descriptor import n_pairs, pair_permutations
from .model import Model

_MAX_ATOMS = 5000
_MAX_TEXT = 10_000  # characters; the longest string a model file has any use for
_MAX_BYTES = 64 * 2**30
_MAX_RATIO = 200  # of an array beyond _FREE bytes to its compressed self; numbers do not compress so well
_FREE = 2**26

# What NumPy's reader of a header has been seen to raise, and zipfile for what is no zip file.
_NO_HEADER = (ValueError, TypeError, OverflowError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError)
_NO_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)


def load_model(
    path: str | Path,
    *,
    length_unit: str | None = None,
    energy_unit: str | None = None,
    sha256: str | None = None,
) -> Model:
    """The model in an sGDML file (type ``m``).

    length_unit, energy_unit: needed where the file carries none (``r_unit``, ``e_unit``); where it
    does they must agree. sha256: hexadecimal digest that the file must have.

    Raises ModelFileError, naming the file, the array, what was expected and what was found.
    """
    path = Path(path)
    try:
        if not path.is_file() and path.exists():  # a pipe would be waited for, a device read for ever
            raise ModelFileError(f"{path}: is no regular file, expected an sGDML model (.npz)")
        if sha256 is not None:
            _check_digest(path, sha256)
        with zipfile.ZipFile(path) as archive:
            return _read(_Arrays(path, archive), length_unit, energy_unit)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such model file") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # the archive's directory points before its beginning
            raise ModelFileError(f"{path}: not a whole .npz file; copy it again") from None
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except _NO_ZIP as error:
        raise ModelFileError(f"{path}: not a whole .npz file ({_short(error)}); copy it again") from None
    except MemoryError:
        raise ModelFileError(f"{path}: does not fit into memory") from None


def _check_digest(path: Path, expected: str) -> None:
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            sha256.update(block)
    digest = sha256.hexdigest()
    if digest != expected.lower():
        raise ModelFileError(
            f"{path}: sha256 is {digest}, the manifest says {expected.lower()}: not the model that was meant"
        )


def _short(error: Exception) -> str:
    return f"{error}"[:200] or type(error).__name__


class _Arrays:
    """Arrays of an open ``.npz``, each checked against its header before it is read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self.archive = archive
        self.members = {Path(i.filename).stem: i for i in archive.infolist() if i.filename.endswith(".npy")}

    def __contains__(self, key: str) -> bool:
        return key in self.members

    def fail(self, key: str, what: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: array {key!r} {what}")

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        """Shape, dtype and length of the header of an array, none of its data read."""
        if key not in self.members:
            raise ModelFileError(
                f"{self.path}: no array {key!r}; an sGDML model has type, z, R_desc, R_d_desc_alpha, perms, "
                f"tril_perms_lin, sig, std, c; this file has {', '.join(sorted(self.members))[:200] or 'none'}"
            )
        member = self.members[key]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.fail(key, "is compressed in a way that NumPy does not write")
        if member.file_size > max(_FREE, _MAX_RATIO * member.compress_size):
            raise self.fail(key, f"claims {member.file_size} bytes packed into {member.compress_size}: no model is")
        with self.archive.open(self.members[key]) as stream:
            try:
                version = np.lib.format.read_magic(stream)
                formats = np.lib.format
                read: Any = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
                shape, _, dtype = read(stream)
            except _NO_HEADER as error:
                raise self.fail(key, f"has no readable header: {_short(error)}") from None
            if any(type(n) is not int or not 0 <= n <= _MAX_BYTES for n in shape):
                raise self.fail(key, f"has the impossible shape {shape}"[:200])
            return tuple(shape), dtype, stream.tell()

    def shape(self, key: str) -> tuple[int, ...]:
        return self.header(key)[0]

    def get(self, key: str, shape: tuple[int, ...] | None, kinds: str) -> npt.NDArray[Any]:
        """The array, if its header says `shape` and a dtype kind in `kinds`, and its size bears that out."""
        found, dtype, header_bytes = self.header(key)
        if dtype.hasobject:
            raise self.fail(key, "holds pickled Python objects, which are never loaded")
        if dtype.kind not in kinds:
            raise self.fail(key, f"has dtype {dtype}, expected kind {' or '.join(kinds)}")
        if dtype.kind == "f" and prod(found) > 1 and dtype.itemsize < 8:
            raise self.fail(key, f"is {dtype}: single precision costs tens of kcal/mol, float64 expected")
        if shape is not None and found != shape:
            raise self.fail(key, f"has shape {found}, expected {shape}")
        size = prod(found) * dtype.itemsize
        stored = self.members[key].file_size - header_bytes
        if stored != size:
            raise self.fail(key, f"holds {stored} bytes, its header says {size}")
        if size > _MAX_BYTES or (dtype.kind in "SU" and size > 4 * _MAX_TEXT):
            raise self.fail(key, f"is absurdly large: {size} bytes")
        with self.archive.open(self.members[key]) as stream:
            try:
                array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            except ValueError as error:
                raise self.fail(key, f"cannot be read: {_short(error)}") from None
        return array

    def floats(self, key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        array = np.ascontiguousarray(self.get(key, shape, "fiu"), dtype=np.float64)
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise self.fail(key, f"holds {bad} values that are not finite")
        return array

    def number(self, key: str, *, positive: bool = False) -> float:
        array = self.get(key, None, "fiu")
        if array.size != 1:
            raise self.fail(key, f"has shape {array.shape}, expected one number")
        value = float(array.reshape(())[()])
        if not np.isfinite(value) or (positive and value <= 0):
            raise self.fail(key, f"is {value}, expected a finite {'positive ' * positive}number")
        return value

    def text(self, key: str) -> str | None:
        if key not in self.members:
            return None
        array = self.get(key, None, "SU")
        if array.size != 1:
            raise self.fail(key, f"has shape {array.shape}, expected one text")
        value: Any = array.reshape(())[()]
        return value.decode("utf-8", "replace") if array.dtype.kind == "S" else str(value)


def _read(arrays: _Arrays, length_unit: str | None, energy_unit: str | None) -> Model:
    kind = arrays.text("type") if "type" in arrays else None
    if kind != "m":
        what = {"d": "a data set", "t": "a training task", None: "no sGDML file"}.get(kind, "something else")
        raise ModelFileError(f"{arrays.path}: type is {kind!r} ({what}), expected 'm' (a trained model)")
    if "lattice" in arrays:
        raise ModelFileError(
            f"{arrays.path}: has a 'lattice': periodic sGDML models are not supported, only isolated molecules"
        )

    n_atoms = arrays.shape("z")[0] if len(arrays.shape("z")) == 1 else 0
    if not 2 <= n_atoms <= _MAX_ATOMS:
        raise arrays.fail(
            "z", f"has shape {arrays.shape('z')}, expected 2 to {_MAX_ATOMS} atoms (an ion is a "
            "fragment with `energy`, not a model)"
        )  # fmt: skip
    numbers = arrays.get("z", (n_atoms,), "iu").astype(np.intp)
    if numbers.min() < 1 or numbers.max() > 118:
        raise arrays.fail("z", f"holds {numbers.min()} to {numbers.max()}, expected atomic numbers 1 to 118")

    dim, shape = n_pairs(n_atoms), arrays.shape("R_desc")
    if len(shape) != 2 or shape[0] != dim or shape[1] < 1:
        raise arrays.fail("R_desc", f"has shape {shape}, expected ({dim}, training points) for {n_atoms} atoms")
    n_train = shape[1]
    descriptors = np.ascontiguousarray(arrays.floats("R_desc", (dim, n_train)).T)
    if descriptors.min() <= 0:
        raise arrays.fail("R_desc", f"holds {descriptors.min()}: inverse distances are positive")

    return Model(
        numbers=numbers,
        descriptors=descriptors,
        weights=arrays.floats("R_d_desc_alpha", (n_train, dim)),
        permutations=_permutations(arrays, numbers),
        sigma=_sigma(arrays),
        scale=arrays.number("std", positive=True) if "std" in arrays else 1.0,
        offset=arrays.number("c"),
        energy_weights=arrays.floats("alphas_E", (n_train,)) if "alphas_E" in arrays else None,
        length_unit=_unit(arrays, "r_unit", "length", length_unit, length_in_angstrom),
        energy_unit=_unit(arrays, "e_unit", "energy", energy_unit, energy_in_ev),
        name=arrays.text("dataset_name") or "",
        theory=arrays.text("dataset_theory") or "",
    )


def _sigma(arrays: _Arrays) -> float:
    sigma = arrays.number("sig", positive=True)
    if not 1e-6 <= sigma <= 1e6:
        raise arrays.fail("sig", f"is {sigma:g}, expected a length scale of 1e-6 to 1e6")
    return sigma


def _permutations(arrays: _Arrays, numbers: IntArray) -> IntArray:
    n_atoms, shape = len(numbers), arrays.shape("perms")
    if len(shape) != 2 or shape[0] < 1 or shape[1] != n_atoms:
        raise arrays.fail("perms", f"has shape {shape}, expected (permutations, {n_atoms})")
    dim = n_pairs(n_atoms)
    linear = arrays.get("tril_perms_lin", (shape[0] * dim,), "iu").astype(np.int64)
    perms = arrays.get("perms", (shape[0], n_atoms), "iu").astype(np.int64)
    if not (np.sort(perms, axis=1) == np.arange(n_atoms)).all():
        bad = int(np.flatnonzero((np.sort(perms, axis=1) != np.arange(n_atoms)).any(1))[0])
        raise arrays.fail("perms", f"row {bad} is no permutation of 0 to {n_atoms - 1}")
    mixed = np.flatnonzero((numbers[perms] != numbers).any(1))
    if len(mixed):
        raise arrays.fail("perms", f"row {mixed[0]} exchanges atoms of different elements")
    permutations = perms.astype(np.intp)
    described = linear.reshape(dim, shape[0]).T - dim * np.arange(shape[0])[:, None]
    if not np.array_equal(described, pair_permutations(permutations)):
        raise arrays.fail("tril_perms_lin", "does not describe the permutations in 'perms'")
    return permutations


def _unit(arrays: _Arrays, key: str, kind: str, given: str | None, lookup: Any) -> str:
    """The unit, from the file or from whoever loads it; both must say the same."""
    in_file = arrays.text(key)
    try:
        sizes = {name: float(lookup(name)) for name in (in_file, given) if name is not None}
    except ValueError as error:
        raise ModelFileError(f"{arrays.path}: {error}") from None
    if not sizes:
        example = "length: Ang" if kind == "length" else "energy: kcal/mol"
        raise ModelFileError(
            f"{arrays.path}: the file carries no {kind} unit ({key!r}); say it in the manifest: "
            f"units: {{{example}, ...}}"
        )
    if len(set(sizes.values())) > 1:
        raise ModelFileError(
            f"{arrays.path}: the file says {kind} unit {in_file!r}, the manifest says {given!r}: mend the manifest"
        )
    return in_file or next(iter(sizes))
