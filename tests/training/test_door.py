"""What a script may import from delta_server.training: its example, its silence, and what it costs."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, bound

import delta_server.training
from delta_server import load_potential
from delta_server.errors import InputError
from delta_server.training import Recipe, evaluate, held_out, save_dataset, train

QUICK = Recipe(20, 20, sigmas=(8.0,), lams=(1e-6,), choose_group=False, robust=False)


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(delta_server.training).failed == 0
    assert (tmp_path / "demo/wet/manifest.yaml").is_file()


def test_every_name_is_there_and_no_other() -> None:
    names = delta_server.training.__all__
    assert names == sorted(names)
    assert all(callable(getattr(delta_server.training, name)) for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'no_such'"):
        delta_server.training.no_such  # noqa: B018


def test_the_names_are_loaded_when_they_are_used() -> None:
    code = (
        "import sys, delta_server.training; print(*(m for m in ('numpy', 'scipy', 'pydantic') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""


def test_data_in_memory_train_as_data_in_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bound("h2o_benzene").take(slice(0, None, 20))  # type: ignore[arg-type]
    save_dataset(tmp_path / "data.npz", data)
    manifests = [train(source, tmp_path / str(i), QUICK) for i, source in enumerate((data, tmp_path / "data.npz"))]
    assert capfd.readouterr() == ("", "")  # silent unless a reporter is given
    errors = [evaluate(load_potential(m), data, held_out(data, [m]).which) for m in manifests]
    assert errors[0].total.n == len(data) - 40
    assert np.array_equal(errors[0].total.forces, errors[1].total.forces)
    assert evaluate(load_potential(manifests[0]), data).total.n == len(data)  # all by default

    train(data, tmp_path / "0", QUICK)  # goes on, and finds all done
    with pytest.raises(InputError, match="another training"):
        train(data.take(slice(1, None)), tmp_path / "0", QUICK)  # type: ignore[arg-type]
