"""delta-sgdml input: an i-PI input for a manifest."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import ManifestArg, OverwriteOption


def write_input(
    manifest: ManifestArg,
    output: Annotated[Path, typer.Option("-o", "--output", help="Input to write (.xml).", show_default=False)],
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Temperature (K), also of the first velocities.", metavar="K")
    ] = 300.0,
    time: Annotated[float, typer.Option(min=0.001, help="Length of the run (ps).", metavar="PS")] = 20.0,
    timestep: Annotated[float, typer.Option(min=0.01, max=10.0, help="Time step (fs).", metavar="FS")] = 0.5,
    ensemble: Annotated[
        Literal["nvt", "nve", "npt"],
        typer.Option(help="With a Langevin thermostat, without, or at a pressure too (periodic assemblies)."),
    ] = "nvt",
    pressure: Annotated[
        float | None, typer.Option(help="Pressure of NPT (bar).", metavar="X", show_default="1 bar")
    ] = None,
    flexible: Annotated[
        bool, typer.Option("--flexible", help="With npt: the cell's edges and angles change, as a crystal's do.")
    ] = False,
    inner: Annotated[
        int,
        typer.Option(
            min=1,
            max=20,
            help="Steps of the fragments to one of the binding, whose time step is then --timestep.",
            metavar="N",
        ),
    ] = 1,
    beads: Annotated[int, typer.Option(min=1, help="Beads of the ring polymers, evaluated in one batch.")] = 1,
    stride: Annotated[int, typer.Option(min=1, help="Steps between recorded energies.", metavar="N")] = 20,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps between recorded geometries (default: as energies).", metavar="N", show_default=False
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write an i-PI input for a manifest and its start geometry.

    `delta-sgdml run` (or i-PI) starts from it; the manifest's structure lies beside it as init.xyz.

    Example: delta-sgdml input models/h2o_benzene/manifest.yaml -o demo/nvt.xml --temperature 300
    """
    from ..errors import InputError
    from ..files.whole import write_whole
    from ..ipi.simulation import Simulation
    from ..manifest import load_manifest
    from ..molecule.structures import read_structure, write_structure
    from ..terms.bias import bias_extras

    described = load_manifest(manifest)
    if ensemble == "npt" and not described.periodic:
        raise InputError(f"{manifest}: NPT is for assemblies in a cell (periodic: true)")
    if pressure is not None and (ensemble != "npt" or not isfinite(pressure)):
        raise InputError(f"--pressure {pressure:g}: expected a number of bar, with --ensemble npt")
    if flexible and ensemble != "npt":
        raise InputError("--flexible goes with --ensemble npt")
    if inner > 1 and bias_extras(described):
        raise InputError(f"{manifest}: --inner: has a bias, which belongs to neither fragments nor binding")
    if inner > 1 and not described.has_binding:
        raise InputError(f"{manifest}: --inner: there is no binding, to be computed less often than fragments")
    start = output.with_name("init.xyz")
    for path in (output, start):
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists; give --overwrite, or another folder")
    simulation = Simulation(
        described.name, described.recorded,
        temperature, time, timestep, ensemble, beads, stride=stride, frames=frames, binding=described.has_binding,
        extras=bias_extras(described), inner=inner, pressure=1.0 if pressure is None else pressure, flexible=flexible,
        periodic=bool(described.periodic),
    )  # fmt: skip
    run = f"delta-sgdml run {output} {manifest}"
    comment = f"{described.name}: {simulation.summary}.\n     {run}"
    atoms = read_structure(described.resolve(described.structure))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_structure(start, atoms, bool(described.periodic))
    try:
        write_whole(output, simulation.xml(start.name, output.stem, comment))
    except InputError:
        if not overwrite:
            start.unlink()  # so that the same can be asked for again
        raise
    print(f"{output}: {simulation.steps} steps; run it: {run}")
