"""Terms of other kinds: calculators, biases, and what installed packages add."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from .._types import IntArray
from ..errors import DeltaError, ManifestError, NonFiniteError
from ..manifest import FragmentEntry, Manifest, TermEntry
from ..methods import Method
from ..terms.base import Frames, Side, Term, TermRequest
from ..terms.bias import bias_of
from ..terms.calculator import CalculatorTerm, Molecule, calculator_terms
from ..terms.dispersion import dispersion_of
from ..terms.electrostatics import electrostatics_of

if TYPE_CHECKING:
    from ase import Atoms

KINDS = "delta_server.terms"
"""The group of entry points under which kinds of terms are found; each makes a `Term` of a `TermRequest`."""


def other_term(
    manifest: Manifest,
    entry: TermEntry,
    atoms: tuple[int, ...],
    numbers: IntArray,
    molecules: Mapping[str, Sequence[IntArray] | IntArray],
) -> Term:
    """The term of an entry under ``terms:``, made by its kind. molecules: the atoms of each, by fragment or species.
    Raises ManifestError."""
    where = f"{manifest.path}: term {entry.name!r}"
    if entry.kind == "bias":
        return bias_of(manifest, entry, numbers)
    if entry.kind == "electrostatics":
        return electrostatics_of(manifest, entry)
    if entry.kind == "dispersion":
        return dispersion_of(manifest, entry, molecules)
    make = _maker(entry.kind, where)
    sites = np.array(atoms, dtype=np.intp)
    part = cast("Side", entry.part)  # `all` is for calculators
    request = TermRequest(entry.name, part, sites, numbers[sites], entry.options, manifest.path.parent)
    try:
        return make(request)
    except DeltaError:
        raise
    except Exception as error:  # whatever another package's code trips over
        raise ManifestError(f"{where} of kind {entry.kind!r}: {type(error).__name__}: {error}") from error


def computed_fragment(manifest: Manifest, entry: FragmentEntry, structure: Atoms) -> list[CalculatorTerm]:
    """A fragment that a calculator computes. Raises ManifestError."""
    assert entry.calculator is not None
    method, names = Method(entry.calculator, entry.options), {entry.name: entry.name}
    return _computed(manifest, f"fragment {entry.name!r}", names, "fragments", method, [entry], structure)


def computed_terms(manifest: Manifest, entry: TermEntry, structure: Atoms) -> list[CalculatorTerm]:
    """What a term of the kind ``calculator`` adds to each fragment and to the binding. Raises ManifestError."""
    assert entry.calculator is not None
    by_name = {f.name: f for f in manifest.fragments}
    fragments = [by_name[name] for name in (entry.over or by_name)]
    method = Method(entry.calculator, entry.options)
    names = {f.name: f"{entry.name}_{f.name}" for f in fragments} | {"binding": entry.name}
    where = f"term {entry.name!r}"
    return _computed(manifest, where, names, entry.part, method, fragments, structure, entry.periodic)


def _computed(
    manifest: Manifest,
    where: str,
    names: dict[str, str],
    part: Literal["fragments", "binding", "all"],
    method: Method,
    fragments: Sequence[FragmentEntry],
    structure: Atoms,
    periodic: bool = False,
) -> list[CalculatorTerm]:
    """Terms of a calculator, tried on the manifest's structure. Raises ManifestError."""
    molecules = [Molecule(f.name, np.array(f.atoms, dtype=np.intp), f.charge, f.multiplicity) for f in fragments]
    numbers = np.asarray(structure.numbers, dtype=np.intp)
    try:
        terms = list(calculator_terms(names, part, method, molecules, numbers, manifest.path.parent, periodic))
        for term in terms:
            term.evaluate(Frames(np.asarray(structure.positions)[None]))
    except NonFiniteError as error:
        what = str(error).removeprefix("frame 0: ")
        raise ManifestError(f"{manifest.path}: {where}: {what}, at the structure of the manifest") from error
    except DeltaError as error:
        raise ManifestError(f"{manifest.path}: {where}: {error}") from error
    except Exception as error:  # calculators raise whatever they like
        raise ManifestError(f"{manifest.path}: {where}: {type(error).__name__}: {error}") from error
    return terms


def _maker(kind: str, where: str) -> Callable[[TermRequest], Term]:
    from importlib.metadata import entry_points

    there = entry_points(group=KINDS)
    if kind not in there.names:
        known = ", ".join(sorted(there.names)) or "none"
        raise ManifestError(
            f"{where}: no kind of term is called {kind!r}; there are bias, calculator, dispersion and "
            f"electrostatics, and installed packages have {known} (entry points {KINDS!r})"
        )
    try:
        return cast("Callable[[TermRequest], Term]", there[kind].load())
    except Exception as error:  # whatever an installed package trips over when it is imported
        raise ManifestError(f"{where} of kind {kind!r} cannot be loaded: {type(error).__name__}: {error}") from error
