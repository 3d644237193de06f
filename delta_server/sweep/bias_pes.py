"""i-PI PES plug-ins: the bias of a window, and metadynamics, in i-PI's own process; a sweep's folder has a file that
names the class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ipi.engine.forcefields import FFDirect
from ipi.pes.dummy import Dummy_driver

from ..terms.base import Frames
from ..terms.bias import BiasTerm
from ..units import BOHR, HARTREE
from .metadynamics import Flood
from .umbrella import read_bias


class BiasDriver(Dummy_driver):  # type: ignore[misc]
    """bias: a file that `umbrella.write_bias` wrote. Extras: each variable by its name, in Å, degrees or a number."""

    def __init__(self, bias: str = "", *args: Any, **kwargs: Any) -> None:
        self._read(Path(bias))
        super().__init__(*args, **kwargs)

    def _read(self, bias: Path) -> None:
        self._term = read_bias(bias)

    @property
    def term(self) -> BiasTerm:
        return self._term

    def compute(self, cell: Any, pos: Any) -> Any:
        """One structure: atomic units in and out; cell (3, 3) has its vectors as columns."""
        frames, term = _frames(cell, pos), self.term
        energies, own, virials, variables = term.evaluate(frames)
        forces = np.zeros_like(frames.positions[0])
        forces[term.sites[0]] = own[0, 0]
        values = {name: float(value[0]) for name, value in variables.items()}
        energy, virial = float(energies[0, 0]) / HARTREE, virials[0, 0] / HARTREE
        return energy, forces * (BOHR / HARTREE), virial, json.dumps(values)


class MetadynamicsDriver(BiasDriver):
    """bias: a file that `metadynamics.Ground` wrote; hills: those that are put there; start: the step at which i-PI
    begins or goes on. i-PI's <smotion mode="metad"> tells when a step has ended."""

    def __init__(self, bias: str = "", hills: str = "", start: int = 0, *args: Any, **kwargs: Any) -> None:
        self._hills, self._start = Path(hills), int(start)
        if not hasattr(FFDirect, "mtd_update"):  # i-PI 3.3 asks the force field, which does not ask its class
            FFDirect.mtd_update = lambda field, pos, cell: field.driver.mtd_update(pos, cell)
        super().__init__(bias, *args, **kwargs)

    def _read(self, bias: Path) -> None:
        self._flood = Flood(bias, self._hills, self._start)

    @property
    def term(self) -> BiasTerm:
        return self._flood.term

    def mtd_update(self, pos: Any, cell: Any) -> float:
        """A system (or its centroid) at the end of a step: by how much its bias is less than before, hartree."""
        return -self._flood.update(_frames(cell, pos)) / HARTREE


def _frames(cell: Any, pos: Any) -> Frames:
    return Frames(np.asarray(pos).reshape(1, -1, 3) * BOHR, np.asarray(cell).T[None] * BOHR)
