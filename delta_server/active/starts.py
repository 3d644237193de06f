"""Where the dynamics of a round starts: relaxed, where the last round ended, with equal atoms exchanged, apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np

from .._types import FloatArray, IntArray
from ..data.apart import gaps, place
from ..dynamics import relax as relax_atoms
from ..errors import GeometryError, NonFiniteError
from ..potential import Potential
from ..symmetry.bond_graph import Group
from .dynamics import Start

RELAXED, LAST, COPY, APART = "relaxed", "last", "copy", "apart"
_TURNS = (RELAXED, LAST, COPY, APART, LAST, COPY, LAST, APART)
_APART, _FREE = 7.0, 2.5  # Å beyond contact, at most, and between nearest atoms, at least, of fragments apart
_TRIES = 8  # of placing, for each start
_FMAX, _STEPS = 0.02, 300  # eV/Å and steps of a relaxation


def starts(
    potential: Potential,
    temperatures: Sequence[float],
    replicas: int,
    known: Sequence[FloatArray],
    last: Mapping[float, Sequence[FloatArray]],
    group: Group,
    limits: Mapping[str, float],
    rng: np.random.Generator,
) -> tuple[list[Start], str]:
    """So many starts at each temperature, and what is to be said of the relaxed one, "" for nothing.

    known: labelled geometries (N, 3) of the bound complex, that of lowest energy first. last: of each temperature,
    where the last round's replicas were when they ended. group: of the exchanges of equal atoms.
    """
    relaxed, note = relax(potential, known[0], limits)
    fragments = [f.atoms for f in potential.fragments]
    kinds = list(islice(cycle(_TURNS), replicas))
    made = []
    for temperature in temperatures:
        ended = np.array(list(last.get(temperature, ())) or list(known))
        seed = int(rng.integers(2**32))
        placed = place(potential.numbers, fragments, ended, _TRIES * replicas, farthest=_APART, seed=seed)
        free = iter(placed[gaps(placed, fragments) > _FREE])
        for kind in kinds:
            x = ended[rng.integers(len(ended))]
            if kind == RELAXED:
                x = relaxed
            elif kind == COPY:
                x = x[_element(group, rng)]
            elif kind == APART:
                x = next(free, x)
            made.append(Start(x, temperature, kind))
    return made, note


def relax(potential: Potential, positions: FloatArray, limits: Mapping[str, float]) -> tuple[FloatArray, str]:
    """A geometry (N, 3), Å, relaxed with the model; as it was where the model leads it beyond the limits of its
    expected errors (eV/Å, by term), and a line that says so."""
    from ase import Atoms

    atoms, beyond = Atoms(potential.numbers, positions), list[str]()

    def go_on(step: int, largest: float) -> bool:
        errors = potential.uncertainty(atoms.positions)
        beyond.extend(name for name, limit in limits.items() if errors[name] > limit)
        return not beyond

    try:
        relax_atoms(atoms, potential, _STEPS, _FMAX, go_on)
    except (GeometryError, NonFiniteError) as error:
        return positions, f"not relaxed: {error}"
    if beyond:
        return positions, f"not relaxed: the model would lead it where {', '.join(beyond)} is not known"
    relaxed: FloatArray = atoms.positions
    return relaxed, ""


def _element(group: Group, rng: np.random.Generator) -> IntArray:
    """A permutation (N,) of a group, drawn at random."""
    order = np.arange(group.n_atoms)
    for factor in group.factors:
        order = order[factor[rng.integers(len(factor))]]
    return order
