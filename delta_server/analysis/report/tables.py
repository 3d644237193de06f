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
from ..free_energy.surface import Surface
from ..rotation.diffusion import TURN, Rotation
from ..statistics import Estimate, Mean, windows
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
        held, told = part.stability, part.told
        phase = told.phase if told else NOTHING
        if held is None:
            rows.append((part.label, part.source, NOTHING, NOTHING, phase, part.missing.get("stability", "")))
            continue
        verdict = "stable" if held.failed is None else f"✗ failed at {held.failed:.3f} ps"
        why = held.cause or f"looked at: {', '.join(held.examined)}"
        rows.append((part.label, part.source, verdict, f"{held.length:.2f}", phase, why))
    return PageTable("stability", ("temperature", "model", "verdict", "length (ps)", "state", "cause"), tuple(rows))


def energy_table(report: Report) -> PageTable:
    rows = []
    for part in _ordered(report):
        energies = part.energies
        if energies is None:
            rows.append((part.label, part.source, *[NOTHING] * 5, part.missing.get("energies", "")))
            continue
        drift = NOTHING if energies.drift is None else f"{round(energies.drift, 2) + 0.0:.2f}"
        binding = energies.mean_binding
        means = (
            _plus_minus(energies.mean_temperature),
            _plus_minus(energies.mean_potential),
            _plus_minus(binding),
        )
        note = ""
        if energies.equilibrated >= 0.45 * energies.time[-1]:
            note = "in equilibrium late, if at all: run longer"
        rows.append((part.label, part.source, *means, drift, f"{energies.equilibrated:.3g}", note))
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
        surface = part.surface
        if surface is None and (part.pieces or part.biased):
            continue  # what its samples make with others follows
        if surface is None:
            rows.append((part.label, part.source, *[NOTHING] * (2 + len(names)), part.missing.get("free energy", "")))
            continue
        rows.append((part.label, part.source, *_of_surface(surface)))
    rows += [(label, surface.name, *_of_surface(surface)) for label, surface in _of_several(report)]
    at = [f"lowest at {name} ({variables.variables[name].unit})" for name in names] if variables else []
    head = ("temperature", "model", *at, "median error (kcal/mol)", "independent samples", "notes")
    return PageTable("free_energy", head, tuple(rows))


def binding_table(report: Report) -> PageTable | None:
    """ΔG° and its parts, None where it was not asked for."""
    rows = [
        (
            f"{one.temperature:g} K", source, f"{one.value:.2f} ± {one.error:.1g}",
            ", ".join(f"{half:.2f}" for half in one.halves), f"{one.pmf:.2f}", f"{one.volume:.2f}",
        )
        for source, found in report.binding.items() for one in found
    ]  # fmt: skip
    head = ("temperature", "model", "ΔG°, 1 M (kcal/mol)", "halves", "−kT ln P_bound/P_shell", "−kT ln V_shell/V°")
    return PageTable("binding", head, tuple(rows)) if rows else None


def _of_surface(surface: Surface) -> tuple[str, ...]:
    lowest = [f"{x:.3f}" for x in surface.lowest]
    typical = f"{float(np.nanmedian(surface.error)):.2g}"
    return *lowest, typical, f"{surface.independent:.0f}", "; ".join(surface.notes)


def _of_several(report: Report) -> list[tuple[str, Surface]]:
    """The surfaces that are not of one run, and what their temperature is called."""
    return [
        *((f"{state.temperature:g} K", state) for state in report.states),
        *((f"{ladder.temperature:g} K, MBAR", ladder) for ladder in report.ladders),
    ]


def rotation_table(report: Report) -> PageTable:
    rows = []
    for part in _ordered(report):
        rotation = part.rotation
        if rotation is None or rotation.d is None or rotation.window is None:
            why = part.missing.get("rotation", "") if rotation is None else f"no D_r: {rotation.refused}"
            rows.append((part.label, part.source, *[NOTHING] * 5, *_counted(rotation), why))
            continue
        strides = ", ".join(f"{_plus_minus(value)} (every {_ordinal(n)})" for n, value in rotation.strides) or NOTHING
        numbers = (
            _plus_minus(rotation.d),
            f"{rotation.window[0]:.3g} to {rotation.window[1]:.3g}",
            _plus_minus(rotation.d_c1),
            _plus_minus(rotation.d_c2),
        )
        rows.append((part.label, part.source, *numbers, strides, *_counted(rotation), "; ".join(rotation.notes)))
    head = (
        "temperature",
        "model",
        "D_r (rad²/ps)",
        "from lags (ps)",
        "from C_1",
        "from C_2",
        "coarser frames",
        f"from turns of {TURN:g}°",
        "persistence/exchange",
        "doubts",
    )
    return PageTable("rotation", head, tuple(rows))


