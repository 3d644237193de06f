"""Model files: sGDML's ``.npz`` and the native form of it, read without trusting them, and written.

Only the arrays that are needed are touched, never unpickled, and each one's header is held
against what the others say before its data are read: a file may carry pickled error tables, or claim
any size, and neither matters.

The native form has sGDML's keys, but for its two large arrays, ``R_desc`` and ``R_d_desc_alpha`` with N(N−1)/2
numbers a training point, the geometries ``R_train`` and coefficients ``alphas_F`` that they follow from, both
(M, N, 3): (N−1)/6 times smaller. ``tril_perms_lin`` follows from ``perms`` and is left out. ``format`` is
"delta-sgdml-model/1", or "delta-sgdml-model/2" where the `Metric` is not sGDML's: ``metric`` is then its power and
decay (1/Å), ``pairs`` and ``scales`` are there where not all pairs are, or not with the same weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .. import __version__
from .._types import IntArray
from ..errors import GeometryError, ModelFileError
from ..files.npz import Arrays, open_arrays
from ..files.whole import save_arrays, sha256_of
from ..units import energy_in_ev, length_in_angstrom
from .descriptor.metric import Metric
from .descriptor.pairs import n_pairs, pair_permutations
from .model import Model
from .sums.cosets import most_permutations

Form = Literal["native", "sgdml"]
"""How a model is written."""

FORMAT, METRIC_FORMAT = "delta-sgdml-model/1", "delta-sgdml-model/2"
_MAX_ATOMS = 5000
_LARGEST = 1e6  # inverse distance; beside a larger one the others have no digits left
_MAX_REBUILT = 2**34  # bytes of descriptors and weights; a file is N/6 times smaller
_KEYS = "type, z, R_desc, R_d_desc_alpha, perms, tril_perms_lin, sig, std, c"
_NATIVE_KEYS = "type, format, z, R_train, alphas_F, perms, sig, std, c"
# What says where a model is from; nothing is computed from it.
_PROVENANCE = ("code_version", "solver_name", "idxs_train", "md5_train", "idxs_valid", "md5_valid", "use_E")
_MAX_PROVENANCE = 2**24  # bytes


def load_model(
    path: str | Path,
    *,
    length_unit: str | None = None,
    energy_unit: str | None = None,
    sha256: str | None = None,
) -> Model:
    """The model in an sGDML file (type ``m``) or a native one.

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


def form_of(path: str | Path) -> Form:
    """How the model in a file is written. Raises ModelFileError."""
    with open_arrays(path, "model file", _KEYS, ModelFileError) as arrays:
        return _form(arrays)


def save_model(path: str | Path, model: Model, form: Form = "native") -> None:
    """Write a model, whole or not at all.

    Stock sgdml predicts with the "sgdml" form. `sgdml show` and `sgdml test` want tables of errors besides
    (``f_err``, ``e_err``), which are pickled objects and not written. Its torch predictor cuts σ to a whole number.

    Raises OSError; TypeError on what is neither number nor text; ModelFileError where the native form is asked for
    and the model has no coefficients (`with_coefficients` finds them), or sGDML's for a metric that is not sGDML's.
    """
    arrays = arrays_of(model, form)
    for key, value in arrays.items():
        if np.asarray(value).dtype.hasobject:
            raise TypeError(f"{key}: is {value!r}, which would have to be pickled")
    save_arrays(Path(path), arrays)


def arrays_of(model: Model, form: Form) -> dict[str, npt.ArrayLike]:
    """What a file of this form holds. Raises ModelFileError as `save_model`."""
    arrays: dict[str, npt.ArrayLike] = {
        "type": "m",
        "dataset_name": model.name,
        "dataset_theory": model.theory,
        "z": model.numbers.astype(np.uint8),
        "sig": int(model.sigma) if float(model.sigma).is_integer() else model.sigma,
        "std": model.scale,
        "c": model.offset,
        "r_unit": model.length_unit,
        "e_unit": model.energy_unit,
    }
    if model.lam is not None:
        arrays["lam"] = model.lam
    if model.energy_weights is not None:
        arrays["alphas_E"] = model.energy_weights
    if model.calibration is not None:
        arrays["error_calibration"] = np.array(model.calibration)
    arrays.update(_native(model) if form == "native" else _stock(model))
    return arrays


