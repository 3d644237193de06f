"""Everything a page shows, from the runs on disk: each part by itself, so that what is missing costs no other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import DeltaError, InputError
from ...manifest import Manifest
from ...molecule.limits import Limits
from ...variables.definition import Variables
from ..energies import EnergyReport, analyze_energies
from ..free_energy.binding import BindingFreeEnergy, StandardState
from ..free_energy.mbar import ladder_surface
from ..free_energy.run import FreeEnergies, analyze_free_energy
from ..free_energy.sampling import Samples, alike, by_state, of_states, samples_of
from ..free_energy.surface import Surface, common_grid, surface
from ..rotation.diffusion import Rotation
from ..rotation.run import rotation_in
from ..runs import biased_in
from ..stability import StabilityReport, stability
from ..trajectory import Run
from .movie import FRAMES, Movie, movie_of

T = TypeVar("T")
STAGES = ("stability", "energies", "free energy", "rotation", "molecule")  # of each part
OnStage = Callable[[int, int, str], None]


@dataclass(frozen=True)
class WhileRunning:
    """What was seen of a trajectory while it ran: its phase, and where it broke (step) and why."""

    phase: str
    reason: str = ""
    broken_step: int | None = None


@dataclass(frozen=True)
class ReportSource:
    """One ladder of temperatures. name: tells it from the others; record: of the sweep, as sweep.json has it; told:
    by the run's name; absent: temperatures without outputs, in a line each; start: (N, 3) Å, whose bonds are to hold.
    """

    name: str
    folder: Path
    runs: tuple[Run, ...]
    manifest: Manifest | None = None
    record: Mapping[str, object] | None = None
    limits: Limits = field(default_factory=Limits)
    told: Mapping[str, WhileRunning] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    start: FloatArray | None = None


@dataclass(frozen=True)
class Choices:
    """variables and over: of the free energy; guest, host: atoms (None: the laboratory); why_not: a line for what of
    these could not be chosen, by stage. bins: along each variable (None: by the number of samples). mbar: K.
    temperature: K, of runs that recorded none. periodic: variables of nearest images. standard: of biased sources
    also ΔG°."""

    variables: Variables | None = None
    over: tuple[str, ...] = ()
    guest: IntArray | None = None
    host: IntArray | None = None
    why_not: Mapping[str, str] = field(default_factory=dict)
    bins: int | None = None
    frames: int = FRAMES
    mbar: float | None = None
    temperature: float | None = None
    periodic: bool = False
    standard: StandardState | None = None

    def kelvin(self, run: Run) -> float | None:
        """What a run recorded as its temperature, or else `temperature`."""
        return self.temperature if run.temperature is None and not run.exchanged else run.temperature


@dataclass(frozen=True)
class RunReport:
    """One trajectory. label: the temperature, as on the page; missing: what is not shown, and why.

    Energies, samples and rotation are of the time before the trajectory failed, samples also without the start.
    pieces: the samples at each temperature that a replica had, where replicas exchanged theirs. biased: of a sweep of
    windows or of metadynamics, of which all runs together tell the free energy.
    """

    source: str
    label: str
    run: Run
    temperature: float | None
    told: WhileRunning | None = None
    stability: StabilityReport | None = None
    energies: EnergyReport | None = None
    trace: Samples | None = None  # with the start
    samples: Samples | None = None
    pieces: tuple[Samples, ...] = ()
    surface: Surface | None = None
    rotation: Rotation | None = None
    movie: Movie | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    biased: bool = False

    @property
    def title(self) -> str:
        return f"{self.source}, {self.label}"


@dataclass(frozen=True)
class Report:
    """What the page shows. states: the free energy at each temperature of a source whose replicas exchanged theirs,
    or whose runs were biased; ladders: each source's at one temperature from all of its own, by MBAR. binding: ΔG° of
    biased sources, by name."""

    sources: tuple[ReportSource, ...]
    choices: Choices
    parts: tuple[RunReport, ...]
    states: tuple[Surface, ...] = ()
    ladders: tuple[Surface, ...] = ()
    binding: Mapping[str, tuple[BindingFreeEnergy, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """Temperatures, in order, each once."""
        ordered = sorted(self.parts, key=lambda p: (math.inf if p.temperature is None else p.temperature, p.label))
        return list(dict.fromkeys(part.label for part in ordered))

    def at(self, label: str) -> list[RunReport]:
        """The trajectories of one temperature, in the order of the sources."""
        return [part for source in self.sources for part in self.of(source) if part.label == label]

    def of(self, source: ReportSource) -> list[RunReport]:
        return [part for part in self.parts if part.source == source.name]


def collect(sources: Sequence[ReportSource], choices: Choices, on_stage: OnStage = lambda *stage: None) -> Report:
    """Analyse all runs; on_stage is told how many stages of how many are done, and what is being done.

    Raises InputError for sources of different atoms, and where there is no run at all.
    """
    _same_atoms(sources)
    place = next((source.start for source in sources if source.start is not None), None)
    total = len(STAGES) * sum(len(source.runs) for source in sources)
    parts: list[RunReport] = []
    for source in sources:
        kelvins = Counter(map(choices.kelvin, source.runs))
        for run in source.runs:
            at = choices.kelvin(run)
            label = run.name if at is None or kelvins[at] > 1 else f"{at:g} K"
            part = RunReport(source.name, label, run, at, source.told.get(run.name))
            parts.append(_analysed(part, source, choices, place, len(STAGES) * len(parts), total, on_stage))
    notes = alike([part.trace for part in parts if part.trace is not None])
    notes += [f"{part.title}: {note}" for part in parts for note in part.run.notes]
    on_stage(total, total, "free energies")
    sampled: dict[str, list[Samples]] = {}
    for source in sources:
        try:
            sampled[source.name] = _states([part for part in parts if part.source == source.name])
        except DeltaError as error:
            sampled[source.name] = []
            notes.append(f"{source.name}: {error}")
    parts = _with_surfaces(parts, sampled, choices)
    states, doubts = _surfaces_of_states(parts, sampled, choices)
    ladders, more = _ladders(sources, parts, sampled, choices)
    binding: dict[str, tuple[BindingFreeEnergy, ...]] = {}
    for source in sources:
        if any(part.biased for part in parts if part.source == source.name):
            try:
                found = _of_biased(source, choices)
            except DeltaError as error:
                notes.append(f"{source.name}: no free energy: {error}")
                continue
            states += tuple(replace(one, name=source.name) for one in found.surfaces)
            binding[source.name] = found.binding
    return Report(tuple(sources), choices, tuple(parts), states, ladders, binding, (*notes, *doubts, *more))


def _same_atoms(sources: Sequence[ReportSource]) -> None:
    everything = [run for source in sources for run in source.runs]
    if not everything:
        folder = sources[0].folder
        raise InputError(f"{folder}: no temperature has run yet; run it: delta-sgdml sweep run {folder}")
    first = everything[0]
    for run in everything:
        if not np.array_equal(run.numbers, first.numbers):
            raise InputError(f"{run.path}: other atoms than in {first.path}; a page shows runs of one complex")


def _analysed(
    part: RunReport,
    source: ReportSource,
    choices: Choices,
    place: FloatArray | None,
    done: int,
    total: int,
    on_stage: OnStage,
) -> RunReport:
    """All stages of one trajectory; what fails is a line in `missing`. place: of the atoms in the viewer."""
    missing = {stage: why for stage, why in choices.why_not.items() if stage in STAGES}

    def attempt(stage: str, look: Callable[[Run], T]) -> T | None:
        k, what = done + STAGES.index(stage), f"{part.title}: {stage}"
        on_stage(k, total, what)
        if stage in missing:
            return None
        watched = replace(part.run, progress=lambda _, n: on_stage(k, total, f"{what}, frame {n}"))
        try:
            return look(watched)
        except DeltaError as error:
            missing[stage] = str(error)
            return None

    if part.run.exchanged:
        why = "its temperature changed while it ran (i-pi-remdsort sorts replicas that exchanged theirs)"
        missing |= {"energies": why, "rotation": why}
    biased = biased_in(part.run) is not None
    fragments = None if source.manifest is None else [entry.atoms for entry in source.manifest.fragments] or None
    held = attempt(
        "stability",
        lambda run: _verdict(
            stability(run, source.limits, source.start, part.temperature, fragments), part.told, run
        ),
    )
    cut = None if held is None else held.step
    until = None if cut is None else float(part.run.time(np.array([cut]))[0])
    energies = attempt("energies", lambda run: analyze_energies(run, until=until))
    sampled = [] if biased else attempt("free energy", lambda r: _sampled(r, choices, part.temperature, cut)) or []
    trace = None if part.run.exchanged or not sampled else replace(sampled[0], name=part.title)
    samples = None if trace is None else trace.equilibrated()
    turned = attempt("rotation", lambda run: _rotation(run, choices, cut))
    movie = attempt("molecule", lambda run: movie_of(run, choices.host, choices.frames, cut, place))
    return replace(
        part,
        stability=held,
        energies=energies,
        trace=trace,
        samples=samples,
        pieces=tuple(sampled) if part.run.exchanged else (),
        rotation=turned,
        movie=movie,
        missing=missing,
        biased=biased,
    )


def _of_biased(source: ReportSource, choices: Choices) -> FreeEnergies:
    """Of all of its runs together, without their biases."""
    runs = [replace(run, ladder=source.folder) for run in source.runs]
    return analyze_free_energy(
        runs, source.manifest, _needed(choices), choices.over, bins=choices.bins,
        temperature=choices.temperature, standard=choices.standard, sphere=choices.standard is None,
        convergence=choices.standard is not None,
    )  # fmt: skip


def _verdict(found: StabilityReport, told: WhileRunning | None, run: Run) -> StabilityReport:
    """The earlier of what the outputs show and what was seen while it ran, when every geometry's expected error was
    looked at as well; of the same step, in the words of the latter."""
    if told is None or told.broken_step is None or (found.step is not None and found.step < told.broken_step):
        return found
    time = float(run.time(np.array([told.broken_step]))[0])
    cause = f"{told.reason} (seen while it ran)"
    return replace(found, failed=time, step=told.broken_step, cause=cause, length=max(found.length, time))


def _needed(choices: Choices) -> Variables:
    if choices.variables is None:
        raise InputError("no collective variables; give --variables, or --manifest with two fragments")
    return choices.variables


def _sampled(run: Run, choices: Choices, temperature: float | None, cut: int | None) -> list[Samples]:
    """Of a run, without what came after the molecule was gone; of a replica that exchanged temperatures, at each."""
    variables = _needed(choices)
    if run.exchanged:
        everything = by_state(run, variables, periodic=choices.periodic)
    else:
        everything = [samples_of(run, variables, temperature, periodic=choices.periodic)]
    if cut is not None:
        everything = [one.take(slice(0, int(np.searchsorted(one.steps, cut)))) for one in everything]
    if sum(map(len, everything)) < 2:
        raise InputError(f"only {sum(map(len, everything))} frames before it failed")
    return [one for one in everything if len(one)]


def _rotation(run: Run, choices: Choices, cut: int | None) -> Rotation:
    if choices.guest is None:
        raise InputError("which molecule turns? give --guest, or --manifest with two fragments")
    return rotation_in(run, choices.guest, choices.host, before=cut)


def _states(parts: Sequence[RunReport]) -> list[Samples]:
    """Of a source whose replicas exchanged temperatures: in equilibrium, at each."""
    return [state.equilibrated() for state in of_states([piece for part in parts for piece in part.pieces])]


def _with_surfaces(
    parts: Sequence[RunReport], states: Mapping[str, list[Samples]], choices: Choices
) -> list[RunReport]:
    """Free energies; at each temperature on one grid for all sources."""
    complete = []
    for part in parts:
        if part.samples is not None:
            try:
                edges = common_grid(_beside(part.label, parts, states), choices.over, choices.bins)
                part = replace(part, surface=replace(surface(part.samples, choices.over, edges), name=part.title))
            except DeltaError as error:
                part = replace(
                    part, missing={**part.missing, "free energy": str(error).removeprefix(f"{part.title}: ")}
                )
        complete.append(part)
    return complete


def _beside(label: str, parts: Sequence[RunReport], states: Mapping[str, list[Samples]]) -> list[Samples]:
    """All samples of one temperature."""
    of_parts = [part.samples for part in parts if part.label == label and part.samples is not None]
    return of_parts + [state for several in states.values() for state in several if state.name == label]


def _surfaces_of_states(
    parts: Sequence[RunReport], states: Mapping[str, list[Samples]], choices: Choices
) -> tuple[tuple[Surface, ...], list[str]]:
    surfaces, notes = [], []
    for source, several in states.items():
        for state in several:
            try:
                edges = common_grid(_beside(state.name, parts, states), choices.over, choices.bins)
                surfaces.append(replace(surface(state, choices.over, edges), name=source))
            except DeltaError as error:
                notes.append(f"{source}: {error}")
    return tuple(surfaces), notes


def _ladders(
    sources: Sequence[ReportSource],
    parts: Sequence[RunReport],
    states: Mapping[str, list[Samples]],
    choices: Choices,
) -> tuple[tuple[Surface, ...], list[str]]:
    """One surface for each source at the temperature asked for, all on one grid."""
    if choices.mbar is None:
        return (), []
    groups = [
        [p.samples for p in parts if p.source == source.name and p.samples is not None] + states[source.name]
        for source in sources
    ]
    everything = [one for group in groups for one in group]
    if not everything:
        return (), ["MBAR: no temperature has samples"]
    surfaces, notes = [], []
    for source, group in zip(sources, groups, strict=True):
        try:
            grid = common_grid(everything, choices.over, choices.bins)
            name = f"{source.name} (MBAR of {len(group)})"
            surfaces.append(ladder_surface(group, choices.mbar, choices.over, grid, name=name))
        except DeltaError as error:
            notes.append(f"{source.name}, MBAR at {choices.mbar:g} K: {error}")
    return tuple(surfaces), notes
