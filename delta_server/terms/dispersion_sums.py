"""Sums of a dispersion over pairs and triples of atoms in any cell, or in none.

    E = −Σ_pairs [C6/(r⁶ + R⁶) + C8/(r⁸ + R⁸)]
        + Σ_triples C9 (1 + 3 cos α cos β cos γ)/(r₁ r₂ r₃)³ / (1 + 6 (R₁ R₂ R₃/(r₁ r₂ r₃))^(16/3)),

the energy of DFT-D4 (Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019), Eqs. 1 to 10) with constant coefficients,
without the pairs and triples within one molecule.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .._types import BoolArray, FloatArray, IntArray
from ..errors import GeometryError
from ..molecule.lattice import rank

_EXPONENT = 16 / 3
_FADING = 0.9  # of a cut-off, where it begins to act
_FLATTEST = 2.0  # Å, between opposite faces of a cell: molecules need more, and images grow as its third power
_NOTHING = 1e-3  # Å: no two atoms are so close


class Coefficients(NamedTuple):
    """Of K kinds of atoms: c6 (eV Å⁶), c8 (eV Å⁸), radius (Å), (K, K) each; c9 (eV Å⁹), (K, K, K)."""

    c6: FloatArray
    c8: FloatArray
    radius: FloatArray
    c9: FloatArray


class Around(NamedTuple):
    """Atoms around one, itself and earlier ones only where they are images: where from it (m, 3) Å, which (m,), and
    whether in its own molecule (m,)."""

    where: FloatArray
    atoms: IntArray
    own: BoolArray

    def take(self, which: BoolArray) -> Around:
        """The chosen ones."""
        return Around(self.where[which], self.atoms[which], self.own[which])


def dispersion_sums(
    x: FloatArray, cell: FloatArray | None, molecule: IntArray, kind: IntArray, coefficients: Coefficients,
    cutoffs: tuple[float, float], compiled: bool = True,
) -> tuple[float, FloatArray, FloatArray]:  # fmt: skip
    """Energy (eV), forces (n, 3) eV/Å and virial (3, 3) eV of atoms x (n, 3), Å, whose molecules are whole.

    cell: (3, 3) Å, None for none. molecule, kind: (n,) of each atom. cutoffs: Å, of the pairs and of each side
    of the triples, faded over their last tenth. Raises GeometryError for a cell that is flat.
    """
    if not coefficients.c9.any():
        cutoffs = cutoffs[0], _NOTHING
    vectors, inverse, shifts = _images(cell, max(cutoffs))
    fades = tuple(((_FADING * cutoff) ** 2, cutoff**2) for cutoff in cutoffs)
    if compiled and (module := compiled_sums()):
        forces, virial = np.empty((len(x), 3)), np.empty((3, 3))
        lengths = np.sqrt((shifts**2).sum(1))
        whole = (np.ascontiguousarray(numbers, dtype=np.int32) for numbers in (molecule, kind))
        arrays = (np.ascontiguousarray(x, dtype=np.float64), vectors, inverse, shifts, lengths, *whole)
        energy = module.sums(*arrays, *coefficients, *fades, forces, virial)
        return float(energy), forces, virial
    total = _Total(np.zeros(1), np.zeros((len(x), 3)), np.zeros((3, 3)))
    for i in range(len(x)):
        near = _around(x, i, vectors, inverse, shifts, molecule, max(cutoffs))
        _pairs(i, near, kind, coefficients, fades[0], total)
        _triples(i, near, kind, coefficients, fades[1], total)
    return float(total.energy[0]), total.forces, total.virial


@cache
def compiled_sums() -> Any:
    """`_dispersion` (see _dispersion.c), or None: then NumPy does the same, more slowly."""
    try:
        return import_module("._dispersion", __package__)
    except ImportError:
        return None


def _images(cell: FloatArray | None, cutoff: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The cell and its inverse, zeros for none, and (S, 3) Å: the lattice vectors that bring atoms less than half a
    cell apart within a cut-off, shortest first."""
    if cell is None:
        return np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((1, 3))
    if rank(cell) < 3:
        raise GeometryError(f"dispersion: expected a cell of three independent vectors, found {cell.tolist()}")
    vectors = np.ascontiguousarray(cell, dtype=np.float64)
    inverse: FloatArray = np.asarray(np.linalg.inv(vectors))
    heights = 1 / np.sqrt((inverse**2).sum(0))
    if heights.min() < _FLATTEST:
        least = f"{heights.min():.3g} Å apart, expected {_FLATTEST:g} or more"
        raise GeometryError(f"dispersion: opposite faces of the cell are {least}: {cell.tolist()}")
    counts = np.ceil(cutoff / heights + 0.5).astype(int)
    turns = np.array(list(product(*(range(-n, n + 1) for n in counts))))
    shifts = turns @ cell
    return vectors, inverse, np.ascontiguousarray(shifts[np.argsort((shifts**2).sum(1), kind="stable")])


