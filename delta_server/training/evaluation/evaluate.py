"""Errors of a potential on labelled configurations: of the sum, of each fragment, of the binding.

The labels of the parts are those of arXiv 2511.01913, Sec. IV: E_f and F_f of each fragment alone, E_b = E − Σ_f E_f
and F_b = F − (F_1, F_2, …) of the binding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..._types import FloatArray, IntArray
from ...data.dataset import Dataset
from ...errors import InputError, NonFiniteError
from ...files.documents import plain
from ...gdml import CpuPredictor, Model
from ...molecule.bonds import symbols
from ...molecule.likeness import Likeness
from ...molecule.ranges import format_atoms
from ...potential import Fragment, Potential, Result
from ...terms.sgdml import SgdmlTerm
from ...units import KCAL_MOL

_CHUNK = 64  # configurations evaluated together


@dataclass(frozen=True, eq=False)
class PartErrors:
    """Predictions and labels of one part of the sum, kcal/mol and kcal/mol/Å; errors are prediction − label.

    ================== =================== ===================================================================
    ``energy``         (n,)                predicted
    ``energy_label``   (n,)
    ``forces``         (n, atoms, 3)       predicted, on the atoms of the part
    ``forces_label``   (n, atoms, 3)
    ``force_relative``                     RMSE of the forces over the root mean square of their labels; NaN for 0/0
    ================== =================== ===================================================================

    MAE and RMSE of forces are over components.
    """

    name: str
    energy: FloatArray
    energy_label: FloatArray
    forces: FloatArray
    forces_label: FloatArray

    @property
    def n(self) -> int:
        return len(self.energy)

    @property
    def energy_error(self) -> FloatArray:
        return self.energy - self.energy_label

    @property
    def force_error(self) -> FloatArray:
        return self.forces - self.forces_label

    @property
    def energy_mae(self) -> float:
        return float(np.abs(self.energy_error).mean())

    @property
    def energy_rmse(self) -> float:
        return _rms(self.energy_error)

    @property
    def energy_mean_error(self) -> float:
        return float(self.energy_error.mean())

    @property
    def force_mae(self) -> float:
        return float(np.abs(self.force_error).mean())

    @property
    def force_rmse(self) -> float:
        return _rms(self.force_error)

    @property
    def force_relative(self) -> float:
        size = _rms(self.forces_label)
        return self.force_rmse / size if size > 0 else float("nan")

    def as_dict(self) -> dict[str, str | int | float | None]:
        """The errors; what is not a number is None."""
        row: dict[str, str | int | float | None] = {"name": self.name, "n": self.n}
        return row | {key: plain(getattr(self, key)) for key in ERRORS}


ERRORS = (
    "energy_mae",
    "energy_rmse",
    "energy_mean_error",
    "force_mae",
    "force_rmse",
    "force_relative",
)


@dataclass(frozen=True)
class Worst:
    """A configuration of the data set: RMSE of its forces (kcal/mol/Å), error of its energy (kcal/mol)."""

    configuration: int
    force_rmse: float
    energy_error: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a potential makes of `which` configurations: the total first, then each fragment, then the binding.

    ``note`` says why there is no more than the total, where there could be.
    """

    name: str
    which: IntArray
    parts: tuple[PartErrors, ...]
    note: str = ""

    @property
    def total(self) -> PartErrors:
        return self.parts[0]

    @property
    def binding(self) -> PartErrors | None:
        return next((part for part in self.parts[1:] if part.name == "binding"), None)

    def worst(self, n: int = 3) -> list[Worst]:
        """The configurations with the largest force errors, the worst first."""
        rmse = np.sqrt((self.total.force_error**2).mean((1, 2)))
        energy = self.total.energy_error
        return [Worst(int(self.which[i]), float(rmse[i]), float(energy[i])) for i in np.argsort(-rmse)[:n]]

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "note": self.note,
            "parts": [part.as_dict() for part in self.parts],
            "worst": [vars(worst) for worst in self.worst()],
        }


@dataclass(frozen=True)
class Improvement:
    """1 − MAE / MAE of the other, for a part that both have; NaN where the other has no error."""

    part: str
    energy: float
    force: float


