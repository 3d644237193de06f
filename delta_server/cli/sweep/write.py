"""delta-sgdml sweep write: inputs for a ladder of temperatures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...molecule.limits import Limits
from ...units import KCAL_MOL
from ..options import EnergyMarginOption, ManifestArg, MaxUncertaintyOption, StretchOption
from ..process import complain
from ..progress import Line
from .biased import flooding, umbrella

if TYPE_CHECKING:
    from ...sweep.record import Metadynamics


def write(
    manifest: ManifestArg,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the sweep.", metavar="DIR", show_default=False)
    ],
    temperatures: Annotated[
        str,
        typer.Option(
            help="Temperatures (K): FIRST:LAST:STEP (10:400:50 is 10, 50, 100, … 400) or a list, 10,50,300.",
            metavar="RANGES",
        ),
    ] = "10:400:50",
    kind: Annotated[
        Literal["nvt", "pimd", "mts", "remd", "umbrella", "metadynamics"],
        typer.Option(
            help="Classical NVT, ring polymers, multiple time steps (binding outside, fragments inside), replica "
            "exchange, windows of a collective variable, or hills along one or two."
        ),
    ] = "nvt",
    variable: Annotated[
        str | None,
        typer.Option(
            help="With umbrella: the collective variable, as R_CM; with metadynamics one or two, R_p,R_CM.",
            metavar="NAME",
        ),
    ] = None,
    windows: Annotated[
        str | None,
        typer.Option(help="With umbrella: centres FIRST:LAST:STEP or a list, in Å or degrees.", metavar="RANGES"),
    ] = None,
    force_constant: Annotated[
        str,
        typer.Option(
            help="With umbrella: kcal/mol over Å² or degrees², or auto: kT over the square of half a step.",
            metavar="K",
        ),
    ] = "auto",
    variables: Annotated[
        Path | None,
        typer.Option(
            help="Groups and collective variables, YAML, as of analyze free-energy.",
            show_default="R_CM, and R_p of two corannulenes",
        ),
    ] = None,
    height: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="With metadynamics: of the first hill (kcal/mol).",
            metavar="X",
            show_default="kT/3 of each temperature",
        ),
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(
            help="With metadynamics: σ of the hills in each variable's unit, as 0.2 or 0.1,0.2.",
            metavar="X",
            show_default="0.2 Å; 10°, of dihedrals 20°; 0.2 contacts",
        ),
    ] = None,
    pace: Annotated[
        int | None, typer.Option(min=1, help="With metadynamics: steps between hills.", show_default="500")
    ] = None,
    bias_factor: Annotated[
        float | None,
        typer.Option(min=1.01, max=1e6, help="With metadynamics: γ, F is filled up but for F/γ.", show_default="10"),
    ] = None,
    walkers: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="With metadynamics: walkers that share hills.", show_default="1"),
    ] = None,
    fill: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="With metadynamics: for how long there are hills (ps); what follows has a fixed bias.",
            metavar="PS",
            show_default="to the end",
        ),
    ] = None,
    walls: Annotated[
        str | None,
        typer.Option(
            help="With metadynamics: where each variable is held back, as 2:12, :12 or 2:12,:5.",
            metavar="RANGES",
            show_default="distances and heights 10 Å beyond the start",
        ),
    ] = None,
    time: Annotated[float, typer.Option(min=0.001, help="Length of each trajectory (ps).", metavar="PS")] = 500.0,
    timestep: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=10.0,
            help="Time step (fs); with mts the binding's.",
            metavar="FS",
            show_default="0.5; mts 1.0",
        ),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            help="Time constant of the Langevin thermostat (fs).",
            metavar="FS",
            show_default="1000; umbrella 100",
        ),
    ] = None,
    hydrogen_mass: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=8.0,
            help="Mass of hydrogens (u), taken from what they are bound to: with 3 time steps of 2 fs are as good as "
            "of 1 fs without, for averages of positions. Times are then not those of the molecules.",
            metavar="X",
            show_default="their own",
        ),
    ] = None,
    beads: Annotated[int, typer.Option(min=1, help="Beads of pimd's ring polymers.", show_default="16")] = 1,
    inner: Annotated[
        int | None,
        typer.Option(min=2, max=20, help="With mts: steps of the fragments to one of the binding.", show_default="2"),
    ] = None,
    contract: Annotated[
        int, typer.Option(min=0, help="With pimd: beads that the binding is computed on.", show_default="all")
    ] = 0,
    stride: Annotated[int, typer.Option(min=1, help="Steps between recorded energies.")] = 20,
    frames: Annotated[int, typer.Option(min=1, help="Steps between recorded geometries.")] = 100,
    checkpoint: Annotated[int, typer.Option(min=1, help="Steps between checkpoints: what a crash may cost.")] = 2000,
    exchange: Annotated[int, typer.Option(min=1, help="With remd: mean steps between exchanges.")] = 20,
    seed: Annotated[int, typer.Option(min=1, help="Seed of the random numbers.")] = 31415,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Structures in a request; fewer are shared by several drivers.", show_default="all"),
    ] = None,
    inet: Annotated[
        str | None,
        typer.Option(
            help="Listen there for drivers on other machines; each temperature takes the next port.",
            metavar="HOST:PORT",
        ),
    ] = None,
    stretch: StretchOption = Limits.stretch,
    energy_margin: EnergyMarginOption = Limits.energy,
    max_uncertainty: MaxUncertaintyOption = Limits.uncertainty,
    structure: Annotated[
        Path | None,
        typer.Option(help="Start geometry, such as start.xyz of another sweep.", show_default="the manifest's"),
    ] = None,
    relax: Annotated[bool, typer.Option(help="Relax the start geometry first.", show_default="relax")] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a sweep that is there, with all that it ran.")
    ] = False,
) -> None:
    """Write i-PI inputs for a ladder of temperatures.

    A folder for each temperature, and one i-PI process that runs them all, for `delta-sgdml sweep run`. The start
    geometry is relaxed with the model (refused where that leads far beyond what it was trained on), velocities are
    thermal, the centre of mass stands still. The thermostat is
    Langevin's: local, so that a molecule in a vacuum is thermalised even at 10 K. Its τ of 1 ps is weak: friction
    1/τ slows the rotation that one wants to see.

    With --kind umbrella a folder for each window of a collective variable, with a harmonic bias that i-PI computes
    itself and keeps apart from the potential (with --beads: on the centroid). Starts are pulled there from the start
    geometry. `sweep status` tells how far neighbours overlap, `analyze free-energy` makes one curve of them.

    With --kind metadynamics (well-tempered) i-PI puts hills along the variable, all of them in hills.dat, until it
    goes everywhere: `sweep status` tells where it has been. Several walkers at a temperature share their hills. After
    --fill there are no more of them, and F is of what follows.

    Example: delta-sgdml sweep write models/h2o_benzene/manifest.yaml --temperatures 10:400:50 --time 10 -o demo/sweep
    """
    from ...server.address import parse_address
    from ...sweep.temperatures import parse_temperatures
    from ...sweep.write import SweepPlan, write_sweep

    host, port = None, 31415
    if inet:
        address = parse_address(f"inet:{inet}")
        host, port = address.name, address.port
    windowed = umbrella(manifest, variable, windows, force_constant, variables) if kind != "metadynamics" else None
    given = {"height": height, "width": width, "pace": pace, "bias_factor": bias_factor, "walkers": walkers}
    flood = flooding(manifest, variable, variables, kind == "metadynamics", given | {"fill": fill, "walls": walls})
    plan = SweepPlan(
        parse_temperatures(temperatures), kind, time, timestep, tau, beads, inner, contract, stride, frames,
        checkpoint, exchange, seed, batch, host, port,
        Limits(stretch=stretch, energy=energy_margin, uncertainty=max_uncertainty),
        windowed, flood, hydrogen_mass,
    )  # fmt: skip
    command = shlex.join(["delta-sgdml", *sys.argv[1:]])
    with Line(elsewhere=None) as line:
        sweep = write_sweep(
            manifest,
            output,
            plan,
            overwrite=overwrite,
            relax=relax,
            structure=structure,
            command=command,
            on_relax=lambda step, fmax: line.update(f"relaxing: step {step}, largest force {fmax:.1e} eV/Å"),
            on_event=complain,
            on_window=lambda k: line.update(f"pulled to window {k + 1}"),
        )
    record = sweep.record
    kelvins = record.temperatures
    many = f"{len(kelvins)} temperatures" if len(kelvins) > 1 else f"{kelvins[0]:g} K"
    if record.windows is not None:
        low, high = min(record.windows.force_constants), max(record.windows.force_constants)
        many = (
            f"{len(record.windows.centres)} windows of {record.windows.variable} at {many}, force constants "
            f"{low / KCAL_MOL:.3g} to {high / KCAL_MOL:.3g} kcal/mol/{record.windows.unit}²"
        )
    if (told := record.metadynamics) is not None:
        widths = ", ".join(f"{n} {w:g} {u}" for n, w, u in zip(told.variables, told.widths, told.units, strict=True))
        many = (
            f"{told.walkers} walkers at {many}, first hills of {max(told.heights) / KCAL_MOL:.3g} kcal/mol, "
            f"σ {widths}, each {told.pace} steps, {_held(told)}"
        )
    print(
        f"{output}: {many}, {record.steps} steps of {record.timestep:g} fs each; "
        f"relaxed in {record.start.steps} steps to {record.start.fmax:.1e} eV/Å; "
        f"run it: delta-sgdml sweep run {output}"
    )


def _held(told: Metadynamics) -> str:
    """Where its walls are."""
    ends = zip(told.variables, told.walls, told.units, strict=True)
    held = [
        f"{name} held back at {' and '.join(f'{x:g}' for x in wall if x is not None)} {unit}"
        for name, wall, unit in ends
        if wall != (None, None)
    ]
    return ", ".join(held) or "no walls"
