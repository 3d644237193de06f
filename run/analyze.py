#!/usr/bin/env python
"""Energies, free energy, rotation and stability of runs or sweeps, into one folder with pictures and JSON.

    run/analyze.py demo/h2o_benzene -o analysis
    run/analyze.py sweep/delta sweep/full --manifest models/c60_buckycatcher/manifest.yaml -o analysis

What `delta-sgdml analyze` does one command at a time. Copy this file and change it: `delta_server.analysis` names
what a script may import, and each of its functions has an example. A RUN is the folder of an i-PI run or of a sweep,
or a trajectory; what it does not allow (no temperature was recorded, no fragments are known) is a line, and in the
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from delta_server.analysis import (
    Run,
    analyze_energies,
    analyze_free_energy,
    analyze_rotation,
    analyze_stability,
    find_runs,
    made_with,
    survival,
)
from delta_server.analysis.pictures.energies import plot_energies
from delta_server.analysis.pictures.free_energy import plot_surfaces
from delta_server.analysis.pictures.rotation import plot_rotations
from delta_server.analysis.pictures.stability import plot_stability
from delta_server.cli.process import run as run_command
from delta_server.errors import DeltaError


def energies(runs: Sequence[Run], manifest: Any, folder: Path) -> dict[str, Any]:
    reports = {run.name: analyze_energies(run) for run in runs}
    for name, report in reports.items():
        print(report.line())
        plot_energies(report, folder / f"energies_{name.replace('/', '_')}.png")
    return {name: report.as_dict() for name, report in reports.items()}


def free_energy(runs: Sequence[Run], manifest: Any, folder: Path) -> dict[str, Any]:
    result = analyze_free_energy(runs, manifest)
    for surface in result.surfaces:
        lowest = ", ".join(f"{value:.3f}" for value in surface.lowest)
        print(f"{surface.name}: F is lowest at {', '.join(surface.variables)} = {lowest}")
    plot_surfaces(result.surfaces, result.units, folder / "free_energy.png")
    return result.as_dict()


def rotation(runs: Sequence[Run], manifest: Any, folder: Path) -> dict[str, Any]:
    rotations = [analyze_rotation(run, manifest) for run in runs]
    print(*(rotation.line() for rotation in rotations), sep="\n")
    plot_rotations(rotations, folder / "rotation.png")
    return {rotation.name: rotation.as_dict() for rotation in rotations}


def stability(runs: Sequence[Run], manifest: Any, folder: Path) -> dict[str, Any]:
    reports = [analyze_stability(run, manifest) for run in runs]
    groups = survival(reports)
    print(*(report.line() for report in reports), sep="\n")
    plot_stability(reports, groups, folder / "stability.png")
    return {"runs": [one.as_dict() for one in reports], "survival": [group.as_dict() for group in groups]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run or a sweep, or trajectory")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="pictures and analysis.json")
    parser.add_argument("--manifest", type=Path, help="of the complex (default: the first run's own)")
    args = parser.parse_args()
    runs = find_runs(*args.runs)
    made = made_with(runs[0], args.manifest)
    print(*made.notes, sep="\n", end="\n" * bool(made.notes), file=sys.stderr)
    args.output.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"missing": {}}
    for stage in (energies, free_energy, rotation, stability):
        try:
            document[stage.__name__] = stage(runs, made.manifest, args.output)
        except DeltaError as error:
            document["missing"][stage.__name__] = str(error)
            print(f"no {stage.__name__.replace('_', ' ')}: {error}")
    path = args.output / "analysis.json"
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"pictures and numbers: {path.parent}")


if __name__ == "__main__":
    run_command(main)
