"""Subgroups and their cosets; the sum through any of them, against permuted queries."""

from __future__ import annotations

import numpy as np
import pytest
from test_basis import GROUPS, each_group

from delta_server.gdml.descriptor.metric import Metric
from delta_server.gdml.sums.backends import contraction
from delta_server.gdml.sums.basis import Basis
from delta_server.gdml.sums.cosets import Cosets
from delta_server.gdml.sums.expansion import Expansion
from delta_server.symmetry.elements import Elements
from delta_server.symmetry.subgroups import Subgroup, normal_subgroups

ORDERS = {
    "S4": [4, 12],
    "A4": [4],
    "Q8": [2, 4, 4, 4],
    "C3": [],
    "D6": [2, 3, 6, 6, 6],
    "S3wrC2": [9, 18, 36, 36, 36],
}


@pytest.mark.parametrize("name", ORDERS)
def test_normal_subgroups(name: str) -> None:
    """All there are, for these."""
    group = Elements(GROUPS[name])
    found = normal_subgroups(group)
    assert sorted(s.order for s in found) == ORDERS[name]
    for subgroup in found:
        inside = np.flatnonzero(subgroup.mask)
        assert subgroup.mask[group.products(inside, inside)].all()
        for g in inside:
            assert subgroup.mask[group.conjugates(g)].all()


@each_group
def test_the_sum_through_any_subgroup(elements: np.ndarray) -> None:
    """Normal ones, and those that leave an atom where it is, whose left cosets are not their right ones."""
    rng, metric, sigma = np.random.default_rng(3), Metric(elements.shape[1]), 3.0
    points, weights = rng.standard_normal((2, 9, len(metric.pairs)))
    queries = rng.standard_normal((4, len(metric.pairs)))
    plain = Expansion(points, metric, elements, sigma, method="plain")
    plain.set_weights(weights)
    energy, gradient = plain(queries)
    group, centre = Elements(elements), plain._centre
    leaving = [Subgroup(group, mask) for mask in (elements == np.arange(elements.shape[1])).T]
    for subgroup in (*normal_subgroups(group), *leaving):
        cosets = Cosets(metric.permutations(subgroup.others), Basis.of(subgroup.elements, metric), subgroup.order)
        assert cosets.count * cosets.order == len(elements)
        summed = contraction(cosets.basis, cosets.basis.forward(points - centre), sigma)
        summed.set_weights(cosets.basis.forward(weights), np.einsum("md,md->m", points - centre, weights), None)
        found = cosets.backward(*summed(cosets.forward(queries - centre)))
        assert found[0] == pytest.approx(energy, abs=1e-10)
        assert found[1] == pytest.approx(gradient, abs=1e-10)


def test_a_group_that_is_no_product_leaves_its_exchange_to_the_queries() -> None:
    """Two rings of six and their exchange, 288 elements: subgroups of the two rings have small tables."""
    ring = GROUPS["D6"]
    both = np.concatenate([np.tile(ring, (12, 1)), np.repeat(6 + ring, 12, axis=0)], axis=1)
    wreath = np.concatenate([both, both[:, [*range(6, 12), *range(6)]]])
    metric = Metric(12)
    cosets = Cosets.of(wreath, metric)
    assert cosets.count * cosets.order == 288
    assert cosets.method == f"fourier of {cosets.order}"
    assert max(len(table) for table in cosets.basis.tables) <= 12
    assert Cosets.of(wreath, metric, "fourier").method == "fourier"
    assert Cosets.of(wreath, metric, "plain").method == "plain"


@pytest.mark.parametrize(
    "broken",
    [
        GROUPS["S4"][1:],  # sorted: the first is the identity
        GROUPS["S4"][:-1],
        np.concatenate([GROUPS["S4"], GROUPS["S4"][5:6]]),
        np.concatenate([GROUPS["C2"], GROUPS["C2"]]),
        np.delete(GROUPS["S3xD4"], 17, axis=0),
    ],
    ids=["no identity", "one missing", "one twice", "all twice", "a product with one missing"],
)
def test_what_is_no_group_is_left_to_the_queries(broken: np.ndarray) -> None:
    for method in (None, "fourier"):
        cosets = Cosets.of(broken, Metric(broken.shape[1]), method)  # type: ignore[arg-type]
        assert (cosets.method, cosets.count) == ("permuted queries (no group)", len(broken))
