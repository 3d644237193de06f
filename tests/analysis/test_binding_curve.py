"""The binding energy along lines, against a reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from delta_server import load_potential
from delta_server._types import FloatArray
from delta_server.analysis.binding_curve import binding_curves
from delta_server.analysis.pictures.binding_curve import plot_curves
from delta_server.errors import InputError

MANIFEST = ROOT / "models/methane_dimer/manifest.yaml"


def test_lines_from_inside_the_minimum_to_30_angstrom(tmp_path: Path) -> None:
    potential = load_potential(MANIFEST)
    first, second = (f.atoms for f in potential.fragments)

    def well(x: FloatArray) -> FloatArray:
        """Least at 4.2 Å between the centres."""
        distance = np.linalg.norm(x[:, first].mean(1) - x[:, second].mean(1), axis=1)
        return np.asarray(np.where(distance < 20, (distance - 4.2) ** 2 - 10, np.nan))

    along, across, other = binding_curves(potential, "methane_2", well)
    assert along.distance[0] == pytest.approx(4.2 - 0.3, abs=0.1)
    assert along.distance[-1] == pytest.approx(30, abs=5)
    assert across.distance[0] == other.distance[0]
    moves = [(c.positions[-1] - c.positions[0])[second].mean(0) for c in (along, across, other)]
    assert np.abs(np.array([moves[i] @ moves[j] for i, j in ((0, 1), (0, 2), (1, 2))])).max() < 1e-6
    whole, *_ = binding_curves(potential, "methane_2", lambda x: np.full(len(x), np.nan))
    assert whole.distance[0] < along.distance[0]
    at = int(np.abs(along.distance - 4.2).argmin())  # a reference of -10: 2 % are 0.2
    assert along.excess[at] == pytest.approx(abs(along.model[at] - along.reference[at]) / 0.2, rel=0.02)  # type: ignore[index]
    assert np.isnan(along.errors[-1])
    assert along.as_dict()["excess"][-1] is None  # type: ignore[index]
    plot_curves([along, across, other], "two $ wells", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="no fragment 'water' to move; there are methane_1, methane_2"):
        binding_curves(potential, "water")
