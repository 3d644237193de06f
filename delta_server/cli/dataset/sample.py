"""delta-sgdml dataset sample: a trajectory to label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import OverwriteOption, check_new, check_suffix
from ..process import Stop, complain, set_threads
from ..progress import Progress
from .options import (
    CalculatorOption,
    CalculatorOptions,
    ChargesOption,
    FragmentsOption,
    MultiplicityOption,
    electrons_of,
)


def sample(
    geometry: Annotated[
        Path,
        typer.Argument(
            help="Start geometry (first frame), in any format that ase reads (Å).", metavar="FILE", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Trajectory to write (extxyz).", show_default=False)],
    temperature: Annotated[float, typer.Option(min=0.0, help="Temperature (K).", metavar="K")] = 300.0,
    frames: Annotated[
        int,
        typer.Option(min=0, help="Frames of the dynamics to write; 0: none, FILE's configurations are bound ones."),
    ] = 500,
    apart: Annotated[
        int, typer.Option(min=0, help="Configurations with the fragments placed from contact to 30 Å, beside them.")
    ] = 0,
    every: Annotated[int, typer.Option(min=1, help="Steps between them.")] = 20,
    timestep: Annotated[float, typer.Option(min=0.01, max=10.0, help="Time step (fs).", metavar="FS")] = 1.0,
    equilibrate: Annotated[
        float, typer.Option(min=0.0, help="Time before the first configuration (fs).", metavar="FS")
    ] = 1000.0,
    wall: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Distance of the centres of mass (Å) where a soft wall begins.",
            show_default="the relaxed distance + 1.5",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of velocities and friction.")] = 0,
    calculator: CalculatorOption = "gfn2-xtb",
    option: CalculatorOptions = [],  # noqa: B006
    fragments: FragmentsOption = None,
    charges: ChargesOption = None,
    multiplicity: MultiplicityOption = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the calculator.")] = 1,
    overwrite: OverwriteOption = False,
) -> None:
    """Relax a complex and sample it by Langevin dynamics.

    With --apart also the road from bound to free: distances and orientations that the dynamics does not show, with
    the fragments as they are in further frames of it. Ctrl-C keeps the frames that are there.

    Example: delta-sgdml dataset sample complex.xyz -o trajectory.extxyz --temperature 300 --frames 500 --apart 150
    """
    set_threads(threads)
    from ase.io import write

    from ...data.labels import LabelTask
    from ...data.sample import SamplePlan
    from ...data.sample import sample as run
    from ...data.structures import read_structures
    from ...errors import InputError
    from ...files.whole import replacing
    from ...methods import Method, parse_options

    check_suffix(output, ".extxyz", ".xyz")
    check_new(output, overwrite)
    method = Method(calculator, parse_options(option))
    method.load()
    found = read_structures(geometry).in_fragments(fragments)
    task = LabelTask(found, method, *electrons_of(found, charges, multiplicity))
    if not frames + apart:
        raise InputError("--frames 0 and no --apart: nothing to write")
    plan = SamplePlan(temperature, frames, every, timestep, equilibrate, wall=wall, seed=seed, apart=apart)
    failed: InputError | None = None
    stop = Stop(lambda number: SystemExit(128 + number), "stopping; the frames that are there are kept")
    progress, made = Progress(frames + apart, "frames"), 0
    try:
        with replacing(output) as part:
            with part.open("w", encoding="utf-8") as stream:
                try:
                    for atoms in run(task, plan, stop):
                        write(stream, atoms, format="extxyz")
                        made += 1
                        progress(made)
                except InputError as error:
                    failed = error
            if not made:
                part.unlink()
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
    finally:
        progress.end()
    if failed is not None:
        raise InputError(f"{failed}" + f"; {made} of {frames + apart} frames are kept in {output}" * (made > 0))
    if stop():
        complain(f"stopped after {made} of {frames + apart} frames" + (f", kept in {output}" if made else ""))
        raise typer.Exit(stop.exit_code)
    what = [f"{frames} frames at {temperature:g} K, every {every * timestep:g} fs, {method.theory}"] * (frames > 0)
    print(f"{output}: {', and '.join(what + [f'{apart} with the fragments apart'] * (apart > 0))}")
