"""Fixtures: the shipped systems, and a small one trained on the spot."""

from __future__ import annotations

import fcntl
import json
import multiprocessing.util
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import warm
from made import made_dimer
from made_kinds import RIPPLE, SPRING, made_kinds, with_terms

from delta_server import Potential, load_potential
from delta_server.data.apart import placed_in
from delta_server.data.dataset import Dataset, load_dataset
from delta_server.gdml import Model, load_model

ROOT = Path(__file__).resolve().parent.parent
multiprocessing.util.spawnv_passfds = warm.spawn  # type: ignore[attr-defined]  # workers need not import it all again
SYSTEMS = ("benzene_dimer", "c60_buckycatcher", "h2o_benzene", "methane_dimer", "na_benzene", "no3_corona")


def pytest_configure(config: pytest.Config) -> None:
    """One server for the commands of all workers."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        warm.share()


def pytest_collection_finish() -> None:
    warm.spare_collections()


def shipped_models() -> list[Path]:
    """Every model file of the shipped systems."""
    return sorted(p for p in (ROOT / "models").glob("*/*.npz") if p.name != "dataset.npz")


@cache
def shipped(system: str) -> Potential:
    """The potential of a shipped system, loaded once: the symmetry of a large one takes seconds."""
    return load_potential(ROOT / "models" / system / "manifest.yaml")


@cache
def shipped_model(path: Path) -> Model:
    return load_model(path)


def held_out(system: str, n: int = 50) -> Dataset:
    """Configurations of a shipped system that none of its models was trained or validated on."""
    folder = ROOT / "models" / system
    data = load_dataset(folder / "dataset.npz")
    record = json.loads((folder / "training.json").read_text())
    free = np.setdiff1d(np.arange(len(data)), record["train"] + record["validation"])
    return data.take(free[np.linspace(0, len(free) - 1, n).astype(int)])


def bound(system: str) -> Dataset:
    """The data set of a shipped system without the configurations whose fragments are placed."""
    data = load_dataset(ROOT / "models" / system / "dataset.npz")
    return data.take(np.flatnonzero(~placed_in(data)))


@pytest.fixture
def h2o_benzene() -> Path:
    """Manifest of water on benzene."""
    return ROOT / "models/h2o_benzene/manifest.yaml"


@pytest.fixture
def na_benzene() -> Path:
    """Manifest of Na⁺ on benzene."""
    return ROOT / "models/na_benzene/manifest.yaml"


@pytest.fixture
def na_benzene_data() -> Dataset:
    """100 configurations of Na⁺ on benzene at 300 K, 16 fs apart but for gaps; GFN2-xTB."""
    return load_dataset(ROOT / "tests/labelled/na_benzene.npz")


@pytest.fixture
def methane_dimer_data() -> Dataset:
    """40 configurations of the methane dimer at 100 K, 60 fs apart but for gaps; GFN2-xTB."""
    return load_dataset(ROOT / "tests/labelled/methane_dimer.npz")


@pytest.fixture
def springs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Manifest of a dimer with terms of kinds that another package brings, installed here and in child processes."""
    site = str(made_kinds(tmp_path / "site"))
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([site, *filter(None, [os.environ.get("PYTHONPATH")])]))
    folder = tmp_path / "dimer"
    folder.mkdir()
    return with_terms(made_dimer(folder), SPRING, RIPPLE)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a water–benzene model from 50 points, with expected errors; data.npz is what it was trained on.

    The workers share it: no test changes it.
    """
    from delta_server.training import Recipe, save_dataset, train

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers of this session
    folder = shared / "trained"
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "manifest.yaml").exists():
            folder.mkdir(exist_ok=True)
            data = bound("h2o_benzene")
            save_dataset(folder / "data.npz", data.take(slice(0, None, 4)))
            train(folder / "data.npz", folder, Recipe(50, 60, sigmas=(8.0,), lams=(1e-7,), choose_group=False))
    return folder


@pytest.fixture
def inputs() -> Path:
    """The shipped i-PI inputs."""
    return ROOT / "inputs"
