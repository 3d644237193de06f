"""How far the pairs of atoms of a descriptor reach, and between which atoms they are.

Kabylda et al., Nat. Commun. 14, 3562 (2023), found that forces need features of atoms up to 15 Å apart, about as many
as of those nearer than 5 Å, and in all a number that grows with the number of atoms, not with its square.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..._types import FloatArray, IntArray
from ...gdml.descriptor.descriptor import Descriptor
from ...gdml.descriptor.metric import Metric
from ..labels import Labels


@dataclass(frozen=True)
class Reach:
    """How far the pairs of a descriptor reach; distances are means over configurations, Å.

    ``largest``: distance. ``most``: the distance that nine in ten do not exceed. ``per_atom``: pairs over atoms, each
    pair counted once. ``within``, ``between``: of all pairs within fragments, or between them, the share that is
    kept; None where there are none.
    """

    largest: float
    most: float
    per_atom: float
    within: float | None
    between: float | None

    def as_dict(self) -> dict[str, float | None]:
        """The reach as it stands in a record."""
        return {
            "largest_distance_angstrom": round(self.largest, 4),
            "distance_90_percent_angstrom": round(self.most, 4),
            "pairs_per_atom": round(self.per_atom, 4),
            "kept_within": None if self.within is None else round(self.within, 4),
            "kept_between": None if self.between is None else round(self.between, 4),
        }


@dataclass(frozen=True, eq=False)
class Pairs:
    """All D pairs of the N atoms of one model that a reduction begins with.

    metric: holds them. distances: (D,) mean, Å. numbers: (N,) atomic. fragment: (N,) of each atom, 0 to K−1.
    names: (K,) of the fragments.
    """

    metric: Metric
    distances: FloatArray
    numbers: IntArray
    fragment: IntArray
    names: tuple[str, ...]

    @classmethod
    def of(cls, metric: Metric, labels: Labels, fragment: IntArray, names: tuple[str, ...]) -> Pairs:
        """labels: configurations as they come, none of them pulled apart."""
        distances = Descriptor.of(labels.positions, metric).distances().mean(0)
        return cls(metric, distances, labels.numbers, fragment, names)

    @cached_property
    def within(self) -> npt.NDArray[np.bool_]:
        """(D,) whether both atoms are of one fragment."""
        row, col = np.divmod(self.metric.pairs, self.metric.n_atoms)
        return np.asarray(self.fragment[row] == self.fragment[col])

    def kept(self, metric: Metric) -> npt.NDArray[np.bool_]:
        """(D,) which pairs are in a descriptor of fewer pairs."""
        return np.isin(self.metric.pairs, metric.pairs)

    def reach(self, metric: Metric) -> Reach:
        """How far the pairs of a descriptor of fewer pairs reach."""
        kept = self.kept(metric)
        distances = self.distances[kept]
        shares = [float(kept[kind].mean()) if kind.any() else None for kind in (self.within, ~self.within)]
        return Reach(
            float(distances.max()), float(np.quantile(distances, 0.9)), float(kept.sum() / metric.n_atoms), *shares
        )
