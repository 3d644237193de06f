"""The predictor against sgdml itself, finite differences and invariances."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, shipped_model, shipped_models
from made import cyclic_permutations, made_model

from delta_server.gdml import CpuPredictor, Model, cpu_predictor, load_model
from delta_server.gdml.descriptor.descriptor import Descriptor
from delta_server.gdml.sums.matern import plain_sum
from delta_server.units import BOHR, HARTREE, KCAL_MOL

_STOCK = 4e7  # numbers that stock sgdml holds for each of its arrays


def affordable(path: Path) -> bool:
    """Whether stock sgdml knows the descriptor and, with a copy of the training set for each permutation, has the
    memory."""
    model = shipped_model(path)
    return model.metric.is_stock and model.descriptors.size * len(model.permutations) < _STOCK


MODELS = [path for path in shipped_models() if affordable(path)]


def displaced(reference: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    return reference + 0.05 * np.random.default_rng(seed).standard_normal((n, *reference.shape))


def geometry_of(path: Path) -> np.ndarray:
    """Some geometry of a shipped model's atoms."""
    model = shipped_model(path)
    assert model.training_positions is not None
    return model.training_positions[0]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A made model of 148 atoms with 8 permutations, and its geometry."""
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), -1).reshape(-1, 3)[:148]
    positions = 1.6 * grid + 0.1 * rng.standard_normal((148, 3))
    path = tmp_path_factory.mktemp("made") / "big.npz"
    made_model(path, np.full(148, 6), positions, cyclic_permutations(148, 8), n_train=20, seed=2)
    return path, positions


def against_sgdml(path: Path, frames: np.ndarray) -> tuple[float, float]:
    """Largest differences of energy and force from stock sgdml, kcal/mol and kcal/mol/Å."""
    from delta_server.bench.prediction import sgdml_predictor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sgdml's and torch's own
        energy, forces = sgdml_predictor(path)(frames)
    ours = CpuPredictor(load_model(path)).predict(frames)
    return np.abs(ours.energy / KCAL_MOL - energy).max(), np.abs(ours.forces / KCAL_MOL - forces).max()


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_shipped_models_agree_with_sgdml(path: Path) -> None:
    """To 1e-5 kcal/mol, or to what sgdml rounds of energy constraints that cancel (the next test holds ours)."""
    model = load_model(path)
    alphas = np.zeros(1) if model.energy_weights is None else model.energy_weights
    rounding = np.finfo(float).eps * model.scale * len(model.permutations) * np.abs(alphas).sum()
    energy, force = against_sgdml(path, displaced(geometry_of(path), 8))
    assert energy < max(1e-5, rounding)
    assert force < 1e-4


def test_energies_that_sgdml_rounds() -> None:
    """The benzene dimer's binding has coefficients of 2e8: against the definition in extended precision."""
    path = ROOT / "models/benzene_dimer/binding.npz"
    model = load_model(path)
    x = displaced(geometry_of(path), 1)
    perms = model.metric.permutations(model.permutations)
    assert model.energy_weights is not None
    queries, points, weights, alphas = (
        a.astype(np.longdouble)
        for a in (
            Descriptor.of(x, model.metric).x / model.angstrom,
            model.descriptors[:, perms].reshape(-1, perms.shape[1]),
            model.weights[:, perms].reshape(-1, perms.shape[1]),
            np.repeat(model.energy_weights, len(perms)),
        )
    )
    energy, _ = plain_sum(queries, points, weights, model.sigma, alphas)
    found = CpuPredictor(model).predict(x).energy / KCAL_MOL
    assert np.abs(model.scale * energy + model.offset - found).max() < 5e-6


def test_made_model_of_148_atoms_agrees_with_sgdml(big: tuple[Path, np.ndarray]) -> None:
    path, positions = big
    energy, force = against_sgdml(path, displaced(positions, 3))
    assert energy < 1e-5
    assert force < 1e-4


@pytest.fixture(params=[p for p in MODELS if p.stem != "water"], ids=lambda p: f"{p.parent.name}-{p.stem}")
def model_and_geometry(request: pytest.FixtureRequest) -> tuple[Model, np.ndarray]:
    return shipped_model(request.param), geometry_of(request.param)


