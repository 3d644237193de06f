"""How the time of a prediction grows with training points, permutations, structures at once and atoms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from .._types import FloatArray, IntArray
from ..gdml.cpu_predictor import CpuPredictor
from ..gdml.descriptor.metric import Metric
from ..gdml.descriptor.pairs import n_pairs
from ..gdml.model import Model
from ..symmetry.bond_graph import is_group
from .prediction import alternate

_STEPS = 5
_ATOMS = (12, 24, 48, 96, 192)
_POINTS = 100  # of the made models that differ in their atoms


@dataclass(frozen=True)
class Growth:
    """Milliseconds of a call along one axis: ``training points``, ``permutations``, ``structures`` or ``atoms``."""

    axis: str
    sizes: tuple[int, ...]
    ms: tuple[float, ...]

    @property
    def exponent(self) -> float | None:
        """The exponent of the power law through the last two sizes, where the overhead counts least; None for one."""
        if len(self.sizes) < 2:
            return None
        return float(np.log(self.ms[-1] / self.ms[-2]) / np.log(self.sizes[-1] / self.sizes[-2]))


def growth(model: Model, positions: FloatArray, seconds: float = 0.3, threads: int = 1) -> Iterator[Growth]:
    """Times of one model at displaced copies (B, N, 3) Å of a structure: parts of its training set, subgroups,
    1 to B structures; and of made models of 12 to 192 atoms without symmetry."""
    points = _sizes(model.n_train)
    yield _measure(
        "training points", points, [some_points(model, m) for m in points], positions[:1], seconds, threads
    )
    groups = _subgroups(model.permutations)
    models = [replace(model, permutations=g) for g in groups]
    orders = [len(g) for g in groups]
    yield _measure("permutations", orders, models, positions[:1], seconds, threads)
    batches = _sizes(len(positions))
    predictor = CpuPredictor(model, threads)
    times = alternate([lambda b=b: predictor.predict(positions[:b]) for b in batches], seconds * len(batches))  # type: ignore[misc]
    yield Growth("structures", tuple(batches), tuple(1e3 * median(t) for t in times))
    rng = np.random.default_rng(0)
    times = []
    for n in _ATOMS:
        x = 1.5 * n ** (1 / 3) * rng.standard_normal((1, n, 3))
        predictor = CpuPredictor(_made(n, rng), threads)
        times += alternate([lambda p=predictor, x=x: p.predict(x)], seconds)  # type: ignore[misc]
    yield Growth("atoms", _ATOMS, tuple(1e3 * median(t) for t in times))


def _sizes(largest: int) -> list[int]:
    """Halves of the largest, down to a sixteenth."""
    return sorted({max(1, largest // 2**k) for k in range(_STEPS)})


def some_points(model: Model, m: int) -> Model:
    """The model with its first m training points only: no good for anything but timing."""
    energies = model.energy_weights
    return replace(
        model,
        descriptors=model.descriptors[:m],
        weights=model.weights[:m],
        energy_weights=None if energies is None else energies[:m],
        training_positions=None if model.training_positions is None else model.training_positions[:m],
        alphas=None if model.alphas is None else model.alphas[:m],
    )


def _subgroups(permutations: IntArray) -> list[IntArray]:
    """Subgroups of growing order: stabilisers of one atom after the other, the whole last."""
    chain, n = [permutations], permutations.shape[1]
    for atom in range(n):
        fixed = chain[-1][chain[-1][:, atom] == atom]
        if len(fixed) < len(chain[-1]) and is_group(fixed):
            chain.append(fixed)
    return chain[::-1]


def _measure(
    axis: str, sizes: list[int], models: list[Model], positions: FloatArray, seconds: float, threads: int
) -> Growth:
    predictors = [CpuPredictor(model, threads) for model in models]
    calls = [lambda p=p: p.predict(positions) for p in predictors]
    times = alternate(calls, seconds * len(calls))
    return Growth(axis, tuple(sizes), tuple(1e3 * median(t) for t in times))


def _made(n: int, rng: np.random.Generator) -> Model:
    """A model of random numbers: time does not depend on them."""
    shape = (_POINTS, n_pairs(n))
    return Model(
        np.full(n, 6),
        rng.random(shape),
        rng.random(shape),
        np.arange(n)[None],
        10.0,
        1.0,
        0.0,
        None,
        "Ang",
        "eV",
        Metric(n),
    )
