"""The compact native form: geometries and coefficients in place of descriptors and weights."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, shipped_model, shipped_models
from made import cyclic_permutations, made_model

from delta_server.bench.prediction import sgdml_predictor
from delta_server.errors import GeometryError, ModelFileError
from delta_server.gdml import CpuPredictor, Model, compare, form_of, load_model, save_model, with_coefficients
from delta_server.gdml.descriptor.metric import Metric
from delta_server.units import BOHR, KCAL_MOL

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
OPTIONAL = {
    "energy_weights": np.array([0.5, -1.0, 2.0, 0.0]),
    "lam": 1e-10,
    "calibration": (0.5, 0.7, 1.25),
    "provenance": {"idxs_train": np.array([3, 1, 4, 15]), "md5_train": np.array(b"f00d"), "use_E": np.array(True)},
}

# Both are trained by stock sgdml, in a process of its own: its trainer changes logging for all.
TRAINING = """
import sys
import numpy as np
from sgdml.train import GDMLTrain
from sgdml.utils import io

source, folder = sys.argv[1:]
with np.load(source) as data:
    dataset = {key: data[key] for key in "zREF"}
dataset |= {"type": "d", "name": "wet", "theory": "none", "r_unit": "Ang", "e_unit": "kcal/mol"}
dataset = {key: np.array(value) for key, value in dataset.items()}
dataset["md5"] = np.array(io.dataset_md5(dataset))
np.random.seed(0)
trainer, perms = GDMLTrain(max_processes=1), np.arange(15)[None].repeat(2, 0)
perms[1, 1:3] = 2, 1
for energies in (0, 1):
    task = trainer.create_task(dataset, 8, dataset, 4, sig=10, lam=1e-10, use_E_cstr=energies == 1, perms=perms)
    np.savez(f"{folder}/{energies}.npz", **trainer.train(task))
    np.save(f"{folder}/{energies}.npy", task["R_train"])
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two models of stock sgdml, ``0.npz`` and ``1.npz`` (energies in the fit), with their geometries."""
    folder = tmp_path_factory.mktemp("trained")
    source = str(ROOT / "models/h2o_benzene/dataset.npz")
    subprocess.run(
        [sys.executable, "-c", TRAINING, source, str(folder)], check=True, capture_output=True, timeout=200
    )
    return folder


def made(
    numbers: Any, positions: np.ndarray, permutations: Any = None, n_train: int = 4, size: float = 1e3, **more: Any
) -> Model:
    """A model of random coefficients over geometries around `positions`, or at them where they are many."""
    rng = np.random.default_rng(0)
    if positions.ndim == 2:
        positions = positions + 0.05 * rng.standard_normal((n_train, *positions.shape))
    return Model.from_coefficients(
        numbers=np.array(numbers),
        training_positions=positions,
        alphas=size * rng.standard_normal(positions.shape),
        permutations=np.arange(len(numbers))[None] if permutations is None else np.array(permutations),
        **{"sigma": 10.0, "scale": 2.0, "offset": -3.0, "name": "made", "theory": "none"} | more,
        metric=Metric(len(numbers)),
    )


def stripped(model: Model) -> Model:
    """What sGDML's file says of it."""
    return replace(model, training_positions=None, alphas=None)


def same(a: Model, b: Model) -> bool:
    """Whether two models are equal to the last bit."""
    return all(
        np.array_equal(np.asarray(getattr(a, key)), np.asarray(getattr(b, key)))
        for key in Model.__dataclass_fields__
        if key != "provenance"
    ) and (
        list(a.provenance) == list(b.provenance)
        and all(np.array_equal(v, b.provenance[k]) for k, v in a.provenance.items())
    )


# The sign and the size of coefficients


