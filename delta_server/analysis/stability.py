"""Whether a trajectory stays the molecule, how long it did, and how many do at each temperature.

It failed at the first record beyond what `molecule.intact` allows: of its bonds, and of what i-PI recorded of the
potential energy, the instantaneous temperature and the expected error of the forces (extras ``error_total``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..files.documents import plain
from ..manifest import Manifest
from ..molecule.intact import Allowed, IntactMolecule
from ..molecule.limits import Limits
from ..molecule.structures import read_structure
from .runs import biased_in, made_with
from .trajectory import Block, OnFrames, Run


@dataclass(frozen=True)
class StabilityReport:
    """How a trajectory of `length` ps fared: `failed` (ps) at `step` for `cause`, or None if it held to its end.

    examined: what there was to look at: bonds, energy, temperature, uncertainty.
    """

    name: str
    temperature: float | None
    length: float
    failed: float | None
    step: int | None
    cause: str | None
    examined: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For machines; None where there is no number."""
        return {name: plain(value) for name, value in asdict(self).items()}

    @property
    def survived(self) -> float:
        """ps."""
        return self.length if self.failed is None else self.failed

    def line(self) -> str:
        """What was seen."""
        looked = ", ".join(self.examined)
        if self.failed is None:
            return f"{self.name}: stable for {self.length:.2f} ps ({looked})"
        return f"{self.name}: failed at {self.failed:.3f} ps (step {self.step}): {self.cause}"


def analyze_stability(
    run: Run,
    manifest: str | Path | Manifest | None = None,
    *,
    limits: Limits | None = None,
    temperature: float | None = None,
    progress: OnFrames | None = None,
) -> StabilityReport:
    """Whether a run stayed the molecule of its manifest's structure, or without a manifest, of its first frame.

        >>> from delta_server.analysis import analyze_stability, find_runs
        >>> [run] = find_runs("demo/h2o_benzene")
        >>> report = analyze_stability(run)
        >>> report.failed is None, report.examined
        (True, ('bonds', 'energy', 'temperature'))

    manifest: by default the one that the run was made with. temperature: K, by default i-PI's. Raises InputError.
    """
    complex_ = made_with(run, manifest).manifest
    watched = replace(run, progress=progress)
    if complex_ is None:
        return stability(watched, limits, None, temperature)
    start = read_structure(complex_.resolve(complex_.structure)).positions
    fragments = [fragment.atoms for fragment in complex_.fragments]
    biased = biased_in(run)
    relaxed = inf if biased is None else biased[0].record.start.energy
    return stability(watched, limits, start, temperature, fragments, relaxed)


def stability(
    run: Run,
    limits: Limits | None = None,
    start: FloatArray | None = None,
    temperature: float | None = None,
    fragments: Sequence[Sequence[int]] | None = None,
    relaxed: float = inf,
) -> StabilityReport:
    """start: (N, 3) Å, whose bonds are to be kept, by default the first frame. temperature: K, by default i-PI's.
    fragments: the atoms of each; bonds between them may come and go, by default none may. relaxed: eV, the energy of
    the relaxed molecule where the first frame is warm.

    Raises InputError for a start of other atoms, or a trajectory without frames.
    """
    limits = limits or Limits()
    temperature = run.temperature if temperature is None else temperature
    if start is not None and len(start) != len(run.numbers):
        raise InputError(f"{run.path}: {len(run.numbers)} atoms, the structure has {len(start)}")
    last, molecule, found = _of_frames(replace(run, torn=True).blocks(), run.numbers, limits, start, fragments)
    failures = [] if found is None else [found]
    examined = ["bonds"]
    if run.outputs is not None and "step" in run.outputs.properties:
        columns, more = _of_records(run, molecule, temperature, relaxed)
        examined += columns
        failures += more
        last = max(last, int(run.outputs.properties["step"][-1]))
    length = float(run.time(np.array([last]))[0])
    if np.isnan(length):
        raise InputError(f"{run.path}: the time between its steps is not known; give --timestep")
    if not failures:
        return StabilityReport(run.name, temperature, length, None, None, None, tuple(examined))
    step, cause = min(failures)
    failed = float(run.time(np.array([step]))[0])
    return StabilityReport(run.name, temperature, length, failed, step, cause, tuple(examined))