def improvements(mine: Evaluation, other: Evaluation) -> Iterator[Improvement]:
    """How much better `mine` is than `other` (arXiv 2511.01913, Figs. 6 and 7)."""
    theirs = {part.name: part for part in reversed(other.parts)}
    for part in mine.parts:
        if (rival := theirs.pop(part.name, None)) is not None:
            energy, force = _gain(part.energy_mae, rival.energy_mae), _gain(part.force_mae, rival.force_mae)
            yield Improvement(part.name, energy, force)


def aligned(evaluation: Evaluation) -> Evaluation:
    """With energies of the fragments, and so of the total, whose mean is that of the labels: two methods count them
    from different zeros, a model of forces alone from none. That of the binding is none that could be chosen."""
    total, *parts = evaluation.parts
    fragments = [part for part in parts if part.name != "binding"]
    moved = {part.name: part.energy_mean_error for part in fragments}
    moved["total"] = sum(moved.values()) if moved else total.energy_mean_error
    shifted = tuple(replace(part, energy=part.energy - moved.get(part.name, 0.0)) for part in evaluation.parts)
    words = "energies are from the zero of the labels"
    words += ", but for the binding's" if evaluation.binding else ""
    return replace(evaluation, parts=shifted, note="; ".join(filter(None, [evaluation.note, words])))


def evaluate(
    potential: Potential,
    data: Dataset,
    which: IntArray | None = None,
    report: Callable[[int], object] | None = None,
) -> Evaluation:
    """Errors of a potential on the configurations `which`, all by default. report: called with how many are done.

    Raises InputError where the atoms of the data set are not those of the potential, in this order, or `which` is
    empty; GeometryError where the first configuration cannot be this molecule; NonFiniteError, naming the
    configuration.
    """
    name = data.name or "data set"
    check_atoms(potential.numbers, data, potential.name)
    which = np.arange(len(data)) if which is None else which
    if not len(which):
        raise InputError(f"{name}: no configurations to evaluate")
    potential.check_geometry(data.positions[which[0]], f"{name}, configuration {which[0]}")
    predicted = _predict(potential, data, which, report)
    # What fewer fragments bind is for an assembly's own pairs, and not for a model of triples alone.
    by_fragment = {f.name for f in potential.fragments} <= set(predicted.terms)
    data = data.without_lower() if by_fragment else replace(data, lower_energies=None, lower_forces=None)
    total = PartErrors("total", predicted.energy, data.energies[which], predicted.forces, data.forces[which])
    order, note = _match(potential, data)
    parts = _parts(potential, data, which, predicted, order) if order else ()
    evaluation = Evaluation(potential.name, which, (total, *parts), note)
    return evaluation if _has_zero(potential) else aligned(replace(evaluation, note="trained on forces alone"))


def _has_zero(potential: Potential) -> bool:
    """Whether energies count from a zero; those of a single model of forces alone (sGDML's use_E False) do not."""
    term, *others = potential.terms
    model = term.load() if isinstance(term, SgdmlTerm) and term.load and not others else None
    return model is None or model.has_energies


class _Predicted(NamedTuple):
    """Predictions for n configurations, in kcal/mol and Å."""

    energy: FloatArray  # (n,)
    forces: FloatArray  # (n, N, 3)
    terms: dict[str, FloatArray]  # (n,) energy of each term and of the binding
    binding_forces: FloatArray | None  # (n, N, 3); None where there is no binding


def _predict(
    potential: Potential, data: Dataset, which: IntArray, report: Callable[[int], object] | None
) -> _Predicted:
    chunks = []
    for start in range(0, len(which), _CHUNK):
        chunks.append(_compute(potential, data, which[start : start + _CHUNK]))
        if report is not None:
            report(min(start + _CHUNK, len(which)))
    binding = [c.parts.binding_forces for c in chunks if c.parts.binding_forces is not None]
    return _Predicted(
        np.concatenate([c.energy for c in chunks]) / KCAL_MOL,
        np.concatenate([c.forces for c in chunks]) / KCAL_MOL,
        {k: np.concatenate([c.parts.energies[k] for c in chunks]) / KCAL_MOL for k in chunks[0].parts.energies},
        np.concatenate(binding) / KCAL_MOL if binding else None,
    )


