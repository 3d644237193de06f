"""What a sweep is: the record (sweep.json) in its folder, and where everything lies beside it.

DIR/sweep.json, start.xyz, 300K/{input.xml, init.xyz, state.json, result.json, 300K_md.*}, ladder/{input.xml, …}
Windows of a collective variable: 300K_5.5/{…, bias.json} for each temperature and centre, and DIR/bias_pes.py.
Metadynamics: 300K_1/{…} for each walker, the first one's with {bias.json, hills.dat} of all, and DIR/bias_pes.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..errors import InputError
from ..files.documents import Strict
from ..molecule.limits import Limits
from ..server.record import read_record
from ..terms.bias import Restraint
from ..variables.definition import read_variables

SweepKind = Literal["nvt", "pimd", "mts", "remd", "umbrella", "metadynamics"]
RECORD = "sweep.json"
INPUT, INIT = "input.xml", "init.xyz"  # of each run: i-PI's input, and the geometry that it starts from
BIAS, BIAS_PES, HILLS = "bias.json", "bias_pes.py", "hills.dat"  # of a biased run; i-PI's class for it, in DIR
PREFIX = "md"  # of the outputs, after the temperature's: 300K_md.out


class Relaxed(Strict):
    """How the start geometry was relaxed: energy in eV, the largest force left in eV/Å, optimiser's steps."""

    energy: float
    fmax: float
    steps: int


class Windows(Strict):
    """Umbrella windows: a harmonic bias of `variable` at each centre. definition: groups and variables, as
    `variables.definition.read_variables` takes them; unit: the variable's; force_constants: eV over its square."""

    variable: str
    definition: dict[str, Any]
    unit: str
    centres: tuple[float, ...] = Field(min_length=1)
    force_constants: tuple[float, ...] = Field(min_length=1)

    def restraint(self, window: int) -> Restraint:
        """The bias of one of them."""
        centre = self.centres[window]
        return Restraint(centre, centre, self.force_constants[window], turn=self.turn)

    @property
    def turn(self) -> float:
        """After which the variable is the same again; 0 for never."""
        return read_variables(self.definition, self.variable).variables[self.variable].turn


class Metadynamics(Strict):
    """Well-tempered metadynamics (Barducci, Bussi and Parrinello, Phys. Rev. Lett. 100, 020603 (2008)) of one or two
    variables. definition, units: as of `Windows`; widths: σ of the hills; walls: from where to where a variable may
    go, each None for anywhere; heights: eV of the first hill, at each temperature; pace: steps between hills;
    walkers: that share them; until: the step after which there are no more hills."""

    variables: tuple[str, ...] = Field(min_length=1, max_length=2)
    definition: dict[str, Any]
    units: tuple[str, ...]
    widths: tuple[float, ...]
    walls: tuple[tuple[float | None, float | None], ...]
    heights: tuple[float, ...]
    pace: int = Field(ge=1)
    bias_factor: float = Field(gt=1)
    walkers: int = Field(ge=1)
    until: int | None = Field(default=None, ge=1)

    def puts_hills(self, step: int) -> bool:
        """Whether there are new ones at this step."""
        return step % self.pace == 0 and (self.until is None or step <= self.until)


