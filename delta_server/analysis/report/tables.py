"""The page's tables, and its data for other programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..._types import FloatArray
from ...files.documents import plain
from ..rotation.diffusion import Estimate, Rotation
from ..statistics import Mean, windows
from .collect import Report, RunReport

SERIES = 500  # points of each series in the data
NOTHING = "–"
UNITS = {
    "msad": "rad^2",
    "lags": "ps",
    "d": "rad^2/ps",
    "window": "ps",
    "rmsd": "Ang",
    "time": "ps",
    "potential": "eV",
    "temperature": "K",
    "binding": "kcal/mol",
    "failed": "ps",
    "length": "ps",
}


@dataclass(frozen=True)
class PageTable:
    """Rows of text. The last columns may hold notes, which are no numbers."""

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def csv(self) -> str:
        return _csv([self.head, *self.rows])


def stability_table(report: Report) -> PageTable:
    rows = []
    for part in _ordered(report):
        one, told = part.stability, part.told
        phase = told.phase if told else NOTHING
        if one is None:
            rows.append((part.label, part.source, NOTHING, NOTHING, phase, part.missing.get("stability", "")))
            continue
        verdict = "stable" if one.failed is None else f"✗ failed at {one.failed:.3f} ps"
        why = one.cause or f"looked at: {', '.join(one.examined)}"
        rows.append((part.label, part.source, verdict, f"{one.length:.2f}", phase, why))
    return PageTable("stability", ("temperature", "model", "verdict", "length (ps)", "state", "cause"), tuple(rows))


def energy_table(report: Report) -> PageTable:
    rows = []
    for part in _ordered(report):
        one = part.energies
        if one is None:
            rows.append((part.label, part.source, *[NOTHING] * 5, part.missing.get("energies", "")))
            continue
        drift = NOTHING if one.drift is None else f"{round(one.drift, 2) + 0.0:.2f}"
        binding = one.mean_binding
        means = (
            _plus_minus(one.mean_temperature),
            _plus_minus(one.mean_potential),
            _plus_minus(binding),
        )
        note = ""
        if one.equilibrated >= 0.45 * one.time[-1]:
            note = "in equilibrium late, if at all: run longer"
        rows.append((part.label, part.source, *means, drift, f"{one.equilibrated:.3g}", note))
    head = (
        "temperature", "model", "mean T (K)", "mean potential (eV)", "mean binding (kcal/mol)", "drift (meV/ps)",
        "equilibrium from (ps)", "notes",
    )  # fmt: skip
    return PageTable("energies", head, tuple(rows))


def free_energy_table(report: Report) -> PageTable:
    variables = report.choices.variables
    names = report.choices.over
    rows = []
    for part in _ordered(report):
        one = part.surface
        if one is None:
            rows.append((part.label, part.source, *[NOTHING] * (2 + len(names)), part.missing.get("free energy", "")))
            continue
        lowest = [f"{x:.3f}" for x in one.lowest]
        typical = f"{float(np.nanmedian(one.error)):.2g}"
        rows.append((part.label, part.source, *lowest, typical, f"{one.independent:.0f}", "; ".join(one.notes)))
    for one in report.ladders:
        lowest = [f"{x:.3f}" for x in one.lowest]
        typical = f"{float(np.nanmedian(one.error)):.2g}"
        label = f"{one.temperature:g} K, MBAR"
        rows.append((label, one.name, *lowest, typical, f"{one.independent:.0f}", "; ".join(one.notes)))
    at = [f"lowest at {name} ({variables.variables[name].unit})" for name in names] if variables else []
    head = ("temperature", "model", *at, "median error (kcal/mol)", "independent samples", "notes")
    return PageTable("free_energy", head, tuple(rows))


def rotation_table(report: Report) -> PageTable:
    rows = []
    for part in _ordered(report):
        one = part.rotation
        if one is None or one.d is None or one.window is None:
            why = part.missing.get("rotation", "") if one is None else f"no D_r: {one.refused}"
            rows.append((part.label, part.source, *[NOTHING] * 5, why))
            continue
        strides = ", ".join(f"{_plus_minus(value)} (every {_ordinal(n)})" for n, value in one.strides) or NOTHING
        numbers = (
            _plus_minus(one.d),
            f"{one.window[0]:.3g} to {one.window[1]:.3g}",
            _plus_minus(one.d_c1),
            _plus_minus(one.d_c2),
        )
        rows.append((part.label, part.source, *numbers, strides, "; ".join(one.notes)))
    head = (
        "temperature",
        "model",
        "D_r (rad²/ps)",
        "from lags (ps)",
        "from C_1",
        "from C_2",
        "coarser frames",
        "doubts",
    )
    return PageTable("rotation", head, tuple(rows))


def ratio_table(report: Report) -> PageTable | None:
    """MSAD of every source at the longest lag that all have at a temperature, and its ratio to the first one's."""
    rows = []
    first = report.sources[0].name
    for label in report.labels:
        turned = {p.source: p.rotation for p in report.at(label) if p.rotation is not None and len(p.rotation.lags)}
        if first not in turned or len(turned) < 2:
            continue
        lag = min(float(one.lags[-1]) for one in turned.values())
        base = msad_at(turned[first], lag)
        for name, one in turned.items():
            if name == first:
                continue
            other = msad_at(one, lag)
            ratio = base.value / other.value
            error = ratio * math.hypot(base.error / base.value, other.error / other.value)
            rates = NOTHING
            a, b = turned[first].d, one.d
            if a is not None and b is not None:
                quotient = a.value / b.value
                rates = _plus_minus(
                    Estimate(quotient, abs(quotient) * math.hypot(a.error / a.value, b.error / b.value))
                )
            row = (
                label,
                f"{first} / {name}",
                f"{lag:.3g}",
                _plus_minus(base),
                _plus_minus(other),
                _plus_minus(Estimate(ratio, error)),
                rates,
            )
            rows.append(row)
    if not rows:
        return None
    head = ("temperature", "models", "τ (ps)", "MSAD, first (rad²)", "MSAD, second (rad²)", "ratio", "ratio of D_r")
    return PageTable("ratios", head, tuple(rows))