def _parts(
    potential: Potential, data: Dataset, which: IntArray, predicted: _Predicted, order: Sequence[int]
) -> Iterator[PartErrors]:
    """Errors of each fragment and of the binding. order: the data set's fragment of each of the potential's."""
    _, energies, forces = data.isolated()
    labels, binding_forces = forces[which], predicted.binding_forces
    alone = predicted.forces if binding_forces is None else predicted.forces - binding_forces
    for term, k in zip(potential.fragments, order, strict=True):
        if not (names := [name for name in potential.names_of(term) if name in predicted.terms]):
            continue  # of an assembly, which tells its species
        energy = np.sum([predicted.terms[name] for name in names], axis=0)
        yield PartErrors(term.name, energy, energies[which, k], alone[:, term.atoms], labels[:, term.atoms])
    if binding_forces is not None:
        label = data.binding_energies()[which]
        yield PartErrors("binding", predicted.terms["binding"], label, binding_forces, data.binding_forces()[which])


def as_potential(model: Model, data: Dataset, name: str = "") -> Potential:
    """A single model of the whole complex, in the data set's order of atoms. Raises InputError where it is not."""
    name = name or model.name or "model"
    check_atoms(model.numbers, data, name)
    atoms = np.arange(model.n_atoms)
    # a file holds no structure to compare with; a contact of one configuration is no bond of another
    likeness = Likeness(model.numbers, data.positions[0], np.empty((0, 2), dtype=np.intp))
    term = SgdmlTerm(("model",), "fragments", atoms[None], CpuPredictor(model), lambda: model)
    fragments = [Fragment("model", atoms)]
    return Potential(
        model.numbers, data.positions[0], fragments, [term], name=name, theory=model.theory, likeness=likeness
    )


def check_atoms(numbers: IntArray, data: Dataset, name: str) -> None:
    """Raise InputError unless the data set has these atomic numbers in this order; name: of the model."""
    if np.array_equal(numbers, data.numbers):
        return
    where = data.name or "data set"
    if len(numbers) != data.n_atoms:
        raise InputError(f"{where}: has {data.n_atoms} atoms, {name} has {len(numbers)}: not the same complex")
    i = int(np.flatnonzero(numbers != data.numbers)[0])
    expected, given = symbols(numbers[i : i + 1])[0], symbols(data.numbers[i : i + 1])[0]
    same = np.array_equal(np.sort(numbers), np.sort(data.numbers))
    mend = "the same atoms in another order, put them into the model's" if same else "not the same complex"
    raise InputError(f"{where}: atom {i} is {given}, in {name} it is {expected}: {mend}")


def same_theory(a: str, b: str) -> bool:
    """Whether two descriptions may mean one theory: equal, or one leaves out what the other has in brackets."""
    a, b = a.strip().lower(), b.strip().lower()
    unknown = {"", "unknown", "none"}
    return bool(unknown & {a, b}) or a == b or a == b.split(" (")[0] or b == a.split(" (")[0]


def _match(potential: Potential, data: Dataset) -> tuple[list[int], str]:
    """Which fragment of the data set each of the potential's is; or none, and why."""
    if len(potential.fragments) == 1 and not potential.bindings:
        return [], ""
    if not data.labelled_fragments:
        return [], "no labels of isolated fragments in the data set (`delta-sgdml dataset label`): totals alone"
    there = {tuple(data.atoms_of(k).tolist()): k for k in range(data.n_fragments)}
    order = [there.get(tuple(sorted(term.atoms.tolist()))) for term in potential.fragments]
    fragments = [k for k in order if k is not None]
    if len(fragments) == len(order) == data.n_fragments:
        return fragments, ""
    atoms = "; ".join(format_atoms(a) for a in there)
    return [], f"the data set's fragments ({atoms}) are not those of {potential.name}: totals alone"


def _compute(potential: Potential, data: Dataset, which: IntArray) -> Result:
    try:
        return potential.unbiased.compute(data.positions[which])
    except NonFiniteError:
        for i in which:  # which of them it was
            try:
                potential.unbiased.compute(data.positions[i])
            except NonFiniteError as error:
                what = str(error).removeprefix("frame 0: ")
                raise NonFiniteError(f"{data.name or 'data set'}, configuration {i}: {what}") from None
        raise


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _gain(mine: float, other: float) -> float:
    return 1.0 - mine / other if other > 0 else float("nan")
