"""A ladder of water on benzene: a sweep as `delta-sgdml sweep write` writes it, with motions in it that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import ROOT
from made_runs import brownian, correlated, write_run

from delta_server.molecule.structures import read_structure
from delta_server.sweep.record import Sweep
from delta_server.sweep.session import RunOptions
from delta_server.sweep.state import MemberState
from delta_server.sweep.write import SweepPlan, write_sweep

MODELS = ROOT / "models/h2o_benzene"
DT, D, WIDTH = 0.01, 1.5, 0.12  # ps, rad²/ps, Å


def stopping_at(step: int) -> RunOptions:
    """Options of a session that is asked to stop when one of its trajectories has come so far."""
    seen: list[int] = []

    def note(states: list[MemberState]) -> None:
        seen.extend(state.step for state in states)

    return RunOptions(on_states=note, should_stop=lambda: max(seen, default=0) >= step)


def moving(n: int, seed: int, d: float = D, distance: float = 4.0) -> np.ndarray:
    """(n, 15, 3): water turns freely against benzene with D, in a harmonic well of its distance; all of it turns."""
    atoms = read_structure(MODELS / "geometry.xyz")
    masses = atoms.get_masses()
    water, ring = (
        atoms.positions[a] - masses[a] @ atoms.positions[a] / masses[a].sum() for a in (range(3), range(3, 15))
    )
    axis = np.linalg.svd(ring)[2][2]
    up = axis * (distance + correlated(n, 4.0, seed + 2, WIDTH))[:, None]
    own, whole = brownian((d,) * 3, n, seed, DT), brownian((0.3,) * 3, n, seed + 1, DT)
    inside = np.einsum("nij,aj->nai", own, water) + up[:, None]
    together = np.concatenate([inside, np.broadcast_to(ring, (n, 12, 3))], axis=1)
    return np.einsum("nij,naj->nai", whole, together)


def made_ladder(
    folder: Path,
    kelvins: tuple[float, ...],
    n: int = 1500,
    *,
    manifest: str = "manifest.yaml",
    seed: int = 1,
    d: float = D,
    broken: int | None = None,
) -> Sweep:
    """A sweep whose temperatures have all run, but for the last. broken: the frame from which on a hydrogen is gone,
    at the first temperature."""
    plan = SweepPlan(kelvins, frames=20)
    sweep = write_sweep(MODELS / manifest, folder, plan, relax=False, command="as it was <typed>")
    for k, member in enumerate(sweep.members[:-1]):
        positions = moving(n, seed + 10 * k, d)
        if broken is not None and k == 0:
            positions[broken:, 14] *= 3.0
        energy = -570 + correlated(n, 3.0, seed + k, 0.05)
        binding = {"energy_binding": -0.1 + correlated(n, 3.0, seed + 50 + k, 0.01)}
        symbols = read_structure(MODELS / "geometry.xyz").symbols
        prefix = f"{member.name}_md"
        write_run(
            member.folder,
            positions,
            symbols,
            kelvin=member.temperature,
            potential=energy,
            prefix=prefix,
            extras=binding,
        )
        state = MemberState(member.name, member.temperature, sweep.record.steps, 0.5, "finished", step=20 * n)
        state.save(member)
    return sweep