class SweepRecord(Strict):
    """The sweep as it was written. Temperatures in K, time step and tau in fs; paths are relative to its folder.
    hydrogen_mass: u, that hydrogens have in place of their own, at the cost of what they are bound to."""

    format: Literal["delta-sgdml-sweep/1"] = "delta-sgdml-sweep/1"
    name: str
    kind: SweepKind
    manifest: str
    sha256: dict[str, str]  # of the manifest and its models
    temperatures: tuple[float, ...] = Field(min_length=1)
    steps: int = Field(gt=0)
    timestep: float = Field(gt=0)
    tau: float = Field(gt=0)
    beads: int = Field(ge=1)
    stride: int = Field(ge=1)
    frames: int = Field(ge=1)
    checkpoint: int = Field(ge=1)
    seed: int
    limits: Limits
    start: Relaxed
    versions: dict[str, str]
    command: str
    windows: Windows | None = None
    metadynamics: Metadynamics | None = None
    hydrogen_mass: float | None = Field(default=None, gt=0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever analyses it has to know."""
        if self.hydrogen_mass is None:
            return ()
        return (f"made with hydrogens of {self.hydrogen_mass:g} u: its times are not those of the molecules",)

    @property
    def bias(self) -> Windows | Metadynamics | None:
        """What it is biased by."""
        return self.windows or self.metadynamics

    @property
    def bound_together(self) -> bool:
        """Whether its trajectories act on each other: they run in one process, and end together."""
        return self.kind == "remd" or (self.metadynamics is not None and self.metadynamics.walkers > 1)


@dataclass(frozen=True)
class Member:
    """One temperature (K) of a sweep, or one window or walker at it: its name (``300K``, ``300K_5.5``, ``300K_1``)
    and its folder. hills: the folder of those that it is biased by, of all walkers at its temperature."""

    temperature: float
    name: str
    folder: Path
    window: int | None = None
    hills: Path | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder and its record."""

    folder: Path
    record: SweepRecord

    @property
    def manifest(self) -> Path:
        """The path that the record names, absolute."""
        return (self.folder / self.record.manifest).resolve()

    @property
    def ladder(self) -> Path:
        """The folder of the one process that runs all temperatures."""
        return self.folder / ("remd" if self.record.kind == "remd" else "ladder")

    @property
    def members(self) -> tuple[Member, ...]:
        """The temperatures, in the record's order; of each its windows or walkers, where there are such."""
        temperatures, windows = self.record.temperatures, self.record.windows
        if self.record.metadynamics is not None:
            walkers = self.record.metadynamics.walkers
            return tuple(
                Member(t, name, self.folder / name, hills=self.folder / walker_of(t, 0, walkers))
                for t in temperatures
                for name in (walker_of(t, k, walkers) for k in range(walkers))
            )
        if windows is None:
            return tuple(Member(t, name_of(t), self.folder / name_of(t)) for t in temperatures)
        named = [(t, f"{name_of(t)}_{centre:g}", k) for t in temperatures for k, centre in enumerate(windows.centres)]
        return tuple(Member(t, name, self.folder / name, k) for t, name, k in named)

    def member(self, folder: Path) -> Member:
        """The temperature whose folder it is. Raises InputError."""
        for member in self.members:
            if member.folder.resolve() == folder.resolve():
                return member
        raise InputError(
            f"{folder}: no temperature of the sweep; there are {', '.join(m.name for m in self.members)}"
        )


def name_of(temperature: float) -> str:
    """``300K`` for 300."""
    return f"{temperature:g}K"


def walker_of(temperature: float, walker: int, walkers: int) -> str:
    """``300K_2`` for the second of several, ``300K`` for one alone."""
    return name_of(temperature) + (f"_{walker + 1}" if walkers > 1 else "")


def prefix_of(name: str, run: str) -> str:
    """The prefix of a member's outputs, seen from the folder of its run: beside the input for one alone, in the
    member's folder for the ladder. Replicas that exchange keep theirs together, for `i-pi-remdsort`."""
    return f"../{name}/{name}" if run == "ladder" else name


def load_sweep(folder: Path) -> Sweep:
    """The sweep in a folder. Raises InputError for a folder without a record, or a record that is none."""
    path = folder / RECORD
    if not path.is_file():
        raise InputError(f"{path}: no such file; {folder} is no sweep: `delta-sgdml sweep write` makes one")
    return Sweep(folder, read_record(path, SweepRecord, "write the sweep anew"))


def load_member(folder: Path) -> tuple[Sweep, Member]:
    """One temperature by its folder, with its sweep. Raises InputError."""
    if (folder / RECORD).is_file():
        raise InputError(f"{folder}: a whole sweep, which `sweep run` runs; expected the folder of one temperature")
    sweep = load_sweep(folder.absolute().parent)
    return sweep, sweep.member(folder)
