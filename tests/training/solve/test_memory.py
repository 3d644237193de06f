"""The memory that is foretold is what the system reports when it is over."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FIT = """
import sys
from pathlib import Path
import numpy as np
from delta_server.training.fit import Hyper, fit
from delta_server.training.labels import Labels
from delta_server.training.solve.memory import Speed, forecast

n_atoms, n_points, robust = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
positions = 1.5 * np.array(list(np.ndindex(4, 4, 4)))[:n_atoms] + 0.1 * rng.standard_normal((n_points, n_atoms, 3))
labels = Labels("made", np.full(n_atoms, 6), positions, rng.standard_normal(n_points),
                rng.standard_normal(positions.shape))
identity = np.arange(n_atoms)[None]
expected = forecast(n_points, n_atoms, 1, True, Speed.measure(labels, identity), bool(robust))
fit(labels, identity, Hyper(10.0, 1e-2, energies=True, robust=bool(robust)))
# ru_maxrss would hold what the process that this one was forked from had taken
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(expected.peak, 1024 * int(status["VmHWM"].split()[0]))
"""


@pytest.mark.parametrize(("n_atoms", "n_points", "robust"), [(60, 24, 0), (60, 24, 1), (4, 360, 0), (10, 20, 0)])
def test_the_peak_is_foretold_within_a_fifth(n_atoms: int, n_points: int, robust: int) -> None:
    command = [sys.executable, "-c", _FIT, *map(str, (n_atoms, n_points, robust))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    expected, peak = map(int, done.stdout.split())
    assert 0.8 * peak < expected < 1.2 * peak
