"""Energies and temperature along a run, and what they say in one line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import FloatArray
from ..errors import InputError
from ..units import KCAL_MOL
from .outputs import RunOutputs, find_outputs
from .statistics import Mean, correlated_mean, slope


@dataclass(frozen=True)
class EnergyReport:
    """Series over time (ps): energies in eV, temperature in K, binding in kcal/mol.

    Means leave out the first fifth of the run. ``drift``: slope of the conserved energy
    (per bead, as i-PI gives it), meV/ps.
    """

    title: str
    time: FloatArray
    potential: FloatArray
    conserved: FloatArray | None
    temperature: FloatArray | None
    binding: tuple[FloatArray, FloatArray] | None
    mean_temperature: Mean | None
    mean_binding: Mean | None
    drift: float | None

    def line(self) -> str:
        """What was seen."""
        means = []
        if (mean := self.mean_temperature) is not None:
            means.append(f"temperature {mean.value:.0f} ± {_one_digit(mean.error)} K")
        if self.binding is not None and (mean := self.mean_binding) is not None:
            low, high = self.binding[1].min(), self.binding[1].max()
            means.append(
                f"binding {mean.value:.2f} ± {_one_digit(mean.error)} kcal/mol ({low:.2f} to {high:.2f} over all)"
            )
        pieces = [f"{self.title}: {self.time[-1]:.2f} ps"]
        if means:
            pieces.append(f"means without the first fifth: {', '.join(means)}")
        if self.drift is not None:
            pieces.append(f"drift of the conserved energy {round(self.drift, 2) + 0.0:.2f} meV/ps")
        return "; ".join(pieces)

    def as_dict(self) -> dict[str, object]:
        """The means, for machines; None where there is no number."""

        def plain(value: float | None) -> float | None:
            return value if value is not None and math.isfinite(value) else None

        def mean(of: Mean | None) -> dict[str, float | None] | None:
            return None if of is None else {name: plain(value) for name, value in of._asdict().items()}

        return {
            "title": self.title,
            "time_ps": plain(float(self.time[-1])),
            "temperature_K": mean(self.mean_temperature),
            "binding_kcal_per_mol": mean(self.mean_binding),
            "drift_meV_per_ps": plain(self.drift),
        }


def _one_digit(error: float) -> str:
    """An error to one digit that counts, without an exponent: 18.3 → 20, 0.0033 → 0.003."""
    return f"{float(f'{error:.1g}'):g}"


def report_energies(directory: Path, prefix: str | None = None) -> EnergyReport:
    """Read a run's folder. Raises InputError if a quantity is missing or in another unit than eV, K or ps."""
    outputs = find_outputs(directory, prefix)
    table = outputs.properties
    for name, unit in (
        ("time", "picosecond"),
        ("potential", "electronvolt"),
        ("conserved", "electronvolt"),
        ("temperature", "kelvin"),
    ):
        if table.units.get(name, unit) != unit:
            found = table.units[name] or "atomic units"
            raise InputError(f"{table.path}: {name} is in {found}; ask the input for {name}{{{unit}}}")
    time = table["time"]
    late = slice(len(time) // 5, None)
    conserved = table.get("conserved")
    temperature = table.get("temperature")
    binding = _binding(outputs)
    return EnergyReport(
        title=outputs.prefix,
        time=time,
        potential=table["potential"],
        conserved=conserved,
        temperature=temperature,
        binding=binding,
        mean_temperature=None if temperature is None else correlated_mean(temperature[late]),
        mean_binding=None if binding is None else correlated_mean(binding[1][len(binding[1]) // 5 :]),
        drift=None if conserved is None or len(time) < 3 else 1e3 * slope(time, conserved),
    )


def _binding(outputs: RunOutputs) -> tuple[FloatArray, FloatArray] | None:
    if "energy_binding" not in outputs.extras:
        return None
    steps, values = outputs.extras["energy_binding"]
    table = outputs.properties
    per_step = slope(table["step"], table["time"]) if len(table["step"]) > 1 else np.nan
    return steps * per_step, values / KCAL_MOL
