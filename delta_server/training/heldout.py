"""Which configurations of a data set a model has not seen, by the records that training leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._types import IntArray
from ..errors import InputError
from .data.dataset import TEST, Dataset, fingerprint

RECORD = "training.json"


@dataclass(frozen=True)
class Source:
    """Where a model's record may be: `RECORD` beside its manifest or file, or in a model file itself.

    ``provenance``: small arrays of sGDML's file, ``idxs_train``, ``md5_train``, ``idxs_valid`` and ``md5_valid``.
    """

    name: str
    path: Path
    provenance: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Configurations to evaluate on, how many were left out, and how that came about, a line for each reason."""

    which: IntArray
    left_out: int
    notes: tuple[str, ...]


def held_out(data: Dataset, sources: Sequence[Source]) -> HeldOut:
    """The configurations that none of the models was trained or validated on.

    A model that tells of this data set (by its fingerprint) says itself what it has seen; of any other, whatever
    is not in the data set's test split is taken as seen; without a split, nothing is.

    Raises InputError where a record cannot be read or names configurations that there are not, and where nothing is
    left.
    """
    md5 = fingerprint(data)
    seen = np.zeros(len(data), dtype=bool)
    outcomes: dict[str, list[str]] = {}  # which models came out so
    for source in sources:
        said, why = _said(source, md5, len(data))
        mine = np.zeros(len(data), dtype=bool)
        if said is not None:
            mine[said] = True
            outcome = f"trained or validated on {mine.sum()} of these configurations, left out"
        elif data.split is not None:
            mine = data.split != TEST
            outcome = f"{why}: {mine.sum()} configurations outside the data set's test split left out"
        else:
            outcome = f"{why}: nothing left out, points that it was trained on may be among those evaluated"
        outcomes.setdefault(outcome, []).append(source.name)
        seen |= mine
    if seen.all():
        raise InputError(
            f"{data.name or 'data set'}: all {len(data)} configurations were used in training or validation; "
            "--all evaluates them all the same"
        )
    notes = tuple(f"{', '.join(names)}: {outcome}" for outcome, names in outcomes.items())
    return HeldOut(np.flatnonzero(~seen), int(seen.sum()), notes)


def _said(source: Source, md5: str, n: int) -> tuple[IntArray | None, str]:
    """The configurations of the data set that a model says it has seen; or None, and why it says nothing."""
    found = [
        _indices(source.provenance[f"idxs_{kind}"].tolist(), n, f"{source.path}: idxs_{kind}")
        for kind in ("train", "valid")
        if f"idxs_{kind}" in source.provenance and _text(source.provenance.get(f"md5_{kind}")) == md5
    ]
    path = source.path.parent / RECORD
    record = _read(path)
    about = record.get("dataset")
    if isinstance(about, dict) and about.get("fingerprint") == md5:
        found += [_indices(record.get(kind), n, f"{path}: {kind}") for kind in ("train", "validation")]
    if found:
        return np.unique(np.concatenate(found)), ""
    return (
        None,
        f"no {RECORD} beside it" if not record else f"its {RECORD} does not tell of this data set",
    )


def _read(path: Path) -> dict[str, Any]:
    """Empty where there is none."""
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; --all does without") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON: {error}; mend or remove it, or use --all") from None
    return record if isinstance(record, dict) else {}


def _indices(value: object, n: int, where: str) -> IntArray:
    numbers = value if isinstance(value, list) else [value]
    bad = next((v for v in numbers if type(v) is not int or not 0 <= v < n), None)
    if bad is not None or not isinstance(value, list):
        raise InputError(f"{where}: holds {str(bad)[:40]!r}, expected a list of configurations, 0 to {n - 1}")
    return np.array(value, dtype=np.intp)


def _text(value: npt.NDArray[Any] | None) -> str:
    if value is None or value.size != 1:
        return ""
    text: Any = value.reshape(())[()]
    return text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
