"""Writing a sweep: the start geometry relaxed with the model itself, an input for each temperature, one for all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .._types import FloatArray
from ..errors import DeltaError, GeometryError, InputError, ModelFileError
from ..files.documents import versions
from ..files.lock import is_locked
from ..files.whole import write_json, write_whole
from ..ipi.simulation import Simulation, System
from ..loading import load_potential
from ..manifest import Manifest, load_manifest
from ..molecule.limits import Limits
from ..molecule.masses import repartitioned
from ..molecule.structures import read_structure, write_structure
from ..potential import Departure, Potential
from ..server.record import hashes, relative
from ..terms.bias import bias_extras
from .metadynamics import Flooding, Ground
from .record import (
    BIAS,
    BIAS_PES,
    HILLS,
    INIT,
    INPUT,
    PREFIX,
    RECORD,
    Member,
    Relaxed,
    Sweep,
    SweepKind,
    SweepRecord,
    load_sweep,
    prefix_of,
)
from .umbrella import Umbrella, pull, write_bias

if TYPE_CHECKING:
    from ase import Atoms

_FMAX = 1e-3  # eV/Å
_MAX_STEPS = 1000
_LOOK = 20  # steps of relaxing between looks at expected errors
START = "start.xyz"
_PES = """from delta_server.sweep.bias_pes import {0}

