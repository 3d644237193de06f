"""Whether the labels of a data set can be true: everything that is seen from the labels themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._types import FloatArray, IntArray
from ..checks import Check
from .dataset import Dataset
from .derivatives import centred, check_slope, check_zero, neighbours, response, work_within
from .fragments import reactions
from .inspect import lengths, names_of
from .structures import say_reactions

_NEAR = 0.3  # Å, the farthest that an atom may move between two configurations whose energies are compared
_NEAR_ALONE = 0.5  # within one molecule: its bonds are springs, for which any step will do
_RESPONSE = 2.2  # by which a fragment's bonds may be stiffer or softer in the complex; kJ for kcal is 4.2
_FEW_ENERGY = 200.0  # kcal/mol that neutral fragments may bind by
_MOST_ENERGY = 1000.0  # kcal/mol; salts stay below
_NET = 0.05  # kcal/mol/Å; SCF noise leaves 1e-3
_APART = 30.0  # Å between the nearest atoms of two fragments: nothing but charges is felt so far
_TENDS = 0.3  # kcal/mol
_COULOMB = 332.06371  # kcal/mol Å
_OUTLIER = 12.0  # robust standard deviations
_FEW = 0.05  # of all configurations
_MANY = 20  # configurations whose median deviation says how far others may be off; of fewer it is chance
_ALIKE = 1e-6  # Å


def check_dataset(data: Dataset) -> Iterator[Check]:
    """Every check that the data set's labels allow, in order. Each failure names a configuration (counted from 0)."""
    pairs = neighbours(data)
    yield check_slope("forces = −dE/dr", data.positions, data.energies, data.forces, pairs, _NEAR)
    yield _net("net force", "kcal/mol/Å", np.abs(data.forces.sum(1)).max(1), data.forces)
    yield _net("net torque", "kcal/mol", _torques(data.positions, data.forces), data.forces)
    yield _zero(data)
    if data.labelled_fragments:
        yield from _isolated(data, pairs)
    if data.fragment is not None and data.n_fragments > 1:
        broken = reactions(data.numbers, data.fragment, data.positions)
        words = say_reactions(broken, len(data)) if broken else "no bond between fragments, none broken"
        yield Check("fragments stay whole", not broken, words)
    yield _duplicates(data)
    yield _outliers("largest force", lengths(data.forces).max(1), "kcal/mol/Å")
    if not data.labelled_fragments:
        yield _outliers("energies", data.energies, "kcal/mol")
        return
    # Together these two are the energy; apart, complexes pulled asunder are no outliers.
    yield _outliers("isolated energies", data.isolated()[1].sum(1), "kcal/mol")
    yield _outliers("binding energies", data.binding_energies(), "kcal/mol", 2 * _OUTLIER)  # contacts have tails


def _zero_alone(data: Dataset, k: int, name: str) -> Check:
    """One zero of the energies of a molecule alone, less what its forces say."""
    _, energies, forces = data.isolated()
    atoms = data.atoms_of(k)
    x, f = data.positions[:, atoms], forces[:, atoms]
    return check_zero(f"{name}: one zero alone", x, energies[:, k], f, work_within(x, f, [np.arange(len(atoms))]))


def _zero(data: Dataset) -> Check:
    """One zero of the complex's energies, less those of its fragments, or what their forces say of these."""
    if data.labelled_fragments:
        forces = data.forces - data.isolated()[2]
        return check_zero("one zero of energy", data.positions, data.binding_energies(), forces, np.zeros(len(data)))
    fragments = [data.atoms_of(k) for k in range(data.n_fragments)] or [np.arange(data.n_atoms)]
    work = work_within(data.positions, data.forces, fragments)
    return check_zero("one zero of energy", data.positions, data.energies, data.forces, work)


def _isolated(data: Dataset, pairs: IntArray) -> Iterator[Check]:
    """Checks of the labels of isolated fragments."""
    _, energies, forces = data.isolated()
    for k, name in enumerate(names_of(data)):
        atoms = data.atoms_of(k)
        x, e, f = data.positions[:, atoms], energies[:, k], forces[:, atoms]
        if len(atoms) == 1:
            spread, force = float(np.ptp(e)), float(np.abs(f).max())
            worst = int(np.abs(e - np.median(e)).argmax()) if spread > 1e-6 else int(np.abs(f).max((1, 2)).argmax())
            yield Check(
                f"{name}: one atom alone",
                spread < 1e-6 and force < 1e-6,
                f"energy {'constant' if spread < 1e-6 else f'varies by {spread:.2g} kcal/mol'}, "
                f"force {'zero' if force < 1e-6 else f'up to {force:.2g} kcal/mol/Å'}"
                + ("" if spread < 1e-6 and force < 1e-6 else f", worst in configuration {worst}"),
            )
            continue
        yield check_slope(f"{name}: F0 = −dE_frag/dr", x, e, f, pairs, _NEAR_ALONE)
        yield _zero_alone(data, k, name)
        yield _net(f"{name}: net force alone", "kcal/mol/Å", np.abs(f.sum(1)).max(1), f)
        yield _net(f"{name}: net torque alone", "kcal/mol", _torques(x, f), f)
    if data.n_fragments > 1:
        yield _alike(data)
        yield from _separated(data)


