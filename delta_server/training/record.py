"""The record of a training, ``training.json``: written beside its models, resumed from, and read by evaluations."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._types import IntArray
from ..data.dataset import TRAIN, VALIDATION, Dataset, fingerprint
from ..errors import InputError
from ..files.documents import plain, versions
from ..files.whole import json_text, sha256_of, write_whole
from .fit import Hyper
from .tasks import Recipe

RECORD = "training.json"
VALIDATION_MAE = "validation_force_mae_kcal_per_mol_per_angstrom"
_FORMAT = "delta-sgdml-training/1"


@dataclass(frozen=True)
class Settings:
    """What held for all models: the seed, which permutations they have, and whether λ is absolute."""

    seed: int
    symmetry: Literal["graph", "skeleton", "sgdml", "none"]
    absolute: bool


@dataclass(frozen=True)
class Fitted:
    """One model of a training: how it was fitted, to how many points, of which `n_far` were pulled far apart and
    `n_placed` have labels with the fragments placed."""

    hyper: Hyper
    n_train: int
    n_far: int
    n_placed: int = 0


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """What a record says.

    Each part is looked at when it is asked for, as who evaluates need not have a whole record. It raises InputError
    where it is not as `delta-sgdml train` writes it.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the data set; None in a JSON file of another kind."""
        about = self.content.get("dataset")
        value = about.get("fingerprint") if isinstance(about, dict) else None
        return value if isinstance(value, str) else None

    @property
    def models(self) -> Mapping[str, Any]:
        """What is known of each model: kinds of fragments, ``binding``, ``full``."""
        models = self.content.get("models")
        return models if isinstance(models, dict) else {}

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's file."""
        return {name: entry["sha256"] for name, entry in self.models.items()}

    def configurations(self, side: Literal["train", "validation"], n: int) -> IntArray:
        """The configurations of a data set of n that the models were trained on, or validated."""
        return indices(self.content.get(side), n, f"{self.path}: {side}")

    def settings(self) -> Settings:
        """What held for all models, of a record of whatever version."""
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

    def recipe(self) -> Recipe:
        """The whole recipe, to train again by."""
        self.settings()
        given = self.content["recipe"]
        if unknown := sorted(set(given) - {f.name for f in fields(Recipe)}):
            raise InputError(f"{self.path}: recipe: {', '.join(unknown)}: is of another version")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return Recipe(**values)

    def group(self, name: str) -> str:
        """The group of permutations of a model."""
        group = self.models.get(name, {}).get("group")
        if not isinstance(group, str):
            raise InputError(f"{self.path}: models: {name}: group: expected the name of a group of permutations")
        return group

    def model(self, name: str) -> Fitted:
        """How a model was fitted: a kind of fragment, ``binding`` or ``full``."""
        match self.models.get(name):
            case {
                "sigma": (int() | float()) as sigma,
                "lambda": (int() | float()) as lam,
                "energies": bool(energies),
                "robust": bool(robust),
                "n_train": int(n_train),
                "n_far": int(n_far),
                **rest,
            } if n_train > 0:
                hyper = Hyper(sigma, lam, energies, self.settings().absolute, robust)
                n_placed, basis = (rest.get(key, 0) for key in ("n_placed", "basis"))
                if isinstance(n_placed, int) and isinstance(basis, int):
                    return Fitted(replace(hyper, basis=basis), n_train, n_far, n_placed)
        raise InputError(f"{self.path}: models: {name}: is not as `delta-sgdml train` writes it")

    def with_model(self, digest: str, **changes: object) -> TrainingRecord:
        """The record with other facts of the model whose file had this SHA-256."""
        models = {
            name: entry | changes if entry.get("sha256") == digest else entry for name, entry in self.models.items()
        }
        return replace(self, content={**self.content, "models": models})

    def with_facts(self, facts: Mapping[str, Any]) -> TrainingRecord:
        """The record with what else is to be told, before its models."""
        rest = {key: value for key, value in self.content.items() if key != "models"}
        return replace(self, content={**rest, **facts, "models": self.models})

    def with_entry(self, name: str, entry: Mapping[str, Any]) -> TrainingRecord:
        """The record with one model more."""
        return replace(self, content={**self.content, "models": {**self.models, name: entry}})

    def text(self) -> str:
        """The record as it stands in its file."""
        return json_text(plain(self.content))

    def save(self) -> None:
        """Write the record. Raises InputError where that cannot be done."""
        write_whole(self.path, self.text())


