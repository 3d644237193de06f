"""The record of a training: what `delta-sgdml train` writes beside its models, and who reads it later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._types import IntArray
from ..data.dataset import Dataset, fingerprint
from ..errors import InputError
from .fit import Hyper

RECORD = "training.json"


@dataclass(frozen=True)
class Settings:
    """Of a training: its seed, which permutations its models have, and whether λ is absolute."""

    seed: int
    symmetry: Literal["graph", "skeleton", "sgdml", "none"]
    absolute: bool


@dataclass(frozen=True)
class Fitted:
    """One model of a training: how it was fitted, to how many points, of which `n_far` were pulled apart."""

    hyper: Hyper
    n_train: int
    n_far: int


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """What a record says. fingerprint: of the data set, None in a JSON file of another kind.

    The rest is looked at when it is asked for: who evaluates need not have a whole record. Each raises InputError
    where that is not as `delta-sgdml train` writes it.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def fingerprint(self) -> str | None:
        about = self.content.get("dataset")
        found = about.get("fingerprint") if isinstance(about, dict) else None
        return found if isinstance(found, str) else None

    def configurations(self, side: Literal["train", "validation"], n: int) -> IntArray:
        """Those of a data set of n that a model was trained on, or validated."""
        return indices(self.content.get(side), n, f"{self.path}: {side}")

    def settings(self) -> Settings:
        """What held for all models."""
        match self.content.get("recipe"):
            case {
                "seed": int(seed),
                "symmetry": ("graph" | "skeleton" | "sgdml" | "none") as symmetry,
                "absolute": bool(absolute),
            } if seed >= 0:
                return Settings(seed, symmetry, absolute)
        raise InputError(
            f"{self.path}: recipe: seed, symmetry or absolute are not as `delta-sgdml train` writes them"
        )

    def model(self, name: str) -> Fitted:
        """name: of a kind of fragment, ``binding`` or ``full``."""
        models = self.content.get("models")
        match models.get(name) if isinstance(models, dict) else None:
            case {
                "sigma": (int() | float()) as sigma,
                "lambda": (int() | float()) as lam,
                "energies": bool(energies),
                "robust": bool(robust),
                "n_train": int(n_train),
                "n_far": int(n_far),
            } if n_train > 0:
                return Fitted(Hyper(sigma, lam, energies, self.settings().absolute, robust), n_train, n_far)
        raise InputError(f"{self.path}: models: {name}: is not as `delta-sgdml train` writes it")

    def with_model(self, digest: str, **changes: object) -> TrainingRecord:
        """The record with other facts of the model whose file had this SHA-256."""
        models = {
            name: entry | changes if entry.get("sha256") == digest else entry
            for name, entry in self.content.get("models", {}).items()
        }
        return replace(self, content={**self.content, "models": models})

    def text(self) -> str:
        """As it is written."""
        return json.dumps(self.content, indent=1) + "\n"


def load_record(path: Path, otherwise: str = "") -> TrainingRecord | None:
    """None where there is no file. otherwise: how to do without, for the message.

    Raises InputError where it cannot be read or is no JSON.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}{otherwise}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON: {error}; mend or remove it{otherwise}") from None
    return TrainingRecord(path, content if isinstance(content, dict) else {})


def record_of(manifest: Path, data: Dataset, otherwise: str) -> TrainingRecord:
    """Of the models beside a manifest, trained on this data set. otherwise: what needs it, for the message.

    Raises InputError where there is none, or it tells of other data.
    """
    path = manifest.parent / RECORD
    record = load_record(path)
    if record is None or record.fingerprint is None:
        raise InputError(f"{path}: no record of a training{otherwise}")
    if record.fingerprint != fingerprint(data):
        raise InputError(f"{path}: the models were trained on another data set than {data.name}")
    return record


def indices(value: object, n: int, where: str) -> IntArray:
    """A list of configurations, 0 to n − 1. Raises InputError that says where it is none."""
    numbers = value if isinstance(value, list) else [value]
    bad = next((v for v in numbers if type(v) is not int or not 0 <= v < n), None)
    if bad is not None or not isinstance(value, list):
        raise InputError(f"{where}: holds {str(bad)[:40]!r}, expected a list of configurations, 0 to {n - 1}")
    return np.array(value, dtype=np.intp)
