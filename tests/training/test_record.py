"""The record of a training, as its readers take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SYSTEMS

from delta_server.data.dataset import fingerprint, load_dataset
from delta_server.errors import InputError
from delta_server.files.whole import sha256_of
from delta_server.training.fit import Hyper
from delta_server.training.record import RECORD, Fitted, Settings, TrainingRecord, load_record

RECIPE = {"seed": 3, "symmetry": "graph", "absolute": True}
MODEL = {"sha256": "ab", "sigma": 8, "lambda": 1e-9, "energies": True, "robust": False, "n_train": 30, "n_far": 3}


def made(**changes: Any) -> TrainingRecord:
    content = {"dataset": {"fingerprint": "f"}, "recipe": RECIPE, "models": {"binding": MODEL}}
    return TrainingRecord(Path(RECORD), content | changes)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_shipped_records(system: str) -> None:
    folder = ROOT / "models" / system
    record, data = load_record(folder / RECORD), load_dataset(folder / "dataset.npz")
    assert record is not None
    assert record.fingerprint == fingerprint(data)
    assert record.text() == (folder / RECORD).read_text()
    sides = [set(record.configurations(side, len(data)).tolist()) for side in ("train", "validation")]
    assert not sides[0] & sides[1]
    for name, entry in record.content["models"].items():
        assert record.model(name).n_train == record.recipe().points_of(name) <= len(sides[0])
        assert entry["sha256"] == sha256_of(folder / entry["file"])


def test_what_it_says() -> None:
    assert made().settings() == Settings(3, "graph", True)
    assert made().model("binding") == Fitted(Hyper(8, 1e-9, True, True, False), 30, 3)


@pytest.mark.parametrize("name", [*RECIPE, "all"])
@pytest.mark.parametrize("value", [None, "x", -1, [1]])
def test_recipes_that_cannot_be_true(name: str, value: object) -> None:
    record = made(recipe=value if name == "all" else RECIPE | {name: value})
    with pytest.raises(InputError, match=r"training\.json: recipe"):
        record.settings()


@pytest.mark.parametrize("name", [*list(MODEL)[1:], "all"])
@pytest.mark.parametrize("value", [None, "x", [1]])
def test_models_that_cannot_be_true(name: str, value: object) -> None:
    for models in ({"binding": value if name == "all" else MODEL | {name: value}}, value, {}):
        with pytest.raises(InputError, match=r"training\.json: models: binding"):
            made(models=models).model("binding")


def test_other_facts_of_one_model() -> None:
    record = made(models={"a": MODEL, "b": MODEL | {"sha256": "cd"}})
    changed = record.with_model("cd", sha256="ef", calibration=[1.0]).content["models"]
    assert changed == {"a": MODEL, "b": MODEL | {"sha256": "ef", "calibration": [1.0]}}
    assert record.content["models"]["b"]["sha256"] == "cd"


@pytest.mark.parametrize("content", [[], {}, 3, {"dataset": "x"}, {"dataset": {"fingerprint": 3}}])
def test_files_of_another_kind(tmp_path: Path, content: object) -> None:
    assert load_record(tmp_path / RECORD) is None
    (tmp_path / RECORD).write_text(json.dumps(content))
    record = load_record(tmp_path / RECORD)
    assert record is not None
    assert record.fingerprint is None