def msad_at(one: Rotation, lag: float) -> Estimate:
    """rad², between lags by the logarithms."""
    logs = np.log(one.lags)
    at = math.log(lag)
    value = float(np.exp(np.interp(at, logs, np.log(one.msad))))
    return Estimate(value, float(np.interp(at, logs, one.msad_error)))


def data_of(report: Report) -> dict[str, Any]:
    """All numbers of the page, for machines: what the analysis found, as it found it, and series as means over
    windows."""
    found = {
        "format": "delta-sgdml-report/1",
        "sources": [
            {"name": s.name, "sweep": s.record, "absent": s.absent, "notes": s.notes} for s in report.sources
        ],
        "runs": [_part(part) for part in report.parts],
        "mbar": [one.as_dict() for one in report.ladders],
        "notes": report.notes,
        "units": UNITS,
    }
    return {key: plain(value) for key, value in found.items()}


def _part(part: RunReport) -> dict[str, Any]:
    return {
        "source": part.source,
        "label": part.label,
        "run": part.run.name,
        "temperature_K": part.temperature,
        "told": None if part.told is None else asdict(part.told),
        "stability": None if part.stability is None else asdict(part.stability),
        "energies": None if part.energies is None else part.energies.as_dict(),
        "series": _series(part),
        "free_energy": None if part.surface is None else part.surface.as_dict(),
        "rotation": None if part.rotation is None else asdict(part.rotation),
        "missing": dict(part.missing),
    }


def _series(part: RunReport) -> dict[str, Any]:
    one = part.energies
    if one is None:
        return {}
    found: dict[str, tuple[FloatArray, FloatArray]] = {"potential": (one.time, one.potential)}
    if one.temperature is not None:
        found["temperature"] = one.time, one.temperature
    if one.binding is not None:
        found["binding"] = one.binding
    return {
        name: dict(zip(("time", "mean", "lowest", "highest"), windows(*series, SERIES), strict=True))
        for name, series in found.items()
    }


def msad_csv(report: Report) -> str:
    head = ("model", "temperature", "lag_ps", "msad_rad2", "error", "C_1", "error", "C_2", "error")
    rows: list[Sequence[object]] = [head]
    for part in _ordered(report):
        one = part.rotation
        if one is not None and len(one.lags):
            columns = (one.lags, one.msad, one.msad_error, one.c1, one.c1_error, one.c2, one.c2_error)
            rows += [(part.source, part.label, *map(_short, row)) for row in zip(*columns, strict=True)]
    return _csv(rows)


def free_energy_csv(report: Report) -> str:
    """Bins that are known."""
    rows: list[Sequence[object]] = [
        ("model", "temperature", *report.choices.over, "F_kcal_per_mol", "error", "samples")
    ]
    found = [(p.source, p.label, p.surface) for p in _ordered(report) if p.surface is not None]
    found += [(one.name, f"{one.temperature:g} K, MBAR", one) for one in report.ladders]
    for source, label, one in found:
        for place in zip(*np.nonzero(np.isfinite(one.free_energy)), strict=True):
            at = [_short(centres[i]) for centres, i in zip(one.centres, place, strict=True)]
            numbers = (one.free_energy[place], one.error[place], one.counts[place])
            rows.append((source, label, *at, *map(_short, numbers)))
    return _csv(rows)


def _ordered(report: Report) -> list[RunReport]:
    return [part for label in report.labels for part in report.at(label)]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _short(value: float) -> str:
    return f"{value:.6g}"


def _ordinal(n: int) -> str:
    return {2: "2nd"}.get(n, f"{n}th")


def _plus_minus(mean: Mean | Estimate | None) -> str:
    """To the second digit of the error."""
    if mean is None:
        return NOTHING
    if not (math.isfinite(mean.error) and mean.error > 0):
        return f"{mean.value:.4g}"
    digits = min(6, max(0, 1 - math.floor(math.log10(mean.error))))
    return f"{mean.value:.{digits}f} ± {mean.error:.{digits}f}"