@pytest.mark.parametrize("energies", [0, 1])
def test_coefficients_mean_what_they_mean_to_sgdml(trained: Path, energies: int) -> None:
    with np.load(trained / f"{energies}.npz") as stock:
        model = Model.from_coefficients(
            numbers=stock["z"],
            training_positions=np.load(trained / f"{energies}.npy"),
            alphas=stock["alphas_F"].reshape(-1, 15, 3),
            permutations=stock["perms"],
            sigma=float(stock["sig"]),
            scale=float(stock["std"]),
            offset=float(stock["c"]),
            metric=Metric(len(stock["z"])),
            energy_weights=stock["alphas_E"] if energies else None,
        )
        assert np.abs(model.descriptors - stock["R_desc"].T).max() < 1e-14
        assert np.abs(model.weights - stock["R_d_desc_alpha"]).max() < 1e-13 * np.abs(model.weights).max()
    found = compare(load_model(trained / f"{energies}.npz"), model)
    assert found.energy < 1e-8
    assert found.forces < 1e-8


def test_weights_are_the_change_of_descriptors_along_the_coefficients() -> None:
    model = made([8, 1, 1], WATER)
    h = 1e-9
    moved = replace(model, training_positions=None, alphas=None)
    moved = Model.from_coefficients(
        **{key: getattr(model, key) for key in ("numbers", "alphas", "permutations", "sigma", "scale", "offset")},
        metric=model.metric,
        training_positions=model.training_positions + h * model.alphas,
    )
    assert (moved.descriptors - model.descriptors) / h == pytest.approx(model.weights, rel=1e-4, abs=1e-2)


def test_atoms_on_top_of_each_other_are_no_geometry() -> None:
    positions = np.stack([WATER, WATER])
    positions[1, 2] = positions[1, 1]
    with pytest.raises(GeometryError, match=r"training geometry 1: atoms 1 and 2 are 0 Å apart"):
        made([8, 1, 1], positions)


@pytest.mark.parametrize("key", ["training_positions", "alphas"])
def test_geometries_and_coefficients_come_together(key: str) -> None:
    with pytest.raises(ValueError, match="both or neither"):
        replace(made([8, 1, 1], WATER), **{key: None})


# Writing


@pytest.mark.parametrize("optional", [{}, OPTIONAL], ids=["", "optional"])
@pytest.mark.parametrize("units", [("Ang", "kcal/mol"), ("bohr", "Hartree")])
def test_native_files_hold_the_model_to_the_last_bit(tmp_path: Path, optional: dict[str, Any], units: Any) -> None:
    model = made([8, 1, 1], WATER, [[0, 1, 2], [0, 2, 1]], length_unit=units[0], energy_unit=units[1], **optional)
    path = tmp_path / "native.npz"
    save_model(path, model)
    assert form_of(path) == "native"
    assert same(load_model(path), model)
    with np.load(path) as data:
        assert data["perms"].dtype == np.uint8
        assert not {"R_desc", "R_d_desc_alpha", "tril_perms_lin"} & set(data.files)
        assert data["alphas_F"].shape == data["R_train"].shape == (4, 3, 3)
    assert list(tmp_path.iterdir()) == [path]


def test_units_are_those_of_the_file(tmp_path: Path) -> None:
    model = made([8, 1, 1], WATER, size=1e4)
    other = made([8, 1, 1], model.training_positions / BOHR, sigma=10 * BOHR, length_unit="bohr")
    other = replace(other, weights=model.weights * BOHR)
    save_model(tmp_path / "bohr.npz", other)
    frames = model.training_positions + 0.02
    read = replace(load_model(tmp_path / "bohr.npz"), weights=model.weights * BOHR)
    here, there = CpuPredictor(model).predict(frames), CpuPredictor(read).predict(frames)
    assert there.energy == pytest.approx(here.energy, abs=1e-8)
    assert there.forces == pytest.approx(here.forces, abs=1e-8)


