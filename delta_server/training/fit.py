"""One sGDML model from labelled configurations: kernel matrix, factorisation, integration constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..gdml.cpu_predictor import CpuPredictor
from ..gdml.descriptor.metric import Metric
from ..gdml.model import Model
from ..units import KCAL_MOL
from .labels import Labels
from .solve.kernel import Report, matrix_bytes
from .solve.kernels import Kernel, Matrix, make_kernel

_ENERGY_LAMBDA = 0.1  # of the forces' λ: an energy is the better label, its error is of second order in the density's
_OUTLYING = 3.0  # times the median residual: beyond, a label is doubted


@dataclass(frozen=True)
class Hyper:
    """What is chosen before a model is fitted.

    `lam` is relative to the mean diagonal of the kernel matrix of the forces, so that it means the same for every σ
    and every group, and a tenth of it is added for energies; `absolute` adds it as it is to both, as sGDML does.
    `robust` fits twice, and trusts forces that the first fit leaves far off less the second time (Cauchy's loss, by
    one step of iterated weights): labels of small differences jump where the reference method switches a term.
    """

    sigma: float
    lam: float = 1e-10
    energies: bool = False  # energies enter the fit, not the constant alone
    absolute: bool = False
    robust: bool = False
    memory: int | None = None  # bytes that the iterative solver may take; None: Cholesky factorisation
    metric: Metric | None = None  # of descriptors; None: sGDML's
    basis: int = 0  # points of the model, fitted to all labels by least squares; 0: every label is one
    device: str = "cpu"  # what solves: or ``cuda``, ``cuda:N``, as in `make_kernel`

    def metric_of(self, n_atoms: int) -> Metric:
        """The metric of a molecule of so many atoms."""
        return self.metric or Metric(n_atoms)


def fit(labels: Labels, permutations: IntArray, hyper: Hyper, report: Report | None = None) -> Model:
    """Train on all of `labels`, by Cholesky factorisation or, with `hyper.memory`, iteratively; or with `hyper.basis`
    a model of fewer points.

    The labels are divided by their standard deviation and the energies centred, as in sGDML; without `hyper.energies`
    the constant c is the mean of what the forces leave open (Chmiela et al., Sci. Adv. 3, e1603015 (2017)).

    Raises InputError where the kernel matrix is not positive definite, or the iterative solver does not converge.
    """
    if 0 < hyper.basis < len(labels):
        return _fit_basis(labels, permutations, hyper, report)
    if hyper.memory is not None:
        return _fit_iteratively(labels, permutations, hyper, hyper.memory, report)
    kernel = _kernel_of(labels, permutations, hyper)
    return fit_matrix(labels, permutations, hyper, _matrices(labels, kernel, hyper, report), report)


def _kernel_of(labels: Labels, permutations: IntArray, hyper: Hyper) -> Kernel:
    return make_kernel(labels.positions, permutations, hyper.metric_of(len(labels.numbers)), hyper.device)


def _matrices(labels: Labels, kernel: Kernel, hyper: Hyper, report: Report | None) -> Callable[[], Matrix]:
    """The kernel matrix, as often as it is asked for. A robust fit uses up two: where there is memory for both, the
    second is the first one's copy, for with many permutations it takes longer to fill than to factorise."""
    from .solve.memory import available_memory

    size = matrix_bytes(len(labels), len(labels.numbers), hyper.energies)
    copies: list[Matrix] = []

    def make() -> Matrix:
        if copies:
            return copies.pop()
        matrix = kernel.matrix(hyper.sigma, hyper.energies, report)
        if hyper.robust and hyper.device == "cpu" and 1.1 * size < available_memory():
            copies.append(matrix.copy())
        return matrix

    return make


def fit_matrix(
    labels: Labels,
    permutations: IntArray,
    hyper: Hyper,
    matrix: Callable[[], Matrix],
    report: Report | None = None,
) -> Model:
    """`fit` with a kernel matrix from elsewhere; it is factorised in place, and so used up."""
    progress = (lambda done: report("factorisation", done)) if report else None

    def solve(y: FloatArray, doubt: FloatArray) -> tuple[float, FloatArray]:
        filled = matrix()
        lam = regularize(filled, hyper, doubt, labels.forces.size)
        filled.factor(progress)
        return lam, filled.solve(y)

    return _fit(labels, permutations, hyper, solve)


def _fit_iteratively(
    labels: Labels, permutations: IntArray, hyper: Hyper, memory: int, report: Report | None
) -> Model:
    """`fit` in less memory than the matrix takes."""
    from .solve.iterative import solve
    from .solve.kernel import KernelMatrix
    from .solve.nystrom import mean_variance

    kernel = KernelMatrix(labels.positions, permutations, hyper.metric_of(len(labels.numbers)))
    lam = hyper.lam if hyper.absolute else hyper.lam * mean_variance(kernel, hyper.sigma)

    def iterate(y: FloatArray, doubt: FloatArray) -> tuple[float, FloatArray]:
        solution = solve(kernel, y, hyper.sigma, lam, hyper.energies, memory=memory, report=report, doubt=doubt)
        if not solution.converged:
            raise InputError(
                f"{labels.name}: the iterative solver stopped at a residual of {solution.residual:.1e} after "
                f"{solution.iterations} iterations: take a larger --lambda, fewer points, or more memory"
            )
        return lam, solution.coefficients

    return _fit(labels, permutations, hyper, iterate)


