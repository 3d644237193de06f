"""Labelled configurations of a complex: sGDML's data set file, with what the isolated fragments say beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..files.npz import Arrays, open_arrays
from ..files.whole import save_arrays
from ..manifest import NAME
from ..units import KCAL_MOL
from .conventions import ARRAYS, NO_UNITS, USUAL_KEYS, FileUnits, Keys, check_isolated

_NO_THEORY = "unknown"  # as sgdml writes it
_KEYS = "type, z, R, E, F, name, theory, r_unit, e_unit and, for Δ-models, fragment, E_frag, F0, charges"
_MAX_ATOMS = 5000
TRAIN, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Dataset:
    """n configurations of N atoms in K fragments, in Å and kcal/mol as in sGDML's files (type ``d``).

    ====================== ========= =========== ============================================================
    attribute              key       shape
    ====================== ========= =========== ============================================================
    ``numbers``            z         (N,)        atomic numbers
    ``positions``          R         (n, N, 3)   Å
    ``energies``           E         (n,)        kcal/mol, of the complex
    ``forces``             F         (n, N, 3)   kcal/mol/Å
    ``fragment``           fragment  (N,)        number of the fragment of each atom, 0 to K−1; or None
    ``fragment_energies``  E_frag    (n, K)      kcal/mol, of each fragment alone; or None
    ``fragment_forces``    F0        (n, N, 3)   kcal/mol/Å, of each atom within its fragment alone; or None
    ``lower_energies``     E_lower   (n,)        kcal/mol, of what fewer than all fragments bind, as the pairs of a
                                                 trimer do (`data.bodies`); or None
    ``lower_forces``       F_lower   (n, N, 3)   kcal/mol/Å, of the same; or None
    ``charges``            charges   (K,)        net charges of the fragments; or None
    ``multiplicities``     mults     (K,)        spin multiplicities of the fragments; or None (all singlets)
    ``charge``             charge    ()          net charge of the complex, where it is known; or None
    ``multiplicity``       mult      ()          spin multiplicity of the complex, where it is known; or None
    ``index``              index     (n,)        place in the trajectory
    ``run``                start     (n,)        which trajectory; neighbours in time share it
    ``split``              split     (n,)        0 training, 1 validation, 2 test; or None
    ====================== ========= =========== ============================================================

    (Isolated labels: arXiv 2511.01913, Sec. IV.)
    """

    numbers: IntArray
    positions: FloatArray
    energies: FloatArray
    forces: FloatArray
    fragment: IntArray | None = None
    fragment_energies: FloatArray | None = None
    fragment_forces: FloatArray | None = None
    lower_energies: FloatArray | None = None
    lower_forces: FloatArray | None = None
    charges: IntArray | None = None
    multiplicities: IntArray | None = None
    charge: int | None = None
    multiplicity: int | None = None
    index: IntArray | None = None
    run: IntArray | None = None
    split: IntArray | None = None
    fragment_names: tuple[str, ...] = ()
    name: str = ""
    theory: str = ""

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def n_fragments(self) -> int:
        return 0 if self.fragment is None else int(self.fragment.max()) + 1

    @property
    def labelled_fragments(self) -> bool:
        """Whether the isolated fragments are labelled, as a Δ-model needs."""
        return not any(a is None for a in (self.fragment, self.fragment_energies, self.fragment_forces))

    def atoms_of(self, fragment: int) -> IntArray:
        """Atoms of a fragment, in the order of the file."""
        return np.flatnonzero(self.fragment == fragment)

    def take(self, which: IntArray) -> Dataset:
        """The chosen configurations."""
        picked = {
            field: getattr(self, field)[which] for field in _PER_CONFIGURATION if getattr(self, field) is not None
        }
        return replace(self, **picked)

    def binding_energies(self) -> FloatArray:
        """E − Σ_f E_f without what fewer fragments bind, (n,) kcal/mol. Raises InputError without isolated labels."""
        binding: FloatArray = self.without_lower().energies - self.isolated()[1].sum(1)
        return binding

    def binding_forces(self) -> FloatArray:
        """F − (F_1, F_2, …), (n, N, 3) kcal/mol/Å, likewise. Raises InputError without isolated labels."""
        return self.without_lower().forces - self.isolated()[2]

    def without_lower(self) -> Dataset:
        """The same, labels of the whole less what fewer fragments bind: what fragments and binding add up to."""
        if self.lower_energies is None or self.lower_forces is None:
            return self
        rest = self.energies - self.lower_energies, self.forces - self.lower_forces
        return replace(self, energies=rest[0], forces=rest[1], lower_energies=None, lower_forces=None)

    def isolated(self) -> tuple[IntArray, FloatArray, FloatArray]:
        """`fragment`, `fragment_energies` and `fragment_forces`. Raises InputError without them."""
        if self.fragment is None or self.fragment_energies is None or self.fragment_forces is None:
            raise InputError(
                f"{self.name or 'data set'}: no labels of isolated fragments (fragment, E_frag, F0); make them with "
                "`delta-sgdml dataset label`"
            )
        return self.fragment, self.fragment_energies, self.fragment_forces


_PER_CONFIGURATION = (
    "positions",
    "energies",
    "forces",
    "fragment_energies",
    "fragment_forces",
    "lower_energies",
    "lower_forces",
    "index",
    "run",
    "split",
)


_USUAL = FileUnits("kcal/mol", "Ang")


def load_dataset(
    path: str | Path,
    units: FileUnits = NO_UNITS,
    keys: Keys = USUAL_KEYS,
    *,
    assume: FileUnits | None = _USUAL,
    isolated: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Read sGDML's data set format (type ``d``), or one with other codes' names, in Å and kcal/mol whatever the
    file's units.

    units: where the file names none that is known; assume: where nobody names one, and None to raise there. keys: of
    energies and forces, where they are not the usual ones. isolated: whether labels are of isolated molecules
    whatever lattice stands beside them. warn: told what may be wrong.

    Raises InputError, naming the file, the array, what was expected and what was found.
    """
    path = Path(path)
    with open_arrays(path, "data set", _KEYS, InputError) as arrays:
        _rename(arrays, keys)
        data = _read(path, arrays, units, assume or NO_UNITS)
        if "lattice" in arrays and not isolated:
            _check_lattice(path, arrays, data, warn)
        return data


