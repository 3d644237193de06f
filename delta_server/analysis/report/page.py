"""The page itself: tables, figures, data, viewer and its script in one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ...errors import InputError
from ...files.documents import plain
from . import tables
from .collect import STAGES, Report, ReportSource
from .figures import (
    Picture,
    binding_pictures,
    energy_pictures,
    free_energy_pictures,
    rotation_pictures,
    stability_picture,
)

_LARGEST = 4_000_000  # characters of base64 that the frames of all trajectories may have


@dataclass(frozen=True)
class About:
    """How the page was made: the day, the command, and versions by name."""

    day: str
    command: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """The file's text, and the figures in it."""

    html: str
    pictures: tuple[Picture, ...]
    data: dict[str, Any]


@dataclass(frozen=True)
class Download:
    """A link that holds its file."""

    name: str
    what: str
    href: str


def frames_within(n_atoms: int, runs: int, frames: int) -> int:
    """How many frames of each trajectory a page has room for."""
    return max(2, min(frames, _LARGEST // max(1, 8 * n_atoms * runs)))


def make_page(report: Report, about: About, highest: float | None = None) -> Page:
    """highest: kcal/mol at the end of the free energy's scale. Raises InputError without matplotlib or jinja2."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise InputError("jinja2 is not installed here: pip install 'delta-server[analysis]'") from None
    here = files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(here.joinpath("page.html").read_text(encoding="utf-8"))
    data = tables.data_of(report)
    lasted = stability_picture(report)
    pictures = {
        "stability": [] if lasted is None else [lasted],
        "free_energy": free_energy_pictures(report, highest),
        "binding": binding_pictures(report),
        "rotation": rotation_pictures(report),
        "energies": energy_pictures(report),
    }
    page_tables = {
        "stability": tables.stability_table(report),
        "free_energy": tables.free_energy_table(report),
        "binding": tables.binding_table(report),
        "rotation": tables.rotation_table(report),
        "ratios": tables.ratio_table(report),
        "energies": tables.energy_table(report),
    }
    downloads = [
        _download("report.json", "all numbers of this page", json.dumps(data, allow_nan=False, ensure_ascii=False)),
        _download("rotation_by_lag.csv", "MSAD, C_1 and C_2 by lag", tables.msad_csv(report)),
        _download("free_energy_by_bin.csv", "F, its error and samples by bin", tables.free_energy_csv(report)),
    ]
    text = template.render(
        report=report,
        about=about,
        name=_name(report),
        subtitle=_subtitle(report),
        tables=page_tables,
        csv={
            key: _download(f"{key}.csv", "", table.csv()) for key, table in page_tables.items() if table is not None
        },
        pictures={key: [_shown(p) for p in some] for key, some in pictures.items()},
        downloads=downloads,
        missing=_missing(report),
        sources=[_told(source) for source in report.sources],
        movies=_movies(report),
        mbar=bool(report.ladders),
        script=here.joinpath("page.js").read_text(encoding="utf-8"),
        style=here.joinpath("page.css").read_text(encoding="utf-8"),
        viewer=here.joinpath("3Dmol-min.js").read_text(encoding="utf-8").replace("</script", "<\\/script"),
        licence=here.joinpath("3Dmol-LICENSE.txt").read_text(encoding="utf-8"),
    )
    return Page(text, tuple(p for some in pictures.values() for p in some), data)


def _name(report: Report) -> str:
    names = [str(s.record["name"]) for s in report.sources if s.record] or [
        s.manifest.name for s in report.sources if s.manifest
    ]
    return names[0] if names else report.sources[0].name


def _subtitle(report: Report) -> str:
    labels = report.labels
    lengths = [p.stability.length for p in report.parts if p.stability]
    ladder = f"{len(labels)} temperatures, {labels[0]} to {labels[-1]}" if len(labels) > 1 else labels[0]
    if any(part.biased for part in report.parts):
        ladder = f"{len(report.parts)} trajectories, biased"
    elif report.states:
        kelvins = [state.temperature for state in report.states]
        ladder = f"{len(report.parts)} replicas, {min(kelvins):g} K to {max(kelvins):g} K"
    pieces = [" against ".join(s.name for s in report.sources), ladder]
    if lengths:
        low, high = min(lengths), max(lengths)
        pieces.append(f"{high:.4g} ps each" if low > 0.999 * high else f"{low:.3g} to {high:.4g} ps")
    failed = sum(p.stability is not None and p.stability.failed is not None for p in report.parts)
    pieces.append(f"{failed} of {len(report.parts)} trajectories failed" if failed else "no trajectory failed")
    return " · ".join(pieces)


def _shown(picture: Picture) -> dict[str, str]:
    svg = base64.b64encode(picture.svg).decode()
    return {"name": picture.name, "caption": picture.caption, "src": f"data:image/svg+xml;base64,{svg}"}


def _download(name: str, what: str, text: str) -> Download:
    kind = "application/json" if name.endswith(".json") else "text/csv"
    encoded = base64.b64encode(text.encode()).decode()
    return Download(name, what, f"data:{kind};charset=utf-8;base64,{encoded}")


def _missing(report: Report) -> list[str]:
    """One line for each thing that is not there, the same ones together."""
    lines: dict[tuple[str, str], list[str]] = {}
    for part in report.parts:
        for stage in STAGES:
            if stage in part.missing:
                lines.setdefault((stage, part.missing[stage]), []).append(part.title)
    everything = len(report.parts)
    return [
        *(f"{source.name}: {line}" for source in report.sources for line in source.absent),
        *(
            f"no {stage} {'anywhere' if len(of) == everything else 'for ' + '; '.join(of)}: {why}"
            for (stage, why), of in lines.items()
        ),
    ]


def _told(source: ReportSource) -> dict[str, Any]:
    """What is said of a source under "What was run"."""
    record = dict(source.record or {})
    facts: list[tuple[str, str]] = [("folder", str(source.folder))]
    if record:
        steps, timestep = record["steps"], record["timestep"]
        assert isinstance(steps, int)
        assert isinstance(timestep, float)
        temperatures = record["temperatures"]
        assert isinstance(temperatures, Sequence)
        facts += [
            ("command", str(record["command"])),
            ("kind", str(record["kind"])),
            ("temperatures", ", ".join(f"{t:g}" for t in temperatures) + " K"),
            ("length", f"{steps} steps of {timestep:g} fs: {steps * timestep / 1e3:g} ps"),
            ("thermostat", f"Langevin, τ {record['tau']:g} fs"),
            ("beads", str(record["beads"])),
            ("recorded", f"energies every {record['stride']} steps, geometries every {record['frames']}"),
            ("seed", str(record["seed"])),
        ]
        start = record["start"]
        if isinstance(start, Mapping):
            energy, fmax = start["energy"], start["fmax"]
            facts.append(
                ("start", f"{energy:.4f} eV, largest force {fmax:.1e} eV/Å, relaxed in {start['steps']} steps")
            )
        facts.append(("versions", _pairs(record["versions"])))
    limits = source.limits
    facts.append(
        (
            "counts as failed",
            f"a bond over {limits.stretch:g} times its length, or a new one; an energy {limits.energy:g} eV beyond "
            f"what the temperature explains; {limits.heat:g} times the temperature and 100 K; an expected force "
            f"error over {limits.uncertainty:g} eV/Å",
        )
    )
    hashes = record.get("sha256", {})
    manifest = ""
    if source.manifest is not None:
        facts.append(("manifest", str(source.manifest.path)))
        manifest = source.manifest.path.read_text(encoding="utf-8")
    return {
        "name": source.name,
        "facts": facts,
        "hashes": dict(hashes) if isinstance(hashes, Mapping) else {},
        "manifest": manifest,
        "notes": source.notes,
    }


def _pairs(versions: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else ""


def _movies(report: Report) -> dict[str, Any]:
    """What the viewer needs: fragments by their atoms, and frames by source and temperature."""
    shown = [(part, part.movie) for part in report.parts if part.movie is not None]
    symbols = list(shown[0][1].symbols) if shown else []
    guest = [] if report.choices.guest is None else report.choices.guest.tolist()
    movies = []
    for part, movie in shown:
        unit, packed = movie.packed()
        failed = part.stability.failed if part.stability is not None else None
        movies.append(
            {
                "source": part.source,
                "label": part.label,
                "time": [round(float(t), 4) for t in movie.time],
                "unit": unit,
                "packed": packed,
                "failed": failed,
            }
        )
    return {
        "symbols": symbols,
        "guest": guest,
        "orange": any(symbols[atom] == "C" for atom in guest),
        "sources": [source.name for source in report.sources],
        "labels": [label for label in report.labels if any(part.label == label for part, _ in shown)],
        "movies": plain(movies),
    }
