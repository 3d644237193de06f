"""Reading sGDML's ``.npz`` model files without trusting them.

Only the arrays that a prediction needs are touched, never unpickled, and each one's header is held
against what the others say before its data are read: a file may carry pickled error tables, or claim
any size, and neither matters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .._types import IntArray
from ..archive import Arrays, open_arrays, sha256_of
from ..errors import ModelFileError
from ..units import energy_in_ev, length_in_angstrom
from .descriptor import n_pairs, pair_permutations
from .model import Model

_MAX_ATOMS = 5000
_KEYS = "type, z, R_desc, R_d_desc_alpha, perms, tril_perms_lin, sig, std, c"


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
    with open_arrays(path, "model file", _KEYS, ModelFileError) as arrays:
        if sha256 is not None and (digest := sha256_of(path)) != sha256.lower():
            raise ModelFileError(
                f"{path}: sha256 is {digest}, the manifest says {sha256.lower()}: not the model that was meant"
            )
        return _read(arrays, length_unit, energy_unit)


def _read(arrays: Arrays, length_unit: str | None, energy_unit: str | None) -> Model:
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


def _sigma(arrays: Arrays) -> float:
    sigma = arrays.number("sig", positive=True)
    if not 1e-6 <= sigma <= 1e6:
        raise arrays.fail("sig", f"is {sigma:g}, expected a length scale of 1e-6 to 1e6")
    return sigma


def _permutations(arrays: Arrays, numbers: IntArray) -> IntArray:
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


def _unit(arrays: Arrays, key: str, kind: str, given: str | None, lookup: Any) -> str:
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