class _Total(NamedTuple):
    energy: FloatArray
    forces: FloatArray
    virial: FloatArray

    def pull(self, i: int, near: Around, forces: FloatArray) -> None:
        """Forces (m, 3) on the atoms around i, and what they leave on it."""
        np.add.at(self.forces, near.atoms, forces)
        self.forces[i] -= forces.sum(0)
        self.virial[...] += near.where.T @ forces


def _around(
    x: FloatArray, i: int, cell: FloatArray, inverse: FloatArray, shifts: FloatArray, molecule: IntArray, reach: float
) -> Around:
    later = np.arange(i, len(x))
    plain = x[later] - x[i]
    near = plain - np.rint(plain @ inverse) @ cell
    where = (near[:, None] + shifts).reshape(-1, 3)
    atoms = np.repeat(later, len(shifts))
    moved = ((where - np.repeat(plain, len(shifts), axis=0)) ** 2).sum(1)
    own = (molecule[atoms] == molecule[i]) & (moved < 1e-6)
    taken = ((where**2).sum(1) < reach**2) & ~(own & (atoms == i))
    return Around(where[taken], atoms[taken], own[taken])


def _fading(square: FloatArray, fade: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """What is left at a square distance, and its slope in the square; two continuous derivatives."""
    scale = 1 / (fade[1] - fade[0])
    t = np.clip((square - fade[0]) * scale, 0.0, 1.0)
    return 1 - t**3 * (10 - 15 * t + 6 * t**2), -30 * (t * (1 - t)) ** 2 * scale


def _pairs(
    i: int, near: Around, kind: IntArray, known: Coefficients, fade: tuple[float, float], total: _Total
) -> None:
    near = near.take(~near.own)
    square = (near.where**2).sum(1)
    left, slope = _fading(square, fade)
    a, b = kind[i], kind[near.atoms]
    c6, c8, r2 = known.c6[a, b], known.c8[a, b], known.radius[a, b] ** 2
    six, eight = 1 / (square**3 + r2**3), 1 / (square**4 + r2**4)
    share = np.where(near.atoms == i, 0.5, 1.0)
    energies = -share * (c6 * six + c8 * eight)
    down = share * (3 * c6 * (square * six) ** 2 + 4 * c8 * square**3 * eight**2)
    total.energy[0] += (energies * left).sum()
    total.pull(i, near, -2 * (down * left + energies * slope)[:, None] * near.where)


def _triples(
    i: int, near: Around, kind: IntArray, known: Coefficients, fade: tuple[float, float], total: _Total
) -> None:
    near = near.take((near.where**2).sum(1) < fade[1])
    a, b = np.triu_indices(len(near.atoms), 1)
    beyond = ((near.where[b] - near.where[a]) ** 2).sum(1) >= fade[1]
    inside = ~(beyond | (near.own[a] & near.own[b]))
    a, b = a[inside], b[inside]
    edges = near.where[a], near.where[b], near.where[b] - near.where[a]
    x, y, z = ((edge**2).sum(1) for edge in edges)
    # Those that are counted from several of their atoms have their share.
    image = (near.atoms == i).astype(float)
    k, m, n = kind[i], kind[near.atoms[a]], kind[near.atoms[b]]
    p = x * y * z
    A, B, C = x + y - z, x + z - y, y + z - x
    angles = 0.375 * A * B * C / p
    t = (known.radius[k, m] * known.radius[k, n] * known.radius[m, n] / np.sqrt(p)) ** _EXPONENT
    damped = 1 / (1 + 6 * t)
    strength = known.c9[k, m, n] / (1 + image[a] + image[b]) * damped / p**1.5
    energies = strength * (1 + angles)
    fades = [_fading(square, fade) for square in (x, y, z)]
    left = fades[0][0] * fades[1][0] * fades[2][0]
    total.energy[0] += (energies * left).sum()
    signs = ((1, 1, -1), (1, -1, 1), (-1, 1, 1))  # of the squares in A, B and C
    forces = np.zeros((len(near.atoms), 3))
    for side, (square, edge) in enumerate(zip((x, y, z), edges, strict=True)):
        turned = 0.375 * (signs[0][side] * B * C + signs[1][side] * A * C + signs[2][side] * A * B) / p
        own = strength * (turned - angles / square) + energies * (16 * t * damped - 1.5) / square
        others = np.prod([fades[other][0] for other in range(3) if other != side], axis=0)
        pull = -2 * (own * left + energies * others * fades[side][1])[:, None] * edge
        if side == 0:
            np.add.at(forces, a, pull)
        else:
            np.add.at(forces, b, pull)
        if side == 2:
            np.add.at(forces, a, -pull)
    total.pull(i, near, forces)
