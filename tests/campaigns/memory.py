"""The memory that `train` foretells of a fit, beside the peak that the system reports of its process.

python tests/campaigns/memory.py                 # some five minutes on one core, 6 GB
python tests/campaigns/memory.py --only "water on benzene, 100; C60@catcher, 30"

Of bindings, with σ and λ given and the shipped models of the fragments, so that nothing is searched. Exits with 1
where a forecast is more than a fifth off.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from delta_server.gdml import Model, load_model
from delta_server.training import trainer
from delta_server.training.choice import Choice
from delta_server.training.fit import Hyper
from delta_server.training.reporter import Silent
from delta_server.training.tasks import Recipe, TrainingTask

MODELS = Path(__file__).resolve().parents[2] / "models"


class Case(NamedTuple):
    """A fit: system, points and how; free: bytes of memory that it is told there are."""

    system: str
    points: int
    group: str = "none"
    energies: bool = True
    robust: bool = False
    basis: int = 0
    free: int = 0


CASES = {
    "water on benzene, 100": Case("h2o_benzene", 100),
    "water on benzene, 300": Case("h2o_benzene", 300),
    "water on benzene, 300, forces alone": Case("h2o_benzene", 300, energies=False),
    "water on benzene, 200, robust": Case("h2o_benzene", 200, robust=True),
    "benzene dimer, 100, 288 permutations": Case("benzene_dimer", 100, "full"),
    "methane dimer, 100 fitted to 500": Case("methane_dimer", 500, basis=100),
    "water on benzene, 300, iterative": Case("h2o_benzene", 300, free=400_000_000),
    "C60@catcher, 30": Case("c60_buckycatcher", 30),
    "C60@catcher, 60": Case("c60_buckycatcher", 60),
}


class Fixed:
    """The chooser of one case: the binding as it says, the fragments' models as they are shipped."""

    settings: Mapping[str, Any] = {}

    def __init__(self, case: Case) -> None:
        self._case = case
        files = [path for path in (MODELS / case.system).glob("*.npz") if path.stem not in ("binding", "dataset")]
        self.kept: dict[str, tuple[Model, Mapping[str, Any]]] = {f.stem: (load_model(f), {}) for f in files}

    def __call__(self, task: TrainingTask) -> Choice:
        """See `Chooser`."""
        return Choice(self._case.group, Hyper(20.0, 1e-8, self._case.energies, robust=self._case.robust), [])

    def revise(self, task: TrainingTask, model: Model) -> Choice | None:
        """See `Chooser`."""
        return None


class Listener(Silent):
    """Keeps the last memory that was foretold, GB."""

    expected = 0.0

    def say(self, line: str) -> None:
        """See `Reporter`."""
        if told := re.search(r"(\d+\.\d+) GB(, about|$)", line):
            self.expected = float(told[1])


def measured(case: Case) -> tuple[float, float]:
    """The memory that is foretold, and the peak of this process, GB."""
    if case.free:
        trainer.available_memory = lambda _: case.free
    listener, recipe = Listener(), Recipe(case.points, n_validation=50, n_far=0, basis=case.basis)
    with TemporaryDirectory() as folder:
        data = MODELS / case.system / "dataset.npz"
        trainer.train(data, Path(folder) / "out", recipe, listener, choose=Fixed(case))
    return listener.expected, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(names: Sequence[str]) -> None:
    """Print the table."""
    far = 0
    for name in map(str.strip, names):
        began = time.monotonic()
        command = [sys.executable, __file__, "--one", name]
        expected, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        far += not 0.8 * peak < expected < 1.2 * peak
        sys.stdout.write(
            f"{name:40} {expected:6.2f} GB foretold {peak:6.2f} GB {100 * (expected / peak - 1):+4.0f} % "
            f"{time.monotonic() - began:5.0f} s\n"
        )
        sys.stdout.flush()
    sys.exit(far > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="names with ; between", default=";".join(CASES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(measured(CASES[options.one])))
    else:
        main(options.only.split(";"))
