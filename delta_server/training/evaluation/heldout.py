"""Which configurations of a data set a model has not seen, by the records that training leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._types import IntArray
from ...data.dataset import TEST, Dataset, fingerprint
from ...errors import InputError
from ..record import RECORD, indices, load_record


@dataclass(frozen=True)
class ModelSource:
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


def held_out(data: Dataset, sources: Sequence[ModelSource]) -> HeldOut:
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


def _said(source: ModelSource, md5: str, n: int) -> tuple[IntArray | None, str]:
    """The configurations of the data set that a model says it has seen; or None, and why it says nothing."""
    found = [
        indices(source.provenance[f"idxs_{kind}"].tolist(), n, f"{source.path}: idxs_{kind}")
        for kind in ("train", "valid")
        if f"idxs_{kind}" in source.provenance and _text(source.provenance.get(f"md5_{kind}")) == md5
    ]
    record = load_record(source.path.parent / RECORD, ", or use --all")
    if record is not None and record.fingerprint == md5:
        found += [record.configurations("train", n), record.configurations("validation", n)]
    if found:
        return np.unique(np.concatenate(found)), ""
    return None, f"no {RECORD} beside it" if record is None else f"its {RECORD} does not tell of this data set"


def _text(value: npt.NDArray[Any] | None) -> str:
    if value is None or value.size != 1:
        return ""
    text: Any = value.reshape(())[()]
    return text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