__DRIVER_NAME__ = "bias"
__DRIVER_CLASS__ = "{0}"
"""
_BIASED = ("umbrella", "metadynamics")
_STAGED = ".part"  # where a sweep is written before it appears in its folder


@dataclass(frozen=True)
class SweepPlan:
    """What to write. Temperatures in K, time in ps, time step (default: 0.5, of kind mts 1.0) and tau
    (default: 1000, but 100 of windows, in which nothing that moves freely is to be seen) in fs; stride (of energies),
    frames (of geometries), checkpoint and exchange in steps; umbrella, metadynamics: of that kind; hydrogen_mass: u,
    for a longer time step (`molecule.masses`)."""

    temperatures: Sequence[float]
    kind: SweepKind = "nvt"
    time: float = 500.0
    timestep: float | None = None
    tau: float | None = None
    beads: int = 1
    inner: int | None = None
    contract: int = 0
    stride: int = 20
    frames: int = 100
    checkpoint: int = 2000
    exchange: int = 20
    seed: int = 31415
    batch: int | None = None
    host: str | None = None
    port: int = 31415
    limits: Limits = field(default_factory=Limits)
    umbrella: Umbrella | None = None
    metadynamics: Flooding | None = None
    hydrogen_mass: float | None = None


def write_sweep(
    manifest: Path,
    folder: Path,
    plan: SweepPlan,
    *,
    overwrite: bool = False,
    relax: bool = True,
    structure: Path | None = None,
    command: str = "",
    on_relax: Callable[[int, float], None] = lambda steps, fmax: None,
    on_event: Callable[[str], None] = lambda event: None,
    on_window: Callable[[int], None] = lambda window: None,
) -> Sweep:
    """Write a sweep of the manifest's complex into a folder.

    overwrite: replace a sweep, and delete what it has run. structure: start geometry, by default the manifest's;
    relax: with the model, first. command: what was typed, for the record. on_relax is told the optimiser's steps and
    the largest force in eV/Å, on_event what a user would want to know, on_window which window a pull has reached.
    Raises InputError, also where relaxing leads far beyond what the model was trained on.
    """
    plan = _checked(plan)
    described = load_manifest(manifest)
    extras = bias_extras(described)
    if extras and (plan.kind == "mts" or plan.contract):
        raise InputError(f"{manifest}: has a bias, which belongs to neither fragments nor binding; leave it out")
    if plan.kind == "mts" and not described.has_binding:
        raise InputError(f"{manifest}: has no binding; multiple time steps split fragments and binding")
    if described.species and (plan.kind in ("mts", *_BIASED) or plan.contract):
        raise InputError(f"{manifest}: ladders of an assembly are of --kind nvt, remd or pimd, without --contract")
    potential = load_potential(described)
    old = _make_room(folder, overwrite)
    source = structure or described.resolve(described.structure)
    atoms = read_structure(source)
    if atoms.numbers.tolist() != potential.numbers.tolist():
        raise InputError(f"{source}: not the atoms of {described.structure}, in its order")
    potential.check_geometry(atoms.positions, str(source))
    masses = _masses(plan, atoms)  # refused before anything is relaxed
    start = _relax(atoms, potential, _MAX_STEPS if relax else 0, on_relax)
    if relax and (left := _left(potential, atoms.positions)):
        on_event(f"the relaxed start has left what the model was trained on, {left}")
    starts: list[FloatArray] = []
    if plan.umbrella is not None:
        coldest = min(plan.temperatures)
        windows = plan.umbrella.windows(coldest)
        starts = pull(
            potential, windows, atoms.positions, coldest, plan.seed, plan.timestep or 0.5, on_window, masses
        )
    return lay_out(folder, described, plan, atoms, start, command, old, starts)


def lay_out(
    folder: Path,
    described: Manifest,
    plan: SweepPlan,
    atoms: Atoms,
    start: Relaxed,
    command: str = "",
    old: Sweep | None = None,
    starts: Sequence[FloatArray] = (),
) -> Sweep:
    """Write a sweep's record, and its inputs, for a start geometry as it is.

    start: how it was relaxed; old: the sweep that it replaces, which stays until all is written; starts: of each
    window, (N, 3) Å. Raises InputError.
    """
    plan = _checked(plan)
    simulation = _simulation(plan, described)
    if (masses := _masses(plan, atoms)) is not None:
        simulation = replace(simulation, masses=tuple(masses.round(6).tolist()))
    record = SweepRecord(
        name=described.name,
        kind=plan.kind,
        manifest=relative(described.path, folder),
        sha256=hashes(described),
        temperatures=tuple(plan.temperatures),
        steps=simulation.steps,
        timestep=simulation.timestep,
        tau=simulation.tau,
        beads=simulation.beads,
        stride=plan.stride,
        frames=plan.frames,
        checkpoint=plan.checkpoint,
        seed=plan.seed,
        limits=plan.limits,
        start=start,
        versions=versions("delta-server", "ipi", "ase", "numpy", missing="not installed"),
        command=command,
        windows=None if plan.umbrella is None else plan.umbrella.windows(min(plan.temperatures)),
        metadynamics=None
        if plan.metadynamics is None
        else plan.metadynamics.record(
            plan.temperatures, atoms.numbers, atoms.positions, simulation.steps, simulation.timestep
        ),
        hydrogen_mass=plan.hydrogen_mass,
    )
    new = not folder.exists()
    staged = Sweep(folder / _STAGED, record)
    try:
        _write(staged, simulation, atoms, starts)
        if old is not None:
            _delete(old)
        for path in staged.folder.iterdir():
            if path.name != RECORD:
                path.replace(folder / path.name)
        (staged.folder / RECORD).replace(folder / RECORD)
        staged.folder.rmdir()
    except BaseException as error:  # Ctrl-C too
        if not (staged.folder / RECORD).exists():  # the record comes last
            shutil.rmtree(folder if new else staged.folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(f"{error.filename or folder}: {error.strerror}") from None
        raise
    return Sweep(folder, record)


def _checked(plan: SweepPlan) -> SweepPlan:
    """The plan with what follows from its kind. Raises InputError."""
    if plan.frames % plan.stride:
        raise InputError(f"--frames {plan.frames}: expected a multiple of --stride {plan.stride}")
    if plan.checkpoint % plan.stride:
        raise InputError(f"--checkpoint {plan.checkpoint}: expected a multiple of --stride {plan.stride}")
    if plan.kind == "remd" and len(plan.temperatures) < 2:
        raise InputError("--kind remd: replicas are exchanged between temperatures; give at least two")
    if plan.beads > 1 and plan.kind not in ("pimd", *_BIASED):
        raise InputError(f"--beads goes with --kind pimd, {' or '.join(_BIASED)}")
    if (plan.kind == "umbrella") != (plan.umbrella is not None):
        raise InputError("--kind umbrella goes with --variable and --windows")
    if (plan.kind == "metadynamics") != (plan.metadynamics is not None):
        raise InputError("--kind metadynamics goes with --variable")
    if plan.inner and plan.kind != "mts":
        raise InputError("--inner goes with --kind mts")
    if plan.contract and (plan.kind != "pimd" or plan.contract >= (plan.beads if plan.beads > 1 else 16)):
        raise InputError(f"--contract {plan.contract}: goes with --kind pimd, and is less than its --beads")
    if plan.hydrogen_mass is not None and (plan.beads > 1 or plan.kind == "pimd"):
        raise InputError("--hydrogen-mass: nuclei that are quantum have the masses that they have")
    if plan.host and plan.port + 2 * len(plan.temperatures) > 65535:
        raise InputError(f"--port {plan.port}: every temperature needs a port of its own, up to 65535")
    default = 1.0 if plan.kind == "mts" else 0.5
    inner = (plan.inner or 2) if plan.kind == "mts" else None
    beads = 16 if plan.kind == "pimd" and plan.beads == 1 else plan.beads
    tau = plan.tau or (100.0 if plan.kind == "umbrella" else 1000.0)
    return replace(plan, timestep=plan.timestep or default, tau=tau, inner=inner, beads=beads)


def _masses(plan: SweepPlan, atoms: Atoms) -> FloatArray | None:
    """(N,) u, where they are not those of the elements. Raises InputError."""
    if plan.hydrogen_mass is None:
        return None
    return repartitioned(atoms.numbers, atoms.positions, plan.hydrogen_mass)


def _make_room(folder: Path, overwrite: bool) -> Sweep | None:
    """The sweep that is there and may be replaced; None where nothing is. What is left of a sweep that was being
    written when that was interrupted is deleted. Raises InputError."""
    staged = folder / _STAGED
    if not folder.exists() or (folder.is_dir() and not set(folder.iterdir()) - {staged}):
        shutil.rmtree(staged, ignore_errors=True)
        return None
    interrupted = (staged / RECORD).is_file() and not (folder / RECORD).exists()
    if not overwrite and not interrupted:
        raise InputError(f"{folder}: is there already; give --overwrite, or another folder")
    try:
        old = Sweep(folder, load_sweep(staged if interrupted else folder).record)
    except DeltaError:
        raise InputError(f"{folder}: holds something else than a sweep; give another folder") from None
    for place in (old.ladder, *(member.folder for member in old.members)):
        if is_locked(place):
            raise InputError(f"{place}: a run works here; stop it first")
    if not interrupted:
        return old
    _delete(old)
    shutil.rmtree(staged, ignore_errors=True)
    return None


def _delete(sweep: Sweep) -> None:
    """What is a sweep's own. Raises OSError."""
    for place in (sweep.ladder, *(member.folder for member in sweep.members)):
        shutil.rmtree(place, ignore_errors=True)
    for name in (START, BIAS_PES, RECORD):
        (sweep.folder / name).unlink(missing_ok=True)