def _native(model: Model) -> Mapping[str, npt.ArrayLike]:
    if model.training_positions is None or model.alphas is None:
        raise ModelFileError("the model has no training geometries and coefficients, which the native form holds")
    metric, described = model.metric, dict[str, npt.ArrayLike]()
    if not metric.is_stock:
        described["metric"] = np.array([metric.power, metric.decay])
        if metric.chosen is not None:
            described["pairs"] = metric.chosen.astype(np.int32)
        if metric.scales is not None:
            described["scales"] = metric.scales
    return {
        **model.provenance,
        **described,
        "format": FORMAT if metric.is_stock else METRIC_FORMAT,
        "R_train": model.training_positions,
        "alphas_F": model.alphas,
        "perms": model.permutations.astype(np.min_scalar_type(model.n_atoms - 1)),
    }


def _stock(model: Model) -> Mapping[str, npt.ArrayLike]:
    if not model.metric.is_stock:
        raise ModelFileError(
            f"the model's descriptor is not sGDML's ({model.metric}): stock sgdml would predict nonsense with it; "
            "keep the native form, or train with --metric inverse"
        )
    dim = model.descriptors.shape[1]
    shifts = dim * np.arange(len(model.permutations))[:, None]
    none = np.array([], dtype=np.int64)
    unknown = {  # sgdml counts and compares these; without a data set, the points are those of the model itself
        "code_version": f"delta-server {__version__}",
        "solver_name": "analytic",
        "idxs_train": np.arange(model.n_train),
        "md5_train": b"",
        "idxs_valid": none,
        "md5_valid": b"",
        "use_E": True,
    }
    coefficients = {} if model.alphas is None else {"alphas_F": model.alphas.reshape(-1)}
    return {
        **unknown,
        **model.provenance,
        **coefficients,
        "n_test": 0,
        "md5_test": b"",
        "R_desc": model.descriptors.T,
        "R_d_desc_alpha": model.weights,
        "perms": model.permutations.astype(np.int64),
        "tril_perms_lin": (pair_permutations(model.permutations) + shifts).flatten("F"),
    }


def _form(arrays: Arrays) -> Form:
    """Raises ModelFileError on what is no model and on native files of another version."""
    kind = arrays.text("type") if "type" in arrays else None
    if kind is None and ("Rt_desc" in arrays or "R_desc" in arrays):
        raise ModelFileError(
            f"{arrays.path}: an sGDML model of 2018, from before files had a 'type'; train it again with today's"
        )
    if kind != "m":
        what = {"d": "a data set", "t": "a training task", None: "no sGDML file"}.get(kind, "something else")
        raise ModelFileError(f"{arrays.path}: type is {kind!r} ({what}), expected 'm' (a trained model)")
    if "lattice" in arrays:
        raise ModelFileError(
            f"{arrays.path}: has a 'lattice': periodic sGDML models are not supported, only isolated molecules"
        )
    if "format" not in arrays:
        return "sgdml"
    if (written := arrays.text("format")) not in (FORMAT, METRIC_FORMAT):
        raise ModelFileError(f"{arrays.path}: format is {written!r}, expected {FORMAT!r} or {METRIC_FORMAT!r}")
    return "native"


