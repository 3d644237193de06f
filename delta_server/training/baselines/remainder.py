"""Labels less what terms below the models say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..._types import IntArray
from ...data.dataset import Dataset
from ...errors import InputError, NonFiniteError
from ...terms.base import Contribution, Frames, Term
from ...terms.calculator import CalculatorTerm
from ...terms.dispersion import DispersionTerm
from ...terms.electrostatics import ElectrostaticsTerm
from ...units import KCAL_MOL
from ..labels import Labels

_CHUNK = 16  # configurations between two reports


def remainder(
    data: Dataset, terms: Sequence[Term], which: IntArray, report: Callable[[float], object] = lambda done: None
) -> Dataset:
    """The data set with what terms below the models say taken off the labels of some configurations.

    An atom alone loses it in all configurations, as its energy is a constant. report: told the share that is done.
    Raises InputError for a configuration on which a calculator fails.
    """
    fragment, before, before_forces = data.isolated()
    below = terms_below(terms)
    if not below:
        return data
    energies, forces, alone, alone_forces = (
        array.copy() for array in (data.energies, data.forces, before, before_forces)
    )
    for start in range(0, len(which), _CHUNK):
        rows = which[start : start + _CHUNK]
        for term in below:
            site, contribution = term.sites[0], _evaluate(term, data, rows)
            e, f = contribution.energies[:, 0] / KCAL_MOL, contribution.forces[:, 0] / KCAL_MOL
            energies[rows] -= e
            forces[np.ix_(rows, site)] -= f
            if term.part == "fragments":
                alone[rows, fragment[site[0]]] -= e
                alone_forces[np.ix_(rows, site)] -= f
        report(min(1.0, (start + len(rows)) / len(which)))
    rest = np.setdiff1d(np.arange(len(data)), which)
    for k in np.flatnonzero(np.bincount(fragment) == 1):
        alone[rest, k] += (alone - before)[which[0], k]
    return replace(data, energies=energies, forces=forces, fragment_energies=alone, fragment_forces=alone_forces)


def labels_less(labels: Labels, atoms: IntArray, terms: Sequence[Term], n_atoms: int) -> Labels:
    """Labels that are not of the data set, of a fragment alone or of the binding, less what terms below the models
    say of it. atoms: of a complex of `n_atoms`, where those of the labels stand. Raises NonFiniteError."""
    whole = len(atoms) == n_atoms
    x = np.zeros((len(labels), n_atoms, 3))
    x[:, atoms] = labels.positions
    energies, forces = labels.energies.copy(), np.zeros(x.shape)
    for term in terms_below(terms):
        site = term.sites[0]
        if (term.part == "binding") == whole and np.isin(site, atoms).all():
            contribution = term.evaluate(Frames(x))
            energies -= contribution.energies[:, 0] / KCAL_MOL
            forces[:, site] -= contribution.forces[:, 0] / KCAL_MOL
    return replace(labels, energies=energies, forces=labels.forces + forces[:, atoms])


def terms_below(terms: Sequence[Term]) -> list[CalculatorTerm | DispersionTerm | ElectrostaticsTerm]:
    """Those that are taken as they are: models learn what they leave."""
    return [term for term in terms if isinstance(term, CalculatorTerm | DispersionTerm | ElectrostaticsTerm)]


def _evaluate(term: Term, data: Dataset, rows: IntArray) -> Contribution:
    try:
        return term.evaluate(Frames(data.positions[rows]))
    except NonFiniteError as error:
        frame, _, what = str(error).removeprefix("frame ").partition(": ")
        mend = "leave this configuration out, or mend the baseline's options"
        raise InputError(f"{data.name}: baseline: configuration {rows[int(frame)]}: {what}; {mend}") from None
