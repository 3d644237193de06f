"""Expected errors: the Gaussian process by hand, invariances, and the order and size of true errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from delta_server.data.dataset import load_dataset
from delta_server.errors import InputError, ModelFileError
from delta_server.gdml import CpuPredictor, Model, uncertainty
from delta_server.gdml.descriptor.pairs import pair_permutations
from delta_server.gdml.sums.matern import matern
from delta_server.gdml.uncertainty import Uncertainty
from delta_server.training.databases import Complex
from delta_server.training.evaluation import expected_errors
from delta_server.training.evaluation.expected_errors import calibrate, force_rmse, rank_correlation
from delta_server.training.fit import Hyper, fit
from delta_server.training.labels import Labels
from delta_server.units import BOHR, HARTREE, KCAL_MOL


@pytest.fixture(scope="module")
def water() -> Complex:
    """Water on benzene."""
    return Complex.of(load_dataset(ROOT / "models/h2o_benzene/dataset.npz"))


@pytest.fixture(scope="module")
def configurations() -> np.ndarray:
    return np.random.default_rng(1).permutation(2400)


@pytest.fixture(scope="module")
def binding(water: Complex, configurations: np.ndarray) -> Model:
    """The binding of water on benzene from 60 points."""
    return fit(
        water.binding_labels(configurations[:60]), water.products.permutations, Hyper(8.0, 1e-7, energies=True)
    )


@pytest.fixture(scope="module")
def calibrated(binding: Model, water: Complex, configurations: np.ndarray) -> Model:
    labels = water.binding_labels(configurations[60:160])
    return replace(binding, calibration=calibrate(binding, labels.positions, labels.forces * KCAL_MOL))


@pytest.fixture(scope="module")
def unseen(water: Complex, configurations: np.ndarray) -> Labels:
    return water.binding_labels(configurations[-400:])


def by_hand(model: Model, x: np.ndarray, length: float) -> np.ndarray:
    """s (B,), term by term, the training set permuted as sGDML does it."""
    perms, t = pair_permutations(model.permutations), model.descriptors

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return sum(matern(((a[:, None] - b[:, p]) ** 2).sum(2), length).value for p in perms)

    trained = k(t, t)
    trained += 1e-10 * trained.diagonal().mean() * np.eye(len(t))
    asked = k(x, t)
    known = np.einsum("bm,mb->b", asked, np.linalg.solve(trained, asked.T))
    return np.sqrt(1 - known / np.diagonal(k(x, x)))


@pytest.mark.parametrize("length", [0.2, 1.0])
def test_the_variance_is_that_of_the_gaussian_process(binding: Model, unseen: Labels, length: float) -> None:
    judge = Uncertainty(binding, (length, 1.0, 1.0))
    expected = by_hand(binding, judge.describe(unseen.positions[:20]), length)
    assert judge.novelty(unseen.positions[:20]) == pytest.approx(expected, rel=1e-4)
    assert np.ptp(expected) > 0.01


def test_a_point_that_is_left_out_is_as_if_it_were_never_there(binding: Model) -> None:
    judge, x, alphas = Uncertainty(binding, (0.5, 2.0, 1.0)), binding.training_positions, binding.alphas
    assert x is not None
    assert alphas is not None
    for m in (0, 7, 59):
        rest = np.delete(np.arange(60), m)
        fewer = replace(
            binding, descriptors=binding.descriptors[rest], training_positions=x[rest], alphas=alphas[rest]
        )
        left = Uncertainty(fewer, (0.5, 2.0, 1.0)).novelty(x[m : m + 1])
        assert judge.left_out[m] == pytest.approx(left[0], rel=1e-4)


def test_limits_are_distances_in_units_of_the_points_own(binding: Model) -> None:
    for b in (0.5, 2.0):
        judge = Uncertainty(binding, (0.5, 2.0, b))
        s = (np.array(judge.limits) / judge.a) ** (1 / b)
        d = np.sqrt(-np.log(1 - s**2))
        assert d / d[0] == pytest.approx([1.0, 3.0, 6.0], rel=1e-6)
        assert np.mean(judge.error_of(judge.left_out) <= judge.limits.usual) == pytest.approx(0.95, abs=0.01)


def test_nothing_is_left_at_training_points_and_all_of_it_far_away(binding: Model) -> None:
    judge, x = Uncertainty(binding, (0.5, 2.0, 1.0)), binding.training_positions
    assert x is not None
    assert judge.novelty(x).max() < 1e-4
    assert judge.novelty(0.5 * x[:3]) == pytest.approx(1.0, abs=1e-3)
    assert judge.expected_error(0.5 * x[:1]) == pytest.approx(2 * KCAL_MOL, rel=1e-3)
    with np.errstate(all="ignore"):
        assert judge.novelty(np.zeros((1, 15, 3))).tolist() == [1.0]


def test_frame_and_names_of_equal_atoms_do_not_matter(calibrated: Model, unseen: Labels) -> None:
    judge, x = Uncertainty(calibrated), unseen.positions[:5]
    here = judge.expected_error(x)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    assert judge.expected_error(x @ turn + 5.0) == pytest.approx(here, rel=1e-6)
    for p in calibrated.permutations[1::5]:
        assert judge.expected_error(x[:, p]) == pytest.approx(here, rel=1e-6)


def test_batches_equal_single_structures(calibrated: Model, unseen: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Uncertainty(calibrated).expected_error(unseen.positions[:30])
    monkeypatch.setattr(uncertainty, "_CHUNK_BYTES", 200_000)
    cut = Uncertainty(calibrated)
    assert cut.expected_error(unseen.positions[:30]) == pytest.approx(whole, rel=1e-6)
    assert cut.expected_error(unseen.positions[7:8]) == pytest.approx(whole[7:8], rel=1e-6)
    assert cut.expected_error(unseen.positions[:0]).shape == (0,)


def test_other_units_in_the_file_expect_the_same(calibrated: Model, unseen: Labels) -> None:
    """As `test_predictor` has it: lengths in bohr, energies in hartree."""
    energy = KCAL_MOL / HARTREE
    length, a, b = calibrated.calibration or ()
    atomic = replace(
        calibrated,
        descriptors=calibrated.descriptors * BOHR,
        length_unit="bohr",
        energy_unit="Hartree",
        calibration=(length * BOHR, a * energy * BOHR, b),
    )
    x = unseen.positions[:9]
    assert Uncertainty(atomic).expected_error(x) == pytest.approx(Uncertainty(calibrated).expected_error(x))


def test_at_most_300_training_points_count(calibrated: Model, unseen: Labels) -> None:
    x = np.repeat(calibrated.descriptors, 10, axis=0)
    x += 0.01 * np.random.default_rng(0).standard_normal(x.shape)
    many = replace(calibrated, descriptors=x, weights=x, training_positions=None, alphas=None, energy_weights=None)
    own, known = Uncertainty(many).explained(Uncertainty(many).describe(unseen.positions[:7]))
    assert own.shape == (7,)
    assert known.shape == (7, 300)


@pytest.mark.parametrize("term", ["binding", "benzene", "water"])
def test_true_errors_go_with_expected_ones(water: Complex, configurations: np.ndarray, term: str) -> None:
    """On configurations that neither trained nor calibrated: rank correlation, and RMSEs by quarters of what is
    expected."""
    train, validation, test = configurations[:60], configurations[60:160], configurations[-600:]
    if term == "binding":
        labels = [water.binding_labels(w) for w in (train, validation, test)]
        permutations, hyper = water.products.permutations, Hyper(8.0, 1e-7, energies=True)
    else:
        kind = next(k for k in water.kinds if k.name == term)
        labels = [water.fragment_labels(kind, w) for w in (train, validation, test)]
        permutations, hyper = kind.group.permutations, Hyper(8.0, 1e-9)
    model = fit(labels[0], permutations, hyper)
    calibration = calibrate(model, labels[1].positions, labels[1].forces * KCAL_MOL)
    expected = Uncertainty(model, calibration).expected_error(labels[2].positions)
    true = force_rmse(model, labels[2].positions, labels[2].forces * KCAL_MOL)
    assert rank_correlation(expected, true) > 0.55
    ratios = []
    for part in np.array_split(np.argsort(expected), 4):
        ratios.append(np.sqrt((expected[part] ** 2).mean() / (true[part] ** 2).mean()))
    assert max(ratios) < 2.5
    assert min(ratios) > 0.4
    if term != "water":
        assert max(ratios) < 1.35
        assert min(ratios) > 0.75


def test_the_calibration_finds_a_power_law_again(
    binding: Model, unseen: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    s = Uncertainty(binding, (0.5, 1.0, 1.0)).novelty(unseen.positions)
    errors = 3.0 * s**1.5 * np.sqrt(rng.chisquare(8, len(s)) / 8)  # eV/Å, RMS at s is 3 s^1.5
    forces = CpuPredictor(binding).predict(unseen.positions).forces + errors[:, None, None]
    monkeypatch.setattr(expected_errors, "_LENGTHS", (0.5,))
    length, a, b = calibrate(binding, unseen.positions, forces)
    assert length == 0.5
    assert b == pytest.approx(1.5, abs=0.1)
    assert a * KCAL_MOL * 0.05**b == pytest.approx(3.0 * 0.05**1.5, rel=0.05)
    falling = CpuPredictor(binding).predict(unseen.positions).forces + (1 / s)[:, None, None]
    length, a, b = calibrate(binding, unseen.positions, falling)
    assert b == 0
    assert a * KCAL_MOL == pytest.approx(np.sqrt((s**-2).mean()))


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 50).astype(float), rng.standard_normal(50)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b)[0])
    assert rank_correlation(a, np.ones(50)) == 0


def test_what_cannot_be_calibrated(binding: Model, unseen: Labels) -> None:
    x, f = unseen.positions, unseen.forces * KCAL_MOL
    with pytest.raises(InputError, match="9 configurations, expected errors need 10 or more"):
        calibrate(binding, x[:9], f[:9])
    with pytest.raises(InputError, match="no errors"):
        calibrate(binding, x[:20], CpuPredictor(binding).predict(x[:20]).forces)
    with pytest.raises(ModelFileError, match="no error calibration; `delta-sgdml model calibrate"):
        Uncertainty(binding)
