"""Which pairs of atoms a descriptor holds, and what it makes of their distances.

sGDML takes the inverse distance of every pair. Most of them can go without loss (Kabylda et al., Nat. Commun. 14,
3562 (2023)), and those that stay need not count alike: with 1/r the far pairs of a floppy molecule dominate what a
kernel sees of the difference of two geometries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._types import FloatArray, IntArray
from ...symmetry.elements import orbits
from .pairs import n_pairs, pair_permutations, pairs_of

MAX_POWER, MAX_DECAY = 12.0, 10.0


@dataclass(frozen=True, eq=False)
class Metric:
    """Which pairs make the descriptor of N atoms, and how: x_k = s_k r_k^−p e^{−r_k/L}.

    Distances between descriptors are all that a kernel sees, so that this is what decides which geometries are near
    each other. sGDML's is 1/r of all pairs.
    """

    n_atoms: int
    chosen: IntArray | None = None  # (D,) places of the lower triangle in a flattened N×N matrix; None: all
    power: float = 1.0  # p, a multiple of 1/2
    decay: float = 0.0  # 1/L, 1/Å
    scales: FloatArray | None = None  # (D,) s_k; None: 1

    def __post_init__(self) -> None:
        if not (0 < self.power <= MAX_POWER and (2 * self.power).is_integer()):
            raise ValueError(f"power is {self.power:g}, expected 0.5, 1, 1.5, … {MAX_POWER:g}")
        if not 0 <= self.decay <= MAX_DECAY:
            raise ValueError(f"decay is {self.decay:g} 1/Å, expected 0 to {MAX_DECAY:g}")
        if self.chosen is not None and not np.isin(self.chosen, pairs_of(self.n_atoms)).all():
            raise ValueError("pairs are not all below the diagonal of a square of the atoms")
        if self.chosen is not None and not (len(self.chosen) and (np.diff(self.chosen) > 0).all()):
            raise ValueError("expected at least one pair, in ascending order, none twice")
        if self.scales is not None and not (self.scales.shape == self.pairs.shape and (self.scales > 0).all()):
            raise ValueError("expected one positive scale for each pair")

    @cached_property
    def pairs(self) -> IntArray:
        """(D,) places of the lower triangle in a flattened N×N matrix."""
        return pairs_of(self.n_atoms) if self.chosen is None else self.chosen

    @property
    def is_stock(self) -> bool:
        """Whether this is sGDML's metric, 1/r of all pairs."""
        return self.chosen is None and self.power == 1.0 and self.decay == 0.0 and self.scales is None

    def permutations(self, permutations: IntArray) -> IntArray:
        """`pair_permutations` of these pairs (P, D). Raises ValueError where scales or pairs are not invariant."""
        moved = pair_permutations(permutations, self.chosen)
        if self.scales is not None and not np.allclose(self.scales[moved], self.scales, rtol=1e-12, atol=0.0):
            raise ValueError("scales differ between pairs that the permutations exchange")
        return moved

    def check(self, permutations: IntArray) -> None:
        """Raises ValueError where scales or pairs are not invariant under these permutations (P, N)."""
        if self.chosen is not None or self.scales is not None:
            self.permutations(permutations)

    def orbits(self, permutations: IntArray) -> IntArray:
        """(D,) number of the orbit of each pair, from 0. Raises ValueError as `permutations`."""
        labels: IntArray = np.unique(orbits(self.permutations(permutations)), return_inverse=True)[1]
        return labels

    def to_matrix(self, values: FloatArray) -> FloatArray:
        """Values (…, D) of the pairs as symmetric matrices (…, N, N), zero elsewhere."""
        lower = np.zeros((*values.shape[:-1], self.n_atoms**2))
        lower[..., self.pairs] = values
        lower = lower.reshape(*values.shape[:-1], self.n_atoms, self.n_atoms)
        return np.asarray(lower + np.swapaxes(lower, -1, -2))

    def __eq__(self, other: object) -> bool:
        """Whether the two are the same to the last bit."""
        return isinstance(other, Metric) and (
            (self.n_atoms, self.power, self.decay) == (other.n_atoms, other.power, other.decay)
            and (self.chosen is None) == (other.chosen is None)
            and (self.scales is None) == (other.scales is None)
            and np.array_equal(self.pairs, other.pairs)
            and (self.scales is None or np.array_equal(self.scales, np.asarray(other.scales)))
        )

    def __hash__(self) -> int:
        return hash((self.n_atoms, self.power, self.decay, len(self.pairs)))

    def __str__(self) -> str:
        """The law and the pairs in a few words, such as ``1/r, 40 of 66 pairs``."""
        law = "1/r" if self.power == 1.0 else f"r^-{self.power:g}"
        law += f" exp(-r/{1 / self.decay:.3g} Å)" if self.decay else ""
        share = "" if self.chosen is None else f", {len(self.pairs)} of {n_pairs(self.n_atoms)} pairs"
        scales = "" if self.scales is None else f", scales {self.scales.min():.2g} to {self.scales.max():.2g}"
        return law + share + scales

    def keep(self, which: IntArray) -> Metric:
        """The same law for some of the pairs only, given by (K,) indices or (D,) bool."""
        return Metric(
            self.n_atoms, self.pairs[which], self.power, self.decay,
            None if self.scales is None else self.scales[which],
        )  # fmt: skip

    def scaled(self, scales: FloatArray) -> Metric:
        """The metric whose scales are multiplied by these (D,)."""
        before = 1.0 if self.scales is None else self.scales
        return Metric(self.n_atoms, self.chosen, self.power, self.decay, before * scales)

    def evaluate(self, distances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """x and −(dx/dr)/r, (…, D), at distances (…, D) in Å."""
        inverse = 1.0 / distances
        x = inverse**self.power
        if self.decay:
            x *= np.exp(-self.decay * distances)
        if self.scales is not None:
            x *= self.scales
        return x, x * (self.power * inverse + self.decay) * inverse

    @cached_property
    def compiled(self) -> tuple[IntArray, FloatArray, int, float]:
        """Ends of the pairs, scales, 2p and decay for compiled code; empty arrays mean all pairs and no scales."""
        ends = np.zeros((0, 2)) if self.chosen is None else np.stack(np.divmod(self.chosen, self.n_atoms), 1)
        scales = np.zeros(0) if self.scales is None else np.ascontiguousarray(self.scales)
        return ends.astype(np.int32), scales, round(2 * self.power), float(self.decay)
