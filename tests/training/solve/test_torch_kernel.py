"""Fits by PyTorch against those by NumPy, on torch's CPU; on a GPU as well where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, shipped_model
from typer.testing import CliRunner

from delta_server.cli.main import app
from delta_server.errors import InputError
from delta_server.gdml import CpuPredictor, Model, load_model
from delta_server.gdml.descriptor.metric import Metric
from delta_server.training.fit import Hyper, fit
from delta_server.training.labels import Labels
from delta_server.training.solve import torch_kernel
from delta_server.training.solve.cholesky import NotPositiveDefiniteError, Panels
from delta_server.training.solve.kernels import make_kernel
from delta_server.units import KCAL_MOL

torch = pytest.importorskip("torch")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
DEVICES = ["torch-cpu", pytest.param("cuda", marks=needs_gpu)]
# a group of 24 that is no direct product of its atoms' orbits, and one of 1152 that exchanges molecules
SHIPPED = ["h2o_benzene/binding", "methane_dimer/binding", "na_benzene/benzene"]
MODELS = ROOT / "models"
METHANES = str(MODELS / "methane_dimer/dataset.npz")
ALONE = ("--threads", "1")  # in this process, whose Numba has begun so


def square(panels: Panels) -> np.ndarray:
    full = np.zeros((panels.n, panels.n))
    for start, panel in zip(panels.starts, panels.panels, strict=True):
        full[start:, start : start + panel.shape[1]] = panel
    return full


def labels_of(model: Model, n: int) -> Labels:
    """As the model has them, near its training points, so that a fit has something to find."""
    assert model.training_positions is not None
    rng = np.random.default_rng(1)
    x = model.training_positions[rng.choice(model.n_train, n)] * model.angstrom
    x = x + 0.02 * rng.standard_normal(x.shape)
    found = CpuPredictor(model).predict(x)
    return Labels(model.name, model.numbers, x, found.energy / KCAL_MOL, found.forces / KCAL_MOL)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("energies", [False, True])
@pytest.mark.parametrize("file", SHIPPED)
def test_the_matrix(file: str, energies: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some points at a time, of which two are alike; and columns of others, of which one is a point."""
    model = shipped_model(MODELS / f"{file}.npz")
    x, perms, metric = labels_of(model, 7).positions, model.permutations, model.metric
    x[3] = x[5]
    monkeypatch.setattr(torch_kernel, "TEMPORARIES", 3 * 8 * torch_kernel._EACH * perms.size)
    here, there = (make_kernel(x[:6], perms, metric, name) for name in ("cpu", device))
    expected = square(here.matrix(model.sigma, energies))
    found = there.matrix(model.sigma, energies).square.cpu().numpy()
    largest = np.abs(expected).max()
    assert np.abs(np.tril(found) - np.tril(expected)).max() < 1e-13 * largest
    expected = here.columns(x[4:], model.sigma, energies)
    found = there.columns(x[4:], model.sigma, energies).cpu().numpy()
    assert found.shape == expected.shape == (6 * (x[0].size + energies), 3 * (x[0].size + energies))
    assert np.abs(found - expected).max() < 1e-13 * largest


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "how", [{}, {"energies": True, "robust": True}, {"energies": True, "robust": True, "basis": 20}], ids=str
)
def test_the_model(how: dict[str, int], device: str) -> None:
    model = shipped_model(MODELS / "h2o_benzene/binding.npz")
    labels = labels_of(model, 60)
    train, test = labels.take(slice(0, 45)), labels.take(slice(45, None)).positions
    hyper = Hyper(8.0, 1e-7, metric=model.metric, **how)
    here, there = (
        CpuPredictor(fit(train, model.permutations, replace(hyper, device=name))).predict(test)
        for name in ("cpu", device)
    )
    # a basis of near points turns rounding into 1e-4 of 0.2, as moving the labels by some Å does
    bound = 5e-4 if hyper.basis else 1e-6
    assert np.abs(here.forces - there.forces).max() / KCAL_MOL < bound
    assert np.abs(here.energy - there.energy).max() / KCAL_MOL < bound


@pytest.mark.parametrize("device", DEVICES)
def test_a_matrix_that_is_not_positive_definite_is_refused(device: str) -> None:
    water = shipped_model(MODELS / "h2o_benzene/water.npz")
    with pytest.raises(NotPositiveDefiniteError, match="raise --lambda"):
        fit(labels_of(water, 6), water.permutations, Hyper(8.0, -1e-3, device=device))


@pytest.mark.parametrize("device", DEVICES)
def test_train(device: str, tmp_path: Path) -> None:
    """The same models to rounding, the search included; no device stands in the record."""
    few = [METHANES, "-n", "20", "--n-validation", "20", "--basis", "binding=10", *ALONE]
    for name, more in (("here", []), ("there", ["--device", device])):
        result = CliRunner().invoke(app, ["train", *few, "-o", str(tmp_path / name), *more])
        assert result.exit_code == 0, result.output
    ours, theirs = (load_model(tmp_path / name / "binding.npz") for name in ("here", "there"))
    assert (ours.sigma, ours.n_train) == (theirs.sigma, theirs.n_train)
    assert ours.n_train == 10
    here, there = (tmp_path / name / "training.json" for name in ("here", "there"))
    assert device not in there.read_text()
    assert here.read_text().count("sigma") == there.read_text().count("sigma")


def test_what_does_not_go_together(tmp_path: Path) -> None:
    args = ["train", METHANES, "-n", "20", *ALONE, "-o", str(tmp_path / "x"), "--device"]
    result = CliRunner().invoke(app, [*args, "torch-cpu", "--trainer", "sgdml"])
    assert "stock sGDML solves on the CPU" in str(result.exception)
    result = CliRunner().invoke(app, [*args, "cuda:99"])
    assert "cuda:99" in str(result.exception)
    with pytest.raises(InputError, match="expected cpu, cuda"):
        make_kernel(np.zeros((1, 3, 3)), np.arange(3)[None], Metric(3), "gpu")