def _alike(data: Dataset) -> Check:
    """Labels of complex and fragments in the same units and from the same zero.

    However strong the bond between them, it leaves the springs within them about as stiff.
    """
    _, _, alone = data.isolated()
    slopes: dict[str, float] = {}
    for k, name in enumerate(names_of(data)):
        atoms = data.atoms_of(k)
        slope = response(data.positions[:, atoms], alone[:, atoms], data.forces[:, atoms]) if len(atoms) > 1 else None
        if slope is not None:
            slopes[name] = slope
    wrong = {name: slope for name, slope in slopes.items() if not 1 / _RESPONSE < slope < _RESPONSE}
    neutral = data.charges is not None and not data.charges.any()
    most = _FEW_ENERGY if neutral else _MOST_ENERGY
    binding = np.abs(data.binding_energies())
    worst = int(binding.argmax())
    listed = ", ".join(f"{slope:.2f} ({name})" for name, slope in (wrong or slopes).items())
    words = f"forces change by {listed} of their change alone (1 expected), " if slopes else ""
    words += f"binding energies up to {binding[worst]:.4g} kcal/mol"
    if wrong or binding[worst] > most:
        words += f" in configuration {worst} (below {most:g}): units, sign, zero or order of atoms differ"
    return Check("complex and fragments go together", not wrong and float(binding[worst]) <= most, words)


def _torques(positions: FloatArray, forces: FloatArray) -> FloatArray:
    """(n,) largest component of the torque about the mean position."""
    largest: FloatArray = np.abs(np.cross(centred(positions), forces).sum(1)).max(1)
    return largest


def _net(name: str, unit: str, values: FloatArray, forces: FloatArray) -> Check:
    """Nothing pushes or turns an isolated molecule."""
    most = max(_NET, 1e-3 * float(np.median(lengths(forces).max(1))))
    worst = int(values.argmax())
    where = "" if values[worst] <= most else f", in configuration {worst}; {(values > most).sum()} of them are beyond"
    return Check(name, not where, f"up to {values[worst]:.1e} {unit} (at most {most:.2g}){where}")


def _separated(data: Dataset) -> Iterator[Check]:
    """Far apart, fragments bind by their net charges alone."""
    nearest = np.full(len(data), np.inf)
    middle = np.stack([data.positions[:, data.atoms_of(k)].mean(1) for k in range(data.n_fragments)], axis=1)
    charges = np.zeros(data.n_fragments, dtype=np.intp) if data.charges is None else data.charges
    coulomb = np.zeros(len(data))
    for a in range(data.n_fragments):
        for b in range(a):
            apart = np.linalg.norm(middle[:, a] - middle[:, b], axis=1)
            size = sum(
                np.linalg.norm(data.positions[:, data.atoms_of(k)] - middle[:, k, None], axis=2).max(1)
                for k in (a, b)
            )
            nearest = np.minimum(nearest, apart - size)
            coulomb += _COULOMB * charges[a] * charges[b] / np.maximum(apart, 1e-6)
    far = np.flatnonzero(nearest > _APART)
    if not len(far) or data.charges is None:
        return
    rest = np.abs(data.binding_energies()[far] - coulomb[far])
    worst = int(far[rest.argmax()])
    where = "" if rest.max() < _TENDS else f", in configuration {worst}"
    words = f"{len(far)} configurations are over {_APART:g} Å apart, their binding energy beyond charges up to "
    yield Check("separated fragments", not where, f"{words}{rest.max():.2g} kcal/mol (at most {_TENDS}){where}")


def _duplicates(data: Dataset) -> Check:
    """Geometries that come twice would be in training and test set alike."""
    rounded = np.round(centred(data.positions) / (10 * _ALIKE)).astype(np.int64).reshape(len(data), -1)
    _, first, inverse = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse.ravel()] != np.arange(len(data)))
    if not len(again):
        return Check("duplicates", True, "no configuration comes twice")
    original, copy = int(first[inverse.ravel()][again[0]]), int(again[0])
    return Check("duplicates", False, f"{len(again)} configurations come again; {copy} is {original} again")


def _outliers(name: str, values: FloatArray, unit: str, most: float = _OUTLIER) -> Check:
    """Few values far from the others, by the median and the median deviation; many are a population of their own."""
    middle = float(np.median(values))
    scale = float(max(np.median(np.abs(values - middle)) / 0.6745, 0.1 * values.std(), 1e-6))
    score = np.abs(values - middle) / scale
    if len(values) < _MANY:
        most *= 5
    worst, bad = int(score.argmax()), int((score > most).sum())
    few = bad <= max(1, _FEW * len(values))
    words = f"at most {score[worst]:.1f} robust standard deviations ({scale:.3g} {unit}) from the median {middle:.6g}"
    if bad:
        words = f"{bad} beyond {most:g} robust standard deviations; worst configuration {worst}: "
        words += f"{values[worst]:.6g}, median {middle:.6g} {unit}" + ("" if few else "; too many to be outliers")
    return Check(f"outliers: {name}", not (bad and few), words)