def _relax(atoms: Atoms, potential: Potential, steps: int, on_relax: Callable[[int, float], None]) -> Relaxed:
    """Relax in place, as far as the optimiser gets in so many steps. Raises InputError when the molecule breaks, or a
    term gets far beyond what its model was trained on."""
    import numpy as np

    from ..dynamics import relax

    def go_on(step: int, largest: float) -> bool:
        on_relax(step, largest)
        if step % _LOOK == 0:
            _refuse_far(potential, atoms.positions, step)
        return True

    taken = relax(atoms, potential, steps, _FMAX, go_on)
    if steps:
        try:
            potential.check_geometry(atoms.positions)
        except GeometryError:
            raise InputError(
                f"{potential.name}: breaks while it is relaxed, so the model has no minimum near this structure; "
                "start from it as it is with --no-relax, or from another model's with --structure FILE --no-relax"
            ) from None
        _refuse_far(potential, atoms.positions, taken)
    fmax = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    return Relaxed(energy=float(atoms.get_potential_energy()), fmax=fmax, steps=taken)


def _left(potential: Potential, positions: FloatArray) -> Departure | None:
    """The term that is farthest beyond what its model was trained on, if one has left that and it is known."""
    try:
        return next(iter(potential.departures(potential.uncertainty(positions))), None)
    except ModelFileError:
        return None


