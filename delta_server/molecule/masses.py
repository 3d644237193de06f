"""Masses that allow longer time steps."""

from __future__ import annotations

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from .bonds import bonds


def repartitioned(numbers: IntArray, positions: FloatArray, hydrogen: float) -> FloatArray:
    """(N,) u: every hydrogen weighs `hydrogen`, and what it gained the atom that it is bound to has lost, so that
    molecules weigh what they do (hydrogen mass repartitioning; Hopkins et al., J. Chem. Theory Comput. 11, 1864
    (2015)). numbers: (N,); positions: (N, 3) Å, molecules whole.

    Raises InputError for a hydrogen that is not bound to one heavier atom, and where the heavier atom would become
    the lighter one.
    """
    from ase.data import atomic_masses, chemical_symbols

    masses = np.array(atomic_masses[numbers], dtype=np.float64)
    pairs = bonds(numbers, positions)
    for k in np.flatnonzero(numbers == 1):
        partners = pairs[(pairs == k).any(axis=1)].sum(axis=1) - k
        if len(partners) != 1 or numbers[partners[0]] == 1:
            raise InputError(f"hydrogen mass: atom {k} (H) is not bound to just one heavier atom")
        masses[partners[0]] -= hydrogen - masses[k]
        masses[k] = hydrogen
    if len(lightest := np.flatnonzero((numbers > 1) & (masses < hydrogen))):
        k = lightest[0]
        left = f"atom {k} ({chemical_symbols[numbers[k]]}) would be left with {masses[k]:.3g} u"
        raise InputError(f"hydrogen mass {hydrogen:g}: {left}; give less")
    return masses
