"""delta-sgdml predict: energies and forces of structures in a file."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import DeviceOption, JsonOption, ManifestArg, OverwriteOption, ThreadsOption, check_new
from .process import complain, set_threads
from .progress import Progress
from .tables import blocks

if TYPE_CHECKING:
    from ase import Atoms

    from ..potential import Result

_CHUNK = 64  # frames evaluated together


def predict(
    manifest: ManifestArg,
    structures: Annotated[
        Path,
        typer.Argument(
            help="Structures in any format that ase reads, positions in Å.", metavar="FILE", show_default=False
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write frames with energy, forces and parts (extxyz).")
    ] = None,
    part: Annotated[Literal["all", "fragments", "binding"], typer.Option(help="Terms to evaluate.")] = "all",
    uncertainty: Annotated[
        bool,
        typer.Option("--uncertainty", help="Also expected force errors, by term and in total (RMSE, eV/Å)."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End at a frame that is not this molecule.", show_default=False)
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
) -> None:
    """Energies (eV) and forces (eV/Å) of the structures of a file.

    Molecules that periodic wrapping cut are made whole with the cell of their frame. Of frames after the first that
    are not this molecule (a bond far off), the number is told, and no mean is taken over them.

    Example: delta-sgdml predict models/h2o_benzene/manifest.yaml trajectory.xyz -o predicted.extxyz
    """
    set_threads(threads)
    import numpy as np

    from ..errors import GeometryError, InputError, NonFiniteError
    from ..ipi.frames import head_of
    from ..loading import load_potential
    from ..molecule.bonds import symbols
    from ..molecule.structures import iter_structures
    from ..terms.base import Frames

    check_new(output, overwrite)
    potential = load_potential(manifest, threads=threads, device=device)
    partial = _beside(output) if output else None
    rows: list[dict[str, float]] = []
    unlike: dict[int, str] = {}  # frames that are not this molecule, and why

    def made_whole(atoms: list[Atoms]) -> Frames:
        """Frames of this molecule; those that are not are noted, or end it."""
        periodic = np.stack([a.pbc for a in atoms])
        cut = Frames(np.stack([a.positions for a in atoms]), np.stack([a.cell.array for a in atoms]))
        if not rows:
            first = potential.whole(cut, periodic, name=None).positions[0]
            potential.check_geometry(first, f"{structures}, frame 0")
        frames = potential.whole(cut, periodic, lambda i: f"{structures}, frame {len(rows) + i}")
        for number, positions in enumerate(frames.positions, len(rows)):
            try:
                potential.check_geometry(positions, f"{structures}, frame {number}")
            except GeometryError as error:
                if strict:
                    raise
                unlike[number] = str(error)
        return frames

    def evaluate(frames: list[Atoms], sink: Any) -> None:
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.io import write

        positions, cells = made_whole(frames)
        try:
            result = potential.compute(positions, part, cells)
            errors = potential.uncertainty(positions, part, cells) if uncertainty else {}
        except (GeometryError, NonFiniteError) as error:
            raise type(error)(f"{structures}, counting from frame {len(rows)}: {error}") from None
        for i, atoms in enumerate(frames):
            atoms.positions = positions[i]
            row = {"energy": float(result.energy[i])}
            row |= {f"energy_{name}": float(e[i]) for name, e in result.parts.energies.items()}
            row |= {f"error_{name}": float(e[i]) for name, e in errors.items()}
            rows.append(row)
            if sink is not None:
                atoms.calc = SinglePointCalculator(atoms, energy=row["energy"], forces=result.forces[i])
                _annotate(atoms, row, result, i)
                write(sink, atoms, format="extxyz")

    sink = None
    progress = Progress(0, "structures")
    try:
        if partial is not None:
            sink = partial.open("w", encoding="utf-8")
        waiting: list[Atoms] = []
        in_cell = potential.cell is not None and head_of(structures) is not None  # i-PI's, which are in one
        for number, atoms in enumerate(iter_structures(structures)):
            atoms.pbc = atoms.pbc | in_cell
            if not np.array_equal(atoms.numbers, potential.numbers):
                raise GeometryError(
                    f"{structures}, frame {number}: {''.join(symbols(atoms.numbers))}, expected "
                    f"{''.join(symbols(potential.numbers))} in this order"
                )
            waiting.append(atoms)
            if len(waiting) == _CHUNK:
                evaluate(waiting, sink)
                waiting = []
                progress(len(rows))
        if waiting:
            evaluate(waiting, sink)
        if sink is not None and partial is not None and output is not None:
            sink.close()
            if partial != output:
                partial.replace(output)
    except OSError as error:
        raise InputError(f"{output or structures}: {error.strerror}") from None
    finally:
        if sink is not None:
            with suppress(OSError):  # a full disk, already told
                sink.close()
        if partial is not None and partial != output:
            with suppress(OSError):
                partial.unlink()
        progress.end()

    if unlike:
        first = next(iter(unlike.values()))
        complain(f"{len(unlike)} of {len(rows)} frames are not this molecule, the first of them: {first}")
    if as_json:
        said = {"name": potential.name, "unit": "eV", "frames": rows, "unlike": list(unlike)}
        print(json.dumps(said | ({"error_unit": "eV/Ang"} if uncertainty else {})))
    elif output is None:
        names = list(rows[0])
        units = {name: "eV/Å" if name.startswith("error_") else "eV" for name in names}
        columns = [[f"{name} ({units[name]})", *(f"{row[name]:.8f}" for row in rows)] for name in names]
        for line in blocks(["frame", *map(str, range(len(rows)))], columns):
            print(line)
    else:
        energies = [row["energy"] for number, row in enumerate(rows) if number not in unlike]
        mean = sum(energies) / len(energies)
        of = f" of {len(energies)}:" if unlike else ""
        print(f"{len(rows)} structures → {output} (mean energy{of} {mean:.6f} eV)")


def _beside(output: Path) -> Path:
    """Where to write until all is written: beside the output, but straight to a device or a pipe."""
    from ..errors import InputError

    if output.is_dir():
        raise InputError(f"{output}: is a directory, expected the name of a file")
    special = output.exists() and not output.is_file()
    return output if special else output.with_name(f".{output.name}.{os.getpid()}.part")


def _annotate(atoms: Atoms, row: dict[str, float], result: Result, i: int) -> None:
    """Parts beside the total: energies (eV), errors (eV/Å) in the comment line; binding forces (eV/Å) as a column."""
    atoms.info |= {name: value for name, value in row.items() if name != "energy"}
    if result.parts.binding_forces is not None:
        atoms.arrays["binding_forces"] = result.parts.binding_forces[i]