def _of_frames(
    blocks: Iterable[Block],
    numbers: IntArray,
    limits: Limits,
    start: FloatArray | None,
    fragments: Sequence[Sequence[int]] | None,
) -> tuple[int, IntactMolecule, tuple[int, str] | None]:
    """The last step, the molecule as it began, and the first step whose bonds are not the start's."""
    molecule, last, found = None, -1, None
    for block in blocks:
        if molecule is None:
            molecule = IntactMolecule(numbers, block.positions[0] if start is None else start, limits, fragments)
        last = int(block.steps[-1])
        change = None if found else molecule.first_geometry_breach(block.positions)
        if change is not None:
            found = (int(block.steps[change[0]]), change[1])
    if molecule is None:
        raise InputError("a trajectory without frames is neither stable nor not")
    return last, molecule, found


def _of_records(
    run: Run, molecule: IntactMolecule, temperature: float | None, relaxed: float
) -> tuple[list[str], list[tuple[int, str]]]:
    """What of energy, temperature and uncertainty was recorded, and where each first failed."""
    assert run.outputs is not None
    table = run.outputs.properties
    examined: list[str] = []
    failures: list[tuple[int, str]] = []

    def look(allowed: Allowed, steps: FloatArray, values: FloatArray) -> None:
        if allowed.quantity not in examined:
            examined.append(allowed.quantity)
        if (breach := allowed.first_breach(values)) is not None:
            failures.append((int(steps[breach[0]]), breach[1]))

    steps, potential, warmth = table["step"], table.get("potential"), table.get("temperature")
    states = run.states(steps.astype(np.intp)) if temperature is None else np.full(len(steps), temperature)
    for kelvin in () if states is None else np.unique(states[np.isfinite(states)]).tolist():
        of_it = states == kelvin
        if potential is not None:  # quantum atoms have their zero-point energy
            allowed = molecule.energies(float(potential[0]), kelvin, 1 if run.classical else None, relaxed)
            look(allowed, steps[of_it], potential[of_it])
        if warmth is not None and run.classical:
            look(molecule.temperatures(kelvin), steps[of_it], warmth[of_it])
    if "error_total" in run.outputs.extras:
        steps, errors = run.outputs.extras["error_total"]
        look(molecule.expected_error, steps, errors)
    return examined, failures


@dataclass(frozen=True)
class Survival:
    """The part (k,) of the trajectories at a temperature (K) that still holds after times (k,) in ps."""

    temperature: float | None
    runs: int
    failed: int
    times: FloatArray
    fraction: FloatArray

    def as_dict(self) -> dict[str, object]:
        """For machines."""
        return {
            "temperature_K": self.temperature,
            "runs": self.runs,
            "failed": self.failed,
            "times_ps": self.times.tolist(),
            "fraction": self.fraction.tolist(),
        }

    def line(self) -> str:
        """What was seen."""
        where = "in all" if self.temperature is None else f"at {self.temperature:g} K"
        return f"{where}: {self.failed} of {self.runs} failed; {self.fraction.min():.2f} hold to the end"


def survival(reports: Sequence[StabilityReport]) -> list[Survival]:
    """Kaplan and Meier's estimate (J. Am. Stat. Assoc. 53, 457 (1958)), by temperature; runs that held to their end
    count as long as they were. By scipy."""
    from scipy.stats import CensoredData, ecdf

    groups: dict[float | None, list[StabilityReport]] = {}
    for report in reports:
        groups.setdefault(report.temperature, []).append(report)
    result = []
    for temperature, runs in sorted(groups.items(), key=lambda item: -1.0 if item[0] is None else item[0]):
        failed = [run.survived for run in runs if run.failed is not None]
        held = [run.survived for run in runs if run.failed is None]
        curve = ecdf(CensoredData(uncensored=failed, right=held)).sf
        result.append(Survival(temperature, len(runs), len(failed), curve.quantiles, curve.probabilities))
    return result