@pytest.mark.parametrize("energies", [False, True], ids=["forces", "energies"])
@pytest.mark.parametrize("order", [1, 6])
@pytest.mark.parametrize("sigma", [10, 8.5])
def test_stock_sgdml_predicts_alike_with_what_we_write(
    tmp_path: Path, energies: bool, order: int, sigma: float
) -> None:
    ring = np.stack([np.cos(np.arange(8) * 0.785), np.sin(np.arange(8) * 0.785), np.arange(8) * 0.1], 1) * 2
    weights = np.arange(5.0) if energies else None
    model = made(
        np.full(8, 6), ring, cyclic_permutations(8, order), 5, 1e5, sigma=sigma, energy_weights=weights, lam=1e-8
    )
    path = tmp_path / "stock.npz"
    save_model(path, model, "sgdml")
    assert form_of(path) == "sgdml"
    assert same(replace(load_model(path), provenance={}), stripped(model))
    frames = model.training_positions + 0.03
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sgdml's and torch's own
        energy, forces = sgdml_predictor(path)(frames)
        save_model(tmp_path / "native.npz", model)
        again = sgdml_predictor(tmp_path / "native.npz")(frames)  # made into what sgdml wants, in memory
    assert np.array_equal(again[0], energy)
    assert np.array_equal(again[1], forces)
    ours = CpuPredictor(model).predict(frames)
    assert np.ptp(energy) > 1
    assert ours.energy / KCAL_MOL == pytest.approx(energy, abs=1e-7)
    assert ours.forces / KCAL_MOL == pytest.approx(forces, abs=1e-7)


def test_stock_sgdml_takes_the_file_for_a_model_and_names_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sgdml.utils import io
    path = tmp_path / "stock.npz"
    save_model(path, made([8, 1, 1], WATER), "sgdml")
    with io.is_file_type(str(path), "model")[1] as file:
        assert io.model_file_name(file) == "model-train4-sym1-sig0010.npz"
        assert int(file["n_test"]) == 0
        assert not len(file["idxs_valid"])
    with np.load(path, allow_pickle=False) as data:
        assert all(data[key].dtype.kind in "fiubUS" for key in data.files)