def _counted(rotation: Rotation | None) -> tuple[str, str]:
    if rotation is None or not rotation.turns:
        return NOTHING, NOTHING
    turns = rotation.turns[-1]
    return _plus_minus(turns.d) if turns.number else "no turn", _plus_minus(turns.ratio)


def ratio_table(report: Report) -> PageTable | None:
    """MSAD of every source at the longest lag that all have at a temperature, and its ratio to the first one's."""
    rows = []
    first = report.sources[0].name
    for label in report.labels:
        turned = {p.source: p.rotation for p in report.at(label) if p.rotation is not None and len(p.rotation.lags)}
        if first not in turned or len(turned) < 2:
            continue
        lag = min(float(rotation.lags[-1]) for rotation in turned.values())
        base = msad_at(turned[first], lag)
        for name, rotation in turned.items():
            if name == first:
                continue
            other = msad_at(rotation, lag)
            ratio = base.value / other.value
            error = ratio * math.hypot(base.error / base.value, other.error / other.value)
            rates = NOTHING
            a, b = turned[first].d, rotation.d
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


def msad_at(rotation: Rotation, lag: float) -> Estimate:
    """rad², between lags by the logarithms."""
    logs = np.log(rotation.lags)
    at = math.log(lag)
    value = float(np.exp(np.interp(at, logs, np.log(rotation.msad))))
    return Estimate(value, float(np.interp(at, logs, rotation.msad_error)))


def data_of(report: Report) -> dict[str, Any]:
    """All numbers of the page, for machines: what the analysis found, as it found it, and series as means over
    windows."""
    document = {
        "format": "delta-sgdml-report/1",
        "sources": [
            {"name": s.name, "sweep": s.record, "absent": s.absent, "notes": s.notes} for s in report.sources
        ],
        "runs": [_part(part) for part in report.parts],
        "states": [state.as_dict() for state in report.states],
        "mbar": [ladder.as_dict() for ladder in report.ladders],
        "binding": {name: [one.as_dict() for one in found] for name, found in report.binding.items()},
        "notes": report.notes,
        "units": UNITS,
    }
    return {key: plain(value) for key, value in document.items()}


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
    energies = part.energies
    if energies is None:
        return {}
    series: dict[str, tuple[FloatArray, FloatArray]] = {"potential": (energies.time, energies.potential)}
    if energies.temperature is not None:
        series["temperature"] = energies.time, energies.temperature
    if energies.binding is not None:
        series["binding"] = energies.binding
    return {
        name: dict(zip(("time", "mean", "lowest", "highest"), windows(*curve, SERIES), strict=True))
        for name, curve in series.items()
    }


def msad_csv(report: Report) -> str:
    head = ("model", "temperature", "lag_ps", "msad_rad2", "error", "C_1", "error", "C_2", "error")
    rows: list[Sequence[object]] = [head]
    for part in _ordered(report):
        r = part.rotation
        if r is not None and len(r.lags):
            columns = (r.lags, r.msad, r.msad_error, r.c1, r.c1_error, r.c2, r.c2_error)
            rows += [(part.source, part.label, *map(_short, row)) for row in zip(*columns, strict=True)]
    return _csv(rows)


def free_energy_csv(report: Report) -> str:
    """Bins that are known."""
    rows: list[Sequence[object]] = [
        ("model", "temperature", *report.choices.over, "F_kcal_per_mol", "error", "samples")
    ]
    surfaces = [(p.source, p.label, p.surface) for p in _ordered(report) if p.surface is not None]
    surfaces += [(surface.name, label, surface) for label, surface in _of_several(report)]
    for source, label, surface in surfaces:
        for place in zip(*np.nonzero(np.isfinite(surface.free_energy)), strict=True):
            at = [_short(centres[i]) for centres, i in zip(surface.centres, place, strict=True)]
            numbers = (surface.free_energy[place], surface.error[place], surface.counts[place])
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
