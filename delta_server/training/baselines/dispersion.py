"""Dispersion below the binding: that of DFT-D4, its coefficients taken once, at the complex of lowest energy.

`dftd4` tells what the pairs of a molecule add with any damping. Without damping C6 and C8 stand in it as they are; C9
of its triples, √(C6 C6 C6) of coefficients without charges, are fitted to what triples add to each pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ...terms.dispersion import MOST_KINDS, Damping, DispersionOptions, DispersionTerm
from ...units import BOHR

if TYPE_CHECKING:
    from ..databases import Complex

NAME = "dispersion"  # of the term in a manifest
GFN2 = Damping(s8=2.7, s9=5.0, a1=0.52, a2=5.0)  # Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019)
_DIGITS = 8
_MISSING = "dispersion: its coefficients are dftd4's: pip install 'delta-server[d4]'"


@dataclass(frozen=True)
class Dispersion:
    """The dispersion of a method between the fragments of a complex. options: as a manifest has them."""

    method: str
    options: DispersionOptions

    def __str__(self) -> str:
        return (
            f"dispersion: labels of the binding less D4 of {self.method}, with {len(self.options.c6)} kinds of atoms"
        )

    def as_dict(self) -> dict[str, Any]:
        """What the record says."""
        return {"method": self.method}

    def entry(self) -> dict[str, Any]:
        """The term of a manifest."""
        return {"kind": "dispersion", "name": NAME, "options": self.options.model_dump()}

    def term(self, system: Complex) -> DispersionTerm:
        """The term that the entry describes."""
        return DispersionTerm.of(NAME, self.options, {name: [system.atoms[k]] for k, name in enumerate(system.names)})


def dispersion_below(system: Complex, method: str) -> Dispersion:
    """The dispersion of a functional that dftd4 knows, or of gfn2-xtb, for the fragments of a complex.

    Coefficients are means over atoms that a molecule's symmetry exchanges, or that are equal in equal molecules.

    Raises InputError for a method that is not known, more than 64 kinds of atoms, or without dftd4.
    """
    data, row = system.data, int(system.data.energies.argmin())
    classes = system.equivalent
    kind = np.empty(data.n_atoms, dtype=np.intp)
    for k, mine in enumerate(classes):
        kind[system.atoms[k]] = mine
    count = int(kind.max()) + 1
    if count > MOST_KINDS:
        raise InputError(f"{data.name}: dispersion: {count} kinds of atoms, at most {MOST_KINDS} are taken")
    known = damping_of(method)
    charge = sum(system.charge(k) for k in range(len(system.names)))
    c6, ratio, triples, distances = _undamped(data.numbers, data.positions[row], charge)
    pairs = _mean(c6, kind)
    options = DispersionOptions(
        kinds={name: classes[k].tolist() for k, name in enumerate(system.names)},
        c6=_rounded(pairs),
        c6_neutral=_rounded(_neutral(triples, distances, kind, pairs)),
        r4r2=_rounded(np.sqrt(np.diag(_mean(ratio, kind)) / 3)),
        damping=known,
    )
    return Dispersion(method, options)


def damping_of(method: str) -> Damping:
    """The parameters of a functional, or of gfn2-xtb. Raises InputError."""
    if method == "gfn2-xtb":
        return GFN2
    try:
        from dftd4.parameters import get_damping_param
    except ImportError:
        raise InputError(_MISSING) from None
    try:
        found = get_damping_param(method.lower())
    except KeyError:
        raise InputError(f"dispersion of {method!r}: expected gfn2-xtb or a functional that dftd4 knows") from None
    return Damping(**{name: found[name] for name in Damping.model_fields if name in found})


def _undamped(numbers: IntArray, x: FloatArray, charge: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(n, n) each, atomic units: C6, C8 over C6, what triples add to pairs, and distances; ones on the diagonal."""
    try:
        from dftd4.interface import DampingParam, DispersionModel
    except ImportError:
        raise InputError(_MISSING) from None
    model = DispersionModel(np.asarray(numbers), x / BOHR, charge)
    distances = np.linalg.norm(x[:, None] - x, axis=-1) / BOHR
    np.fill_diagonal(distances, 1.0)

    def undamped(s6: float, s8: float, s9: float) -> dict[str, FloatArray]:
        return dict(model.get_pairwise_dispersion(DampingParam(s6=s6, s8=s8, s9=s9, a1=0.0, a2=0.0)))

    six = -2 * undamped(1.0, 0.0, 0.0)["additive pairwise energy"]
    both = -2 * undamped(1.0, 1.0, 0.0)["additive pairwise energy"]
    triples = undamped(1.0, 0.0, 1.0)["non-additive pairwise energy"]
    for energies in (six, both):
        np.fill_diagonal(energies, 1.0)
    return six * distances**6, (both / six - 1) * distances**2, triples, distances


def _mean(values: FloatArray, kind: IntArray) -> FloatArray:
    """(K, K): means over the pairs of atoms of each two kinds; of a kind with one atom the own by combination."""
    member = np.eye(int(kind.max()) + 1)[kind]
    other = 1 - np.eye(len(kind))
    counts = member.T @ other @ member
    sums = member.T @ (other * values) @ member
    mean = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    for k in np.flatnonzero(counts.diagonal() == 0):  # C_kk from C_ik C_kj = C_ij C_kk, its geometric mean
        i, j = np.nonzero(np.triu(mean, 1) * np.outer(mean[k] > 0, mean[k] > 0))
        mean[k, k] = np.exp(np.mean(np.log(mean[k, i] * mean[k, j] / mean[i, j]))) if len(i) else mean[k].max()
    return mean


def _neutral(triples: FloatArray, distances: FloatArray, kind: IntArray, start: FloatArray) -> FloatArray:
    """(K, K): C6 whose √(C6 C6 C6) give what the triples add to each pair of atoms best."""
    from scipy.optimize import least_squares

    x, y, z = (axes**2 for axes in (distances[:, :, None], distances[:, None, :], distances[None, :, :]))
    p = x * y * z
    shape = (1 + 0.375 * (x + y - z) * (x + z - y) * (y + z - x) / p) / p**1.5 / 6
    n = np.arange(len(kind))
    shape[n, n] = shape[:, n, n] = shape[n, :, n] = 0.0
    upper, among = np.triu_indices(len(start)), np.triu_indices(len(kind), 1)
    size = np.sqrt((triples[among] ** 2).mean())

    def matrix(p: FloatArray) -> FloatArray:
        full = np.empty_like(start)
        full[upper] = full.T[upper] = np.exp(p)
        return full

    def left(p: FloatArray) -> FloatArray:
        root = np.sqrt(matrix(p))[kind][:, kind]
        made = root * np.einsum("uvk,uk,vk->uv", shape, root, root, optimize=True)
        return np.asarray((made - triples)[among] / size)

    return matrix(least_squares(left, np.log(start[upper])).x)


def _rounded(values: FloatArray) -> Any:
    """Lists, of as many digits as coefficients have."""
    return np.vectorize(lambda value: float(f"{value:.{_DIGITS}g}"))(values).tolist()
