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

if TYPE_CHECKING:
    from ...sweep.umbrella import Umbrella


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
        Literal["nvt", "pimd", "mts", "remd", "umbrella"],
        typer.Option(
            help="Classical NVT, ring polymers, multiple time steps (binding outside, fragments inside), replica "
            "exchange, or windows of a collective variable."
        ),
    ] = "nvt",
    variable: Annotated[
        str | None, typer.Option(help="With umbrella: the collective variable, as R_CM.", metavar="NAME")
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
            help="With umbrella: groups and variables, YAML, as of analyze free-energy.",
            show_default="R_CM, and R_p of two corannulenes",
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
            show_default="0.5; pimd 0.25; mts 1.0",
        ),
    ] = None,
    tau: Annotated[
        float, typer.Option(min=1.0, help="Time constant of the Langevin thermostat (fs).", metavar="FS")
    ] = 1000.0,
    beads: Annotated[int, typer.Option(min=1, help="Beads of pimd's ring polymers.", show_default="16")] = 1,
    inner: Annotated[
        int,
        typer.Option(min=1, max=20, help="With mts: steps of the fragments to one of the binding.", show_default="2"),
    ] = 1,
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

    Example: delta-sgdml sweep write models/h2o_benzene/manifest.yaml --temperatures 10:400:50 --time 10 -o demo/sweep
    """
    from ...server.address import parse_address
    from ...sweep.temperatures import parse_temperatures
    from ...sweep.write import SweepPlan, write_sweep

    host, port = None, 31415
    if inet:
        address = parse_address(f"inet:{inet}")
        host, port = address.name, address.port
    umbrella = _umbrella(manifest, variable, windows, force_constant, variables)
    plan = SweepPlan(
        parse_temperatures(temperatures), kind, time, timestep, tau, beads, inner, contract, stride, frames,
        checkpoint, exchange, seed, batch, host, port,
        Limits(stretch=stretch, energy=energy_margin, uncertainty=max_uncertainty),
        umbrella,
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
    many = f"{len(record.temperatures)} temperatures"
    if record.windows is not None:
        low, high = min(record.windows.force_constants), max(record.windows.force_constants)
        many = (
            f"{len(record.windows.centres)} windows of {record.windows.variable} at {many}, force constants "
            f"{low / KCAL_MOL:.3g} to {high / KCAL_MOL:.3g} kcal/mol/{record.windows.unit}²"
        )
    print(
        f"{output}: {many}, {record.steps} steps of {record.timestep:g} fs each; "
        f"relaxed in {record.start.steps} steps to {record.start.fmax:.1e} eV/Å; "
        f"run it: delta-sgdml sweep run {output}"
    )


def _umbrella(
    manifest: Path, variable: str | None, windows: str | None, force_constant: str, variables: Path | None
) -> Umbrella | None:
    """The windows that are asked for, if any. Raises InputError."""
    from ...errors import InputError
    from ...manifest import load_manifest
    from ...sweep.umbrella import Umbrella, parse_windows
    from ...variables.definition import default_variables, load_variables

    if variable is None and windows is None and variables is None and force_constant == "auto":
        return None
    if variable is None or windows is None:
        raise InputError("--kind umbrella goes with --variable and --windows")
    try:
        constant = None if force_constant == "auto" else float(force_constant) * KCAL_MOL
    except ValueError:
        constant = 0.0
    if constant is not None and not 0 < constant < 1e6:
        raise InputError(f"--force-constant {force_constant}: expected auto, or kcal/mol over Å² or degrees²")
    described = load_manifest(manifest)
    known = load_variables(variables, described) if variables else default_variables(described)
    return Umbrella(variable, known, parse_windows(windows), constant)
