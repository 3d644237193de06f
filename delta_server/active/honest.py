"""The honest test of a round: errors on a random sample of the model's own dynamics, before anything is learned from
it, with their standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .._types import FloatArray
from ..data.dataset import Dataset
from ..potential import Potential
from ..training.evaluation.evaluate import PartErrors, evaluate


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

    def missed(self, terms: Mapping[str, TermTest]) -> list[str]:
        """What is above the targets, in words; empty where all are met."""
        total, binding = terms["total"], terms["binding"]
        rows = (
            ("force", total.force, total.force_error, self.force, "kcal/mol/Å"),
            ("energy", total.energy, total.energy_error, self.energy, "kcal/mol"),
            ("binding energy", binding.energy, binding.energy_error, self.energy, "kcal/mol"),
        )
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
"""Of each temperature, the total, each fragment and the binding."""


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
