"""What a term of a potential is: something that has an energy, forces and a virial for some of the atoms.

A term knows its atoms and nothing of the other terms. Whoever serves, sums, checks or watches a potential goes
through `Term` alone, so that a new kind of term needs no change anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from .._types import FloatArray, IntArray
from ..errors import ModelFileError

Side = Literal["fragments", "binding", "bias"]
"""Of E = Σ_f E_f + E_b, what a term belongs to, and so what ``--part`` serves; a bias is added to it, and apart."""


class Frames(NamedTuple):
    """F geometries of N atoms.

    ============= ============ =====================================================================
    ``positions`` (F, N, 3)    Å
    ``cells``     (F, 3, 3)    Å, rows are lattice vectors, zeros for none; None where no frame has one
    ============= ============ =====================================================================
    """

    positions: FloatArray
    cells: FloatArray | None = None


class Contribution(NamedTuple):
    """What a term adds for F frames, by each of its K copies of n atoms.

    ============ =============== ======================================
    ``energies`` (F, K)          eV
    ``forces``   (F, K, n, 3)    eV/Å, on the atoms of ``Term.sites``
    ``virials``  (F, K, 3, 3)    eV, Σ r ⊗ F = −∂E/∂ε
    ============ =============== ======================================

    variables: (F,) of each collective variable that a bias acts on, by its name; in Å, degrees, or a number.
    """

    energies: FloatArray
    forces: FloatArray
    virials: FloatArray
    variables: Mapping[str, FloatArray] = MappingProxyType({})


class Term(Protocol):
    """One term of a potential, in one or several copies: equal molecules are copies of one term.

    names: of each copy, under which its energy and its expected error are told. sites: (K, n) the atoms of each copy,
    in the term's own order. A term may also have ``error_limits``, a `gdml.uncertainty.ErrorLimits`: which of its
    expected errors are usual; ``n_known``: of how many atoms an expected error is, where not of all of a copy;
    ``slack``: by how much more than a formula its numbers may round (`checks`); and ``add(frames, forces, virials)``:
    what `evaluate` does, in place and faster (`SgdmlTerm.add`).
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def part(self) -> Side: ...

    @property
    def sites(self) -> IntArray: ...

    def evaluate(self, frames: Frames) -> Contribution:
        """All copies in all frames; `frames` are left as they are. What comes out need not be finite."""
        ...

    def expected_error(self, frames: Frames) -> FloatArray | None:
        """(F, K) eV/Å: RMSE of each copy's force components to be expected; None where it is not known."""
        ...


class TermRequest(NamedTuple):
    """An entry under ``terms:`` of a manifest, as the maker of its kind gets it.

    atoms: (n,) those that the term is over; numbers: (n,) their atomic numbers. options: as the manifest has them.
    folder: the manifest's, which paths among the options are relative to.
    """

    name: str
    part: Side
    atoms: IntArray
    numbers: IntArray
    options: Mapping[str, Any]
    folder: Path


def not_calibrated(name: str) -> ModelFileError:
    """The error of a term that is asked for expected errors and does not know them."""
    return ModelFileError(
        f"{name}: the model has no error calibration; `delta-sgdml model calibrate MANIFEST DATASET` adds one"
    )
