"""Which σ, which λ, which symmetry: by the errors on configurations that were not trained on, of forces and, where
energies are fitted too, of energies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ...gdml.cpu_predictor import CpuPredictor
from ...gdml.descriptor.metric import Metric
from ...gdml.model import Model
from ..fit import Hyper, fit_matrix, maes
from ..labels import Labels
from ..solve.kernels import Matrix, make_kernel
from .scales import ScalesIteration, learn_scales, learning_set

SIGMAS = tuple(float(2.0 ** (i / 2)) for i in range(13))
"""1 to 64: the search goes by whole powers of two, then by halves. Beyond, coefficients grow so large that energies
are rounded to 1e-5 eV."""
LAMBDAS = tuple(float(10.0 ** (i / 2)) for i in range(-22, -6))
"""1e-11 to 3e-4: the search goes by hundreds, then by halves of a power of ten."""
_ALIKE = 1.01  # errors this near to the best are as good: the largest λ of them gives the smallest coefficients
_WORK = 1e9  # points² × permutations × atoms² of a kernel matrix that is tried on: some seconds
_WORTH = 0.998  # an error must be smaller by so much for the search to go on
_ENLARGE = 2.2  # points of the second stage, over those of the first: ten times the work
_ROUNDING = 1e-7  # eV by which an energy may change with what should not matter; more with all points
_ROUNDED = 4  # configurations that this is seen on
_LAWS = ((1.0, 0.25), (1.0, 0.5), (2.0, 0.0))  # p and 1/L (1/Å) that are tried beside 1/r
_LEARNED = "learned"
_ROWS = 6000  # of a kernel matrix that is tried on; larger models choose on fewer of their points


@dataclass(frozen=True)
class Trial:
    """One model that was tried; errors are MAEs of force components, kcal/mol/Å, and of energies."""

    group: str
    permutations: int
    metric: str
    sigma: float
    lam: (
        float  # relative to the mean diagonal of the kernel matrix of the forces, or absolute, as the search was told
    )
    points: int
    validation: float  # configurations as they are
    relabelled: float  # with equal atoms exchanged at random
    energy: float  # of the relabelled, kcal/mol
    robust: bool
    seconds: float
    rounding: float  # eV, see `rounding`

    def as_dict(self) -> dict[str, object]:
        """The trial as it stands in a record."""
        return asdict(self)


@dataclass(frozen=True)
class Search:
    """What may be chosen from. The search begins at σ 8 and λ 1e-8, or the nearest there are, and goes in steps of
    `stride` and then of one."""

    sigmas: tuple[float, ...] = SIGMAS
    lams: tuple[float, ...] = LAMBDAS
    sigma_stride: int = 2
    lam_stride: int = 4
    energies: bool = False
    absolute: bool = False
    robust: bool = False  # whether to try that too
    relabel: bool = True  # choose by the error on relabelled copies: a symmetry left out shows only there
    rows: int = _ROWS
    metrics: bool = False  # whether to try metrics other than sGDML's, and to learn one
    rounding: float = _ROUNDING  # eV, see `rounding`: more is bad
    device: str = "cpu"  # what solves, as in `Hyper`

    def cell(self, sigma: float, lam: float, robust: bool = False) -> _Cell:
        """The cell of the grid for these values, or the nearest there is."""
        i, j = (
            int(np.abs(np.log(np.array(grid) / value)).argmin())
            for grid, value in ((self.sigmas, sigma), (self.lams, lam))
        )
        return i, j, robust

    def merit(self, forces: float, energy: float) -> float:
        """What is to be small: the MAE F of the forces or, where energies are fitted too, (F² E)^⅓, as the λ that is
        best for forces by a hundredth may double the error of energies."""
        return float(np.cbrt(forces**2 * energy)) if self.energies else forces

    def error(self, trial: Trial) -> float:
        """`merit` of a trial, ten times as large where rounding shows."""
        error = self.merit(trial.relabelled if self.relabel else trial.validation, trial.energy)
        return error if self.absolute or trial.rounding < self.rounding else 10.0 * error


def select(
    train: Labels,
    validation: Labels,
    groups: Mapping[str, IntArray],
    search: Search,
    log: Callable[[Trial], None] | None = None,
    seed: int = 0,
    tell: Callable[[ScalesIteration], None] | None = None,
) -> tuple[str, Hyper, list[Trial]]:
    """The best of `groups` (name: permutations (P, N)), with its σ and λ, and its metric.

    A coordinate search, along λ, for which one kernel matrix serves, and along σ: in large steps, for each group, on
    as many points as make a kernel matrix of `search.rows`; then, with the best group, for some metrics and for one
    whose scales are learned from the best of them on (`learn_scales`); then in small steps around the best, on
    twice as many points or more. Validation configurations are taken as they are and relabelled by the largest of
    the groups.

    log: called with every trial; tell: with every iteration of the learning.

    Raises InputError where no trial gives a model.
    """
    trials = _Trials(train, validation, groups, search, log, seed)
    coarse = (search.sigma_stride, search.lam_stride)
    first = trials.descend(tuple(groups), search.cell(8.0, 1e-8), 0, (*coarse, search.robust))
    if not first:
        raise InputError(
            f"{train.name}: no kernel matrix was positive definite for λ up to {max(search.lams):g}; look for "
            "duplicate configurations with `delta-sgdml dataset info`"
        )
    if search.metrics:
        trials.try_metrics(_best(first, search), (*coarse, False), seed, tell)
    best = _best(trials.made, search)
    fine = (1, max(1, search.lam_stride // 2), False)
    finer = trials.descend((best.group,), search.cell(best.sigma, best.lam, best.robust), 1, fine, best.metric)
    best = _best(finer or trials.made, search)
    metric = trials.metrics[best.metric]
    hyper = Hyper(best.sigma, best.lam, search.energies, search.absolute, best.robust, metric=metric)
    return best.group, hyper, trials.made


_Cell = tuple[int, int, bool]  # of σ, of λ, robust
_Steps = tuple[int, int, bool]  # along σ, along λ, and whether to try robust


def trial_size(train: Labels, n_perms: int, search: Search, stage: int = 0) -> int:
    """Points to try on: few enough for some seconds a trial, or some more in the second stage."""
    by_rows = search.rows * _ENLARGE**stage / (train.forces[0].size + search.energies)
    by_blocks = (_WORK / (n_perms * len(train.numbers) ** 2)) ** 0.5 * _ENLARGE**stage
    return min(len(train), max(10, int(min(by_rows, by_blocks))))


def _best(trials: Sequence[Trial], search: Search) -> Trial:
    lowest = min(search.error(t) for t in trials)
    alike = [t for t in trials if search.error(t) <= _ALIKE * lowest]
    return min(alike, key=lambda t: (t.robust, -t.lam, search.error(t)))


class _Trials:
    """The trials of one search, and the metrics that it knows by name."""

    def __init__(
        self,
        train: Labels,
        validation: Labels,
        groups: Mapping[str, IntArray],
        search: Search,
        log: Callable[[Trial], None] | None,
        seed: int,
    ) -> None:
        self._train, self._validation, self._groups, self._search, self._log = train, validation, groups, search, log
        rng = np.random.default_rng(seed)
        self._largest = max(groups.values(), key=len)
        self._copies = validation.relabelled(self._largest, rng)
        self._order = rng.permutation(len(train))
        self.metrics = {"1/r": Metric(len(train.numbers))}
        self.made: list[Trial] = []

    def descend(
        self, names: Sequence[str], start: _Cell, stage: int, steps: _Steps, metric: str = "1/r"
    ) -> list[Trial]:
        """Look downhill from a cell, for each of the groups `names`; returns the trials that this took."""
        groups = {name: self._groups[name] for name in names}
        size = trial_size(self._train, max(map(len, groups.values())), self._search, stage)
        part = self._train.take(np.sort(self._order[:size]))
        before = len(self.made)
        for name, permutations in groups.items():
            whole = len(permutations) == len(self._largest)  # then copies are the same to the model
            grid = _Grid(
                part, self._validation, None if whole else self._copies, name, permutations, self._search, self._log,
                metric, self.metrics[metric],
            )  # fmt: skip
            grid.descend(start, steps)
            self.made += grid.trials
        return self.made[before:]

    def try_metrics(
        self, best: Trial, steps: _Steps, seed: int, tell: Callable[[ScalesIteration], None] | None
    ) -> None:
        """Some laws, from the best trial on; and the best of them with scales that are learned."""
        for power, decay in _LAWS:
            metric = Metric(len(self._train.numbers), power=power, decay=decay)
            self._try_metric(str(metric), metric, best, steps)
        best = _best(self.made, self._search)
        part, permutations = learning_set(self._train, self._groups, seed)
        hyper = Hyper(best.sigma, best.lam, metric=self.metrics[best.metric])
        learned = learn_scales(part, self._validation, permutations, self._largest, hyper, seed=seed, log=tell)
        self._try_metric(_LEARNED, learned, best, steps)

    def _try_metric(self, name: str, metric: Metric, best: Trial, steps: _Steps) -> None:
        self.metrics[name] = metric
        start = self._search.cell(best.sigma, best.lam, best.robust)
        self.descend((best.group,), start, 0, steps, name)


class _Grid:
    """Errors of one group over the grid of σ and λ, filled where the search looks."""

    def __init__(
        self,
        train: Labels,
        validation: Labels,
        copies: Labels | None,
        name: str,
        permutations: IntArray,
        search: Search,
        log: Callable[[Trial], None] | None,
        metric_name: str,
        metric: Metric,
    ) -> None:
        self.train, self.validation, self.copies = train, validation, copies
        self.name, self.permutations, self.search, self.log = name, permutations, search, log
        self.metric_name, self.metric = metric_name, metric
        self.kernel = make_kernel(train.positions, permutations, metric, search.device)
        self.trials: list[Trial] = []
        self._matrix: tuple[int, Matrix] | None = None
        self._scores: dict[_Cell, float] = {}

    def descend(self, here: _Cell, steps: _Steps) -> None:
        """Look for the best cell, downhill: along λ, along σ, along λ again."""
        along_sigma, along_lam, robust = steps
        here = self._along(here, (0, along_lam))
        here = self._along(here, (along_sigma, 0))
        here = self._along(here, (0, along_lam))
        if robust:  # where labels that stand out are doubted, the others need no large λ
            self._along((*here[:2], True), (0, max(1, along_lam // 2)))

    def _along(self, here: _Cell, step: tuple[int, int]) -> _Cell:
        for sign in (1, -1):
            moved = False
            while True:
                there = (here[0] + sign * step[0], here[1] + sign * step[1], here[2])
                if not self._score(there) < _WORTH * self._score(here):
                    break
                here, moved = there, True
            if moved:
                break
        return here

    def _score(self, cell: _Cell) -> float:
        if cell not in self._scores:
            self._scores[cell] = self._try(*cell)
        return self._scores[cell]

    def _try(self, i: int, j: int, robust: bool) -> float:
        search, start = self.search, time.perf_counter()
        if not (0 <= i < len(search.sigmas) and 0 <= j < len(search.lams)):
            return np.inf
        if self._matrix is None or self._matrix[0] != i:
            self._matrix = (i, self.kernel.matrix(search.sigmas[i], search.energies))
        hyper = Hyper(search.sigmas[i], search.lams[j], search.energies, search.absolute, robust, metric=self.metric)
        try:
            model = fit_matrix(self.train, self.permutations, hyper, self._matrix[1].copy)
        except InputError:  # not positive definite: too small a λ for this σ
            return np.inf
        plain, energy = maes(model, self.validation)
        relabelled, energy = (plain, energy) if self.copies is None else maes(model, self.copies)
        trial = Trial(
            self.name, len(self.permutations), self.metric_name, hyper.sigma, hyper.lam, len(self.train),
            plain, relabelled, energy, robust, time.perf_counter() - start,
            rounding(model, self.validation.positions[:_ROUNDED]),
        )  # fmt: skip
        self.trials.append(trial)
        if self.log:
            self.log(trial)
        return search.error(trial)


def rounding(model: Model, positions: FloatArray) -> float:
    """How much the energy (eV) of (n, N, 3) positions in Å changes when the molecule is moved and its equal atoms are
    exchanged: coefficients that cancel, of a large σ or a small λ, leave their last digits in it."""
    turned = positions @ np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0] + 10.0
    predict = CpuPredictor(model).predict
    return float(np.abs(predict(turned[:, model.permutations[-1]]).energy - predict(positions).energy).max())
