"""Descriptors that are not sGDML's: fewer pairs, other laws, weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from delta_server.errors import ModelFileError
from delta_server.gdml.compiled import module as compiled
from delta_server.gdml.cpu_predictor import CpuPredictor
from delta_server.gdml.descriptor import descriptor
from delta_server.gdml.descriptor.descriptor import Descriptor
from delta_server.gdml.descriptor.metric import Metric
from delta_server.gdml.descriptor.pairs import n_pairs, pair_permutations
from delta_server.gdml.file import arrays_of, load_model, save_model
from delta_server.gdml.model import Model
from delta_server.gdml.uncertainty import Uncertainty
from delta_server.symmetry.elements import orbits

N = 6
GROUP = np.array([[0, 1, 2, 3, 4, 5], [1, 0, 2, 3, 4, 5], [0, 1, 2, 4, 3, 5], [1, 0, 2, 4, 3, 5]])
LABEL = orbits(pair_permutations(GROUP))


def scales() -> np.ndarray:
    return np.exp(np.random.default_rng(3).normal(0.0, 1.0, n_pairs(N)))[LABEL]


def some_pairs() -> np.ndarray:
    """Two orbits left out."""
    return ~np.isin(LABEL, np.unique(LABEL)[[1, 4]])


METRICS = {
    "stock": Metric(N),
    "steep": Metric(N, power=2.5),
    "screened": Metric(N, decay=0.5),
    "weighed": Metric(N, decay=0.25, power=1.5, scales=scales()),
    "reduced": Metric(N).keep(some_pairs()),
    "all of it": Metric(N, decay=0.25, power=2.0, scales=scales()).keep(some_pairs()),
}
each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@pytest.fixture(params=["numpy", "compiled"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(descriptor, "compiled_module", lambda: None)
    elif compiled.compiled_module() is None:
        pytest.skip("no compiled module here")
    return str(request.param)


def positions(n: int = 4) -> np.ndarray:
    rng = np.random.default_rng(0)
    frame = np.array([[0, 0, 0], [1.5, 0, 0], [0, 1.6, 0.3], [0, 0.2, 1.7], [1.4, 1.5, 1.2], [-1.2, -1.0, 0.8]])
    return np.asarray(frame + 0.1 * rng.standard_normal((n, N, 3)))


def model(metric: Metric, m: int = 5) -> Model:
    rng = np.random.default_rng(1)
    return Model.from_coefficients(
        numbers=np.full(N, 6), training_positions=positions(m), alphas=rng.standard_normal((m, N, 3)),
        permutations=GROUP, sigma=2.0, scale=1.0, offset=-3.0, energy_weights=rng.standard_normal(m), metric=metric,
        calibration=(0.5, 1.0, 1.0),
    )  # fmt: skip


@each_metric
def test_entries_by_definition(metric: Metric, backend: str) -> None:
    r = positions()
    found = Descriptor.of(r, metric)
    i, j = np.divmod(metric.pairs, N)
    d = np.linalg.norm(r[:, i] - r[:, j], axis=2)
    s = 1.0 if metric.scales is None else metric.scales
    assert found.x == pytest.approx(s * d**-metric.power * np.exp(-metric.decay * d), rel=1e-13)
    assert found.minus_slope_over_r == pytest.approx(found.x * (metric.power / d + metric.decay) / d, rel=1e-13)
    assert found.distances() == pytest.approx(d, rel=1e-14)


@each_metric
def test_derivatives_are_those_of_the_entries(metric: Metric, backend: str) -> None:
    r, rng, h = positions(), np.random.default_rng(5), 1e-4
    v, g = rng.standard_normal(r.shape), rng.standard_normal((len(r), len(metric.pairs)))
    found = Descriptor.of(r, metric)
    moved = [Descriptor.of(r + k * h * v, metric).x for k in (-2, -1, 1, 2)]
    along = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * h)
    assert found.jvp(v) == pytest.approx(along, abs=1e-9)
    # −∂E/∂x · J v is what the forces do along v
    assert (g * found.jvp(v)).sum(1) == pytest.approx((found.forces(g) * v).sum((1, 2)), abs=1e-12)


@each_metric
def test_a_model_conserves_energy_and_knows_its_symmetry(metric: Metric, backend: str) -> None:
    predict, h = CpuPredictor(model(metric)).predict, 2e-4
    r, v = positions(3), np.random.default_rng(6).standard_normal((3, N, 3))
    energies = [predict(r + k * h * v).energy for k in (-2, -1, 1, 2)]
    slope = -(energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
    here = predict(r)
    assert (here.forces * v).sum((1, 2)) == pytest.approx(slope, abs=1e-8 * np.abs(slope).max())
    for permutation in GROUP:
        assert predict(r[:, permutation]).energy == pytest.approx(here.energy, abs=1e-12)


@each_metric
def test_a_file_keeps_it(metric: Metric, tmp_path: Path) -> None:
    written = model(metric)
    save_model(tmp_path / "m.npz", written)
    read = load_model(tmp_path / "m.npz")
    assert (read.metric.power, read.metric.decay) == (metric.power, metric.decay)
    assert read.metric.is_stock == metric.is_stock
    assert np.array_equal(read.metric.pairs, metric.pairs)
    r = positions(3)
    assert np.array_equal(CpuPredictor(read).predict(r).forces, CpuPredictor(written).predict(r).forces)
    assert np.array_equal(Uncertainty(read).novelty(r), Uncertainty(written).novelty(r))


@each_metric
def test_torch_says_the_same(metric: Metric) -> None:
    torch = pytest.importorskip("torch")
    from delta_server.gdml.torch_predictor import TorchPredictor

    made, r = model(metric), positions(3)
    theirs, ours = TorchPredictor(made, torch.device("cpu")).predict(r), CpuPredictor(made).predict(r)
    assert theirs.energy == pytest.approx(ours.energy, abs=1e-12)
    assert theirs.forces == pytest.approx(ours.forces, abs=1e-11)


def test_a_pair_left_out_is_one_of_no_weight() -> None:
    """Scales that are next to nothing, and no pairs at all, are the same model."""
    kept = some_pairs()
    tiny = Metric(N, scales=np.where(kept, 1.0, 1e-14))
    r = positions(3)
    with_, without = (CpuPredictor(model(m)).predict(r) for m in (tiny, Metric(N).keep(kept)))
    assert with_.forces == pytest.approx(without.forces, abs=1e-10)


def test_stock_sgdml_is_not_given_what_it_cannot_read() -> None:
    with pytest.raises(ModelFileError, match=r"descriptor is not sGDML's \(r\^-2\.5\)"):
        arrays_of(model(METRICS["steep"]), "sgdml")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("metric", [1.3, 0.0], "power is 1.3"),
        ("metric", [1.0, -1.0], "decay is -1"),
        ("pairs", [6, 6], "ascending"),
        ("pairs", [6, 6000], "below the diagonal"),
        ("pairs", [12], "left out"),  # (2, 0), which is exchanged with (2, 1)
        ("scales", np.arange(1.0, 16.0), "scales differ"),
        ("scales", -np.ones(15), "positive scale"),
        ("scales", np.ones(3), "shape"),
    ],
)
def test_what_a_file_may_not_hold(key: str, value: object, message: str, tmp_path: Path) -> None:
    arrays = {**arrays_of(model(METRICS["screened"]), "native"), key: np.asarray(value)}
    np.savez(tmp_path / "m.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ModelFileError, match=message):
        load_model(tmp_path / "m.npz")


def test_other_units_of_length_are_for_sgdml_alone() -> None:
    with pytest.raises(ValueError, match="in Å"):
        replace(model(METRICS["reduced"]), length_unit="bohr")


def test_sgdml_is_timed_on_the_same_points_with_its_own_descriptor() -> None:
    """Its price does not depend on the numbers, but on how many there are."""
    pytest.importorskip("sgdml")
    from delta_server.bench.prediction import bench_term, sgdml_predictor

    made, r = model(METRICS["reduced"]), positions(2)
    rival = sgdml_predictor(made)
    stock = model(METRICS["stock"])
    assert rival(r)[1] == pytest.approx(CpuPredictor(stock).predict(r).forces / stock.electronvolt, abs=1e-9)
    timing = bench_term("m", CpuPredictor(made), r, 0.01, rival, same=False)
    assert timing.ratio
    assert timing.energy_difference is None


def test_where_arrays_lie_in_memory_changes_no_bit() -> None:
    """However near to each other: a compiler may look, and round one way or another."""
    module, rng = compiled.compiled_module(), np.random.default_rng(0)
    metric, room, found = Metric(6), 150, set()
    r = rng.standard_normal((1, 6, 3))
    x, slopes = np.empty((2, 1, 15))
    centred, virial = np.empty((1, 6, 3)), np.empty((1, 3, 3))
    module.describe(r, 6, *metric.compiled, x, slopes, centred)
    pull = rng.standard_normal((1, 15))
    for _ in range(2000):
        arrays = [r, slopes, pull, np.zeros_like(r), x, centred, virial]
        order = rng.permutation(len(arrays))
        gaps = rng.integers(0, (room - sum(a.size for a in arrays)) // len(arrays) + 1, len(arrays))
        buffer, start, placed = np.zeros(room), 0, {}
        for k, gap in zip(order, gaps, strict=True):
            placed[k] = buffer[start + gap : start + gap + arrays[k].size].reshape(arrays[k].shape)
            placed[k][...] = arrays[k]
            start += gap + arrays[k].size
        module.forces(placed[5], 6, metric.compiled[0], placed[1], placed[2], placed[3], placed[6])
        module.describe(placed[0], 6, *metric.compiled, placed[4], placed[1], placed[5])
        found.add(b"".join(placed[k].tobytes() for k in sorted(placed)))
    assert len(found) == 1
