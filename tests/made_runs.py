"""Makers of runs: the files that i-PI writes, with motions in them that are known."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

COLUMNS = (
    "step",
    "time{picosecond}",
    "temperature{kelvin}",
    "potential{electronvolt}",
    "ensemble_temperature{kelvin}",
)


def frame(step: int, positions: np.ndarray, symbols: Iterable[str] = "C", unit: str = "angstrom") -> str:
    """As i-PI's print_xyz writes it; a single symbol is every atom's."""
    cell = "".join(f"  {x:10.5f}" for x in (100, 100, 100, 90, 90, 90))
    said = f"Step: {step:11d}  Bead:       0 positions{{{unit}}} cell{{angstrom}}"
    head = f"{len(positions)}\n# CELL(abcABC): {cell}  {said}"
    each = [symbols] * len(positions) if isinstance(symbols, str) else symbols
    rows = [f"{s:>8} {x:18.10e} {y:18.10e} {z:18.10e}" for s, (x, y, z) in zip(each, positions, strict=True)]
    return "\n".join([head, *rows]) + "\n"


def write_run(
    folder: Path,
    positions: np.ndarray,
    symbols: Iterable[str] = "C",
    *,
    prefix: str = "nvt",
    stride: int = 20,
    timestep: float = 0.5,
    kelvin: float = 300.0,
    extras: dict[str, np.ndarray] | None = None,
    **series: np.ndarray,
) -> Path:
    """PREFIX.out and PREFIX.pos_0.xyz for positions (n, N, 3) in Å, `stride` steps of `timestep` fs apart.

    series: potential (eV) and temperature (K), (n,); extras: by key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n = len(positions)
    steps = stride * np.arange(n)
    potential, warmth = series.get("potential", np.full(n, -570.0)), series.get("temperature", np.full(n, kelvin))
    head = "".join(f"# column   {i}     --> {name} : .\n" for i, name in enumerate(COLUMNS, 1))
    rows = [
        f"{s} {1e-3 * timestep * s:.6f} {t:.8g} {e:.10g} {kelvin:g}\n"
        for s, t, e in zip(steps, warmth, potential, strict=True)
    ]
    (folder / f"{prefix}.out").write_text(head + "".join(rows))
    with (folder / f"{prefix}.pos_0.xyz").open("w") as file:
        file.writelines(frame(int(s), x, symbols) for s, x in zip(steps, positions, strict=True))
    for key, values in (extras or {}).items():
        records = [f" #EXTRAS({key})# Step: {s} \n {v:.10g} \n" for s, v in zip(steps, values, strict=True)]
        (folder / f"{prefix}.{key}_0").write_text("".join(records))
    return folder


def correlated(n: int, memory: float, seed: int, width: float = 1.0, shape: tuple[int, ...] = ()) -> np.ndarray:
    """A Gaussian series (n, …) of the given standard deviation whose correlations decay over `memory` samples."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / memory)
    series = np.empty((n, *shape))
    kicks = np.sqrt(1 - keep**2) * rng.standard_normal((n, *shape))
    series[0] = rng.standard_normal(shape)
    for k in range(1, n):
        series[k] = keep * series[k - 1] + kicks[k]
    return width * series


def brownian(axes: tuple[float, float, float], n: int, seed: int, dt: float) -> np.ndarray:
    """Rotations (n, 3, 3) of a free body with D (rad²/ps) about its own axes, dt ps apart."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    kicks = rng.standard_normal((n, 3)) * np.sqrt(2 * np.array(axes) * dt)
    return chained(Rotation.from_rotvec(kicks).as_matrix(), seed)


def chained(steps: np.ndarray, seed: int = 0) -> np.ndarray:
    """From rotations in the body's own frame to orientations; the first is any."""
    from scipy.spatial.transform import Rotation

    now = Rotation.from_rotvec(np.random.default_rng(seed).standard_normal(3)).as_matrix()
    out = np.empty_like(steps)
    for k, step in enumerate(steps):
        out[k] = now
        now = now @ step
    return out
