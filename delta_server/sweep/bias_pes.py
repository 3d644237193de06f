"""i-PI PES plug-in: the bias of a window, in i-PI's own process; a sweep's folder has a file that names its class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ipi.pes.dummy import Dummy_driver

from ..terms.base import Frames
from ..units import BOHR, HARTREE
from .umbrella import read_bias


class BiasDriver(Dummy_driver):  # type: ignore[misc]
    """bias: a file that `umbrella.write_bias` wrote. Extras: the variable by its name, in Å, degrees or a number."""

    def __init__(self, bias: str = "", *args: Any, **kwargs: Any) -> None:
        self._term = read_bias(Path(bias))
        super().__init__(*args, **kwargs)

    def compute(self, cell: Any, pos: Any) -> Any:
        """One structure: atomic units in and out; cell (3, 3) has its vectors as columns."""
        frames = Frames(np.asarray(pos).reshape(1, -1, 3) * BOHR, np.asarray(cell).T[None] * BOHR)
        energies, own, virials = self._term.evaluate(frames)
        forces = np.zeros_like(frames.positions[0])
        forces[self._term.sites[0]] = own[0, 0]
        values = {name: float(value[0]) for name, value in self._term.values(frames).items()}
        energy, virial = float(energies[0, 0]) / HARTREE, virials[0, 0] / HARTREE
        return energy, forces * (BOHR / HARTREE), virial, json.dumps(values)
