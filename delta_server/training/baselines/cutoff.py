"""A cut-off of the binding's model, held against where the complex is bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._types import FloatArray, IntArray
from ...data.apart import placed_in
from ...errors import InputError
from ...terms.switch import Switch, SwitchOfTwo

if TYPE_CHECKING:
    from ..databases import Complex

_BOUND = 0.95  # of the configurations of the dynamics


def check_cutoff(system: Complex, which: IntArray, cutoff: float, width: float) -> None:
    """Raise InputError where the switch of a cut-off (Å) begins where the complex still is, in configurations
    `which`, or where there are other than two fragments."""
    data = system.data
    if data.n_fragments != 2:
        raise InputError(f"{data.name}: a cut-off is of two fragments, here are {data.n_fragments}")
    bound = which[~placed_in(data)[which]]
    farthest = float(np.quantile(centre_distances(system, bound), _BOUND))
    if cutoff - width < farthest:
        raise InputError(
            f"{data.name}: a cut-off of {cutoff:g} Å, switched from {cutoff - width:g} Å: the complex has up to "
            f"{farthest:.1f} Å between its fragments' centres of mass; take {farthest + width:.1f} Å or more"
        )


def centre_distances(system: Complex, which: IntArray) -> FloatArray:
    """(n,) Å between the centres of mass of two fragments, in configurations `which`."""
    switch = SwitchOfTwo.of(Switch(1.0, 1.0), [system.atoms[k] for k in range(2)], system.data.numbers)
    return switch.of_frames(system.data.positions[which])[3]
