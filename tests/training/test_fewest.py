"""The fewest pairs and points of a model that is as accurate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from delta_server import load_potential
from delta_server.data.dataset import Dataset, save_dataset
from delta_server.training.fit import Hyper, fit, force_mae
from delta_server.training.record import VALIDATION_MAE
from delta_server.training.reduce import reduce
from delta_server.training.reporter import Silent
from delta_server.training.selection.fewest import SizeSearch, fewer_pairs, fewer_points
from delta_server.training.selection.select import Search
from delta_server.training.tasks import Recipe
from delta_server.training.trainer import train

from .test_scales import GROUP, labels

QUICK = Recipe(24, 20, sigmas=(8.0,), lams=(1e-6,), n_far=4, choose_group=False, robust=False)


def test_what_says_nothing_is_left_out() -> None:
    """The energy is that of two of ten pairs; each configuration comes four times."""
    train_on, validation, hyper = labels(20).take(np.arange(80) % 20), labels(60, 1), Hyper(3.0, 1e-6)
    search = SizeSearch(train_on, validation, GROUP, 1.02, lambda trial: None)
    first = search.look(hyper, fit(train_on, GROUP, hyper))
    few = search.last(first, fewer_pairs(train_on, validation, GROUP, hyper, Search())).model
    assert len(few.metric.pairs) <= 4
    few.metric.check(GROUP)
    half, *_ = fewer_pairs(train_on, validation, GROUP, hyper, Search(), keep=0.5)
    assert len(half.metric_of(5).pairs) <= 5
    some = fewer_pairs(labels(20), validation, GROUP, Hyper(3.0, 1e-13), Search(), keep=0.1)
    assert some == [], "with fewer pairs than motions, and next to no λ, there is no inverse"
    bases = fewer_points(80, 5, False, 10**9)
    assert bases == [63, 50, 40, 32, 25, 20, 16, 13, 10, 8, 6, 5]
    assert fewer_points(80, 5, False, 1000) == []
    fewest = search.last(first, [replace(hyper, basis=m) for m in bases])
    assert fewest.model.n_train == 20
    assert fewest.forces == force_mae(fewest.model, validation) <= 1.02 * first.forces
    (smaller,) = [t for t in search.tried if t.model.n_train == 16]
    assert smaller.forces > 1.02 * first.forces


def test_chosen_while_training(na_benzene_data: Dataset, tmp_path: Path) -> None:
    """For each model; a training that is stopped there goes on; `reduce` keeps what was chosen."""

    class Stops(Silent):
        def say(self, line: str) -> None:
            if line.startswith("binding: fewest pairs and points"):
                raise KeyboardInterrupt

    recipe = replace(QUICK, basis="auto", keeps={"c6h6": 0.9, "binding": "auto"})
    save_dataset(tmp_path / "data.npz", na_benzene_data)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "data.npz", tmp_path / "lean", recipe, Stops())
    manifest = train(tmp_path / "data.npz", tmp_path / "lean", recipe)
    models = json.loads((manifest.parent / "training.json").read_text())["models"]
    for name, entry in models.items():
        first, *others = entry["sizes"]
        assert (first["points"], first["pairs"]) == (24, {"c6h6": 57, "binding": 78}[name])
        good = [t for t in others if all(t[key] <= 1.02 * first[key] for key in ("force_mae", "energy_mae"))]
        best = min([first, *good], key=lambda t: (t["points"], t["pairs"]))
        assert entry[VALIDATION_MAE] == pytest.approx(best["force_mae"])
        assert entry["basis"] == best["points"] % 24
        assert all(t["ms"] > 0 for t in others)
    made = reduce(
        manifest, tmp_path / "data.npz", tmp_path / "less", Silent(), lambda *_: None, keep=0.9, fractions=(0.9,)
    )
    again = json.loads((tmp_path / "less/training.json").read_text())["models"]
    assert {n: e["basis"] for n, e in again.items()} == {n: e["basis"] for n, e in models.items()}
    assert made.manifest
    assert np.isfinite(load_potential(made.manifest).compute(na_benzene_data.positions[:2]).energy).all()
