"""Learning curves, the speed of training, and what both refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from delta_server.bench.training import bench_training
from delta_server.data.dataset import load_dataset
from delta_server.errors import InputError
from delta_server.training.databases import Complex
from delta_server.training.evaluation.curve import learning_curve
from delta_server.training.fit import Hyper

from .test_train import QUICK, Listener, dataset_of, train


def test_errors_fall_with_the_number_of_points(tmp_path: Path) -> None:
    source = dataset_of("na_benzene", tmp_path)
    manifest = train(source, tmp_path / "out", QUICK, Listener())
    data = load_dataset(source)
    test = np.arange(0, len(data), 3)
    curve = list(learning_curve(manifest, data, test, [4, 24]))
    assert [e.name for e in curve] == ["4", "24"]
    for few, many in zip(curve[0].parts, curve[1].parts, strict=True):
        assert many.name == few.name
        assert many.force_mae <= 0.8 * few.force_mae
    with pytest.raises(InputError, match="expected 2 to 24 points"):
        list(learning_curve(manifest, data, test, [4, 25]))
    other = load_dataset(dataset_of("h2o_benzene", tmp_path))
    with pytest.raises(InputError, match="trained on another data set"):
        list(learning_curve(manifest, other, test, [4]))
    (tmp_path / "out" / "training.json").unlink()
    with pytest.raises(InputError, match="no record of a training"):
        list(learning_curve(manifest, data, test, [4]))


def test_both_trainers_are_timed_on_one_task() -> None:
    system = Complex.of(load_dataset(ROOT / "models/h2o_benzene/dataset.npz"))
    labels = system.full_labels(np.arange(0, 400, 20))
    test = system.data.positions[5:400:40]
    found = bench_training(labels, test, system.full.permutations, Hyper(20.0, 1e-10, absolute=True), True, 1)
    assert found.rows == 20 * 45
    assert found.seconds > 0
    assert found.ratio is not None
    assert found.ratio > 1
    assert found.energy_difference is not None
    assert found.energy_difference < 1e-5
    assert found.force_difference is not None
    assert found.force_difference < 1e-5