def test_forces_and_virial_are_derivatives_of_the_energy(model_and_geometry: tuple[Model, np.ndarray]) -> None:
    model, x = model_and_geometry
    predict = CpuPredictor(model).predict
    here = predict(x[None])

    def slope(steps: np.ndarray, h: float = 3e-3) -> np.ndarray:
        """Of fourth order, so that h may be large beside the rounding of energies."""
        up, down, twice_up, twice_down = (predict(x + s * h * steps).energy for s in (1, -1, 2, -2))
        return (8 * (up - down) - (twice_up - twice_down)) / (12 * h)

    numeric = -slope(np.eye(x.size).reshape(-1, *x.shape)).reshape(x.shape)
    assert np.abs(numeric - here.forces[0]).max() < 1e-4
    size = np.ptp(x, axis=0).max()
    strains = np.einsum("kab,nb->kna", np.eye(9).reshape(9, 3, 3), x) / size
    numeric = -slope(strains).reshape(3, 3) * size
    assert np.abs(numeric - here.virial[0]).max() < 1e-4 * size
    assert np.abs(here.virial[0] - here.virial[0].T).max() < 1e-12


def test_energy_does_not_depend_on_frame_or_on_the_names_of_equal_atoms(
    model_and_geometry: tuple[Model, np.ndarray],
) -> None:
    model, x = model_and_geometry
    predict = CpuPredictor(model).predict
    here = predict(x[None])
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    turned = predict((x @ turn.T + [5.0, -3.0, 40.0])[None])
    assert turned.energy == pytest.approx(here.energy, abs=1e-6)
    assert turned.forces[0] == pytest.approx(here.forces[0] @ turn.T, abs=1e-6)
    permuted = predict(x[model.permutations])
    assert permuted.energy == pytest.approx(np.full(len(model.permutations), here.energy[0]), abs=1e-6)
    assert permuted.forces == pytest.approx(here.forces[0][model.permutations], abs=1e-6)


def test_batches_equal_single_structures_however_they_are_cut(
    model_and_geometry: tuple[Model, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = model_and_geometry
    frames = displaced(x, 7)
    singles = [CpuPredictor(model).predict(frame[None]) for frame in frames]
    whole = CpuPredictor(model).predict(frames)
    each = CpuPredictor(model)._expansion.bytes_per_query + 40 * model.n_atoms**2
    monkeypatch.setattr(cpu_predictor, "_CHUNK_BYTES", 3 * each)
    cut = CpuPredictor(model)
    assert cut._chunk == 3
    for batch in (whole, cut.predict(frames)):
        for found, alone in zip(batch, zip(*singles, strict=True), strict=True):
            assert np.array_equal(found, np.concatenate(alone))


def test_other_units_in_the_file_give_the_same_forces(model_and_geometry: tuple[Model, np.ndarray]) -> None:
    model, x = model_and_geometry
    energy = KCAL_MOL / HARTREE
    # the same model written in bohr and hartree: x → x B, w → w B, σ → σ B with B Å in a bohr
    other = replace(
        model,
        descriptors=model.descriptors * BOHR,
        weights=model.weights * BOHR,
        sigma=model.sigma * BOHR,
        scale=model.scale * energy,
        offset=model.offset * energy,
        length_unit="bohr",
        energy_unit="Hartree",
    )
    frames = displaced(x, 3)
    here, there = CpuPredictor(model).predict(frames), CpuPredictor(other).predict(frames)
    assert there.energy == pytest.approx(here.energy, abs=1e-6)
    assert there.forces == pytest.approx(here.forces, abs=1e-6)


def test_a_training_point_itself_is_no_special_case(tmp_path: Path) -> None:
    positions = np.array([[0.0, 0, 0], [0, 0, 1.1], [0, 1.2, 0]])
    path = tmp_path / "tiny.npz"
    made_model(path, np.array([8, 1, 1]), positions, np.array([[0, 1, 2], [0, 2, 1]]), n_train=3, seed=0)
    model = load_model(path)
    model = replace(model, descriptors=1 / np.array([[1.1, 1.2, np.hypot(1.1, 1.2)]] * 3))
    here = CpuPredictor(model).predict(positions[None])
    near = CpuPredictor(model).predict(positions[None] + 1e-9 * np.arange(9).reshape(1, 3, 3))
    assert np.isfinite(here.forces).all()
    assert near.forces == pytest.approx(here.forces, abs=1e-5)


def test_one_call_of_compiled_code_is_the_descriptor_the_sum_and_the_pull_back(
    model_and_geometry: tuple[Model, np.ndarray],
) -> None:
    """And threads, by structures or by training points, leave a structure's numbers as they are in any batch."""
    model, x = model_and_geometry
    frames, apart = displaced(x, 5), CpuPredictor(model)
    apart.compiled = None
    for threads in (1, 3):
        predictor = CpuPredictor(model, threads)
        together = predictor.predict(frames)
        for found, alone, expected in zip(
            together, predictor.predict(frames[:1]), apart.predict(frames), strict=True
        ):
            assert np.array_equal(found[:1], alone)
            assert found == pytest.approx(expected, rel=1e-7, abs=1e-7 + 1e-7 * np.abs(expected).max())  # eV
