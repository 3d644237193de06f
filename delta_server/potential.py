"""The Δ-model: a sum of fragment models and a binding model.

    E(X) = Σ_f E_f(x_f) + E_b(X),    F(X) = (F_1(x_1), F_2(x_2), …) + F_b(X)

(Cázares-Trejo, Loreto-Silva, Sauceda, arXiv 2511.01913, Section II.) Everything that serves forces —
driver, i-PI plug-in, ASE calculator, command line — goes through `Potential.compute`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, reduce
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from ._types import FloatArray, IntArray
from .errors import GeometryError, InputError, ManifestError, NonFiniteError
from .gdml.uncertainty import ErrorLimits
from .molecule.likeness import Likeness
from .molecule.ranges import format_atoms
from .molecule.whole import FARTHEST, Unwrapper
from .terms.base import Frames, Side, Term, not_calibrated
from .terms.sgdml import as_slice
from .units import KCAL_MOL

Part = Literal["all", "fragments", "binding", "bias"]
_PARTS = get_args(Part)


class Fragment(NamedTuple):
    """A molecule of the complex: its name and its atoms (n,)."""

    name: str
    atoms: IntArray


class Parts(NamedTuple):
    """What the sum is made of.

    ``energies``: eV, by term, in the manifest's order: each fragment, then ``binding`` (the sum of all binding
    terms) and each term that has a ``between`` as ``binding_<a>_<b>``; last ``bias``, the sum of all biases, which is
    no physical energy. ``binding_forces``: eV/Å, shape of the forces, or None where no binding was evaluated.
    ``variables``: the collective variables that biases act on, by name; Å, degrees or a number.
    """

    energies: dict[str, FloatArray]
    binding_forces: FloatArray | None
    variables: dict[str, FloatArray] = {}  # noqa: RUF012 (a tuple's default, which nobody changes)


class Result(NamedTuple):
    """Energies and forces of F frames of N atoms; for a single frame the first axis is absent.

    ================ ============ ======================================
    ``energy``       (F,)         eV
    ``forces``       (F, N, 3)    eV/Å
    ``virial``       (F, 3, 3)    eV, Σ r ⊗ F = −∂E/∂ε = −volume × stress
    ``parts``        see `Parts`
    ================ ============ ======================================
    """

    energy: FloatArray
    forces: FloatArray
    virial: FloatArray
    parts: Parts

    def frame(self, i: int) -> Result:
        """Frame i alone."""
        forces = self.parts.binding_forces
        energies = {name: e[i] for name, e in self.parts.energies.items()}
        variables = {name: values[i] for name, values in self.parts.variables.items()}
        parts = Parts(energies, None if forces is None else forces[i], variables)
        return Result(self.energy[i], self.forces[i], self.virial[i], parts)


class Departure(NamedTuple):
    """A term that has left what its model knows: its expected error, eV/Å, and what is usual for the model."""

    term: str
    error: float
    limits: ErrorLimits

    @property
    def far(self) -> bool:
        """Whether it is so far that nothing it says can be relied on."""
        return self.error > self.limits.far

    def __str__(self) -> str:
        error, usual = self.error / KCAL_MOL, self.limits.usual / KCAL_MOL
        return f"{self.term}: expected error {error:.2g} kcal/mol/Å, usually below {usual:.2g}"


class Potential:
    """The sum of terms over the atoms of one complex.

    fragments: the molecules, in the order in which their energies are told. terms: what is added up, each of the
    fragments' part or of the binding's.
    """

    def __init__(
        self,
        numbers: npt.ArrayLike,
        reference: npt.ArrayLike,
        fragments: Sequence[Fragment],
        terms: Sequence[Term],
        *,
        name: str = "",
        theory: str = "",
        likeness: Likeness | None = None,
        cell: FloatArray | None = None,
    ) -> None:
        """numbers: (N,); reference: (N, 3) in Å, a sane geometry in that order of atoms.

        likeness: what `check_geometry` holds geometries against, by default the bonds of the reference's fragments.
        cell: (3, 3) Å, the reference's, where the potential is of a periodic assembly, which takes no frame without.
        """
        self.numbers: IntArray = np.asarray(numbers, dtype=np.intp)
        self.reference: FloatArray = np.asarray(reference, dtype=np.float64)
        self.fragments, self.terms = tuple(fragments), tuple(terms)
        self.name, self.theory = name, theory
        self.likeness = likeness or Likeness.of(self.numbers, self.reference, [f.atoms for f in self.fragments])
        self.cell = cell
        self._unwrapper = Unwrapper.of_reference(self.numbers, self.reference, self.likeness.bonds, cell is None)
        # Of each part, its terms with the places of their copies among all atoms, and the names in their order.
        self._parts: dict[Side, list[tuple[Term, list[IntArray | slice]]]] = {side: [] for side in get_args(Side)}
        for term in self.terms:
            self._parts[term.part].append((term, [as_slice(site) for site in term.sites]))
        self._names: dict[Side, tuple[str, ...]] = {side: self._in_order(side) for side in self._parts}

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def bindings(self) -> tuple[Term, ...]:
        """The terms of the binding; empty where there is none."""
        return tuple(term for term, _ in self._parts["binding"])

    def names_of(self, fragment: Fragment) -> list[str]:
        """What the energy of a fragment is the sum of: the names of its terms, as in `Parts`."""
        atoms = set(fragment.atoms.tolist())
        return [name for name, site in self._copies("fragments") if set(site.tolist()) == atoms]

    @cached_property
    def unbiased(self) -> Potential:
        """Without its biases: what labels are held against."""
        if not self._parts["bias"]:
            return self
        terms = [term for term in self.terms if term.part != "bias"]
        return Potential(
            self.numbers, self.reference, self.fragments, terms,
            name=self.name, theory=self.theory, likeness=self.likeness, cell=self.cell,
        )  # fmt: skip

    def compute(self, positions: npt.ArrayLike, part: Part = "all", cells: npt.ArrayLike | None = None) -> Result:
        """Energy, forces, virial and their parts.

        positions: (N, 3) or (F, N, 3), Å. `part` leaves out the binding or the fragments. cells: (3, 3) for all
        frames or (F, 3, 3), Å, rows are lattice vectors; isolated terms ignore them.

        Raises GeometryError on a wrong shape and on what is not finite or absurdly far, NonFiniteError (with the
        frame) where the models give no number, ManifestError where there is no binding to evaluate.
        """
        x, frames = self._frames(positions, part, cells)
        with np.errstate(all="ignore"):  # what does not come out finite is told, once
            result = self._sum(frames, part)
            if not np.isfinite(sum(np.vdot(a, a) for a in result[:3])):  # told by a number that is quickly had
                self._refuse_not_finite(result)
        return result if x.ndim == 3 else result.frame(0)

    def uncertainty(
        self, positions: npt.ArrayLike, part: Part = "all", cells: npt.ArrayLike | None = None
    ) -> dict[str, FloatArray]:
        """Expected errors: RMSE of force components, eV/Å, by term as in `Parts`, and ``total``.

        positions, cells: as in `compute`, by default the reference's cell; values have the shape () or (F,). The
        squares of the terms add up, each weighted by its share of the atoms, as if their errors had nothing to do
        with each other. An ion alone has 0; species, pairs and triples of an assembly have that of the molecule or
        n-mer that is known least, and the share of this one.

        Raises as `compute`, and ModelFileError where a term does not know its errors (a model without calibration).
        """
        x, frames = self._frames(positions, part, self.cell if cells is None else cells)
        errors: dict[str, FloatArray] = {}
        squares = np.zeros(len(frames.positions))
        with np.errstate(all="ignore"):  # atoms on top of each other: nothing like it was trained on
            for side in self._sides(part):
                if side == "bias":
                    continue
                named = self._errors(frames, side)
                share = self._shares(side)
                side_squares = np.sum([share[name] * error**2 for name, error in named.items()], axis=0)
                if side == "binding":
                    errors["binding"] = np.sqrt(side_squares)
                errors |= {name: error for name, error in named.items() if name != "binding"}
                squares += side_squares
        errors["total"] = np.sqrt(squares)
        return errors if x.ndim == 3 else {name: error[0] for name, error in errors.items()}

    @cached_property
    def error_limits(self) -> dict[str, ErrorLimits]:
        """Which expected errors are usual, by the names of the terms that know it: models with a calibration."""
        known = [(term, getattr(term, "error_limits", None)) for term in self.terms]
        return {name: limits for term, limits in known if limits is not None for name in term.names}

    def departures(self, errors: Mapping[str, FloatArray]) -> list[Departure]:
        """The terms that have left what their models know, by the expected errors of one geometry (`uncertainty`);
        the farthest first."""
        known = [
            Departure(name, float(errors[name]), limits)
            for name, limits in self.error_limits.items()
            if name in errors
        ]
        left = [departure for departure in known if not departure.error <= departure.limits.left]
        return sorted(left, key=lambda departure: -departure.error / departure.limits.left)

    def _errors(self, frames: Frames, side: Side) -> dict[str, FloatArray]:
        """Expected errors (F,) of each copy of the terms of one part."""
        errors: dict[str, FloatArray] = {}
        for term, _ in self._parts[side]:
            expected = term.expected_error(frames)
            if expected is None:
                raise not_calibrated(term.names[0])
            errors |= zip(term.names, expected.T, strict=True)
        return {name: errors[name] for name in self._names[side]}

    def _copies(self, side: Side) -> list[tuple[str, IntArray]]:
        """Name and atoms of every copy of the terms of one part."""
        return [copy for term, _ in self._parts[side] for copy in zip(term.names, term.sites, strict=True)]

    def _shares(self, side: Side) -> dict[str, float]:
        """Of the atoms, how many an expected error is of: those of a copy, or of one n-mer of an assembly's."""
        return {
            name: getattr(term, "n_known", len(site)) / self.n_atoms
            for term, _ in self._parts[side]
            for name, site in zip(term.names, term.sites, strict=True)
        }

    def _sides(self, part: Part) -> list[Side]:
        """Those that `part` asks for and that have terms."""
        return [side for side in self._parts if part in ("all", side) and self._parts[side]]

    def _in_order(self, side: Side) -> tuple[str, ...]:
        """The names of one part's copies: fragments first, in their order."""
        names = [name for name, _ in self._copies(side)]
        fragments = [f.name for f in self.fragments if f.name in names]
        return tuple(dict.fromkeys(fragments + names))

    def _frames(self, positions: npt.ArrayLike, part: Part, cells: npt.ArrayLike | None) -> tuple[FloatArray, Frames]:
        """The positions as they came, and all frames, once they and `part` are found good."""
        if part not in _PARTS:
            raise InputError(f"part is {part!r}, expected one of {', '.join(_PARTS)}")
        if part == "bias" and not self._parts["bias"]:
            raise ManifestError(f"{self.name}: the manifest has no bias, so there is no such part to serve")
        if part == "binding" and not self.bindings:
            raise ManifestError(f"{self.name}: the manifest has no binding, so there is no such part to serve")
        x = np.ascontiguousarray(positions, dtype=np.float64)
        if x.ndim not in (2, 3) or x.shape[-2:] != (self.n_atoms, 3):
            raise GeometryError(
                f"positions have shape {x.shape}, expected ({self.n_atoms}, 3) or (frames, {self.n_atoms}, 3)"
            )
        frames = x if x.ndim == 3 else x[None]
        if not np.abs(frames).max(initial=0.0) < FARTHEST:
            frame, atom = np.argwhere(~(np.abs(frames) < FARTHEST))[0, :2]
            what = f"beyond {FARTHEST:g} Å" if np.isfinite(frames[frame, atom]).all() else "not finite"
            raise GeometryError(f"position of atom {atom} in frame {frame} is {what}: {frames[frame, atom]}")
        return x, Frames(frames, None if cells is None else _cells(cells, len(frames)))

    def _sum(self, frames: Frames, part: Part) -> Result:
        sums: list[tuple[FloatArray, FloatArray, FloatArray]] = []
        energies: dict[str, FloatArray] = {}
        variables: dict[str, FloatArray] = {}
        binding_forces = None
        for side in self._sides(part):
            named, forces, virial, told = self._sum_part(frames, side)
            variables |= told
            energy = sum(named.values(), np.zeros(len(virial)))
            if side == "binding":
                energies["binding"], binding_forces = energy, forces
                named.pop("binding", None)
            elif side == "bias":
                energies["bias"] = energy
                named = named if len(named) > 1 else {}
            energies |= named
            sums.append((energy, forces, virial))
        # arrays of their own, not the binding's
        energy, forces, virial = (a[0].copy() if len(a) == 1 else reduce(np.add, a) for a in zip(*sums, strict=True))
        return Result(energy, forces, virial, Parts(energies, binding_forces, variables))

    def _sum_part(
        self, frames: Frames, side: Side
    ) -> tuple[dict[str, FloatArray], FloatArray, FloatArray, dict[str, FloatArray]]:
        """The energy of each copy of the terms of one part, their forces, their virial, and their variables."""
        forces, virial = np.zeros(frames.positions.shape), np.zeros((len(frames.positions), 3, 3))
        named: dict[str, FloatArray] = {}
        variables: dict[str, FloatArray] = {}
        for term, places in self._parts[side]:
            add = getattr(term, "add", None)
            energies = add(frames, forces, virial) if add else None
            if energies is None:
                energies, copy_forces, virials, told = term.evaluate(frames)
                variables |= told
                for k, place in enumerate(places):
                    forces[:, place] += copy_forces[:, k]
                    virial += virials[:, k]
            named |= zip(term.names, energies.T, strict=True)
        return {name: named[name] for name in self._names[side]}, forces, virial, variables

    def _refuse_not_finite(self, result: Result) -> None:
        """Raise NonFiniteError for the first frame with a value that is no number, if there is one."""
        finite = np.isfinite(result.energy) & np.isfinite(result.forces).all((1, 2))
        finite &= np.isfinite(result.virial).all((1, 2))
        if finite.all():  # numbers too large to be squared
            return
        frame = int(np.argmin(finite))
        bad = [name for name, e in result.parts.energies.items() if not np.isfinite(e[frame])]
        if not bad:
            bad = ["the virial" if np.isfinite(result.forces[frame]).all() else "the forces"]
        raise NonFiniteError(f"frame {frame}: {', '.join(bad)} came out as not a number")

    def whole(
        self,
        frames: Frames,
        periodic: npt.NDArray[np.bool_] | Literal[False] | None = None,
        name: Callable[[int], str] | None = "frame {}".format,
    ) -> Frames:
        """The frames, where molecules that their cells cut are made whole, and others are as before to the last bit;
        `periodic`, `name` and errors: see `molecule.whole.Unwrapper`; False of positions that nobody has put into
        their cell. Molecules of a periodic assembly stay at the
        image where they are; raises GeometryError for a frame of one that has no cell, or not three periodic ones."""
        if periodic is False:
            periodic = None if self.cell is not None else np.zeros((len(frames.positions), 3), dtype=bool)
        if self.cell is not None:
            there = frames.cells is not None and bool(frames.cells.any(2).all())
            if not there or (periodic is not None and not periodic.all()):
                raise GeometryError(
                    f"{self.name} is a periodic assembly: expected a cell of three vectors, periodic along each"
                )
        return frames._replace(positions=self._unwrapper(frames.positions, frames.cells, periodic, name))

    def in_cell(self, positions: FloatArray) -> Frames:
        """Positions (F, N, 3), Å, as frames in the reference's cell, where there is one."""
        return Frames(positions, None if self.cell is None else np.broadcast_to(self.cell, (len(positions), 3, 3)))

    def check_geometry(self, positions: FloatArray, source: str = "geometry") -> None:
        """Raise GeometryError unless (N, 3) positions in Å can be this molecule: unit, order, wrapping."""
        with np.errstate(all="ignore"):  # positions of any size: what they are not is told
            self.likeness.check(positions, source)

    def describe(self) -> str:
        """One line: what is served."""
        of_fragments = {f.name for f in self.fragments}.issuperset(self._names["fragments"])
        molecules = self.fragments if of_fragments else self._copies("fragments")
        copies = [*molecules, *self._copies("binding"), *self._copies("bias")]
        terms = ", ".join(f"{name} ({format_atoms(tuple(map(int, atoms)))})" for name, atoms in copies)
        return f"{self.name}: {self.n_atoms} atoms, {terms}"


def _cells(cells: npt.ArrayLike, count: int) -> FloatArray:
    """(F, 3, 3) from one cell for all or one each. Raises GeometryError."""
    h = np.asarray(cells, dtype=np.float64)
    if h.shape not in ((3, 3), (count, 3, 3)):
        raise GeometryError(f"cells have shape {h.shape}, expected (3, 3) or ({count}, 3, 3)")
    if not np.isfinite(h).all():
        raise GeometryError("a cell is not finite")
    return np.broadcast_to(h, (count, 3, 3))
