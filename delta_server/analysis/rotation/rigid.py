"""Orientations: the rigid-body rotation of a molecule in every frame, against the laboratory or another molecule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ..trajectory import Block

_FLAT = 0.1  # Å, root mean square; a body thinner than this in two directions has no orientation about its axis


@dataclass(frozen=True)
class Orientations:
    """steps (n,), time (n,) in ps, rotations (n, 3, 3) that turn the guest's reference into each frame, in the
    frame of the laboratory or of the host; rmsd (n,) in Å: how far the guest is from its reference."""

    steps: IntArray
    time: FloatArray
    rotations: FloatArray
    rmsd: FloatArray

    def take(self, which: slice) -> Orientations:
        """Some of the frames."""
        return Orientations(self.steps[which], self.time[which], self.rotations[which], self.rmsd[which])

    def every(self, n: int) -> Orientations:
        """Every n-th frame."""
        return self.take(slice(None, None, n))


def body_frame(positions: FloatArray, masses: FloatArray) -> FloatArray:
    """(N, 3) Å about the centre of mass, turned to the principal axes of inertia: x is the long axis.

    Raises InputError for a body that is an atom or a line: its rotation has no three angles.
    """
    centred = positions - masses @ positions / masses.sum()
    spread, axes = np.linalg.eigh((centred * masses[:, None]).T @ centred / masses.sum())
    if len(positions) < 3 or spread[1] < _FLAT**2:
        raise InputError(
            f"{len(positions)} atoms on a point or a line have no orientation; expected a guest or a host with at "
            "least three atoms that are not on a line"
        )
    axes = axes[:, ::-1]
    axes[:, 2] *= np.linalg.det(axes)  # right-handed
    turned: FloatArray = centred @ axes
    return turned


def fit(reference: FloatArray, positions: FloatArray, masses: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rotations (n, 3, 3) that bring the reference (N, 3) closest to positions (n, N, 3), and what is left (n,), Å.

    Kabsch, Acta Cryst. A 34, 827 (1978), weighted by masses, for all frames in one SVD.
    """
    weights = masses / masses.sum()
    centred = positions - (weights @ positions)[:, None]
    still = reference - weights @ reference
    u, s, vt = np.linalg.svd((weights[:, None] * still).T @ centred)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    u[:, :, 2] *= sign[:, None]
    s[:, 2] *= sign
    rotations = np.transpose(u @ vt, (0, 2, 1))
    square = (centred**2).sum(2) @ weights + weights @ (still**2).sum(1) - 2 * s.sum(1)
    return rotations, np.sqrt(np.maximum(square, 0.0))


def orientations(
    blocks: Iterable[Block], masses: FloatArray, guest: IntArray, host: IntArray | None = None
) -> Orientations:
    """Of the guest's atoms in every frame, relative to the host's where there is one.

    masses: (N,), of all atoms. The first frame is the reference. Raises InputError (see `body_frame`), also where
    there is no frame.
    """
    steps, time, rotations, rmsd = [], [], [], []
    references: list[tuple[IntArray, FloatArray]] = []
    for block in blocks:
        if not references:
            bodies = [guest] if host is None else [guest, host]
            references = [(atoms, body_frame(block.positions[0, atoms], masses[atoms])) for atoms in bodies]
        fits = [fit(still, block.positions[:, atoms], masses[atoms]) for atoms, still in references]
        turned = fits[0][0] if host is None else np.transpose(fits[1][0], (0, 2, 1)) @ fits[0][0]
        steps.append(block.steps)
        time.append(block.time)
        rotations.append(turned)
        rmsd.append(fits[0][1])
    if not steps:
        raise InputError("a trajectory without frames has no orientations")
    return Orientations(*map(np.concatenate, (steps, time, rotations, rmsd)))  # type: ignore[arg-type]
