"""Whether forces are the derivative of energies, and all energies count from one zero, seen from labels alone: no
method is asked for a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._types import FloatArray, IntArray
from ..checks import Check
from .dataset import Dataset

_PAIRS = 20  # fewer say nothing
_SLOPE = np.log(1.45)  # what the third order may leave; kJ for kcal is 4.2, bohr for Å 1.9, a wrong sign negative
_THIRD_ORDER = 0.1  # of the second, in sound labels of stiff molecules
_UNLIKE = 0.7  # a correlation of forces and energies below this is no correlation
_GEOMETRIES = 4000  # configurations between which the nearest are looked for
_SAME = 1e-6  # Å
_CONTRADICTION = 15.0  # robust standard deviations of ΔE from the work
_GROUP = 3  # configurations that may have a zero of energy of their own, and
_SHARE = 0.12  # of all; fewer are outliers
_APART = 4.5  # widths of a group between two groups, and
_APART_FEW = 10.0  # where there are less than _FEW configurations
_FEW = 20
_BETWEEN = 0.05  # of all configurations may lie between two groups
_LEAST, _LEAST_FEW = 5.0, 15.0  # kcal/mol between two zeros
_TOUCH = 1.5  # times the usual distance of neighbours: groups that come so near are one in geometry
_TOUCHING = 0.25  # of the smallest group, at least, that have such a neighbour in another
_UNEXPLAINED = 0.5  # of the step between two groups, at least, is left by the work of the forces
_MOST_PAIRS = 2000  # distances that describe a geometry
_UNITS = {23.0605: "1 eV", 627.5095: "1 hartree", 604.449: "1 hartree less 1 eV", 1.0: "1 kcal/mol"}


def neighbours(data: Dataset) -> IntArray:
    """(m, 2) configurations near each other: next in time in one run, or nearest in space."""
    n = len(data)
    run = np.zeros(n, dtype=np.intp) if data.run is None else data.run
    index = np.arange(n) if data.index is None else data.index
    order = np.lexsort((index, run))
    in_time = np.stack([order[:-1], order[1:]], axis=1)
    in_time = in_time[run[in_time[:, 0]] == run[in_time[:, 1]]]
    some = np.unique(np.linspace(0, n - 1, min(n, _GEOMETRIES)).round().astype(np.intp))
    if len(some) < 2:
        return np.asarray(in_time, dtype=np.intp)
    flat = centred(data.positions[some]).reshape(len(some), -1)
    square = (flat**2).sum(1)
    distance = square[:, None] + square - 2 * flat @ flat.T
    np.fill_diagonal(distance, np.inf)
    in_space = np.stack([some, some[distance.argmin(1)]], axis=1)
    pairs: IntArray = np.unique(np.sort(np.concatenate([in_time, in_space]), axis=1), axis=0)
    return pairs


def check_slope(
    name: str, positions: FloatArray, energies: FloatArray, forces: FloatArray, pairs: IntArray, most: float
) -> Check:
    """Energy differences against the work of the mean force, between near configurations.

    ΔE = −½ (F_i + F_j)·(R_j − R_i) to third order in the step, which is made short by turning one onto the other. The
    slope of one over the other is a median, weighted by the work beside what the change of the forces makes of it, so
    that neither a few wrong labels nor noise moves it: 1 where units and signs agree. A configuration whose own
    differences are off by far more than all others is named.

    positions, forces: (n, N, 3). energies: (n,). pairs: (m, 2). most: Å that an atom may move.
    """
    i, j = pairs.T
    turned, pulled = _superposed(positions[i], positions[j], forces[j])
    step = turned - centred(positions[i])
    reach = np.linalg.norm(step, axis=2).max(1)
    work = -0.5 * ((forces[i] + pulled) * step).sum((1, 2))
    bend = np.abs(((pulled - forces[i]) * step).sum((1, 2)))  # second order, which the mean force takes care of
    rise = energies[j] - energies[i]
    near = np.flatnonzero((reach < most) & (reach > _SAME))
    if len(near) < _PAIRS:
        words = f"not checked: {len(near)} pairs of configurations are near enough ({most} Å), {_PAIRS} needed"
        return Check(name, True, words)
    error = np.abs(rise - work)
    scale = np.median(error[near]) / 0.6745 + 1e-3 * np.median(np.abs(work[near])) + 1e-6
    off = error > 0.5 * bend + _CONTRADICTION * scale
    off &= (np.abs(rise) > 0.5 * error) | (reach < 2 * np.median(reach[near]))  # longer steps may go over a barrier
    bad = _suspects(i, j, off, len(energies))
    good = near[np.argsort(reach[near])][: max(_PAIRS, len(near) // 3)]
    good = good[work[good] != 0]
    if len(good) < _PAIRS // 2:
        still = not np.any(rise[near])
        return Check(name, still, f"forces are zero{'' if still else ', energies are not constant'}")
    weight = np.abs(work[good]) / (bend[good] + 1e-3 * np.abs(work[good]))
    slope = _weighted_median(rise[good] / work[good], weight)
    agree = float(np.average(np.sign(rise[good] * work[good]), weights=weight))
    unsure = _THIRD_ORDER / float(np.linalg.norm(weight))  # of the slope, for that order
    right = abs(float(np.log(max(slope, 1e-12)))) < _SLOPE and agree > _UNLIKE
    right = right or abs(slope - 1) < 1.5 * unsure
    words = f"ΔE / work of the mean force = {slope:.3f} over {len(good)} near pairs (1 expected)"
    if not right:
        worst = good[error[good].argmax()]
        words += f"; {_likely(slope, agree)}; say configurations {i[worst]} and {j[worst]}: ΔE {rise[worst]:.3g}, "
        words += f"work {work[worst]:.3g} kcal/mol"
    elif len(bad):
        words += f"; {len(bad)} contradict their neighbours, first configuration {bad[0]}"
    return Check(name, right and not len(bad), words)


def work_within(positions: FloatArray, forces: FloatArray, fragments: Sequence[IntArray]) -> FloatArray:
    """(n,) kcal/mol that the forces say it costs to bend the fragments from their shape in one configuration to that
    in each other, as `check_slope`, exact for springs."""
    reference = int(np.argsort(lengths_of(forces))[len(forces) // 2])
    total = np.zeros(len(positions))
    for atoms in fragments:
        start = np.broadcast_to(positions[reference, atoms], (len(positions), len(atoms), 3))
        turned, pulled = _superposed(start, positions[:, atoms], forces[:, atoms], mirrored=True)
        total -= 0.5 * ((forces[reference, atoms] + pulled) * (turned - centred(start))).sum((1, 2))
    return total


def lengths_of(forces: FloatArray) -> FloatArray:
    """(n,) root of the sum of squares of (n, N, 3)."""
    size: FloatArray = np.sqrt((forces**2).sum((1, 2)))
    return size


def check_zero(name: str, positions: FloatArray, energies: FloatArray, forces: FloatArray, work: FloatArray) -> Check:
    """Whether energies count from one zero: that they do not fall into groups whose geometries touch, with steps of
    energy there that the forces do not explain.

    positions, forces: (n, N, 3) Å, kcal/mol/Å. energies, work: (n,) kcal/mol; what is known to be explained of them.
    """
    left = energies - work
    groups = np.searchsorted(_boundaries(np.sort(left)), left)
    present, groups = np.unique(groups, return_inverse=True)  # equal energies leave a group between bounds empty
    n_groups = len(present)
    if n_groups == 1:
        hidden = f"zeros up to {_unseen(left):.2g} kcal/mol apart may not show"
        return Check(name, True, f"energies form one group ({hidden})")
    pairs = _touching(positions, groups)
    middles = np.array([np.median(left[groups == g]) for g in range(n_groups)])
    sizes = ", ".join(str(int((groups == g).sum())) for g in range(n_groups))
    if not len(pairs):
        return Check(name, True, f"{n_groups} groups of {sizes} configurations, whose geometries differ as well")
    a, b = pairs.T
    turned, pulled = _superposed(positions[a], positions[b], forces[b], mirrored=True)
    rise = energies[b] - energies[a] + 0.5 * ((forces[a] + pulled) * (turned - centred(positions[a]))).sum((1, 2))
    if np.median(rise / (middles[groups[b]] - middles[groups[a]])) < _UNEXPLAINED:
        return Check(
            name, True, f"{n_groups} groups of {sizes} configurations, whose forces lead from one to another"
        )
    i, j = pairs[0]
    apart = abs(middles[groups[i]] - middles[groups[j]])
    unit = next((f" ({text})" for size, text in _UNITS.items() if abs(apart / size - 1) < 0.03), "")
    return Check(
        name,
        False,
        f"energies fall into {n_groups} groups of {sizes} configurations that forces do not explain, {apart:.4g} "
        f"kcal/mol{unit} apart: they count from different zeros; say configurations {min(i, j)} and {max(i, j)}, of "
        "like geometry",
    )


def _boundaries(ordered: FloatArray) -> list[float]:
    """Where sorted energies fall apart into groups, rising."""
    n = len(ordered)
    smallest = max(_GROUP, round(_SHARE * n))
    if n < 2 * smallest:
        return []
    # the split that leaves least variance within (Otsu, IEEE Trans. SMC 9, 62 (1979))
    x = ordered - ordered.mean()
    count = np.arange(1, n)
    total = np.cumsum(x)[:-1]
    between = total**2 / (count * (n - count))
    between[: smallest - 1] = between[n - smallest :] = 0.0
    at = int(between.argmax()) + 1
    left, right = ordered[:at], ordered[at:]
    a, b = float(np.median(left)), float(np.median(right))
    width = min(float(np.ptp(np.quantile(side, (0.1, 0.9)))) / 2.56 for side in (left, right))
    third = (b - a) / 3
    inside = int(((ordered > a + third) & (ordered < b - third)).sum())
    few = n < _FEW
    least = max(_LEAST_FEW, _APART_FEW * width) if few else max(_LEAST, _APART * width)
    if b - a < least or inside > (0 if few else _BETWEEN * n):
        return []
    return [*_boundaries(left), float(left[-1] + right[0]) / 2, *_boundaries(right)]


def _unseen(energies: FloatArray) -> float:
    """How far apart, in kcal/mol, two zeros may be and make no two groups of energies (n,) that form one."""
    least, widths = (_LEAST_FEW, _APART_FEW) if len(energies) < _FEW else (_LEAST, _APART)
    return max(least, widths * float(np.ptp(np.quantile(energies, (0.1, 0.9)))) / 2.56)


def _touching(positions: FloatArray, groups: IntArray) -> IntArray:
    """(m, 2) configurations of the smallest group of which some are as near to another as neighbours usually are,
    each with the nearest one of another group, the nearest first; none where there is no such group.

    Neighbours in time are nearer than others, and groups may be of different times: usual is also what lies between
    the two halves of a group."""
    n, n_atoms = positions.shape[:2]
    some = np.unique(np.linspace(0, n - 1, min(n, _GEOMETRIES // 2)).round().astype(np.intp))
    row, col = np.tril_indices(n_atoms, -1)
    pairs = np.unique(np.linspace(0, len(row) - 1, min(len(row), _MOST_PAIRS)).round().astype(np.intp))
    x = positions[some]
    described = 1.0 / np.maximum(np.linalg.norm(x[:, row[pairs]] - x[:, col[pairs]], axis=2), _SAME)
    square = (described**2).sum(1)
    distance = np.sqrt(np.maximum(square[:, None] + square - 2 * described @ described.T, 0.0))
    np.fill_diagonal(distance, np.inf)
    halves = [np.array_split(np.flatnonzero(groups[some] == g), 2) for g in np.unique(groups[some])]
    between = [float(np.median(distance[np.ix_(a, b)].min(1))) for a, b in halves if len(a) and len(b)]
    usual = max(float(np.median(distance.min(1))), min(between, default=0.0))
    other = np.where(groups[some][:, None] != groups[some], distance, np.inf)
    touch = other.min(1) < _TOUCH * usual
    present, counts = np.unique(groups[some], return_counts=True)
    for g in present[counts.argsort(kind="stable")][:-1]:  # a group that touches none is a kind of geometry
        rare = groups[some] == g
        if touch[rare].mean() >= _TOUCHING:  # fewer are stragglers on the way from one kind to another
            i = np.flatnonzero(touch & rare)
            i = i[other.min(1)[i].argsort()]
            near: IntArray = some[np.stack([i, other[i].argmin(1)], axis=1)]
            return near
    return np.zeros((0, 2), dtype=np.intp)


def response(positions: FloatArray, alone: FloatArray, whole: FloatArray) -> float | None:
    """By how much the forces on a molecule in the complex change where those on it alone change by one.

    The slope through the deviations from their means, in the frame of the molecule; None where they hardly change.
    positions, alone, whole: (n, N, 3).
    """
    start = np.broadcast_to(positions[0], positions.shape)
    f0, f = (_superposed(start, positions, forces)[1] for forces in (alone, whole))
    df0, df = f0 - f0.mean(0), f - f.mean(0)
    if len(positions) < _PAIRS // 2 or (df0**2).mean() < 1.0:
        return None
    return float((df * df0).sum() / (df0**2).sum())


def _likely(slope: float, agree: float) -> str:
    """The likely cause of a wrong slope."""
    if agree < -_UNLIKE:
        return "energies rise along the forces: the sign of one is wrong (gradients for forces?)"
    if agree < _UNLIKE:
        return "energies and forces have nothing to do with each other"
    causes = {
        23.0605: "energies in kcal/mol, forces from eV", 1 / 23.0605: "energies in eV, forces in kcal/mol",
        4.184: "energies in kJ/mol, forces from kcal/mol", 1 / 4.184: "energies in kcal/mol, forces from kJ/mol",
        27.2114: "energies from eV, forces from hartree", 1 / 27.2114: "energies from hartree, forces from eV",
        1.8897: "forces per bohr, or positions in Å that were bohr", 0.52918: "positions in bohr, forces per Å",
        627.51: "energies in kcal/mol, forces from hartree", 1 / 627.51: "energies in hartree, forces in kcal/mol",
        1185.8: "energies in kcal/mol, forces in hartree/bohr", 51.422: "energies in eV, forces in hartree/bohr",
    }  # fmt: skip
    factor = min(causes, key=lambda c: abs(np.log(slope / c)))
    near = abs(np.log(slope / factor)) < 0.2
    return f"perhaps {causes[factor]}" if near else "units of energies and forces differ"


def _suspects(i: IntArray, j: IntArray, off: FloatArray, n: int) -> IntArray:
    """Configurations all of whose pairs are off, of which there are at least two."""
    total = np.bincount(np.concatenate([i, j]), minlength=n)
    wrong = np.bincount(np.concatenate([i[off], j[off]]), minlength=n)
    return np.flatnonzero((wrong == total) & (total >= 2))


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _superposed(
    a: FloatArray, b: FloatArray, forces: FloatArray, mirrored: bool = False
) -> tuple[FloatArray, FloatArray]:
    """b turned onto a, centred, and the forces of b turned with it; all (m, N, 3) (Kabsch, Acta Cryst. A 32, 922).
    mirrored: or its mirror image, where that is nearer."""
    a, b = centred(a), centred(b)
    u, _, vt = np.linalg.svd(np.einsum("mni,mnj->mij", b, a))
    if not mirrored:
        u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    rotation = u @ vt
    return b @ rotation, forces @ rotation


def centred(positions: FloatArray) -> FloatArray:
    """(n, N, 3) positions from their mean."""
    moved: FloatArray = positions - positions.mean(1, keepdims=True)
    return moved
