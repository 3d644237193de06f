"""delta-sgdml dataset select: the frames of a trajectory that are worth labelling."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import GeometryError, InputError
from ..options import JsonOption, ManifestArg, OverwriteOption, ThreadsOption, check_new, check_suffix
from ..process import complain, set_threads
from ..progress import Progress

if TYPE_CHECKING:
    from ...active.acquisition import Pick
    from ...data.structures import Structures
    from ...potential import Potential


def select(
    trajectory: Annotated[
        Path,
        typer.Argument(
            help="Frames to choose from, in any format that ase reads (Å), or .npz.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    manifest: ManifestArg,
    output: Annotated[Path, typer.Option("-o", "--output", help="Frames to label (extxyz).", show_default=False)],
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Frames to choose.")] = 50,
    term: Annotated[
        str, typer.Option(metavar="NAME", help="Whose errors count: all, binding, or a fragment's by its name.")
    ] = "all",
    anew: Annotated[
        bool,
        typer.Option("--anew", help="For models that start from these alone, as with labels of another method."),
    ] = False,
    every: Annotated[int, typer.Option(min=1, help="Look at every N-th frame.")] = 1,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    threads: ThreadsOption = 1,
) -> None:
    """Choose the frames of a trajectory that are worth labelling.

    A Δ-model would learn most from them: large expected errors, unlike each other; with --term binding, those that
    tell most about the binding of all the others. Label them (`dataset label`) and train on them as well.

    With --anew what the model was trained on does not count as known: labels by a better method, to start from.

    Example: delta-sgdml dataset select run.xyz models/h2o_benzene/manifest.yaml -n 50 -o picked.extxyz
    """
    set_threads(threads)
    import numpy as np

    from ...active.acquisition import pick
    from ...data.structures import read_structures, same_atoms
    from ...loading import load_potential

    check_suffix(output, ".extxyz", ".xyz")
    check_new(output, overwrite)
    potential = load_potential(manifest, threads=threads)
    structures = read_structures(trajectory)
    same_atoms(trajectory, 0, potential.numbers, structures.numbers)
    frames = np.arange(0, len(structures), every)
    whole = np.array([_is_whole(potential, structures.positions[i]) for i in frames])
    if not whole.any():
        potential.check_geometry(structures.positions[frames[0]], f"{trajectory}, frame {frames[0]}")
    if not whole.all():
        complain(
            f"warning: {(~whole).sum()} of {len(frames)} frames cannot be {potential.name} and are left out, the "
            f"first is {frames[~whole][0]}"
        )
    frames = frames[whole]
    with Progress(number, "frames chosen") as progress:
        picks = pick(potential, structures.positions[frames], number, term, progress, anew)
    chosen = [int(frames[p.configuration]) for p in picks]
    _write(output, structures, chosen, picks)
    if as_json:
        rows = [{"frame": i, **asdict(p)} for i, p in zip(chosen, picks, strict=True)]
        for row in rows:
            del row["configuration"]
        said = {"output": str(output), "unit": "kcal/mol/Ang", "term": term, "frames": rows}
        print(json.dumps(said | {"candidates": len(frames), "left_out": int((~whole).sum())}))
        return
    print(f"{'frame':>8}  {'expected force error':>21}  {'with those before':>21}  (RMSE, kcal/mol/Å)")
    for i, p in zip(chosen, picks, strict=True):
        print(f"{i:8d}  {p.expected_error:21.4f}  {p.left_error:21.4f}")
    print(f"{len(chosen)} of {len(frames)} frames → {output}")
    if len(chosen) < min(number, len(frames)):
        print("all others are copies of these or of training points")


def _is_whole(potential: Potential, positions: object) -> bool:
    try:
        potential.check_geometry(positions, "")  # type: ignore[arg-type]
    except GeometryError:
        return False
    return True


def _write(output: Path, structures: Structures, chosen: list[int], picks: list[Pick]) -> None:
    from ase import Atoms
    from ase.io import write

    from ...files.whole import replacing

    try:
        with replacing(output) as part, part.open("w", encoding="utf-8") as stream:
            for i, p in zip(chosen, picks, strict=True):
                info = {"frame": i, "expected_force_error_kcal_mol_ang": p.expected_error}
                write(stream, Atoms(structures.numbers, structures.positions[i], info=info), format="extxyz")
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
