"""Kinds of terms as another package brings them: a module, and the entry points that an installer writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

SPRING = {"kind": "spring", "name": "cage", "over": "all", "options": {"stiffness": 0.2}}
RIPPLE = {"kind": "ripple", "name": "ripple", "over": ["first", "second"], "options": {"stiffness": 0.5}}
CELL = np.array([[14.0, 0.0, 0.0], [3.0, 13.0, 0.0], [-2.0, 1.0, 15.0]])  # rows are lattice vectors, Å

SOURCE = '''
import numpy as np
from delta_server.terms.base import Contribution


class Spring:
    """½ k Σ |r − centroid|²: holds its atoms together, wherever they are."""

    def __init__(self, request):
        self.names, self.part, self.sites = (request.name,), request.part, request.atoms[None]
        self.k = float(request.options["stiffness"])  # eV/Å²

    def evaluate(self, frames):
        x = frames.positions[:, self.sites[0]]
        r = (x - x.mean(1, keepdims=True))[:, None]
        energies = self.k / 2 * (r**2).sum((2, 3))
        return Contribution(energies, -self.k * r, -self.k * np.einsum("fkna,fknb->fkab", r, r))

    def expected_error(self, frames):
        return None


class Ripple(Spring):
    """k cos 2π s·(1, 2, 3), s between the first and the last atom in fractions of the cell; nothing without one."""

    def evaluate(self, frames):
        f, n = len(frames.positions), self.sites.shape[1]
        cells = np.zeros((f, 3, 3)) if frames.cells is None else frames.cells
        strength = self.k * cells.any((1, 2))
        along = frames.positions[:, self.sites[0, -1]] - frames.positions[:, self.sites[0, 0]]
        wave = 2 * np.pi * np.linalg.pinv(cells) @ np.array([1.0, 2.0, 3.0])
        phase = (along * wave).sum(1)
        forces = np.zeros((f, 1, n, 3))
        forces[:, 0, -1] = (strength * np.sin(phase))[:, None] * wave
        forces[:, 0, 0] = -forces[:, 0, -1]
        return Contribution((strength * np.cos(phase))[:, None], forces, np.zeros((f, 1, 3, 3)))  # strain: no phase


def broken(request):
    raise KeyError("no such table")
'''


def made_kinds(folder: Path) -> Path:
    """A folder for ``sys.path`` that holds an installed package with the kinds spring, ripple, broken and missing."""
    info = folder / "springs-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "springs.py").write_text(SOURCE, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: springs\nVersion: 1.0\n", encoding="utf-8")
    kinds = "spring = springs:Spring\nripple = springs:Ripple\nbroken = springs:broken\nmissing = springs_2:Spring\n"
    (info / "entry_points.txt").write_text(f"[delta_server.terms]\n{kinds}", encoding="utf-8")
    return folder


def with_terms(path: Path, *terms: dict[str, Any]) -> Path:
    """The manifest, with these terms."""
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"terms": list(terms)}))
    return path