def _read(arrays: Arrays, length_unit: str | None, energy_unit: str | None) -> Model:
    form = _form(arrays)
    if form == "native":
        arrays.keys = _NATIVE_KEYS
    n_atoms = arrays.shape("z")[0] if len(arrays.shape("z")) == 1 else 0
    if not 2 <= n_atoms <= _MAX_ATOMS:
        raise arrays.fail(
            "z", f"has shape {arrays.shape('z')}, expected 2 to {_MAX_ATOMS} atoms (an ion is a "
            "fragment with `energy`, not a model)"
        )  # fmt: skip
    numbers = arrays.get("z", (n_atoms,), "iu").astype(np.intp)
    if numbers.min() < 1 or numbers.max() > 118:
        raise arrays.fail("z", f"holds {numbers.min()} to {numbers.max()}, expected atomic numbers 1 to 118")

    read = _read_native if form == "native" else _read_stock
    n_train, build = read(arrays, n_atoms)
    try:
        model = build(
            numbers=numbers,
            permutations=_permutations(arrays, numbers, listed=form == "sgdml"),
            sigma=_sigma(arrays),
            scale=arrays.number("std", positive=True) if "std" in arrays else 1.0,
            offset=arrays.number("c"),
            energy_weights=arrays.floats("alphas_E", (n_train,)) if "alphas_E" in arrays else None,
            length_unit=_unit(arrays, "r_unit", "length", length_unit, length_in_angstrom),
            energy_unit=_unit(arrays, "e_unit", "energy", energy_unit, energy_in_ev),
            name=arrays.text("dataset_name") or "",
            theory=arrays.text("dataset_theory") or "",
            lam=arrays.number("lam") if "lam" in arrays else None,
            calibration=_calibration(arrays),
            provenance=_provenance(arrays),
        )
        model.metric.check(model.permutations)
    except GeometryError as error:
        raise arrays.fail("R_train", f"cannot be used: {error}") from None
    except ValueError as error:  # also what a model of this metric may not be
        raise arrays.fail("metric", f"cannot be used: {error}") from None
    return model


def _read_stock(arrays: Arrays, n_atoms: int) -> tuple[int, Callable[..., Model]]:
    """The number of training points of an sGDML file, and a constructor that lacks only what both forms share."""
    dim, shape = n_pairs(n_atoms), arrays.shape("R_desc")
    if len(shape) != 2 or shape[0] != dim or shape[1] < 1:
        raise arrays.fail("R_desc", f"has shape {shape}, expected ({dim}, training points) for {n_atoms} atoms")
    descriptors = np.ascontiguousarray(arrays.floats("R_desc", shape).T)
    if descriptors.min() <= 0:
        raise arrays.fail("R_desc", f"holds {descriptors.min()}: inverse distances are positive")
    if descriptors.max() > _LARGEST:
        raise arrays.fail("R_desc", f"holds {descriptors.max():g}: no atoms are so close")
    weights = arrays.floats("R_d_desc_alpha", (shape[1], dim))
    return shape[1], partial(Model, descriptors=descriptors, weights=weights, metric=Metric(n_atoms))


def _read_native(arrays: Arrays, n_atoms: int) -> tuple[int, Callable[..., Model]]:
    """The same of a native file; the size of what is to be rebuilt is checked before anything is read."""
    shape = arrays.shape("R_train")
    if len(shape) != 3 or shape[0] < 1 or shape[1:] != (n_atoms, 3):
        raise arrays.fail("R_train", f"has shape {shape}, expected (training points, {n_atoms}, 3)")
    if (size := 16 * shape[0] * n_pairs(n_atoms)) > _MAX_REBUILT:
        raise arrays.fail("R_train", f"has shape {shape}: {size} bytes of descriptors and weights, too many")
    metric = _metric(arrays, n_atoms)
    positions, alphas = arrays.floats("R_train", shape), arrays.floats("alphas_F", shape)
    return shape[0], partial(Model.from_coefficients, training_positions=positions, alphas=alphas, metric=metric)


def _metric(arrays: Arrays, n_atoms: int) -> Metric:
    if arrays.text("format") == FORMAT:
        return Metric(n_atoms)
    power, decay = arrays.floats("metric", (2,)).tolist()
    dim, pairs, scales = n_pairs(n_atoms), None, None
    if "pairs" in arrays:
        shape = arrays.shape("pairs")
        if len(shape) != 1 or not 1 <= shape[0] <= dim:
            raise arrays.fail("pairs", f"has shape {shape}, expected 1 to {dim} pairs of {n_atoms} atoms")
        dim, pairs = shape[0], arrays.get("pairs", shape, "iu").astype(np.intp)
    if "scales" in arrays:
        scales = arrays.floats("scales", (dim,))
    try:
        return Metric(n_atoms, pairs, power, decay, scales)
    except ValueError as error:
        raise arrays.fail("metric", f"cannot be used: {error}") from None