def save_dataset(path: Path, data: Dataset) -> None:
    """Write it whole or not at all, as stock sgdml reads it. Raises OSError."""
    arrays: dict[str, object] = {
        "type": "d",
        "code_version": "delta-sgdml/1",
        "name": data.name or path.stem,
        "theory": data.theory or _NO_THEORY,
        "z": data.numbers.astype(np.uint8),
        "R": data.positions,
        "E": data.energies,
        "F": data.forces,
        "r_unit": "Ang",
        "e_unit": "kcal/mol",
        "md5": fingerprint(data).encode(),
    }
    for label, values in (("E", data.energies), ("F", data.forces)):
        statistics = {"min": values.min(), "max": values.max(), "mean": values.mean(), "var": values.var()}
        arrays |= {f"{label}_{k}": float(v) for k, v in statistics.items()}
    optional = {
        "fragment": data.fragment,
        "E_frag": data.fragment_energies,
        "F0": data.fragment_forces,
        "E_lower": data.lower_energies,
        "F_lower": data.lower_forces,
        "charges": data.charges,
        "mults": data.multiplicities,
        "charge": data.charge,
        "mult": data.multiplicity,
        "index": data.index,
        "start": data.run,
        "split": data.split,
        "fragment_names": np.array(data.fragment_names) if data.fragment_names else None,
    }
    save_arrays(path, arrays | {k: v for k, v in optional.items() if v is not None})  # type: ignore[arg-type]


def fingerprint(data: Dataset) -> str:
    """MD5 over z, R, E and F, made as sGDML makes it, so that models can be told from which data they come."""
    md5 = hashlib.md5(usedforsecurity=False)
    for array in (data.numbers.astype(np.uint8), data.positions, data.energies, data.forces):
        md5.update(hashlib.md5(array.tobytes(), usedforsecurity=False).digest())
    return md5.hexdigest()


def _rename(arrays: Arrays, keys: Keys) -> None:
    """Let sGDML's names mean the arrays that other codes, or the user, call otherwise."""
    for key, said in (("E", keys.energy), ("F", keys.forces)):
        if said:
            if said not in arrays:
                arrays.header(said)  # raises, with the names that there are
            arrays.members[key] = arrays.members[said]
    for key, others in ARRAYS.items():
        found = [other for other in others if other in arrays]
        if key in arrays or not found:
            continue
        if len(found) > 1:
            raise InputError(
                f"{arrays.path}: no array {key!r}, but {' and '.join(found)}: leave one, or say --energy-key and "
                "--forces-key to `delta-sgdml dataset import`"
            )
        arrays.members[key] = arrays.members[found[0]]


def _text(arrays: Arrays, key: str) -> str:
    """A name, "" where it is a pickled object, which is left where it is."""
    if key not in arrays or arrays.header(key).dtype.hasobject:
        return ""
    return arrays.text(key) or ""


def _check_lattice(path: Path, arrays: Arrays, data: Dataset, warn: Callable[[str], None]) -> None:
    """sGDML keeps the vectors of a cell as columns. Raises InputError where labels are of a periodic system."""
    if arrays.header("lattice").dtype.hasobject:  # None
        return
    cell = arrays.floats("lattice", (3, 3)).T
    for frame in range(len(data)):
        warning = check_isolated(f"{path}, configuration {frame}", data.positions[frame], cell)
        if not frame and warning:
            warn(warning)