def test_a_model_without_coefficients_is_not_written_as_native(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no training geometries"):
        save_model(tmp_path / "native.npz", stripped(made([8, 1, 1], WATER)))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "native.npz"
    save_model(path, made([8, 1, 1], WATER))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_model(path, made([8, 1, 1], WATER, theory=object()))  # not text: refused on the way
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_large_model_is_small_and_soon_there(tmp_path: Path) -> None:
    """148 atoms, 100 points, 480 permutations: 1 MB where sGDML's form has 30."""
    grid = 1.6 * np.stack(np.meshgrid(*[np.arange(6.0)] * 3, indexing="ij"), -1).reshape(-1, 3)[:148]
    orders = np.arange(148)[None].repeat(480, 0)
    rng = np.random.default_rng(0)
    for row in orders:
        rng.shuffle(row)
    model = made(np.full(148, 6), grid, orders, n_train=100)
    path = tmp_path / "native.npz"
    save_model(path, model)
    assert path.stat().st_size < 1e6
    begun = time.perf_counter()
    assert same(load_model(path), model)
    assert time.perf_counter() - begun < 5


# From sGDML's form


def soon_done(path: Path) -> bool:
    model = shipped_model(path)
    return path.stat().st_size < 4e5 and model.metric.is_stock and model.permutations.size < 20_000


SMALL = [path for path in shipped_models() if soon_done(path)]


@pytest.mark.parametrize("path", SMALL, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_shipped_models_are_converted_and_predict_alike(path: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "sgdml.npz", load_model(path), "sgdml")
    model = load_model(tmp_path / "sgdml.npz")
    assert model.alphas is None
    native = with_coefficients(model)
    assert np.abs(native.descriptors - model.descriptors).max() < 1e-14
    assert np.abs(native.weights - model.weights).max() < 1e-10 * np.abs(model.weights).max()
    save_model(tmp_path / "native.npz", native)
    found = compare(model, load_model(tmp_path / "native.npz"))
    assert 0 < found.energy < 3e-5
    assert 0 < found.forces < 4e-6
    assert found.is_rounding
    assert with_coefficients(native) is native


@pytest.mark.parametrize("energies", [0, 1])
def test_models_as_sgdml_leaves_them_are_converted(trained: Path, tmp_path: Path, energies: int) -> None:
    model = load_model(trained / f"{energies}.npz")
    assert model.lam == 1e-10
    assert len(model.provenance["md5_train"].item()) == 32
    save_model(tmp_path / "native.npz", with_coefficients(model))
    native = load_model(tmp_path / "native.npz")
    assert compare(model, native).is_rounding
    assert set(native.provenance) == set(model.provenance) > {"idxs_train", "md5_valid", "use_E", "solver_name"}


EAST = np.array([1.0, 0.0, 0.0])
LINE = np.array([[0.0, 0, 0], [0, 0, 1.1], [0, 0, -1.2], [0, 0, 2.4]])
SHAPES = {
    "diatomic": LINE[:2] + np.zeros((3, 1, 1)),
    "water": WATER + 0.05 * np.random.default_rng(1).standard_normal((3, 3, 3)),
    "on-a-line": np.stack([LINE, 1.1 * LINE]),
    "in-a-plane": np.stack([np.concatenate([WATER, WATER + 3.0 * EAST])] * 2),
    "far-apart": np.stack([np.concatenate([LINE + 0.1 * WATER[[0, 1, 2, 1]], WATER + d * EAST]) for d in (3, 300)]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_geometries_of_any_shape_are_found_again(shape: str) -> None:
    positions = SHAPES[shape]
    model = made(np.full(positions.shape[1], 6), positions, size=1e5)
    if shape in ("on-a-line", "in-a-plane"):
        assert np.linalg.matrix_rank(positions[0] - positions[0].mean(0)) < 3
    found = with_coefficients(stripped(model))
    assert np.abs(found.descriptors - model.descriptors).max() < 1e-14
    assert np.abs(found.weights - model.weights).max() < 1e-12 * np.abs(model.weights).max()
    assert found.alphas.mean(1) == pytest.approx(0, abs=1e-6)  # nothing moves the whole


def test_weights_of_no_training_are_refused(tmp_path: Path) -> None:
    positions = np.random.default_rng(0).standard_normal((8, 3)) * 3
    path = made_model(tmp_path / "made.npz", np.full(8, 6), positions, [range(8)], n_train=3, seed=0)
    with pytest.raises(ModelFileError, match="not those of a training on forces"):
        with_coefficients(load_model(path))


def test_distances_of_no_points_are_refused() -> None:
    model = stripped(made(np.full(6, 6), np.random.default_rng(0).standard_normal((6, 3)) * 3))
    descriptors = model.descriptors.copy()
    descriptors[2, 7] *= 1.2
    with pytest.raises(ModelFileError, match=r"training point 2: .* not those of points in space"):
        with_coefficients(replace(model, descriptors=descriptors))


def test_a_difference_above_rounding_is_told() -> None:
    model = made([8, 1, 1], WATER, size=1e5)
    assert compare(model, model).energy == 0
    found = compare(model, replace(model, weights=model.weights * (1 + 1e-4)))
    assert found.energy > 1e-4
    assert not found.is_rounding
    assert found.energy_rounding < 1e-9


# Reading without trust

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a valid native model with arrays replaced, or left out where the replacement is None."""
    model = made([8, 1, 1], WATER, [[0, 1, 2], [0, 2, 1]], **OPTIONAL)

    def to(**changes: Any) -> Path:
        path = tmp_path / "native.npz"
        save_model(path, model)
        with np.load(path) as data:
            arrays = {key: data[key] for key in data.files} | changes
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return to


def entry(shape: tuple[int, ...], at: tuple[int, ...], value: float) -> np.ndarray:
    array = np.random.default_rng(0).standard_normal(shape)
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "delta-sgdml-model/3"}, ["format is 'delta-sgdml-model/3'", "expected 'delta-sgdml-model/1'"]),
        ({"format": 1}, ["'format'", "dtype"]),
        ({"type": "d"}, ["data set"]),
        ({"lattice": np.eye(3)}, ["periodic"]),
        ({"R_train": None}, ["no array 'R_train'", "a model file has type, format, z, R_train, alphas_F"]),
        ({"alphas_F": None}, ["no array 'alphas_F'"]),
        ({"perms": None}, ["no array 'perms'"]),
        ({"sig": None}, ["no array 'sig'"]),
        ({"z": [8, 1]}, ["'R_train'", "(4, 3, 3)", "(training points, 2, 3)"]),
        ({"R_train": np.ones((4, 9))}, ["'R_train'", "shape"]),
        ({"R_train": np.ones((0, 3, 3))}, ["'R_train'", "shape"]),
        ({"R_train": np.ones((4, 3, 3), "f4")}, ["'R_train'", "float64"]),
        ({"alphas_F": np.ones(36)}, ["'alphas_F'", "(36,)", "(4, 3, 3)"]),
        ({"alphas_F": np.ones((3, 3, 3))}, ["'alphas_F'", "shape"]),
        ({"alphas_F": np.ones((4, 3, 3), "f4")}, ["'alphas_F'", "float64"]),
        ({"alphas_E": np.ones(3)}, ["'alphas_E'", "(4,)"]),
        ({"alphas_F": entry((4, 3, 3), (1, 1, 1), np.nan)}, ["'alphas_F'", "1 values that are not finite"]),
        ({"R_train": entry((4, 3, 3), (1, 1, 1), np.inf)}, ["'R_train'", "not finite"]),
        ({"R_train": entry((4, 3, 3), (2, 1, 1), 1e200)}, ["'R_train'", "training geometry 2", "inf Å apart"]),
        ({"R_train": np.ones((4, 3, 3))}, ["'R_train'", "training geometry 0: atoms 0 and 1 are 0 Å apart"]),
        ({"alphas_F": np.full((4, 3, 3), 1.7e308) * [[1.0], [-1.0], [1.0]]}, ["'R_train'", "e+308"]),
        ({"perms": [[0, 1, 2], [1, 0, 2]]}, ["row 1 exchanges atoms"]),
        ({"perms": [[0, 1, 2], [0, 2, 2]]}, ["row 1 is no permutation"]),
        ({"error_calibration": [1.0, 2.0]}, ["'error_calibration'", "(3,)"]),
        ({"error_calibration": [1.0, 2.0, np.nan]}, ["'error_calibration'", "not finite"]),
        ({"error_calibration": [0.0, 2.0, 1.0]}, ["'error_calibration'", "0, 2, 1", "expected"]),
        ({"lam": np.inf}, ["'lam'", "finite"]),
        ({"R_train": np.array([None])}, ["'R_train'", "shape"]),
        ({"R_train": np.full((4, 3, 3), None)}, ["'R_train'", "pickled"]),
        ({"r_unit": None}, ["length unit", "manifest"]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_refused_by_name(write: Write, changes: dict[str, Any], words: list[str]) -> None:
    path = write(**{key: None if value is None else np.asarray(value) for key, value in changes.items()})
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.isprintable()
    for word in (str(path), *words):
        assert word in message


@pytest.mark.parametrize("key", ["idxs_train", "md5_train", "use_E"])
def test_where_a_model_is_from_never_keeps_it_from_being_used(write: Write, key: str) -> None:
    model = load_model(write(**{key: np.array([None, {}], dtype=object)}))
    assert set(OPTIONAL["provenance"]) - set(model.provenance) == {key}


def test_a_small_file_cannot_ask_for_all_memory(tmp_path: Path, write: Write) -> None:
    """Geometries of many atoms grow a thousand times when they are described: looked at before they are read."""
    n, m = 5000, 100
    positions = np.zeros((m, n, 3))
    path = write(z=np.full(n, 6), perms=np.arange(n)[None], R_train=None, alphas_F=None)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("R_train.npy", "w") as stream:
        np.lib.format.write_array(stream, positions)
    del positions
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=r"'R_train' has shape \(100, 5000, 3\): 19996000000 bytes"):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seed", range(4))
def test_no_spoilt_byte_makes_it_trip(write: Write, seed: int) -> None:
    rng = random.Random(seed)
    path = write()
    good, complaints = path.read_bytes(), 0
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.choice((1, 2, 10))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            load_model(path)
        except ModelFileError:
            complaints += 1
    assert complaints > 30
