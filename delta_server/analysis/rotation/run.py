"""Which molecule turns against which, and how it does in a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..._types import IntArray
from ...errors import InputError
from ...manifest import Manifest
from ...molecule.ranges import parse_atoms
from ..runs import made_with
from ..trajectory import OnFrames, Run, spacing
from .diffusion import TURN, Rotation, rotation
from .rigid import orientations


def analyze_rotation(
    run: Run,
    manifest: str | Path | Manifest | None = None,
    guest: str | Sequence[int] | None = None,
    host: str | Sequence[int] | None = None,
    *,
    every: int = 1,
    longest: float | None = None,
    turn: float = TURN,
    progress: OnFrames | None = None,
) -> Rotation:
    """How a guest turns in its host: MSAD, D_r (rad²/ps) where there is diffusion, the correlations C_1 and C_2, and
    turns that are counted.

        >>> from delta_server.analysis import analyze_rotation, find_runs
        >>> [run] = find_runs("demo/h2o_benzene")
        >>> water = analyze_rotation(run)
        >>> water.msad.shape == water.lags.shape, water.d is not None
        (True, True)
        >>> half, full = water.turns  # of 30° and of 60°
        >>> half.number > full.number > 0
        True

    manifest: by default the one that the run was made with. guest, host: as in `bodies`. every: takes every n-th
    frame. longest: ps, the longest lag. turn: degrees that count as a turn; wider than a cage. Raises InputError.
    """
    turning, still = bodies(guest, host, made_with(run, manifest).manifest)
    return rotation_in(replace(run, progress=progress), turning, still, every=every, longest=longest, turn=turn)


def bodies(
    guest: str | Sequence[int] | None, host: str | Sequence[int] | None, manifest: Manifest | None
) -> tuple[IntArray, IntArray | None]:
    """The atoms that turn, and those that they turn against; None for the laboratory.

    guest, host: a fragment's name, or atoms as in a manifest (``"0:60"``); host also ``"lab"``. By default the first
    fragment, and the other one where there are two. Raises InputError.
    """
    fragments = {} if manifest is None else {fragment.name: fragment.atoms for fragment in manifest.fragments}
    names = list(fragments)

    def atoms(given: str | Sequence[int], option: str) -> IntArray:
        if isinstance(given, str) and given in fragments:
            return np.array(fragments[given], dtype=np.intp)
        try:
            return np.array(parse_atoms(given if isinstance(given, str) else list(given)), dtype=np.intp)
        except ValueError as error:
            known = f"; fragments: {', '.join(names)}" if names else "; fragments are known with --manifest"
            raise InputError(f"{option} {given}: {error}{known}") from None

    if guest is None and not names:
        raise InputError("which molecule turns? give --guest 0:60, or --manifest")
    turning = atoms(names[0] if guest is None else guest, "--guest")
    if host is None and len(names) == 2:
        others = [name for name in names if not set(fragments[name]) & set(turning.tolist())]
        host = others[0] if len(others) == 1 else None
    still = None if host is None or host == "lab" else atoms(host, "--host")
    if still is not None and (both := np.intersect1d(turning, still)).size:
        raise InputError(f"atom {both[0]} is both of what turns and of what it turns against; give two molecules")
    return turning, still


def rotation_in(
    run: Run,
    guest: IntArray,
    host: IntArray | None,
    *,
    every: int = 1,
    longest: float | None = None,
    turn: float = TURN,
    before: int | None = None,
) -> Rotation:
    """The rotation of the atoms `guest` against `host` (None: the laboratory), up to the step `before`.

    Raises InputError for atoms that are not there, without a time between frames, or with fewer than two frames.
    """
    numbers = run.numbers
    for atoms in (guest, host):
        if atoms is not None and int(atoms.max()) >= len(numbers):
            raise InputError(f"{run.path}: {len(numbers)} atoms, --guest or --host names atom {int(atoms.max())}")
    if run.exchanged:
        raise InputError(
            f"{run.path}: its temperature changed while it ran (replicas exchanged theirs?); a rotation is of one "
            "temperature"
        )
    times = run.time(run.steps[::every])
    if len(times) < 2:
        raise InputError(f"{run.path}: one frame has no time between frames; expected a trajectory")
    interval = float(f"{spacing(times):.9g}")  # a difference of times knows no more digits
    if not interval > 0:
        raise InputError(f"{run.path}: the time between its frames is not known; give --timestep")
    turned = orientations(run.finite_blocks(every), run.masses, guest, host)
    if before is not None:
        turned = turned.take(slice(0, int(np.searchsorted(turned.steps, before))))
        if len(turned.steps) < 2:
            raise InputError(f"only {len(turned.steps)} frames before it failed")
    return rotation(turned, interval, run.name, run.temperature, longest, turn)
