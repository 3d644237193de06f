"""Molecules cut by periodic wrapping, made whole again.

Programs with a cell put every atom back into it, each for itself, so that a molecule at the boundary comes in parts.
A model of an isolated complex needs it in one. So, frame by frame:

1. *Bonds.* A bond that is stretched beyond all dynamics, but whose nearest image is less than a third as long, was
   cut: the image is within a quarter of a lattice vector. Its atoms are brought together, walking along the bonds, so
   that a molecule may be longer than half the cell. A bond that breaks has no such image, and stays as it is.
2. *Molecules.* What has no bonds between it goes where it touches: each molecule is put, nearest first, at the image
   that has the least distance between an atom of it and one of those before. Distances of centres would go wrong for
   long molecules; contacts are right whenever images do not touch. A guest farther from its host than from its image
   is taken for its image, for one frame cannot tell them apart.

Images differ by whole lattice vectors, and a frame that needs none is returned as it came, to the last bit: one that
is smaller than half the cell is known to be whole from its extent alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._types import FloatArray, IntArray
from ..errors import GeometryError
from .bonds import bonded, symbols
from .lattice import Lattice

if TYPE_CHECKING:
    from ase import Atoms

FARTHEST = 1e8
"""Å; beyond, the positions of the others have no digits left beside those of the farthest."""

_STRETCHED = 1.45  # times the length in the reference: what `likeness` has for another molecule
_IMAGE = 1 / 3  # of a bond's length: its image is this much shorter, or it was not cut
_TORN = 5.0  # Å longer than in the reference: no longer a molecule, whatever it was
_ROOM = 1.0  # Å between a molecule and its own image, at least
_THIN = 4.0  # Å: in a thinner cell an atom has bonds with its images


class Unwrapper:
    """Makes frames of one complex whole.

    numbers: (N,). bonds: (n, 2), those that hold, with their lengths (n,) in Å; what they connect is a molecule.
    together: whether the molecules belong to one complex; else each stays at the image where its first atom is.
    """

    def __init__(self, numbers: IntArray, bonds: IntArray, lengths: FloatArray, together: bool = True) -> None:
        self.numbers, self._bonds, self._lengths = numbers, bonds, lengths
        self._one_complex = together
        self._starts, self._ends = np.ascontiguousarray(bonds.T)
        self._molecules, self._tree, self._paths = _walks(len(numbers), bonds)

    @classmethod
    def of_reference(
        cls, numbers: IntArray, reference: FloatArray, bonds: IntArray, together: bool = True
    ) -> Unwrapper:
        """reference: (N, 3) Å, a whole geometry with those bonds."""
        i, j = bonds.T
        return cls(numbers, bonds, np.linalg.norm(reference[i] - reference[j], axis=1), together)

    @classmethod
    def of_frame(cls, numbers: IntArray, positions: FloatArray, cell: FloatArray, together: bool = True) -> Unwrapper:
        """From any frame, (N, 3) in Å, that its cell (3, 3) may have cut: bonds are between nearest images."""
        j, i = np.tril_indices(len(numbers), -1)
        vectors = positions[j] - positions[i]
        lattice = _lattice(cell.tobytes())
        if lattice is not None:
            vectors = vectors + lattice.to_nearest(vectors)
        distances = np.linalg.norm(vectors, axis=1)
        near = bonded(numbers, i, j, distances)
        return cls(numbers, np.stack([i, j], axis=1)[near], distances[near], together)

    @property
    def n_molecules(self) -> int:
        """How many molecules the bonds make of the atoms."""
        return len(self._molecules)

    def __call__(
        self,
        positions: FloatArray,
        cells: FloatArray | None,
        periodic: npt.NDArray[np.bool_] | None = None,
        name: Callable[[int], str] | None = "frame {}".format,
    ) -> FloatArray:
        """Frames (F, N, 3) in Å, whole; the same array where they are.

        cells: (F, 3, 3) Å, zeros for none. periodic: (F, 3), the directions that are known to be periodic, by default
        all that have a cell; in others a molecule is put together where its bonds were cut, and else left alone.
        name: what to call a frame; None: frames that cannot be made whole stay as they are. Otherwise raises
        GeometryError for a bond that is torn where no cell tells why, and for a molecule that was cut by a cell too
        small for it.
        """
        with np.errstate(all="ignore"):  # what is not finite, or overflows, is for whoever evaluates it
            return self._all_whole(positions, cells, periodic, name)

    def _all_whole(
        self,
        positions: FloatArray,
        cells: FloatArray | None,
        periodic: npt.NDArray[np.bool_] | None,
        name: Callable[[int], str] | None,
    ) -> FloatArray:
        if cells is not None and positions.size:
            extent = np.maximum.reduce(positions, 1) - np.minimum.reduce(positions, 1)
            if 4 * (extent * extent).sum(1).max() < _least(cells.tobytes()) ** 2:
                return positions
        result = positions
        for k, frame in enumerate(positions):
            cell = np.zeros((3, 3)) if cells is None else cells[k]
            try:
                moved = self._whole(frame, cell, None if periodic is None else periodic[k])
            except GeometryError as error:
                if name is None:
                    continue
                raise GeometryError(f"{name(k)}: {error}") from None
            if moved is not frame:
                result = positions.copy() if result is positions else result
                result[k] = moved
        return result

    def of_atoms(self, atoms: Atoms, name: str | None) -> FloatArray:
        """The positions (N, 3) of one structure, with its own cell and periodic directions; name: as above."""
        call = None if name is None else lambda _: name
        (whole,) = self(atoms.positions[None], atoms.cell.array[None], atoms.pbc[None], call)
        return np.asarray(whole)

    def _whole(self, frame: FloatArray, cell: FloatArray, periodic: npt.NDArray[np.bool_] | None) -> FloatArray:
        """A frame (N, 3), made whole; itself where it is."""
        if not np.abs(frame).max(initial=0.0) < FARTHEST:  # nor finite, maybe: for whoever evaluates it
            return frame
        lattice = _lattice(cell.tobytes())
        stretched = self.stretched(frame).any()
        if lattice is None:
            if stretched:
                self._refuse_torn(
                    frame,
                    "cut by periodic wrapping, and no cell comes with it that could undo that (for i-PI: pbc='False' "
                    "in <ffsocket>), or broken long before",
                )
            return frame
        moved = self._along_bonds(frame, lattice) if stretched else frame
        if not self._one_complex:
            if stretched:
                self._refuse_torn(
                    moved, "in the nearest images too: broken long before, or wrapped by another cell than this"
                )
            return moved
        if len(self._molecules) == 1:
            return moved
        if moved is frame and periodic is not None:
            lattice = _lattice(np.where(periodic[:, None], cell, 0.0).tobytes())
        if lattice is None:
            return frame
        if moved is not frame and not self._fits(moved, lattice):
            raise GeometryError(_too_small(lattice))
        together = self._together(moved, lattice)
        return together if together is moved or self._fits(moved, lattice) else frame

    def stretched(self, frames: FloatArray) -> npt.NDArray[np.bool_]:
        """Which bonds (F, n) of frames (F, N, 3) are longer than any dynamics makes them."""
        return np.asarray(_lengths(self._vectors(frames)) > _STRETCHED * self._lengths)

    def _vectors(self, frames: FloatArray) -> FloatArray:
        return np.asarray(frames[..., self._ends, :] - frames[..., self._starts, :])

    def _refuse_torn(self, frame: FloatArray, cause: str) -> None:
        lengths = _lengths(self._vectors(frame))
        worst = int((lengths - self._lengths).argmax())
        if lengths[worst] < self._lengths[worst] + _TORN:
            return
        (i, j), symbol = self._bonds[worst], symbols(self.numbers)
        raise GeometryError(
            f"bond {symbol[i]}{i}–{symbol[j]}{j} is {lengths[worst]:.2f} Å, expected {self._lengths[worst]:.2f}: "
            f"{cause}"
        )

    def _cut(self, frame: FloatArray, lattice: Lattice) -> FloatArray:
        """The lattice vectors (n, 3) that bring the two ends of cut bonds together; zeros for other bonds."""
        shifts = np.zeros((len(self._bonds), 3))
        stretched = self.stretched(frame)
        vectors = self._vectors(frame)[stretched]
        nearest = lattice.to_nearest(vectors)
        shorter = _lengths(vectors + nearest) < _IMAGE * _lengths(vectors)
        shifts[stretched] = np.where(shorter[:, None], nearest, 0.0)
        return shifts

    def _along_bonds(self, frame: FloatArray, lattice: Lattice) -> FloatArray:
        shifts = self._cut(frame, lattice)[self._tree]
        if not shifts.any():
            return frame
        moved = frame + self._paths @ shifts
        if self._cut(moved, lattice).any():  # a ring that does not close: bonds to an image
            raise GeometryError(_too_small(lattice))
        return moved

    def _fits(self, frame: FloatArray, lattice: Lattice) -> bool:
        """Whether each molecule has room between its images; a cell that has none is not where it was wrapped."""
        extents = [np.ptp(frame[atoms] @ lattice.inverse, axis=0) for atoms in self._molecules if len(atoms) > 1]
        return all((extent * lattice.heights + _ROOM <= lattice.heights).all() for extent in extents)

    def _together(self, frame: FloatArray, lattice: Lattice) -> FloatArray:
        """Each molecule at the image that is nearest to those before; the first stays."""
        moved = frame
        here, waiting = self._molecules[0], list(self._molecules[1:])
        # Some pairs tell how near a molecule is to the first, at most; where the farthest pair and that are shorter
        # than all vectors of the lattice, no image is closer.
        near = (_lengths(frame[atoms[::4]] - frame[here[::4], None]).min() for atoms in waiting)
        if _lengths(np.ptp(frame, axis=0)) + max(near) <= lattice.least:
            return frame
        while waiting:
            there = np.concatenate(waiting)
            vectors = (moved[there] - moved[here][:, None]).reshape(-1, 3)
            lengths = _lengths(vectors)
            closest, shift = int(lengths.argmin()), None
            # No vector of the lattice is shorter than `least`: other pairs have no image that is closer.
            far = np.flatnonzero(lengths > lattice.least - lengths[closest])
            if len(far):
                nearest = lattice.to_nearest(vectors[far])
                images = _lengths(vectors[far] + nearest)
                best = int(images.argmin())
                if images[best] < lengths[closest] - 1e-6:
                    closest, shift = int(far[best]), nearest[best]
            atom = there[closest % len(there)]
            atoms = waiting.pop(next(m for m, atoms in enumerate(waiting) if atom in atoms))
            if shift is not None:
                moved = moved.copy() if moved is frame else moved
                moved[atoms] += shift
            here = np.concatenate([here, atoms])
        return moved


def _lengths(vectors: FloatArray) -> FloatArray:
    """(…,) of (…, 3)."""
    return np.asarray(np.sqrt(np.einsum("...a,...a->...", vectors, vectors)))


@lru_cache(maxsize=8)
def _least(cells: bytes) -> float:
    """The least height of some cells, (F, 3, 3) in Å; 0 where one is none. Most runs have one cell all along."""
    each = np.frombuffer(cells).reshape(-1, 3, 3)
    if not np.isfinite(each).all():
        return 0.0
    areas = np.linalg.norm(np.cross(each[:, [1, 2, 0]], each[:, [2, 0, 1]]), axis=2).max(1)
    return float(np.min(np.abs(np.linalg.det(each)) / np.maximum(areas, 1e-9)))


@lru_cache(maxsize=64)
def _lattice(cell: bytes) -> Lattice | None:
    """Of a cell (3, 3); None where there is none, or one in which atoms would be bonded to their images."""
    lattice = Lattice.of(np.frombuffer(cell).reshape(3, 3))
    return lattice if lattice is not None and lattice.least > _THIN else None


def _walks(n: int, bonds: IntArray) -> tuple[list[IntArray], IntArray, FloatArray]:
    """The molecules that bonds (b, 2) make of n atoms, by their first atoms; the bonds of a spanning tree (t,); and
    the way to each atom from its molecule's first, (n, t): 1 for a bond on it, −1 for one walked backwards, or 0."""
    neighbours: list[list[tuple[int, int, float]]] = [[] for _ in range(n)]
    for b, (i, j) in enumerate(bonds.tolist()):
        neighbours[i].append((j, b, 1.0))
        neighbours[j].append((i, b, -1.0))
    paths = np.zeros((n, len(bonds)))
    seen: set[int] = set()
    molecules, tree = [], []
    for first in range(n):
        if first in seen:
            continue
        seen.add(first)
        atoms = [first]
        for atom in atoms:  # grows meanwhile: breadth first
            for other, b, sign in neighbours[atom]:
                if other not in seen:
                    seen.add(other)
                    atoms.append(other)
                    tree.append(b)
                    paths[other] = paths[atom]
                    paths[other, b] = sign
        molecules.append(np.array(sorted(atoms), dtype=np.intp))
    chosen = np.array(sorted(tree), dtype=np.intp)
    return molecules, chosen, paths[:, chosen]


def _too_small(lattice: Lattice) -> str:
    lengths = " × ".join(f"{length:.1f}" for length in np.linalg.norm(lattice.vectors, axis=1))
    return (
        f"a molecule was cut by a cell of {lengths} Å, too small to tell it from its images; use a larger cell, or "
        "none (for i-PI: pbc='False' in <ffsocket>)"
    )