def _refuse_far(potential: Potential, positions: FloatArray, step: int) -> None:
    left = _left(potential, positions)
    if left is not None and left.far:
        raise InputError(
            f"{potential.name}: relaxing leads far beyond what the model was trained on, after {step} steps {left}; "
            "start from the structure as it is with --no-relax, or teach the model: delta-sgdml learn"
        )


def _simulation(plan: SweepPlan, described: Manifest) -> Simulation:
    assert plan.timestep is not None  # `_checked` saw to it
    assert plan.tau is not None
    flooding = plan.metadynamics
    return Simulation(
        described.name,
        described.recorded,
        time=plan.time,
        timestep=plan.timestep,
        beads=plan.beads,
        stride=plan.stride,
        tau=plan.tau,
        binding=described.has_binding,
        frames=plan.frames,
        checkpoint=plan.checkpoint,
        inner=plan.inner or 1,
        contract=plan.contract,
        exchange=plan.exchange if plan.kind == "remd" else 0,
        batch=plan.batch,
        host=plan.host,
        port=plan.port,
        extras=bias_extras(described),
        bias_pes=f"../{BIAS_PES}" if plan.kind in _BIASED else "",
        bias_variables=(plan.umbrella.variable,) if plan.umbrella else flooding.variables if flooding else (),
        periodic=bool(described.periodic),
    )


def _write(sweep: Sweep, simulation: Simulation, atoms: Atoms, starts: Sequence[FloatArray]) -> None:
    """All of a sweep, the record last. Raises OSError, InputError."""
    record = sweep.record
    sweep.folder.mkdir(parents=True)
    write_structure(sweep.folder / START, atoms, simulation.periodic)
    for i, member in enumerate(sweep.members):
        member.folder.mkdir()
        if not record.bound_together:
            alone = (_system(member, "alone"),)
            port = simulation.port + i * len(simulation.sockets)
            single = replace(simulation, systems=alone, seed=record.seed + i, port=port)
            write_whole(member.folder / INPUT, single.xml(prefix=PREFIX))
            own = atoms.copy()
            if record.windows is not None and member.window is not None:
                own.positions = starts[member.window]
                write_bias(member.folder / BIAS, record.windows, member.window, atoms.numbers)
            write_structure(member.folder / INIT, own, simulation.periodic)
        if record.metadynamics is not None and member.hills == member.folder:
            height = record.metadynamics.heights[record.temperatures.index(member.temperature)]
            told = record.metadynamics.model_copy(update={"heights": (height,)})
            Ground(told, member.temperature, atoms.numbers).write(member.folder / BIAS)
    if simulation.bias_pes:
        driver = "BiasDriver" if record.windows is not None else "MetadynamicsDriver"
        write_whole(sweep.folder / BIAS_PES, _PES.format(driver))
    sweep.ladder.mkdir()
    write_structure(sweep.ladder / INIT, atoms, simulation.periodic)
    run = sweep.ladder.name
    systems = tuple(_system(member, run) for member in sweep.members)
    several = replace(simulation, systems=systems, seed=record.seed)
    write_whole(sweep.ladder / INPUT, several.xml(prefix=PREFIX))
    left_out = {name for name in ("windows", "metadynamics", "hydrogen_mass") if getattr(record, name) is None}
    write_json(sweep.folder / RECORD, record.model_dump(mode="json", exclude=left_out))


def _system(member: Member, run: str) -> System:
    prefix = prefix_of(member.name, run)
    if member.hills is not None:
        home = f"../{member.hills.name}/"
        return System(member.temperature, prefix, INIT, home + BIAS, home + HILLS)
    if member.window is None:
        return System(member.temperature, prefix, INIT)
    where = f"../{member.name}/"
    return System(member.temperature, prefix, where + INIT, where + BIAS)