def _calibration(arrays: Arrays) -> tuple[float, float, float] | None:
    if "error_calibration" not in arrays:
        return None
    length, a, b = arrays.floats("error_calibration", (3,)).tolist()
    if not (1e-6 <= length <= 1e6 and a > 0 and 0 <= b <= 100):
        raise arrays.fail("error_calibration", f"holds {length:g}, {a:g}, {b:g}, expected ℓ > 0, a > 0, b ≥ 0")
    return length, a, b


def _provenance(arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The small arrays that say where a model is from; what is pickled, or absurdly large, is left where it is."""
    provenance = {}
    for key in _PROVENANCE:
        with suppress(ModelFileError):
            if key in arrays and arrays.members[key].file_size < _MAX_PROVENANCE:
                provenance[key] = arrays.get(key, None, "iubSU")
    return provenance


def _sigma(arrays: Arrays) -> float:
    sigma = arrays.number("sig", positive=True)
    if not 1e-6 <= sigma <= 1e6:
        raise arrays.fail("sig", f"is {sigma:g}, expected a length scale of 1e-6 to 1e6")
    return sigma


def _permutations(arrays: Arrays, numbers: IntArray, listed: bool) -> IntArray:
    """listed: whether ``tril_perms_lin`` says the same once more, as it should."""
    n_atoms, shape = len(numbers), arrays.shape("perms")
    if len(shape) != 2 or shape[0] < 1 or shape[1] != n_atoms:
        raise arrays.fail("perms", f"has shape {shape}, expected (permutations, {n_atoms})")
    dim = n_pairs(n_atoms)
    described = arrays.shape("pairs")[0] if "pairs" in arrays else dim
    if shape[0] > (most := most_permutations(n_atoms, described)):
        raise arrays.fail("perms", f"has {shape[0]} rows, expected at most {most} for {described} pairs of atoms")
    linear = arrays.get("tril_perms_lin", (shape[0] * dim,), "iu").astype(np.int64) if listed else None
    perms = arrays.get("perms", (shape[0], n_atoms), "iu").astype(np.int64)
    if not (np.sort(perms, axis=1) == np.arange(n_atoms)).all():
        bad = int(np.flatnonzero((np.sort(perms, axis=1) != np.arange(n_atoms)).any(1))[0])
        raise arrays.fail("perms", f"row {bad} is no permutation of 0 to {n_atoms - 1}")
    mixed = np.flatnonzero((numbers[perms] != numbers).any(1))
    if len(mixed):
        raise arrays.fail("perms", f"row {mixed[0]} exchanges atoms of different elements")
    if len(perms) == 1 and (perms[0] != np.arange(n_atoms)).any():
        raise arrays.fail(
            "perms", "holds one permutation that is not the identity: energies would depend on the order of equal "
            "atoms; train the model again"
        )  # fmt: skip
    permutations = perms.astype(np.intp)
    if linear is None:
        return permutations
    told = linear.reshape(dim, shape[0]).T - dim * np.arange(shape[0])[:, None]
    if not np.array_equal(told, pair_permutations(permutations)):
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
        usual = "Ang" if kind == "length" else "kcal/mol"
        raise ModelFileError(
            f"{arrays.path}: the file carries no {kind} unit ({key!r}); say it: --{kind}-unit {usual}, or in the "
            f"manifest, units: {{{kind}: {usual}, ...}}"
        )
    if len(set(sizes.values())) > 1:
        raise ModelFileError(
            f"{arrays.path}: the file says {kind} unit {in_file!r}, the manifest says {given!r}: mend the manifest"
        )
    return in_file or next(iter(sizes))
