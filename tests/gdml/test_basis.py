"""Representations and the transform on the group, against what they must satisfy; the sum, against its formula."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from delta_server.gdml.compiled.module import compiled_module
from delta_server.gdml.descriptor.metric import Metric
from delta_server.gdml.descriptor.pairs import pair_permutations
from delta_server.gdml.sums import basis as fourier
from delta_server.gdml.sums.backends import backends, contraction
from delta_server.gdml.sums.basis import Basis
from delta_server.gdml.sums.expansion import Expansion
from delta_server.gdml.sums.matern import plain_sum
from delta_server.symmetry.elements import multiplication_table
from delta_server.symmetry.factors import independent_factors
from delta_server.symmetry.irreps import Irreps


def generated(*generators: list[int]) -> np.ndarray:
    """All elements of the group that these permutations generate."""
    n = len(generators[0])
    found, new = {tuple(range(n))}, {tuple(range(n))}
    while new:
        new = {tuple(g[i] for i in p) for p in new for g in generators} - found
        found |= new
    return np.array(sorted(found))


def symmetric(n: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(n))))


def cycle(n: int) -> list[int]:
    return [(i + 1) % n for i in range(n)]


def quaternions() -> np.ndarray:
    """Q_8 acting on itself: its faithful representation is quaternionic, of dimension 4 over the reals."""
    return generated([1, 2, 3, 0, 5, 6, 7, 4], [4, 7, 6, 5, 2, 1, 0, 3])


GROUPS = {
    "trivial": symmetric(4)[:1],
    "C2": generated([1, 0, 2]),
    "C3": generated(cycle(3)),
    "C8": generated(cycle(8)),
    "S4": symmetric(4),
    "A4": generated([1, 2, 0, 3], [1, 0, 3, 2]),
    "Q8": quaternions(),
    "D6": generated(cycle(6), [0, 5, 4, 3, 2, 1]),
    "C3xC3": generated([1, 2, 0, 3, 4, 5], [0, 1, 2, 4, 5, 3]),
    "S3xD4": generated([1, 0, 2, 3, 4, 5, 6], [1, 2, 0, 3, 4, 5, 6], [0, 1, 2, 4, 5, 6, 3], [0, 1, 2, 3, 6, 5, 4]),
    "S3wrC2": generated([1, 0, 2, 3, 4, 5], [1, 2, 0, 3, 4, 5], [3, 4, 5, 0, 1, 2]),
    # together only an even number of the three pairs is exchanged: independent two by two, not all three
    "even": generated([1, 0, 3, 2, 4, 5], [1, 0, 2, 3, 5, 4]),
}
DIMENSIONS = {
    "C3": [1, 2],
    "S4": [1, 1, 2, 3, 3],
    "A4": [1, 2, 3],  # the two of complex type are one of dimension 2 over the reals
    "Q8": [1, 1, 1, 1, 4],
    "S3wrC2": [1, 1, 1, 1, 2, 4, 4, 4, 4],
}
each_group = pytest.mark.parametrize("elements", GROUPS.values(), ids=GROUPS)


@each_group
def test_representations_are_orthogonal_homomorphisms(elements: np.ndarray) -> None:
    irreps, table = Irreps.of(elements), multiplication_table(elements)
    for g in range(len(table)):
        assert (elements[g][elements] == elements[table[g]]).all()
    for rho in irreps.matrices:
        products = rho[:, None] @ rho[None]
        assert np.abs(products - rho[table]).max() < 1e-12
        assert np.abs(rho @ rho.transpose(0, 2, 1) - np.eye(rho.shape[1])).max() < 1e-12


@each_group
def test_representations_are_irreducible_and_all_there(elements: np.ndarray) -> None:
    irreps = Irreps.of(elements)
    characters = [np.trace(rho, axis1=1, axis2=2) for rho in irreps.matrices]
    gram = np.array([[(a * b).mean() for a in characters] for b in characters])
    kinds = gram.diagonal()  # 1 for a real one, 2 for a complex, 4 for a quaternionic
    assert np.abs(gram - np.diag(kinds)).max() < 1e-10
    assert set(np.round(kinds, 8)) <= {1.0, 2.0, 4.0}
    assert irreps.real == tuple(k < 1.5 for k in kinds)
    squares = [rho.shape[1] ** 2 / k for rho, k in zip(irreps.matrices, kinds, strict=True)]
    assert sum(squares) == pytest.approx(len(elements))


@pytest.mark.parametrize("name", DIMENSIONS)
def test_dimensions(name: str) -> None:
    assert [m.shape[1] for m in Irreps.of(GROUPS[name]).matrices] == DIMENSIONS[name]


def test_what_is_no_group() -> None:
    with pytest.raises(ValueError, match="no group"):
        Irreps.of(np.array([[0, 1, 2], [1, 2, 0]]))


@each_group
def test_the_basis_is_orthonormal(elements: np.ndarray) -> None:
    basis = Basis.of(elements, Metric(elements.shape[1]))
    x = np.eye(len(basis.order))
    assert np.abs(basis.forward(x) @ basis.forward(x).T - x).max() < 1e-12
    assert np.abs(basis.backward(basis.forward(x)) - x).max() < 1e-12


@each_group
def test_the_change_of_basis_in_compiled_code_is_that_of_numpy(
    elements: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    basis = Basis.of(elements, Metric(elements.shape[1]))
    x = np.random.default_rng(0).standard_normal((3, len(basis.order)))
    there, back = basis.forward(x), basis.backward(x)
    monkeypatch.setattr(fourier, "compiled_module", lambda: None)
    assert basis.forward(x) == pytest.approx(there, abs=1e-14)
    assert basis.backward(x) == pytest.approx(back, abs=1e-14)


@each_group
def test_correlations_of_all_elements_at_once(elements: np.ndarray) -> None:
    """⟨x, P_g y⟩ for every g, as a set: which element is which does not matter to the sum."""
    basis, rng = Basis.of(elements, Metric(elements.shape[1])), np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1, len(basis.order)))
    products = np.zeros(len(basis.tables[0]) * len(basis.tables[1]))
    at = start = 0
    for d, n in basis.shapes:
        part = slice(start, start + d * n)
        a = basis.forward(y)[0, part].reshape(d, n) @ basis.forward(x)[0, part].reshape(d, n).T
        products[basis.place[at : at + d * d]] = a.reshape(-1)
        at, start = at + d * d, start + d * n
    found = products @ np.kron(*basis.tables)
    expected = (x[0] * y[0][pair_permutations(elements)]).sum(1)
    assert np.sort(found) == pytest.approx(np.sort(expected), abs=1e-11)


def test_factors() -> None:
    assert sorted(len(f) for f in independent_factors(GROUPS["S3xD4"])) == [6, 8]
    assert [len(f) for f in independent_factors(GROUPS["even"])] == [4]
    inversion = generated(cycle(5), [0, 4, 3, 2, 1])[:, None] + 5 * np.array([[0], [1]])  # two pentagons, as one
    both = np.concatenate([inversion.reshape(-1, 10), inversion[:, ::-1].reshape(-1, 10)])
    halves = Irreps.of(both).split()
    assert halves is not None
    assert [len(h) for h in halves] == [10, 2]


@each_group
@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 8, 40])
def test_the_sum_is_the_plain_one(elements: np.ndarray, backend: str, constrained: bool, batch: int) -> None:
    """Against the definition, with permuted copies of the training set."""
    rng, dim = np.random.default_rng(1), elements.shape[1] * (elements.shape[1] - 1) // 2
    points, weights, queries = (rng.standard_normal((n, dim)) for n in (7, 7, batch))
    alphas = rng.standard_normal(7) if constrained else None
    sigma = 3.0
    perms = pair_permutations(elements)
    energy, gradient = plain_sum(
        queries,
        points[:, perms].reshape(-1, dim),
        weights[:, perms].reshape(-1, dim),
        sigma,
        None if alphas is None else np.repeat(alphas, len(perms)),
    )
    for method in ("plain", "fourier", None):
        expansion = Expansion(points, Metric(elements.shape[1]), elements, sigma, method=method, backend=backend)  # type: ignore[arg-type]
        assert expansion.method == method or method is None or len(elements) == 1
        expansion.set_weights(weights, alphas)
        found = expansion(queries)
        assert found[0] == pytest.approx(energy, abs=1e-9)
        assert found[1] == pytest.approx(gradient, abs=1e-9)


@pytest.mark.parametrize("backend", backends())
def test_energy_constraints_round_no_more_than_their_terms(backend: str) -> None:
    """Coefficients of 1e8 and kernels near 1, as in a binding: against the definition in extended precision."""
    elements = GROUPS["S3xD4"]
    rng, perms = np.random.default_rng(2), pair_permutations(elements)
    points, queries = (0.1 * rng.standard_normal((n, perms.shape[1])) for n in (50, 4))
    alphas = 1e8 * rng.standard_normal(50)
    alphas -= alphas.mean()  # their sum, too, is one that cancels
    wide = [a.astype(np.longdouble) for a in (queries, points[:, perms].reshape(-1, perms.shape[1]), alphas)]
    zero = np.zeros_like(wide[1])
    energy, _ = plain_sum(wide[0], wide[1], zero, 10.0, np.repeat(wide[2], len(perms)))
    expansion = Expansion(points, Metric(elements.shape[1]), elements, 10.0, backend=backend)
    expansion.set_weights(np.zeros_like(points), alphas)
    noise = 2.0**-53 * np.sqrt(len(perms) * (alphas**2).sum())  # of terms that round by themselves
    assert np.abs(expansion(queries)[0] - energy).max() < 4 * noise


def test_far_away_nothing_is_left() -> None:
    """e^{−n} of a large n is no subnormal number, no NaN."""
    for backend in backends():
        expansion = Expansion(np.zeros((2, 3)), Metric(3), symmetric(3), 1.0, backend=backend)
        expansion.set_weights(np.ones((2, 3)))
        energy, gradient = expansion(np.full((1, 3), 1e6))
        assert np.isfinite(energy).all()
        assert np.abs(gradient).max() < 1e-200


def test_no_group_is_summed_all_the_same() -> None:
    """sGDML's own search may return a set that is not closed."""
    broken = np.array([[0, 1, 2], [1, 2, 0]])
    expansion = Expansion(np.ones((2, 3)), Metric(3), broken, 1.0)
    assert (expansion.method, expansion.fallback) == ("permuted queries (no group)", "no group")
    assert Expansion(np.ones((2, 3)), Metric(3), symmetric(3), 1.0).fallback is None


def test_sizes_are_checked() -> None:
    basis = Basis.plain(3)
    for backend in backends()[1:]:
        with pytest.raises(ValueError, match="sizes"):
            contraction(basis, np.zeros((2, 3)), 1.0, backend=backend)(np.zeros((2, 2)))
    turn = compiled_module().turn
    blocks, entries, x = np.array([[1, 3]]), np.arange(3), np.zeros((1, 3))
    turn(blocks, entries, entries, np.zeros(24), x, x.copy())
    for wrong in (np.array([[1, 4]]), np.array([[-1, 3]]), np.array([[1, 3], [1, 3]])):
        with pytest.raises(ValueError, match="sizes"):
            turn(wrong, entries, entries, np.zeros(24), x, x.copy())
    with pytest.raises(ValueError, match="sizes"):
        turn(blocks, entries, entries + 1, np.zeros(24), x, x.copy())
    with pytest.raises(ValueError, match="sizes"):
        turn(blocks, entries, entries, np.zeros(23), x, x.copy())
    with pytest.raises(ImportError, match="no backend 'nonesuch' here, expected one of numpy"):
        contraction(basis, np.zeros((2, 3)), 1.0, backend="nonesuch")