def open_record(
    folder: Path,
    dataset: Mapping[str, str],
    sides: IntArray,
    recipe: Recipe,
    settings: Mapping[str, Any],
    overwrite: bool = False,
) -> TrainingRecord:
    """The record of a training in a folder, with the models that an earlier, equal training has finished there.

    dataset: what tells the data set from others. sides: (n,) as `split_of`. settings: of the chooser. overwrite:
    nothing of an earlier training is used. Nothing is written yet. Raises InputError where the folder holds another
    training's record.
    """
    content = {
        "format": _FORMAT,
        "dataset": dict(dataset),
        "recipe": asdict(recipe),
        **settings,
        "train": np.flatnonzero(sides == TRAIN).tolist(),
        "validation": np.flatnonzero(sides == VALIDATION).tolist(),
        **({"baseline": recipe.baseline.as_dict()} if recipe.baseline else {}),
        "versions": {"python": platform.python_version(), **versions(*_PACKAGES)},
    }
    same = ("dataset", "recipe", "train", *settings)
    finished = {} if overwrite else _finished(folder, content, same)
    return TrainingRecord(folder / RECORD, {**content, "models": finished})


_PACKAGES = ("delta-server", "numpy", "scipy", "numba", "sgdml")


def _finished(folder: Path, content: Mapping[str, Any], same: Sequence[str]) -> dict[str, Any]:
    """The models in the folder's record whose files are there as they were written. same: keys that must agree."""
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        before["recipe"] = plain(asdict(Recipe(**before["recipe"])))  # of an earlier version, perhaps
        different = [_difference(key, before[key], plain(content[key])) for key in same]
        entries = [(name, entry, folder / entry["file"], entry["sha256"]) for name, entry in before["models"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        different = ["it is not as `delta-sgdml train` writes it"]
    if any(different):
        raise InputError(
            f"{path}: another training: {'; '.join(filter(None, different))}; choose another folder, or --overwrite "
            "it"
        )
    return {name: entry for name, entry, file, sha256 in entries if _is_whole(file, sha256)}


def _difference(key: str, before: Any, now: Any) -> str:
    """What differs between two values of a record, "" where nothing does."""
    if before == now:
        return ""
    if key == "train":
        return "other training configurations"
    if not isinstance(before, dict):
        return f"{key} was {before!r}, now {now!r}"[:200]
    changed = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
    if key == "dataset":
        return f"data set {before.get('name')!r}, now {now.get('name')!r}, of another content"
    pairs = [(k, before.get(k), now.get(k)) for k in changed]
    return ", ".join(
        f"{k}: {_difference(k, was, is_)}"
        if isinstance(was, dict) and isinstance(is_, dict)
        else f"{k} was {was!r}, now {is_!r}"[:100]
        for k, was, is_ in pairs
    )


def _is_whole(file: Path, digest: str) -> bool:
    return file.is_file() and sha256_of(file) == digest


def load_record(path: Path, otherwise: str = "") -> TrainingRecord | None:
    """Read a record; None where there is no file. otherwise: how to do without, for the message.

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


def record_beside(manifest: Path) -> TrainingRecord:
    """The record of the models beside a manifest. Raises InputError where there is none."""
    record = load_record(manifest.parent / RECORD)
    if record is None:
        raise InputError(f"{manifest.parent / RECORD}: no such record of the training")
    return record


def record_of(manifest: Path, data: Dataset, otherwise: str) -> TrainingRecord:
    """The record of the models beside a manifest, trained on this data set. otherwise: who needs it, for a message.

    Raises InputError where there is none, or it tells of other data.
    """
    path = manifest.parent / RECORD
    record = load_record(path)
    if record is None or record.fingerprint is None:
        raise InputError(f"{path}: no record of a training{otherwise}")
    if record.fingerprint != fingerprint(data):
        raise InputError(f"{path}: the models were trained on another data set than {data.name}")
    return record


def validation_mae(file: Path) -> float | None:
    """The validation force MAE (kcal/mol/Å) of a model, as the record beside its file has it; None where there is no
    record of this very file. Raises InputError where the record cannot be read."""
    record, digest = load_record(file.parent / RECORD), sha256_of(file)
    entries = record.models.values() if record else ()
    value = next((e.get(VALIDATION_MAE) for e in entries if isinstance(e, dict) and e.get("sha256") == digest), None)
    return float(value) if isinstance(value, int | float) else None


def indices(value: object, n: int, where: str) -> IntArray:
    """A list of configurations, 0 to n − 1, as an array. where: it stands, for the message. Raises InputError."""
    numbers = value if isinstance(value, list) else [value]
    bad = next((v for v in numbers if type(v) is not int or not 0 <= v < n), None)
    if bad is not None or not isinstance(value, list):
        raise InputError(f"{where}: holds {str(bad)[:40]!r}, expected a list of configurations, 0 to {n - 1}")
    return np.array(value, dtype=np.intp)
