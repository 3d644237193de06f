"""Energies and temperature along a run, and what they say in one line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import BoolArray, FloatArray
from ..errors import InputError
from ..files.documents import plain
from ..ipi.outputs import find_outputs
from ..ipi.tables import PropertyTable
from ..units import KCAL_MOL
from .statistics import Mean, correlated_mean, equilibration, slope
from .trajectory import Run

_COLUMNS = ("potential", "conserved", "temperature")


@dataclass(frozen=True)
class EnergyReport:
    """Series over time (ps): energies in eV, temperature in K, binding and fragments in kcal/mol.

    Means leave out what comes before ``equilibrated`` (ps), which pymbar finds in the potential energy. ``drift``:
    slope of the conserved energy (per bead, as i-PI gives it), meV/ps. ``notes``: what casts doubt on them, and lines
    that were left out.
    """

    title: str
    time: FloatArray
    potential: FloatArray
    conserved: FloatArray | None
    temperature: FloatArray | None
    binding: tuple[FloatArray, FloatArray] | None
    fragments: dict[str, tuple[FloatArray, FloatArray]]
    equilibrated: float
    mean_potential: Mean
    mean_temperature: Mean | None
    mean_binding: Mean | None
    mean_fragments: dict[str, Mean]
    drift: float | None
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """What was seen."""
        means = []
        if (mean := self.mean_temperature) is not None:
            means.append(f"temperature {mean.value:.0f} ± {_one_digit(mean.error)} K")
        if self.binding is not None and (mean := self.mean_binding) is not None:
            low, high = self.binding[1].min(), self.binding[1].max()
            means.append(f"binding {mean.value:.2f} ± {_one_digit(mean.error)} kcal/mol ({low:.2f} to {high:.2f})")
        pieces = [f"{self.title}: {self.time[-1]:.2f} ps"]
        if means:
            after = f"from {self.equilibrated:.3g} ps on" if self.equilibrated > self.time[0] else "over all"
            pieces.append(f"means {after}: {', '.join(means)}")
        if self.drift is not None:
            pieces.append(f"drift of the conserved energy {round(self.drift, 2) + 0.0:.2f} meV/ps")
        return "; ".join(pieces)

    def as_dict(self) -> dict[str, object]:
        """The means, for machines; None where there is no number."""

        def mean(of: Mean | None) -> object:
            return None if of is None else plain(of._asdict())

        return {
            "title": self.title,
            "time_ps": plain(float(self.time[-1])),
            "equilibrated_ps": plain(self.equilibrated),
            "potential_eV": mean(self.mean_potential),
            "temperature_K": mean(self.mean_temperature),
            "binding_kcal_per_mol": mean(self.mean_binding),
            "fragments_kcal_per_mol": {name: mean(value) for name, value in self.mean_fragments.items()},
            "drift_meV_per_ps": plain(self.drift),
            "notes": list(self.notes),
        }


def _one_digit(error: float) -> str:
    """An error to one digit that counts, without an exponent: 18.3 → 20, 0.0033 → 0.003."""
    return f"{float(f'{error:.1g}'):g}"


def analyze_energies(run: Run | str | Path, *, prefix: str | None = None, until: float | None = None) -> EnergyReport:
    """Energies, temperature and binding energy of a run, or of what i-PI wrote into a folder.

        >>> from delta_server.analysis import analyze_energies
        >>> report = analyze_energies("demo/h2o_benzene")
        >>> len(report.time), report.mean_temperature.value
        (1500, 300.0)

    prefix: takes one of several runs in a folder. until: ps, leaves out what came later, as when a trajectory failed.
    Raises InputError if a quantity is missing, or in a unit that i-PI does not have.
    """
    outputs = run.outputs if isinstance(run, Run) else find_outputs(Path(run), prefix)
    if outputs is None:
        raise InputError(f"{run.path if isinstance(run, Run) else run}: i-PI recorded no energies beside it")
    table = outputs.properties
    end = table["time"][-1] + 1 if until is None else until
    before = table["time"] < end
    there = [column for key in _COLUMNS if (column := table.get(key)) is not None]
    sound = before & np.isfinite(there).all(0)
    if not sound.any():
        raise InputError(f"{table.path}: no record before {end:g} ps that is finite")
    time, potential = table["time"][sound], table["potential"][sound]
    start = equilibration(potential)
    conserved, temperature = (
        None if column is None else column[sound] for column in map(table.get, ("conserved", "temperature"))
    )

    def along(key: str) -> tuple[FloatArray, FloatArray] | None:
        series = outputs.along(key)
        if series is None:
            return None
        kept = (series[0] < end) & np.isfinite(series[1])
        return (series[0][kept], series[1][kept] / KCAL_MOL) if kept.any() else None

    def late(series: tuple[FloatArray, FloatArray]) -> Mean:
        after = series[0] >= time[start]
        return correlated_mean(series[1][after] if after.any() else series[1])

    binding = along("energy_binding")
    names = [key for key in outputs.extras if key.startswith("energy_") and not key.startswith("energy_binding")]
    fragments = {key.removeprefix("energy_"): series for key in names if (series := along(key)) is not None}
    return EnergyReport(
        title=run.name if isinstance(run, Run) else outputs.prefix,
        time=time,
        potential=potential,
        conserved=conserved,
        temperature=temperature,
        binding=binding,
        fragments=fragments,
        equilibrated=float(time[start]),
        mean_potential=correlated_mean(potential[start:]),
        mean_temperature=None if temperature is None else correlated_mean(temperature[start:]),
        mean_binding=None if binding is None else late(binding),
        mean_fragments={name: late(series) for name, series in fragments.items()},
        drift=None if conserved is None or len(time) < 3 else 1e3 * slope(time, conserved),
        notes=(*outputs.notes, *_not_finite(table, before & ~sound), *_changing(table, sound)),
    )


def _not_finite(table: PropertyTable, rows: BoolArray) -> list[str]:
    """A line where rows are left out, as those of a run that blew up."""
    if not rows.any():
        return []
    first = int(table["step"][rows][0]) if "step" in table else int(np.flatnonzero(rows)[0])
    return [f"{table.path.name}: rows that are not finite, and left out: {rows.sum()}, the first of step {first}"]


def _changing(table: PropertyTable, sound: BoolArray) -> list[str]:
    """A line where the set temperature changed, so that means are of no one temperature."""
    column = table.get("ensemble_temperature")
    if column is None or not float(np.ptp(column[sound])) > 0:
        return []
    low, high = column[sound].min(), column[sound].max()
    return [f"{table.path.name}: set to {low:g} to {high:g} K (replicas exchanged?): means are of no one temperature"]
