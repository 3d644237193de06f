"""Whether a model knows where it goes: relaxed, and at the temperature of its data, from the manifest's geometry.

Held-out errors tell of configurations between those of the training. A model that falls out of them within the first
steps by itself is of no use in dynamics, whatever these errors are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._types import FloatArray
from ..dynamics import Walkers, relax
from ..errors import DeltaError, ModelFileError
from ..molecule.intact import IntactMolecule
from ..molecule.limits import Limits
from ..potential import Potential
from ..terms.sgdml import SgdmlTerm
from ..units import BOLTZMANN, KCAL_MOL
from .check import Check

_RELAXATION, _FMAX = 300, 5e-3  # steps at most, eV/Å
_STEPS, _LOOK = 200, 20  # of 0.5 fs, and between looks
_TAU = 50.0  # fs
_COLDEST, _DEFAULT, _HOTTEST = 50.0, 300.0, 500.0  # K


def check_walk(potential: Potential, seed: int = 0) -> Iterator[Check]:
    """Two checks: relaxing, and two short walks, from the manifest's geometry and from the relaxed one.

    They fail where bonds break or form, where the model has no forces, and where a term gets far beyond what it was
    trained on (`gdml.uncertainty.ErrorLimits`); where it only leaves that, they warn.
    """
    from ase import Atoms

    judge = _Judge(potential)
    atoms = Atoms(potential.numbers, potential.reference, cell=potential.cell, pbc=potential.cell is not None)
    taken = 0

    def go_on(step: int, largest: float) -> bool:
        return step % _LOOK != 0 or judge.sound(atoms.positions[None])

    try:
        taken = relax(atoms, potential, _RELAXATION, _FMAX, go_on)
        judge.sound(atoms.positions[None])
    except DeltaError as error:
        judge.wrong = str(error)
    yield judge.check("relaxed", f"in {taken} steps from the manifest's geometry")
    if judge.wrong:
        return
    kelvin = training_temperature(potential, atoms.positions)
    judge = _Judge(potential)
    walkers = Walkers(
        potential, [potential.reference, atoms.positions], [kelvin] * 2, [[seed, 0], [seed, 1]], tau=_TAU
    )
    for _ in range(_STEPS // _LOOK):
        walkers.advance(_LOOK)
        if not walkers.alive.all():
            judge.wrong = "the model gives no forces where it goes"
        if judge.wrong or not judge.sound(walkers.positions):
            break
    yield judge.check(f"walk at {kelvin:.0f} K", f"{_STEPS} steps of {walkers.timestep:g} fs, twice")


class _Judge:
    """Looks at geometries, and keeps what was the worst."""

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self._molecule = IntactMolecule(
            potential.numbers, potential.reference, Limits(), [f.atoms for f in potential.fragments]
        )
        self.wrong, self._left, self._worst, self._share = "", "", "", 0.0
        try:
            potential.uncertainty(potential.reference)
            self._calibrated = True
        except ModelFileError:
            self._calibrated = False

    def sound(self, frames: FloatArray) -> bool:
        """Take in geometries (F, N, 3), Å; false where there is no use in going on."""
        errors = self._potential.uncertainty(frames) if self._calibrated else {}
        for i, frame in enumerate(frames):
            self.wrong = self.wrong or self._molecule.geometry_breach(frame) or ""
            here = {name: error[i] for name, error in errors.items()}
            for departure in self._potential.departures(here)[:1]:
                self._left = str(departure)
                self.wrong = self.wrong or (self._left if departure.far else "")
            for name, limits in self._potential.error_limits.items() if here else ():
                if (share := float(here[name]) / limits.left) > self._share:
                    self._share, worst = share, float(here[name]) / KCAL_MOL
                    self._worst = f"{name}: expected error {worst:.2g} of {limits.left / KCAL_MOL:.2g} kcal/mol/Å"
        return not self.wrong

    def check(self, name: str, what: str) -> Check:
        """What is to be said of all that was looked at."""
        if self.wrong:
            return Check(name, False, f"{what}: {self.wrong}; teach it where it goes: delta-sgdml learn")
        if self._left:
            return Check(name, True, f"{what}: leaves what it was trained on, {self._left}", warning=True)
        return Check(name, True, f"{what}; {self._worst or 'expected errors are not known'}")


def training_temperature(potential: Potential, minimum: FloatArray) -> float:
    """K: of the configurations that the fragments' models were trained on, by equipartition, their mean energy above
    that of the minimum (N, 3), Å, being (3n − 6) kT/2 for n atoms; within 50 and 500. 300 where model files do not
    hold their training geometries."""
    energy, modes = 0.0, 0
    for term in potential.terms:
        model = term.load() if isinstance(term, SgdmlTerm) and term.load and term.part == "fragments" else None
        if not isinstance(term, SgdmlTerm) or model is None or model.training_positions is None:
            continue
        some = model.training_positions[:: max(1, model.n_train // 50)] * model.angstrom
        energies = term.predictor.predict(np.concatenate([minimum[None, term.sites[0]], some])).energy
        energy += float(energies[1:].mean() - energies[0])
        modes += 3 * model.n_atoms - 6
    return float(np.clip(2 * energy / (modes * BOLTZMANN), _COLDEST, _HOTTEST)) if modes > 0 else _DEFAULT
