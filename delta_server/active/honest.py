"""The honest test of a round: errors on a random sample of the model's own dynamics, before anything is learned from
it, with their standard errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .._types import FloatArray
from ..data.dataset import Dataset
from ..potential import Potential
from ..training.evaluation.evaluate import PartErrors, evaluate
from .asked import APART
from .dynamics import CHANGED, EXPLODED, FEW, UNSURE, End


@dataclass(frozen=True)
class TermTest:
    """Errors of one term (or the total) on n frames: mean absolute errors of energies (kcal/mol) and of force
    components (kcal/mol/Å) with their standard errors, of the frames as if they were independent; the mean error of
    energies; the expected force RMSE beside the true one (kcal/mol/Å), None where it is not known."""

    n: int
    energy: float
    energy_error: float
    energy_mean: float
    force: float
    force_error: float
    force_rmse: float
    expected_rmse: float | None

    @classmethod
    def of(cls, part: PartErrors, expected: FloatArray | None) -> TermTest:
        """expected: (n,) kcal/mol/Å."""
        energy, force = np.abs(part.energy_error), np.abs(part.force_error).mean((1, 2))
        root = None if expected is None else float(np.sqrt((expected**2).mean()))
        return cls(
            part.n, part.energy_mae, _standard_error(energy), part.energy_mean_error, part.force_mae,
            _standard_error(force), part.force_rmse, root,
        )  # fmt: skip


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
        rows = [("binding energy", binding.energy, binding.energy_error, self.energy, "kcal/mol")]
        if not apart:
            rows.append(("energy", total.energy, total.energy_error, self.energy, "kcal/mol"))
            rows.append(("force", total.force, total.force_error, self.force, "kcal/mol/Å"))
        return [
            f"{what} MAE {value:.3f} ± {error:.3f}, asked {limit:g} {unit}"
            for what, value, error, limit, unit in rows
            if not value <= limit
        ]

    def needs(self, term: TermTest) -> bool:
        """Whether a term's share of the error is more than its share of the targets."""
        force, energy = self.force / np.sqrt(2.0), self.energy / np.sqrt(self.n_fragments + 1.0)
        return not (term.force <= force and term.energy <= energy)


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
        if astray := [end for end in ends if end.reason in (CHANGED, EXPLODED)]:
            missed.append(f"{len(astray)} of {len(ends)} replicas went astray ({astray[0].detail})")
        unsure = [end for end in ends if end.reason == UNSURE]
        if len(unsure) > FEW * len(ends):
            where = ", ".join(sorted({name for end in unsure for name in end.detail.split(", ")}))
            missed.append(f"{len(unsure)} of {len(ends)} replicas left what is known of {where}")
        return cls(targets, test, ends, missed)

    @property
    def met(self) -> bool:
        """Whether all is as asked."""
        return not self.missed

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
        astray = any(end.reason in (CHANGED, EXPLODED) for end in self.ends)
        return needs if needs and not astray else {*models.values()}


def describe(verdict: Verdict, ends: Sequence[End]) -> Iterator[str]:
    """Lines about a test."""
    for kelvin, terms in verdict.test.items():
        total, binding = terms["total"], terms["binding"]
        yield (
            f"{place_of(kelvin)}, {total.n} frames: force {total.force:.3f} ± {total.force_error:.3f} kcal/mol/Å, "
            f"energy {total.energy:.3f} ± {total.energy_error:.3f}, binding {binding.energy:.3f} ± "
            f"{binding.energy_error:.3f} kcal/mol"
        )
    count = Counter(end.reason for end in ends)
    away = sum(end.dissociated for end in ends)
    words = ", ".join(f"{n} {reason}" for reason, n in count.items())
    yield f"replicas: {words}{f'; dissociated {away} times' if away else ''}{'; as asked' if verdict.met else ''}"


def test(potential: Potential, data: Dataset, temperature: FloatArray, expected: Mapping[str, FloatArray]) -> Test:
    """Errors at each temperature. temperature: (n,) K of each configuration. expected: by term, (n,) kcal/mol/Å."""
    result: Test = {}
    for kelvin in np.unique(temperature).tolist():
        which = np.flatnonzero(temperature == kelvin)
        evaluation = evaluate(potential, data, which)
        result[kelvin] = {
            part.name: TermTest.of(part, expected[part.name][which] if part.name in expected else None)
            for part in evaluation.parts
        }
    return result


def as_json(result: Test) -> list[dict[str, Any]]:
    """A test as it stands in a record."""
    return [
        {"temperature": kelvin, "terms": {name: asdict(term) for name, term in terms.items()}}
        for kelvin, terms in result.items()
    ]


def from_json(rows: Sequence[Mapping[str, Any]]) -> Test:
    """A test from a record."""
    return {row["temperature"]: {name: TermTest(**term) for name, term in row["terms"].items()} for row in rows}


def _standard_error(values: FloatArray) -> float:
    """Of a mean; of a single value, itself: nothing better is known."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float(values[0])
