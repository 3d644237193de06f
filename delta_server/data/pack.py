"""Molecules put together to begin an assembly from: a box of a density, or a cluster.

Centres stand near the sites of a cubic lattice, each molecule turned at random, so that any density of a liquid works
at once. What comes out has no overlaps, but no structure either: it is to be relaxed, or equilibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._types import FloatArray
from ..errors import InputError
from .apart import random_rotation, van_der_waals
from .bodies import read_assembly

if TYPE_CHECKING:
    from ase import Atoms

_JITTER = 0.12  # of the lattice's edge, of centres from their sites, in each direction
_ATTEMPTS = 20
_TURNS = 20  # orientations that are tried of each molecule; the one that is farthest from its neighbours stays
_TOO_NEAR = 0.5  # of the sum of van der Waals radii; hydrogen bonds have 0.65
_FAR = 4.0  # Å, more than any contact
_CUBIC_ANGSTROM = 1e-24  # cm³


def geometries(path: Path) -> list[Atoms]:
    """All that a file shows of a molecule, in any number of frames and as many times in each.

    Raises InputError where there are molecules of another species.
    """
    from ase import Atoms

    assembly = read_assembly(path)
    if len(assembly.names) > 1:
        raise InputError(f"{path}: expected molecules of one species, found {', '.join(assembly.names)}")
    return [Atoms(assembly.numbers[m], x[m]) for x in assembly.positions for m in assembly.molecules]


def pack(
    molecules: Sequence[tuple[Sequence[Atoms], int]], density: float, *, periodic: bool, seed: int | Sequence[int] = 0
) -> Atoms:
    """So many of each molecule, those of one species after the other, at a density in g/cm³.

    molecules: geometries, from which each copy takes one at random, and how many copies. periodic: in a cubic cell;
    otherwise a cluster, as round as can be, without one. Raises InputError where molecules would overlap.
    """
    from ase.units import _amu

    rng = np.random.default_rng(seed)
    kinds = [frames[int(rng.integers(len(frames)))] for frames, count in molecules for _ in range(count)]
    mass = sum(float(kind.get_masses().sum()) for kind in kinds) * _amu * 1e3  # g
    edge = float(np.cbrt(mass / density / _CUBIC_ANGSTROM))
    for _ in range(_ATTEMPTS):
        packed, nearest = _packed(kinds, edge, periodic, rng)
        if nearest > _TOO_NEAR:
            return packed
    raise InputError(f"molecules overlap at {density:g} g/cm³; take a lower density, and let the pressure do it")


def _packed(kinds: Sequence[Atoms], edge: float, periodic: bool, rng: np.random.Generator) -> tuple[Atoms, float]:
    """The molecules in a volume of edge³ (Å), and the nearest contact, over the atoms' van der Waals radii."""
    from ase import Atoms

    packed = Atoms(cell=[edge] * 3 if periodic else None, pbc=periodic)
    nearest = np.inf
    for kind, centre in zip(kinds, rng.permutation(_sites(len(kinds), edge, periodic, rng)), strict=True):
        body = kind.positions - kind.get_center_of_mass()
        placed = [body @ random_rotation(rng).T + centre for _ in range(_TURNS)]
        gaps = [min(_gap(packed, kind, x), _gap_to_images(kind, x, edge) if periodic else np.inf) for x in placed]
        best = int(np.argmax(gaps))
        nearest = min(nearest, gaps[best])
        packed += Atoms(kind.numbers, placed[best])
    return packed, nearest


def _sites(count: int, edge: float, periodic: bool, rng: np.random.Generator) -> FloatArray:
    """(count, 3) Å: near sites of a cubic lattice, any of a box, or the nearest to the middle of a cluster."""
    spacing = edge / np.cbrt(count)
    if periodic:
        across = int(np.ceil(np.cbrt(count) - 1e-9))
        sites = np.array(list(product(range(across), repeat=3))) * (edge / across)
        return np.asarray(rng.permutation(sites)[:count] + _JITTER * spacing * rng.standard_normal((count, 3)))
    across = int(np.ceil(2 * np.cbrt(count))) + 1
    sites = np.array(list(product(range(across), repeat=3))) * spacing
    middle = sites.mean(0) + 0.3 * rng.random(3)
    nearest = np.argsort(np.linalg.norm(sites - middle, axis=1), kind="stable")[:count]
    return np.asarray(sites[nearest] + _JITTER * spacing * rng.standard_normal((count, 3)))


def _gap_to_images(kind: Atoms, positions: FloatArray, edge: float) -> float:
    """The least distance between an atom of a molecule and one of its images, as `_gap`."""
    across = int(np.ceil((np.ptp(positions, axis=0).max() + _FAR) / edge)) - 1  # images that may be that near
    if not across:
        return np.inf
    shifts = edge * np.array([shift for shift in product(range(-across, across + 1), repeat=3) if any(shift)])
    vectors = positions[:, None, None] - positions[:, None] + shifts
    everyone = np.arange(len(kind))
    radii = van_der_waals(kind.numbers, everyone, everyone)
    return float((np.linalg.norm(vectors, axis=3).min(2) / radii).min())


def _gap(packed: Atoms, kind: Atoms, positions: FloatArray) -> float:
    """The least distance between an atom of the molecule and one of those before, over their van der Waals radii."""
    if not len(packed):
        return np.inf
    vectors = positions[:, None] - packed.positions
    if packed.pbc.any():
        edge = packed.cell.lengths()[0]
        vectors -= edge * np.round(vectors / edge)
    numbers = np.concatenate([kind.numbers, packed.numbers])
    radii = van_der_waals(numbers, np.arange(len(kind)), np.arange(len(kind), len(numbers)))
    return float((np.linalg.norm(vectors, axis=2) / radii).min())