def _numbers(arrays: Arrays) -> IntArray:
    """(N,) atomic numbers, of ``z`` as whole numbers of any type, one row or the same for each configuration."""
    shape = arrays.shape("z")
    n_atoms = shape[-1] if len(shape) in (1, 2) and shape[0] else 0
    if not 1 <= n_atoms <= _MAX_ATOMS:
        raise arrays.fail("z", f"has shape {shape}, expected 1 to {_MAX_ATOMS} atoms")
    z = np.atleast_2d(arrays.get("z", shape, "iuf"))
    if not (z == z[0]).all():
        raise arrays.fail("z", "differs from configuration to configuration; one data set holds one complex")
    if not (np.isfinite(z).all() and (z == np.round(z)).all()) or z.min() < 1 or z.max() > 118:
        raise arrays.fail("z", f"holds {z.min()} to {z.max()}, expected atomic numbers 1 to 118")
    numbers: IntArray = z[0].astype(np.intp)
    return numbers


def _read(path: Path, arrays: Arrays, units: FileUnits, assume: FileUnits) -> Dataset:
    kind = _text(arrays, "type") or "d"
    if kind != "d":
        what = {"m": "a trained model", "t": "a training task"}.get(kind or "", "something else")
        raise InputError(f"{path}: type is {kind!r} ({what}), expected 'd' (a data set)")
    numbers = _numbers(arrays)
    n_atoms, shape = len(numbers), arrays.shape("R")
    if len(shape) != 3 or shape[1:] != (n_atoms, 3) or shape[0] < 1:
        raise arrays.fail("R", f"has shape {shape}, expected (configurations, {n_atoms}, 3)")
    n = shape[0]
    energy = units.factor(path, "energy", _text(arrays, "e_unit"), assume.energy) / KCAL_MOL
    length = units.factor(path, "length", _text(arrays, "r_unit"), assume.length)

    def integers(key: str, size: int) -> IntArray | None:
        return arrays.get(key, (size,), "iu").astype(np.intp) if key in arrays else None

    for key in ("E_frag", "F0", "fragment", "charges"):
        if other := arrays.misspelled(key):
            raise InputError(f"{path}: array {other!r}: did you mean {key!r}?")
    fragment, k = _fragment(arrays, n_atoms)
    flat = arrays.shape("E") in ((n, 1), (1, n))
    energies = arrays.floats("E", arrays.shape("E") if flat else (n,)).reshape(n)
    data = Dataset(
        numbers=numbers,
        positions=arrays.floats("R", shape) * length,
        energies=energies * energy,
        forces=arrays.floats("F", shape) * (energy / length),
        fragment=fragment,
        fragment_energies=arrays.floats("E_frag", (n, k)) * energy if "E_frag" in arrays and k else None,
        fragment_forces=arrays.floats("F0", shape) * (energy / length) if "F0" in arrays else None,
        lower_energies=arrays.floats("E_lower", (n,)) * energy if "E_lower" in arrays else None,
        lower_forces=arrays.floats("F_lower", shape) * (energy / length) if "F_lower" in arrays else None,
        charges=integers("charges", k) if k else None,
        multiplicities=integers("mults", k) if k else None,
        charge=_whole(arrays, "charge"),
        multiplicity=_whole(arrays, "mult"),
        index=integers("index", n),
        run=integers("start", n),
        split=integers("split", n),
        fragment_names=_names(arrays, k),
        name=_text(arrays, "name") or path.stem,
        theory="" if (theory := _text(arrays, "theory")) == _NO_THEORY else theory,
    )
    if data.split is not None and not np.isin(data.split, (TRAIN, VALIDATION, TEST)).all():
        raise arrays.fail("split", "holds other values than 0 (training), 1 (validation), 2 (test)")
    return data


def _whole(arrays: Arrays, key: str) -> int | None:
    if key not in arrays:
        return None
    value = arrays.number(key)
    if value != round(value):
        raise arrays.fail(key, f"is {value}, expected a whole number")
    return round(value)


def _fragment(arrays: Arrays, n_atoms: int) -> tuple[IntArray | None, int]:
    """The fragment of each atom, and how many there are."""
    if "fragment" not in arrays:
        return None, 0
    fragment = arrays.get("fragment", (n_atoms,), "iu").astype(np.intp)
    numbers = np.unique(fragment)
    if not np.array_equal(numbers, np.arange(len(numbers))):
        raise arrays.fail("fragment", f"names fragments {numbers.tolist()[:20]}, expected 0 to K−1, none empty")
    return fragment, len(numbers)


_TAKEN = ("binding", "bias", "total", "full", "full_graph", "full_auto")


def _names(arrays: Arrays, k: int) -> tuple[str, ...]:
    if "fragment_names" not in arrays or not k:
        return ()
    names = tuple(str(name) for name in arrays.get("fragment_names", (k,), "U"))
    for name in names:
        if not re.fullmatch(NAME, name) or name in _TAKEN or names.count(name) > 1:
            raise arrays.fail(
                "fragment_names",
                f"has {name!r}; expected a letter, then letters, digits, _ and -, each once, and none of "
                f"{', '.join(_TAKEN)}",
            )
    return names
