"""The honest test of a round: errors on a random sample of the model's own dynamics, before anything is learned from
it, with their standard errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from .._types import FloatArray
from ..checks.tested import OwnErrors, OwnRecord, digests_of
from ..data.dataset import Dataset
from ..errors import InputError
from ..files.documents import first_error
from ..manifest import load_manifest
from ..potential import Potential
from ..training.evaluation.evaluate import PartErrors, evaluate
from ..training.evaluation.own import errors_of
from .asked import APART
from .dynamics import CHANGED, EXPLODED, UNSURE, End, astray, say_ends
from .settings import Settings


class TermTest(OwnErrors):
    """Errors of one term, or of the total, and the root mean squares of the true and the expected errors of its force
    components, kcal/mol/Å; the latter None where they are not known."""

    force_rmse: float
    expected_rmse: float | None

    @classmethod
    def of(cls, errors: OwnErrors, part: PartErrors, expected: FloatArray | None) -> TermTest:
        """expected: (n,) kcal/mol/Å."""
        root = None if expected is None else float(np.sqrt((expected**2).mean()))
        return cls(**errors.model_dump(), force_rmse=part.force_rmse, expected_rmse=root)


@dataclass(frozen=True)
class Targets:
    """Largest mean absolute errors: of the forces of the total, kcal/mol/Å, and of its energy and the binding's,
    kcal/mol. Those of a term are such that the terms' together are these, if they are independent."""

    force: float
    energy: float
    n_fragments: int

    def missed(self, terms: Mapping[str, TermTest], apart: bool) -> list[str]:
        """What is above the targets, in words; empty where all are met. Of fragments placed apart, which may press
        upon each other as they never do in dynamics, only the binding energy counts."""
        total, binding = terms["total"], terms["binding"]
        rows = [("binding energy", binding.energy_mae, binding.energy_mae_error, self.energy, "kcal/mol")]
        if not apart:
            rows.append(("energy", total.energy_mae, total.energy_mae_error, self.energy, "kcal/mol"))
            rows.append(("force", total.force_mae, total.force_mae_error, self.force, "kcal/mol/Å"))
        return [
            f"{what} MAE {value:.3f} ± {error:.3f}, asked {limit:g} {unit}"
            for what, value, error, limit, unit in rows
            if not value <= limit
        ]

    def needs(self, term: TermTest) -> bool:
        """Whether a term's share of the error is more than its share of the targets."""
        force, energy = self.force / np.sqrt(2.0), self.energy / np.sqrt(self.n_fragments + 1.0)
        return not (term.force_mae <= force and term.energy_mae <= energy)


Test = dict[float, dict[str, TermTest]]
"""Of each temperature (K; `APART`: fragments placed), the total, each fragment and the binding."""


def place_of(kelvin: float) -> str:
    """A temperature as tables have it."""
    return "apart" if kelvin == APART else f"{kelvin:g} K"


@dataclass(frozen=True)
class Verdict:
    """What a test, and the ends of the replicas that it is of, say of a model.

    missed: what is not as asked, a line each; none: the model is as asked.
    """

    targets: Targets
    test: Test
    ends: Sequence[End]
    missed: list[str]

    @classmethod
    def of(cls, targets: Targets, test: Test, ends: Sequence[End]) -> Verdict:
        """A model is not as asked either where its replicas did not stay the molecule, or many were stopped."""
        words = {
            place_of(kelvin): "; ".join(targets.missed(terms, kelvin == APART)) for kelvin, terms in test.items()
        }
        missed = [f"{place}: {what}" for place, what in words.items() if what]
        return cls(targets, test, ends, [*missed, *astray(ends)])

    @property
    def met(self) -> bool:
        """Whether all is as asked."""
        return not self.missed

    @property
    def score(self) -> float:
        """The largest of the errors over what is asked; below 1 all are as asked, if the replicas are."""
        force, energy = self.targets.force, self.targets.energy
        rows = [terms for kelvin, terms in self.test.items() if kelvin != APART]
        return max(
            max(t["total"].force_mae / force, t["total"].energy_mae / energy, t["binding"].energy_mae / energy)
            for t in rows
        )

    def needs(self, models: Mapping[str, str]) -> set[str]:
        """The models that need to learn: their share of the errors is too large, or they stopped replicas. models: of
        each term. None where all is as asked; all where none alone is to blame."""
        if self.met:
            return set()
        rows = [
            (name, term) for kelvin, terms in self.test.items() if kelvin != APART for name, term in terms.items()
        ]
        needs = {models[name] for name, term in rows if name in models and self.targets.needs(term)}
        if APART in self.test and self.targets.missed(self.test[APART], apart=True):
            needs.add("binding")
        needs |= {models[name] for end in self.ends if end.reason == UNSURE for name in end.detail.split(", ")}
        lost = any(end.reason in (CHANGED, EXPLODED) for end in self.ends)
        return needs if needs and not lost else {*models.values()}


def describe(verdict: Verdict, ends: Sequence[End]) -> Iterator[str]:
    """Lines about a test."""
    for kelvin, terms in verdict.test.items():
        total, binding = terms["total"], terms["binding"]
        force = f"{total.force_mae:.3f} ± {total.force_mae_error:.3f}"
        energy = f"{total.energy_mae:.3f} ± {total.energy_mae_error:.3f}"
        bound = f"{binding.energy_mae:.3f} ± {binding.energy_mae_error:.3f}"
        yield (
            f"{place_of(kelvin)}, {total.n} frames: MAE of forces {force} kcal/mol/Å, of energies {energy}, of the "
            f"binding's {bound} kcal/mol"
        )
    yield f"{say_ends(ends)}{'; as asked' if verdict.met else ''}"


def test(potential: Potential, data: Dataset, temperature: FloatArray, expected: Mapping[str, FloatArray]) -> Test:
    """Errors at each temperature. temperature: (n,) K of each configuration. expected: by term, (n,) kcal/mol/Å."""
    result: Test = {}
    for kelvin in np.unique(temperature).tolist():
        which = np.flatnonzero(temperature == kelvin)
        evaluation = evaluate(potential, data, which)
        rows = zip(errors_of(evaluation, kelvin), evaluation.parts, strict=True)
        result[kelvin] = {
            part.name: TermTest.of(errors, part, expected[part.name][which] if part.name in expected else None)
            for errors, part in rows
        }
    return result


def as_json(result: Test) -> list[dict[str, Any]]:
    """A test as it stands in a record."""
    return [term.model_dump(mode="json") for terms in result.values() for term in terms.values()]


def from_json(rows: Sequence[Mapping[str, Any]]) -> Test:
    """A test from a record. Raises InputError where it is none."""
    result: Test = {}
    for row in rows:
        try:
            term = TermTest.model_validate(row)
        except ValidationError as error:
            raise InputError(f"a round's record: test: {first_error(error)}; of another version?") from None
        result.setdefault(term.temperature or APART, {})[term.part] = term
    return result


def own_record(manifest: Path, result: Test, settings: Settings, where: str, failed: int) -> OwnRecord:
    """The test as `delta-sgdml check` looks for it beside a manifest. where: which round's dynamics it is of."""
    own = [
        OwnErrors(**term.model_dump(include={*OwnErrors.model_fields}))
        for kelvin, terms in result.items() if kelvin != APART for term in terms.values()
    ]  # fmt: skip
    return OwnRecord(
        models=digests_of(load_manifest(manifest)), run=where, theory=settings.theory, sample=settings.test,
        seed=settings.seed, failed=failed, own=tuple(own),
    )  # fmt: skip
