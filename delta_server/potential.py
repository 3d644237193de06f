"""The Δ-model: a sum of fragment models and a binding model.

    E(X) = Σ_f E_f(x_f) + E_b(X),    F(X) = (F_1(x_1), F_2(x_2), …) + F_b(X)

(Cázares-Trejo, Loreto-Silva, Sauceda, arXiv 2511.01913, Section II.) Everything that serves forces —
driver, i-PI plug-in, ASE calculator, command line — goes through `Potential.compute`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from ._types import FloatArray, IntArray
from .errors import GeometryError, InputError, ManifestError, ModelFileError, NonFiniteError
from .gdml import Model, Prediction, Predictor
from .gdml.uncertainty import Uncertainty
from .manifest import format_atoms
from .molecule.likeness import Likeness

Part = Literal["all", "fragments", "binding"]


class Parts(NamedTuple):
    """What the sum is made of.

    ``energies``: eV, by term, in the manifest's order: each fragment, then ``binding`` (the sum of all binding
    terms) and each term that has a ``between`` as ``binding_<a>_<b>``. ``binding_forces``: eV/Å, shape of the forces,
    or None where no binding was evaluated.
    """

    energies: dict[str, FloatArray]
    binding_forces: FloatArray | None


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
        parts = Parts(energies, None if forces is None else forces[i])
        return Result(self.energy[i], self.forces[i], self.virial[i], parts)


@dataclass(frozen=True, eq=False)
class Term:
    """One model (or constant) of the sum, and the atoms that it sees, in its own order.

    load: reads the model's file once more, for what a prediction does not need.
    """

    name: str
    atoms: IntArray
    model: Predictor | float  # a constant energy in eV, for an ion
    path: Path | None = None
    load: Callable[[], Model] | None = None

    @cached_property
    def where(self) -> IntArray | slice:
        """The atoms as a slice where they are contiguous: no copy."""
        first, n = int(self.atoms[0]), len(self.atoms)
        return slice(first, first + n) if (np.diff(self.atoms) == 1).all() else self.atoms

    @cached_property
    def uncertainty(self) -> Uncertainty | None:
        """Expected errors; None for a constant. Raises ModelFileError for a model without a calibration."""
        if isinstance(self.model, float):
            return None
        model = self.load() if self.load else None
        if model is None or model.calibration is None:
            raise ModelFileError(
                f"{self.path or self.name}: the model has no error calibration; "
                "`delta-sgdml model calibrate MANIFEST DATASET` adds one"
            )
        return Uncertainty(model)


class Potential:
    """The sum of fragment terms and binding terms over the atoms of one complex."""

    def __init__(
        self,
        numbers: npt.ArrayLike,
        reference: npt.ArrayLike,
        fragments: Sequence[Term],
        bindings: Sequence[Term] = (),
        *,
        name: str = "",
        theory: str = "",
    ) -> None:
        """numbers: (N,); reference: (N, 3) in Å, a sane geometry in that order of atoms."""
        self.numbers: IntArray = np.asarray(numbers, dtype=np.intp)
        self.reference: FloatArray = np.asarray(reference, dtype=np.float64)
        self.fragments, self.bindings = tuple(fragments), tuple(bindings)
        self.name, self.theory = name, theory
        self.likeness = Likeness.of(self.numbers, self.reference, [t.atoms for t in self.fragments])

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    def compute(self, positions: npt.ArrayLike, part: Part = "all") -> Result:
        """Energy, forces, virial and their parts.

        positions: (N, 3) or (F, N, 3), Å. `part` leaves out the binding or the fragments.

        Raises GeometryError on a wrong shape or positions that are not finite, NonFiniteError (with the frame) where
        the models give no number, ManifestError where there is no binding to evaluate.
        """
        x, frames = self._frames(positions, part)
        with np.errstate(all="ignore"):  # what does not come out finite is told, once
            result = self._sum(frames, part)
        finite = np.isfinite(result.energy) & np.isfinite(result.forces).all((1, 2))
        if not finite.all():
            raise NonFiniteError(self._blame(result, int(np.flatnonzero(~finite)[0])))
        return result if x.ndim == 3 else result.frame(0)

    def uncertainty(self, positions: npt.ArrayLike, part: Part = "all") -> dict[str, FloatArray]:
        """Expected errors: RMSE of force components, eV/Å, by term as in `Parts`, and ``total``.

        positions: (N, 3) or (F, N, 3), Å; values have the shape () or (F,). The squares of the terms add up, each
        weighted by its share of the atoms, as if their errors had nothing to do with each other. An ion alone has 0.

        Raises as `compute`, and ModelFileError where a model carries no calibration.
        """
        x, frames = self._frames(positions, part)
        errors: dict[str, FloatArray] = {}
        squares = np.zeros(len(frames))
        with np.errstate(all="ignore"):  # atoms on top of each other: nothing like it was trained on
            for term in self.fragments if part != "binding" else ():
                errors[term.name] = self._error(term, frames)
                squares += len(term.atoms) / self.n_atoms * errors[term.name] ** 2
            if part != "fragments" and self.bindings:
                parts = {term.name: self._error(term, frames) for term in self.bindings}
                shares = [len(term.atoms) / self.n_atoms for term in self.bindings]
                binding = np.sum([w * e**2 for w, e in zip(shares, parts.values(), strict=True)], axis=0)
                squares += binding
                errors |= {"binding": np.sqrt(binding)} | {k: e for k, e in parts.items() if k != "binding"}
        errors["total"] = np.sqrt(squares)
        return errors if x.ndim == 3 else {name: error[0] for name, error in errors.items()}

    def _error(self, term: Term, frames: FloatArray) -> FloatArray:
        uncertainty = term.uncertainty
        return np.zeros(len(frames)) if uncertainty is None else uncertainty.expected_error(frames[:, term.where])

    def _frames(self, positions: npt.ArrayLike, part: Part) -> tuple[FloatArray, FloatArray]:
        """The positions as they came, and as (F, N, 3), once both they and `part` are found good."""
        if part not in get_args(Part):
            raise InputError(f"part is {part!r}, expected one of {', '.join(get_args(Part))}")
        if part == "binding" and not self.bindings:
            raise ManifestError(f"{self.name}: the manifest has no binding, so there is no such part to serve")
        x = np.ascontiguousarray(positions, dtype=np.float64)
        if x.ndim not in (2, 3) or x.shape[-2:] != (self.n_atoms, 3):
            raise GeometryError(
                f"positions have shape {x.shape}, expected ({self.n_atoms}, 3) or (frames, {self.n_atoms}, 3)"
            )
        frames = x if x.ndim == 3 else x[None]
        if not np.isfinite(frames).all():
            frame, atom = np.argwhere(~np.isfinite(frames))[0, :2]
            raise GeometryError(f"position of atom {atom} in frame {frame} is not finite: {frames[frame, atom]}")
        return x, frames

    def _sum(self, frames: FloatArray, part: Part) -> Result:
        n = len(frames)
        total = Prediction(np.zeros(n), np.zeros_like(frames), np.zeros((n, 3, 3)))
        energies: dict[str, FloatArray] = {}
        if part != "binding":
            for term in self.fragments:
                energies[term.name] = self._add(term, frames, total)
        binding_forces = None
        if part != "fragments" and self.bindings:
            binding = Prediction(np.zeros(n), np.zeros_like(frames), np.zeros((n, 3, 3)))
            energies["binding"] = binding.energy
            for term in self.bindings:
                energy = self._add(term, frames, binding)
                if term.name != "binding":
                    energies[term.name] = energy
            for sum_, part_ in zip(total, binding, strict=True):
                sum_ += part_
            binding_forces = binding.forces
        return Result(*total, Parts(energies, binding_forces))

    def _add(self, term: Term, frames: FloatArray, total: Prediction) -> FloatArray:
        """Add a term's prediction to a total, in place; returns its energy."""
        if isinstance(term.model, float):
            energy = np.full(len(frames), term.model)
        else:
            energy, forces, virial = term.model.predict(frames[:, term.where])
            total.forces[:, term.where] += forces
            np.add(total.virial, virial, out=total.virial)
        np.add(total.energy, energy, out=total.energy)
        return energy

    def _blame(self, result: Result, frame: int) -> str:
        bad = [name for name, e in result.parts.energies.items() if not np.isfinite(e[frame])]
        return f"frame {frame}: {', '.join(bad) or 'the forces'} came out as not a number"

    def check_geometry(self, positions: FloatArray, source: str = "geometry") -> None:
        """Raise GeometryError unless (N, 3) positions in Å can be this molecule: unit, order, wrapping."""
        self.likeness.check(positions, source)

    def describe(self) -> str:
        """One line: what is served."""
        terms = ", ".join(
            f"{t.name} ({format_atoms(tuple(map(int, t.atoms)))})" for t in (*self.fragments, *self.bindings)
        )
        return f"{self.name}: {self.n_atoms} atoms, {terms}"