def _fit_basis(labels: Labels, permutations: IntArray, hyper: Hyper, report: Report | None) -> Model:
    """`fit` with a basis of fewer points than there are labels."""
    from .solve.basis import choose_basis
    from .solve.least_squares import LeastSquares

    metric = hyper.metric_of(len(labels.numbers))
    chosen = choose_basis(labels.positions, permutations, metric, hyper.sigma, hyper.basis)
    points = labels.take(chosen)
    kernel = _kernel_of(points, permutations, hyper)
    squares = LeastSquares(kernel, labels.positions, hyper.sigma, hyper.energies, report)
    lam = hyper.lam if hyper.absolute else hyper.lam * squares.variance
    y, mean, scale = targets(labels, hyper.energies)
    doubt = _doubt_of(labels, hyper)
    offset = mean if hyper.energies else None

    def model() -> Model:
        solution = squares.solve(y, lam, doubt)
        return model_of(points, permutations, hyper, lam, scale, solution, offset, labels)

    made = model()
    if hyper.robust:
        left = labels.forces - CpuPredictor(made).predict(labels.positions).forces / KCAL_MOL
        doubt[-left.size :] = _doubt(left.reshape(-1), labels.forces)
        made = model()
    return made


def _doubt_of(labels: Labels, hyper: Hyper) -> FloatArray:
    """By what λ is multiplied for each label, energies first: 1, less for energies."""
    doubt = np.ones(labels.forces.size + len(labels) * hyper.energies)
    if hyper.energies and not hyper.absolute:
        doubt[: len(labels)] = _ENERGY_LAMBDA
    return doubt


def _fit(
    labels: Labels,
    permutations: IntArray,
    hyper: Hyper,
    solve: Callable[[FloatArray, FloatArray], tuple[float, FloatArray]],
) -> Model:
    """solve: from labels and the doubt in each to λ and coefficients."""
    y, mean, scale = targets(labels, hyper.energies)
    doubt = _doubt_of(labels, hyper)
    lam, solution = solve(y, doubt)
    if hyper.robust:  # what a fit leaves of a label is its coefficient times its λ
        forces = slice(len(y) - labels.forces.size, None)
        doubt[forces] = _doubt((lam * doubt * solution)[forces], labels.forces)
        lam, solution = solve(y, doubt)
    return model_of(labels, permutations, hyper, lam, scale, solution, mean if hyper.energies else None)


def _doubt(residual: FloatArray, forces: FloatArray) -> FloatArray:
    """By how much λ grows for each force component: by 1 + (r/3r̃)², with r̃ the median of the lengths r that the fit
    leaves of the force vectors of atoms. Configurations of no force at all (pulled apart) do not count for r̃."""
    length = np.linalg.norm(residual.reshape(-1, 3), axis=1)
    near = np.abs(forces).max((1, 2)) > 0
    typical = float(np.median(length.reshape(len(forces), -1)[near])) if near.any() else 0.0
    return np.repeat(1.0 + (length / (_OUTLYING * typical)) ** 2, 3) if typical > 0 else np.ones(len(residual))


def regularize(matrix: Matrix, hyper: Hyper, doubt: FloatArray, n_forces: int) -> float:
    """Add λ, times the `doubt` (n,) in each label, to the diagonal; returns λ. n_forces: of the labels, the last."""
    lam = hyper.lam if hyper.absolute else hyper.lam * float(matrix.diagonal()[-n_forces:].mean())
    matrix.add_diagonal(lam * doubt)
    return lam


def targets(labels: Labels, energies: bool) -> tuple[FloatArray, float, float]:
    """What is fitted: labels, energies first where they enter, over their standard deviation; the mean energy, which
    is taken off; that deviation."""
    mean = float(labels.energies.mean())
    y = labels.forces.reshape(-1)
    if energies:
        y = np.concatenate([labels.energies - mean, y])
    scale = float(y.std()) or 1.0
    return y / scale, mean, scale


def model_of(
    points: Labels,
    permutations: IntArray,
    hyper: Hyper,
    lam: float,
    scale: float,
    solution: FloatArray,
    offset: float | None,
    labels: Labels | None = None,
) -> Model:
    """The model of these points with these coefficients, (M + 3NM,) or (3NM,); without `offset` it is found from the
    energies of the labels, which are the points' own where there are no others."""
    labels = labels or points
    n_forces = points.forces.size

    def build(c: float) -> Model:
        return Model.from_coefficients(
            numbers=points.numbers,
            training_positions=points.positions,
            alphas=-solution[-n_forces:].reshape(points.forces.shape),
            permutations=permutations,
            sigma=hyper.sigma,
            scale=scale,
            offset=c,
            energy_weights=solution[:-n_forces] if len(solution) > n_forces else None,
            length_unit="Ang",
            energy_unit="kcal/mol",
            name=points.name,
            theory=points.theory,
            lam=lam,
            metric=hyper.metric_of(len(points.numbers)),
        )

    if offset is not None:
        return build(offset)
    predicted = CpuPredictor(build(0.0)).predict(labels.positions).energy / KCAL_MOL
    return build(float((labels.energies - predicted).mean()))


def maes(model: Model, labels: Labels) -> tuple[float, float]:
    """Mean absolute errors of force components, kcal/mol/Å, and of energies, kcal/mol."""
    predicted = CpuPredictor(model).predict(labels.positions)
    forces = np.abs(predicted.forces / KCAL_MOL - labels.forces).mean()
    return float(forces), float(np.abs(predicted.energy / KCAL_MOL - labels.energies).mean())


def force_mae(model: Model, labels: Labels) -> float:
    """Mean absolute error of force components, kcal/mol/Å."""
    return maes(model, labels)[0]
