"""The kernel matrix of forces and energies, block by block, compiled (numba: import this module where it is used).

With d = x_m − P_g x_n, J = ∂x/∂r, n = √5 |d| / σ, b = 5/(3σ²) (1 + n) e^{−n}, s = 25/(3σ⁴) e^{−n}:

    ⟨F_m, F_n⟩ = Σ_g b J_mᵀ J_{n,g} − s (J_mᵀ d)(J_{n,g}ᵀ d)ᵀ         ⟨F_m, E_n⟩ = Σ_g b J_mᵀ d
    ⟨E_m, F_n⟩ = −Σ_g b J_{n,g}ᵀ d                                    ⟨E_m, E_n⟩ = Σ_g (1 + n + n²/3) e^{−n}

(Chmiela et al., Sci. Adv. 3, e1603015 (2017) and Nat. Commun. 9, 3887 (2018).) J is sparse: an entry of the
descriptor touches two atoms, so that J_mᵀ J_{n,g} costs 9N² products and not 9N²D.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from ..._types import FloatArray, IntArray


@njit(cache=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _block(
    x_m: FloatArray, x_n: FloatArray, u_m: FloatArray, u_n: FloatArray, perms: IntArray, inverse: IntArray,
    sigma: float, forces: FloatArray, edge: FloatArray, energies: bool,
) -> float:  # fmt: skip
    """Adds one block to `forces` (3N, 3N). Returns ⟨E_m, E_n⟩; edge (2, N, 3): ⟨F_m, E_n⟩ and ⟨E_m, F_n⟩."""
    n_perms, n = perms.shape
    bell, steep = np.empty(n_perms), np.empty(n_perms)
    pull_m, pull_n = np.zeros((n_perms, n, 3)), np.zeros((n_perms, 3, n))
    energy = 0.0
    for g in range(n_perms):
        p, squared = perms[g], 0.0
        for i in range(n):
            pi = p[i]
            m0 = m1 = m2 = n0 = n1 = n2 = 0.0
            for k in range(n):
                pk = p[k]
                d = x_m[i, k] - x_n[pi, pk]
                squared += d * d
                m0 += d * u_m[0, i, k]
                m1 += d * u_m[1, i, k]
                m2 += d * u_m[2, i, k]
                n0 += d * u_n[0, pi, pk]
                n1 += d * u_n[1, pi, pk]
                n2 += d * u_n[2, pi, pk]
            pull_m[g, i, 0], pull_m[g, i, 1], pull_m[g, i, 2] = m0, m1, m2
            pull_n[g, 0, pi], pull_n[g, 1, pi], pull_n[g, 2, pi] = n0, n1, n2
        distance = np.sqrt(2.5 * squared) / sigma  # every pair was met twice
        decay = np.exp(-distance)
        bell[g] = 5.0 / (3.0 * sigma**2) * (1.0 + distance) * decay
        steep[g] = 25.0 / (3.0 * sigma**4) * decay
        energy += (1.0 + distance + distance * distance / 3.0) * decay
        if energies:
            for i in range(n):
                for a in range(3):
                    edge[0, i, a] += bell[g] * pull_m[g, i, a]
                    edge[1, i, a] -= bell[g] * pull_n[g, a, i]

    rows = np.empty((3, 3, n))  # of atom i: component of m, component of n, atom of n
    um = np.empty((3, n))
    for i in range(n):
        rows[:] = 0.0
        for g in range(n_perms):
            pi = perms[g, i]
            for j in range(n):  # the atom of m that meets atom j of n
                k = inverse[g, j]
                um[0, j], um[1, j], um[2, j] = bell[g] * u_m[0, i, k], bell[g] * u_m[1, i, k], bell[g] * u_m[2, i, k]
            for a in range(3):
                s = steep[g] * pull_m[g, i, a]
                for b in range(3):
                    total = 0.0
                    row, left, right, pull = rows[a, b], um[a], u_n[b, pi], pull_n[g, b]
                    for j in range(n):
                        product = left[j] * right[j]
                        total += product
                        row[j] -= product + s * pull[j]
                    row[pi] += total
        for a in range(3):
            for j in range(n):
                for b in range(3):
                    forces[3 * i + a, 3 * j + b] = rows[a, b, j]
    return energy


@njit(parallel=True, cache=True)
def fill_columns(
    x: FloatArray, u: FloatArray, perms: IntArray, inverse: IntArray, sigma: float,
    first: int, last: int, panel: FloatArray, edges: FloatArray,
) -> None:  # fmt: skip
    """The columns of the forces of points `first` to `last`, from the diagonal down.

    x: (M, N, N); u: (M, 3, N, N) ∂x_ik/∂r_i; perms, inverse: (P, N). panel: rows and columns of forces,
    from those of point `first`. edges: (M + 3NM, M) the columns of the energies, of which the rows of these forces
    are filled here, or of no columns where energies are not in the fit.
    """
    n_points, n = x.shape[0], x.shape[1]
    energies = edges.shape[1] > 0
    width = last - first
    for task in prange(width * (n_points - first)):
        column, row = first + task % width, first + task // width
        if row < column:
            continue
        edge = np.zeros((2, n, 3))
        r, c = 3 * n * (row - first), 3 * n * (column - first)
        block = panel[r : r + 3 * n, c : c + 3 * n]
        e = _block(x[row], x[column], u[row], u[column], perms, inverse, sigma, block, edge, energies)
        if energies:
            edges[row, column] = edges[column, row] = e
            for i in range(n):
                for a in range(3):
                    edges[n_points + 3 * n * row + 3 * i + a, column] = edge[0, i, a]
                    edges[n_points + 3 * n * column + 3 * i + a, row] = edge[1, i, a]


@njit(parallel=True, cache=True)
def fill_block(
    x_m: FloatArray, u_m: FloatArray, x_n: FloatArray, u_n: FloatArray, perms: IntArray, inverse: IntArray,
    sigma: float, energies: bool, out: FloatArray,
) -> None:  # fmt: skip
    """Rows of some points, columns of others, each with its energy first where `energies`.

    x, u: as in `fill_columns`. out: (R·len(x_m), R·len(x_n)), R = 3N or 1 + 3N. Point by point, unlike
    `fill_columns`.
    """
    n, e = x_m.shape[1], 1 if energies else 0
    rows = 3 * n + e
    for task in prange(len(x_m) * len(x_n)):
        row, column = task // len(x_n), task % len(x_n)
        edge = np.zeros((2, n, 3))
        block = out[rows * row : rows * (row + 1), rows * column : rows * (column + 1)]
        energy = _block(
            x_m[row], x_n[column], u_m[row], u_n[column], perms, inverse, sigma, block[e:, e:], edge, energies
        )
        if energies:
            block[0, 0] = energy
            for i in range(n):
                for a in range(3):
                    block[1 + 3 * i + a, 0] = edge[0, i, a]
                    block[0, 1 + 3 * i + a] = edge[1, i, a]


@njit(parallel=True, cache=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def sensitivity(
    x: FloatArray, u: FloatArray, y: FloatArray, v: FloatArray, perms: IntArray, sigma: float, out: FloatArray
) -> None:
    """Adds q_k d/dq_k of Σ_mn u_m · (∂²k/∂x∂y)(x_m, y_n) v_n, with the entries of all descriptors weighed by √q_k.

    x, u: (A, D) descriptors and directions J_m a_m; y, v: (B, D) the same of other points; perms: (P, D). out:
    (B, D), one row for each y_n. Of what is added up, with d = x − P_g y and c = P_g v:
    b u·c − s (d·u)(d·c), where dn²/dq = 5 d²/σ², db/dn² = −s σ²/10 and ds/dn² = −s/(2n).
    """
    n_perms, dim = perms.shape
    for n in prange(len(y)):
        moved, along, total = np.empty(dim), np.empty(dim), np.zeros(dim)
        for g in range(n_perms):
            for k in range(dim):
                moved[k], along[k] = y[n, perms[g, k]], v[n, perms[g, k]]
            for m in range(len(x)):
                squared = both = first = second = 0.0
                for k in range(dim):
                    d = x[m, k] - moved[k]
                    squared += d * d
                    both += u[m, k] * along[k]
                    first += d * u[m, k]
                    second += d * along[k]
                distance = np.sqrt(5.0 * squared) / sigma
                decay = np.exp(-distance)
                bell = 5.0 / (3.0 * sigma**2) * (1.0 + distance) * decay
                steep = 25.0 / (3.0 * sigma**4) * decay
                closer = -0.5 * steep * both
                if distance > 0.0:
                    closer += steep * 2.5 / (sigma**2 * distance) * first * second
                for k in range(dim):
                    d = x[m, k] - moved[k]
                    total[k] += d * (closer * d - steep * (u[m, k] * second + first * along[k]))
                    total[k] += bell * u[m, k] * along[k]
        out[n] += total
